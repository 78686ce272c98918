"""How late a lane is: by the monotonic clock and the queue's sequences, never by what a clock said.

Limits
    One mark for every quarter of a second, for as long as the longest question needs.
"""

from collections import deque

MARK_INTERVAL_S = 0.25
LATE_S = 2.0
"""What has been in the queue for so long should have been told."""
VERY_LATE_S = 10.0
"""Late, however few records it are."""


class Lag:
    """When the queue had come how far."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    @property
    def last(self) -> int:
        """How far the queue was when it was looked at last."""
        return self._marks[-1][1] if self._marks else 0

    def due(self, now_s: float) -> bool:
        """Return whether it is time to look at the queue's end again."""
        return not self._marks or now_s - self._marks[-1][0] >= MARK_INTERVAL_S

    def note(self, now_s: float, last_sequence: int) -> None:
        """Note that the queue has come so far."""
        if not self.due(now_s):
            return
        self._marks.append((now_s, last_sequence))
        while len(self._marks) > 1 and self._marks[1][0] <= now_s - VERY_LATE_S:
            self._marks.popleft()

    def late(self, now_s: float, handed_out: int, records_max: int) -> bool:
        """Return whether more than `records_max` sequences are late, or some of them very."""
        if handed_out < self._before(now_s - VERY_LATE_S):
            return True
        behind = bool(self._marks) and self._marks[-1][1] - handed_out > records_max
        return behind and handed_out < self._before(now_s - LATE_S)

    def _before(self, at_s: float) -> int:
        """Return how far the queue is known to have been at a time."""
        return max((last for marked_s, last in self._marks if marked_s <= at_s), default=0)
