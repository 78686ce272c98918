"""The targets that the queue is kept for: named by IT, watched by their cursors.

it/cloud.toml may change, or be wrong, at any moment; OT's data must not care. While it cannot be
read nothing is trimmed, and the last names that could be read stay known.
"""

from pathlib import Path

from common.config import CLOUD_FILE, target_names
from common.errors import Finding
from common.log import get_log
from common.queue import CursorWatch

log = get_log(__name__)


class Targets:
    """The configured targets and how far each has acknowledged."""

    def __init__(self, config_dir: Path, queue_path: Path) -> None:
        self._config_dir = config_dir
        self._queue_path = queue_path
        self._read_at_ns: int | None = None
        self._readable = False
        self.names: list[str] = []
        self._cursors = CursorWatch(queue_path, [])
        self.changed()

    def changed(self) -> bool:
        """Read the names again if the file changed; return whether a target was added."""
        modified_at_ns = self._modified_at_ns()
        if modified_at_ns == self._read_at_ns:
            return False
        self._read_at_ns = modified_at_ns
        findings: list[Finding] = []
        names = target_names(self._config_dir, findings)
        self._readable = not findings
        if findings:
            log.error("targets unknown; nothing is trimmed until it is right", finding=findings[0])
            return False
        added = set(names) - set(self.names)
        if names != self.names:
            self.names = names
            self._cursors.close()
            self._cursors = CursorWatch(self._queue_path, names)
        return bool(added)

    def positions(self, epoch: int) -> dict[str, int]:
        """Return every target's position; all 0 while the names are not to be trusted."""
        if not self._readable:
            return dict.fromkeys(self.names, 0)
        return self._cursors.positions(epoch)

    def claimed_after(self, epoch: int) -> list[int]:
        """Return where every target's cursor stands at this moment, whatever the file says."""
        return list(self._cursors.positions(epoch).values())

    def _modified_at_ns(self) -> int:
        try:
            return (self._config_dir / CLOUD_FILE).stat().st_mtime_ns
        except OSError:
            return 0
