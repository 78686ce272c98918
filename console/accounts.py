"""What the processes say of themselves in their health files, as far as the console shows it.

Every key has a default: an account written by an older or newer process is shown as far as it
goes, and never ends `tailrace status`.
"""

from typing import TypeVar

import msgspec

from common.health import Health

Account = TypeVar("Account", bound=msgspec.Struct)


class DeviceAccount(msgspec.Struct):
    """One device, within a collector's account."""

    state: str = "unknown"
    since_ns: int | None = None
    last_scan_at_ns: int | None = None
    scans: int = 0
    samples: int = 0
    overruns: int = 0
    error: str | None = None
    requests: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    reply_p50_s: float | None = None
    reply_p95_s: float | None = None
    clock_offset_s: float | None = None
    clock_doubtful: bool = False


class OutboxAccount(msgspec.Struct):
    """Scans that the normalizer has not acknowledged."""

    depth: int = 0
    dropped_scans: int = 0


class CollectorAccount(msgspec.Struct):
    """Health detail of a collector."""

    devices: dict[str, DeviceAccount] = {}
    outbox: OutboxAccount = msgspec.field(default_factory=OutboxAccount)


class CutOffAccount(msgspec.Struct):
    """A target that was cut off because more waited for it than its limit."""

    at_ns: int = 0
    samples: int = 0
    """That it never got, since the queue was begun."""


class QueueAccount(msgspec.Struct):
    """The queue, within the normalizer's account."""

    last_sequence: int | None = None
    depth: int = 0
    oldest_age_s: float | None = None
    bytes: int = 0
    capacity_bytes: int = 0
    autonomy_h: float | None = None
    when_full: str | None = None
    cut_off: dict[str, CutOffAccount] = {}
    """By target; of those that ever were."""


class LedgerAccount(msgspec.Struct):
    """What became of every sample of all devices together, within the normalizer's account."""

    collected: int = 0
    unchanged: int = 0
    delivered: int = 0
    queued: int = 0
    lost: dict[str, int] = {}
    """By cause."""
    unknown_losses: int = 0
    """Losses whose size nobody knows."""


class NormalizerAccount(msgspec.Struct):
    """Health detail of the normalizer."""

    queue: QueueAccount | None = None
    gaps: int = 0
    ledger: LedgerAccount | None = None
    clock: str | None = None
    clock_steps: int = 0
    clock_step_s: float | None = None


class UplinkAccount(msgspec.Struct):
    """Health detail of an uplink."""

    target: str | None = None
    state: str = "unknown"
    error: str | None = None
    notes: list[str] = []
    warnings: list[str] = []
    acked_sequence: int = 0
    last_ack_at_ns: int | None = None
    published: int = 0
    refused: int = 0
    set_aside: int = 0
    retried: int = 0
    retry_waiting: int = 0
    in_flight: int = 0
    lane: str | None = None
    waiting: int | None = None
    """Sequences that are not settled, those beyond the position left out that are."""


def account(health: Health | None, kind: type[Account]) -> Account:
    """Return a process's account, or one that says nothing when there is none to understand."""
    try:
        return msgspec.convert(health.detail if health else {}, kind)
    except msgspec.ValidationError:
        return kind()
