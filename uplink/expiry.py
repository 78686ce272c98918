"""Which certificates of a connection end soon: ours, the broker's, and the authorities' in ca_file.

Said long before it happens, in the retained status, in the health file and in the log: ours is
renewed by people or machines of another department, and the first sign of a forgotten one must not
be an outage.
"""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from common.clock import monotonic_s, now_ns
from uplink.certificates import Validity, validities_of, validity_of
from uplink.contract import Foreseen
from uplink.settings import TargetSettings

LOOK_S = 2.0
STEPS = (timedelta(days=30), timedelta(days=7), timedelta(days=1), timedelta(0))
"""Time left at which it is said again in the log."""


def own_validity(settings: TargetSettings) -> Validity | None:
    """Return when our certificate is valid, None where there is none to read."""
    if settings.cert_file is None:
        return None
    try:
        return validity_of(settings.cert_file)
    except (OSError, ValueError):
        return None


def peer_validity(certificate: Mapping[str, Any] | None) -> Validity | None:
    """Return when the far side's certificate is valid; as SSLSocket.getpeercert tells it."""
    told = [(certificate or {}).get(key) for key in ("notBefore", "notAfter")]
    times = [
        datetime.fromtimestamp(ssl.cert_time_to_seconds(each), UTC)
        for each in told
        if isinstance(each, str)
    ]
    return Validity(*times) if len(times) == len(told) else None


class Outlook:
    """What the certificates of one target foretell; looked at every LOOK_S at most."""

    def __init__(self, settings: TargetSettings) -> None:
        self._settings = settings
        self._look_at_s = 0.0
        self._ends: list[Foreseen] = []
        self.peer: Validity | None = None
        """Of the far side's certificate, as last shown."""
        self.certificate_expires_ms: int | None = None
        """When our own ends."""

    def foreseen(self) -> list[Foreseen]:
        """Return which certificates end soon."""
        now_s = monotonic_s()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_S
            now = datetime.fromtimestamp(now_ns() / 1e9, UTC)
            self._ends = foreseen_ends(self._settings, self.peer, now)
            own = own_validity(self._settings)
            self.certificate_expires_ms = int(own.not_after.timestamp() * 1e3) if own else None
        return self._ends


def foreseen_of(settings: TargetSettings, outlook: Outlook, complaint: str) -> list[Foreseen]:
    """Return what is to be said of a target's certificates, and of new files it cannot use.

    Subscribers read it too: they need not know where the configuration lies.
    """
    foreseen = list(outlook.foreseen())
    if complaint:
        foreseen.append(Foreseen(complaint, complaint, 0))
    folder = settings.folder
    return [each._replace(text=each.text.replace(str(folder), folder.name)) for each in foreseen]


def foreseen_ends(settings: TargetSettings, peer: Validity | None, now: datetime) -> list[Foreseen]:
    """Return what must be said of the ends of certificates now; empty while all have time."""
    found = []
    if own := own_validity(settings):
        found.append(_foreseen(f"our certificate {settings.cert_file}", own, now))
    if peer is not None:
        found.append(_foreseen("the broker's certificate", peer, now))
    if authority := _lasting_authority(settings):
        found.append(_foreseen(f"the authority in {settings.ca_file}", authority, now))
    return [each for each in found if each is not None]


def _foreseen(subject: str, validity: Validity, now: datetime) -> Foreseen | None:
    text = validity.unusable(now) or validity.ends_soon(now)
    if text is None:
        return None
    left = validity.not_after - now
    return Foreseen(subject, f"{subject} {text}", sum(left <= step for step in STEPS))


def _lasting_authority(settings: TargetSettings) -> Validity | None:
    """Return the validity of the authority that lasts longest.

    While one is replaced by another, both are in the file, and the old one may end.
    """
    if settings.ca_file is None:
        return None
    try:
        return max(validities_of(settings.ca_file), key=lambda each: each.not_after)
    except (OSError, ValueError):
        return None
