"""When the queue looks after itself: in slices, between commits, for a share of the time."""

from common.clock import monotonic_s
from common.queue import QueueWriter

SHARE = 0.2
"""Of the normalizer's time, at most; scans wait meanwhile, and none of them is lost by it."""
IDLE_S = 0.25
"""Between two looks when there was nothing to do."""


class Maintenance:
    """Runs `QueueWriter.maintain` when it is due."""

    def __init__(self, queue: QueueWriter) -> None:
        self._queue = queue
        self._due_at_s = 0.0

    def run_when_due(self) -> None:
        """Do one slice, and then leave the time to others in proportion to what it took."""
        begun_s = monotonic_s()
        if begun_s < self._due_at_s:
            return
        more = self._queue.maintain()
        ended_s = monotonic_s()
        rest_s = (ended_s - begun_s) * (1 / SHARE - 1) if more else IDLE_S
        self._due_at_s = ended_s + rest_s

    @property
    def wait_s(self) -> float:
        """How long the next slice can wait."""
        return max(0.0, self._due_at_s - monotonic_s())


class Inflow:
    """How fast the queue fills, as what stays of it: for "hours of autonomy left"."""

    HALF_LIFE_S = 600.0

    def __init__(self) -> None:
        self._bytes = self._elapsed_s = 0.0
        self._at_s = monotonic_s()

    def add(self, committed_bytes: int) -> None:
        """Count what was committed since the last time; older counts fade by half in 10 minutes."""
        now_s = monotonic_s()
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        fading = 0.5 ** (elapsed_s / self.HALF_LIFE_S)
        self._bytes = self._bytes * fading + committed_bytes
        self._elapsed_s = self._elapsed_s * fading + elapsed_s

    def hours_until_full(self, free_bytes: int, kept_share: float) -> float | None:
        """Return the hours until `free_bytes` are used, None while nothing comes in.

        `kept_share`: what compaction leaves of each byte committed.
        """
        if self._bytes <= 0 or self._elapsed_s <= 0:
            return None
        return max(0, free_bytes) / (self._bytes * kept_share / self._elapsed_s) / 3600
