"""How fast one connection may publish, where the far side has a limit: two token buckets.

Both are small, so that no second sees much more than its share: what was not used is lost. The
bucket of bytes may be overdrawn by one message, which the following ones wait for.
"""

from collections.abc import Callable

from common.clock import monotonic_s

BURST_S = 0.1
"""Of the rate, what a bucket holds; at least one message."""
WAIT_LEAST_S = 0.005
"""A wake-up for every message would cost more than it brings."""
UNLIMITED = 1 << 30


class Pace:
    """The pace of one connection; 0 is no limit."""

    def __init__(
        self,
        publishes_per_s: int,
        bytes_per_s: int,
        clock_s: Callable[[], float] = monotonic_s,
    ) -> None:
        self._publishes_per_s = publishes_per_s
        self._bytes_per_s = bytes_per_s
        self._clock_s = clock_s
        self._publishes_most = max(1.0, publishes_per_s * BURST_S)
        self._bytes_most = max(1.0, bytes_per_s * BURST_S)
        self._publishes = self._publishes_most
        self._bytes = self._bytes_most
        self._at_s = clock_s()

    @property
    def room(self) -> int:
        """How many messages may be published now."""
        self._refill()
        if self._bytes_per_s and self._bytes <= 0:
            return 0
        return int(self._publishes) if self._publishes_per_s else UNLIMITED

    @property
    def wait_s(self) -> float:
        """How long until there is room, at least WAIT_LEAST_S; 0 when there is."""
        if self.room:
            return 0.0
        waits_s = [0.0]
        if self._publishes_per_s:
            waits_s.append((1 - self._publishes) / self._publishes_per_s)
        if self._bytes_per_s:
            waits_s.append(-self._bytes / self._bytes_per_s)
        return max(*waits_s, WAIT_LEAST_S)

    def published(self, size_bytes: int) -> None:
        """Account for one message."""
        self._publishes -= 1
        self._bytes -= size_bytes

    def _refill(self) -> None:
        now_s = self._clock_s()
        passed_s, self._at_s = now_s - self._at_s, now_s
        self._publishes = min(
            self._publishes + passed_s * self._publishes_per_s, self._publishes_most
        )
        self._bytes = min(self._bytes + passed_s * self._bytes_per_s, self._bytes_most)


def pace_of(publishes_per_s: int, bytes_per_s: int) -> Pace | None:
    """Return the pace to keep, None where there is no limit."""
    return Pace(publishes_per_s, bytes_per_s) if publishes_per_s or bytes_per_s else None
