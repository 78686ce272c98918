"""The files of a target, which others renew on disk while the connection stands.

    disk ──look, every LOOK_S──▶ changed? ──settled, whole, fits, ours alone──▶ stale: connect anew
                                    └────── cannot be used: the old set serves on, and a complaint

Certificate, key, authorities and password are taken together or not at all, however they were
replaced: written over, moved into place, or by swapping the link to a whole folder, as
cert-manager and Kubernetes do. A set that is just being written is left alone until two looks find
the same; one that cannot be used never replaces the one that was loaded, not even when the
connection is lost meanwhile. One that the far side refuses gives way to the last that it accepted,
until that is refused, too.
"""

import hashlib
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from common.clock import monotonic_s
from uplink.contract import TargetRefused
from uplink.files import wrong_files
from uplink.settings import TargetSettings

LOOK_S = 2.0
RETRY_S = 3_600.0
"""Until a set that was refused is tried again: the far side may have learned to trust it."""
FILE_BYTES_MAX = 1024**2
"""Of each; the authorities of a whole operating system have a quarter of that."""

Loaded = TypeVar("Loaded")


class _Seen(NamedTuple):
    """What one look found, in the order of the keys."""

    contents: tuple[str, ...]
    modes: tuple[int, ...]
    """Who may read them: making a key private again makes a set usable."""


class Renewal(Generic[Loaded]):
    """The files of one target; used by one thread."""

    def __init__(self, settings: TargetSettings, load: Callable[[], Loaded]) -> None:
        """`load` reads every file anew and raises TargetRefused where one cannot be used."""
        self._settings = settings
        self._load = load
        self._loaded: Loaded | None = None
        self._used: _Seen | None = None
        """As they were when they were last loaded."""
        self._seen: _Seen | None = None
        self._judged: _Seen | None = None
        self._look_at_s = 0.0
        self._stale = False
        self._accepted: tuple[Loaded, _Seen] | None = None
        """The last that the far side let in."""
        self._rejected: _Seen | None = None
        """What it did not let in, while another set is better."""
        self._retry_at_s = 0.0
        self.complaint = ""
        """Why the files on disk do not replace those in use; empty while there is no reason."""

    def current(self) -> Loaded:
        """Load the files for a new connection; where they cannot be used, return the last ones.

        Raises TargetRefused when there never were any.
        """
        seen = self._look()
        self._stale = False
        if seen == self._rejected and self._accepted is not None:
            self._loaded, self._used = self._accepted
            return self._loaded
        try:
            loaded = self._usable(seen)
        except TargetRefused as error:
            if self._loaded is None:
                raise
            self._complain(str(error))
            self._judged = None
            return self._loaded
        self._loaded, self._used = loaded, seen
        self.complaint = ""
        return loaded

    def accepted(self) -> None:
        """Remember what was loaded last as what the far side lets in."""
        if self._loaded is not None and self._used is not None:
            self._accepted = self._loaded, self._used

    def refused(self, reason: str) -> None:
        """Go back to what was accepted before, if that is something else than was refused now."""
        before = self._accepted
        if before is None or self._used is None or before[1].contents == self._used.contents:
            self._rejected = None  # Neither is let in: what lies on disk is the one to try.
            return
        self._rejected, self._stale = self._used, True
        self._retry_at_s = monotonic_s() + RETRY_S
        self._complain(f"the new files of target {self._settings.name} were refused: {reason}")

    def stale(self) -> bool:
        """Return whether other files lie on disk than were loaded, and could be used.

        Looks at the disk every LOOK_S, whenever it is called.
        """
        now_s = monotonic_s()
        if now_s < self._look_at_s:
            return self._stale
        self._look_at_s = now_s + LOOK_S
        seen = self._look()
        settled, self._seen = seen == self._seen, seen
        if self._rejected is not None and (seen != self._rejected or now_s >= self._retry_at_s):
            self._rejected = self._judged = None
        if seen in (self._rejected, self._judged):
            pass  # Said already.
        elif seen == self._used:
            self._stale, self.complaint, self._judged = False, "", None
        elif settled:
            self._judged = seen
            self._judge(seen)
        return self._stale

    def _judge(self, seen: _Seen) -> None:
        self._stale = False
        try:
            self._usable(seen)
        except TargetRefused as error:
            self._complain(str(error))
            return
        self.complaint = ""
        self._stale = self._used is None or seen.contents != self._used.contents

    def _usable(self, seen: _Seen) -> Loaded:
        """Load what lies on disk, which must be what was seen. Raises TargetRefused."""
        name = self._settings.name
        if wrong := wrong_files(self._settings):
            texts = "; ".join(f"{key}: {text}" for key, text in wrong)
            raise TargetRefused(f"the files of target {name} cannot be used: {texts}")
        loaded = self._load()
        if self._look() != seen:
            raise TargetRefused(f"the files of target {name} are just being written")
        return loaded

    def _complain(self, reason: str) -> None:
        self.complaint = f"{reason}; the ones loaded before serve on"

    def _look(self) -> _Seen:
        """Read every file; what cannot be read is told apart, too."""
        contents, modes = [], []
        for path in self._settings.files:
            try:
                with path.open("rb") as file:
                    content = hashlib.sha256(file.read(FILE_BYTES_MAX)).hexdigest()
                modes.append(path.stat().st_mode)
            except OSError as error:
                content = str(error.strerror)
                modes.append(0)
            contents.append(content)
        return _Seen(tuple(contents), tuple(modes))
