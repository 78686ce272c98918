"""The queue's own clock, and which sequences are older than what may be kept.

The system's clock steps: set right after a boot in 1970, or set wrong by a bad time server. If age
were read from it, one step forward would delete everything. So the queue counts seconds itself:
within one boot by the monotonic clock, across a reboot by the system's clock as long as that says
something believable.
"""

from typing import Any

from common.clock import monotonic_s, now_ns
from common.outbox import boot_id
from common.queue.environment import KEY, sealed, unsealed
from common.queue.state import QueueState

DOWNTIME_MAX_S = 30 * 24 * 3600.0
"""A longer absence, or one below 0, is a step of the clock and counts as none."""
MARK_INTERVAL_S = 600.0
MARKS_PER_AGE = 20
"""Marks are this much closer than the age, so that it is kept to within 5 %."""


class QueueClock:
    """Seconds that the queue has existed, as far as they can be known. Never goes back."""

    def __init__(self, state: QueueState) -> None:
        self._boot = boot_id()
        if state.boot == self._boot:
            away_s = monotonic_s() - state.monotonic_s
        else:
            away_s = (now_ns() - state.wall_ns) / 1e9 if state.wall_ns else 0.0
        believed_s = away_s if 0 < away_s <= DOWNTIME_MAX_S else 0.0
        self._offset_s = state.clock_s + believed_s - monotonic_s()

    def now_s(self) -> float:
        """Return the queue's clock."""
        return monotonic_s() + self._offset_s

    def stamp(self, state: QueueState) -> None:
        """Note every clock in a state that is about to be committed."""
        state.clock_s, state.wall_ns = self.now_s(), now_ns()
        state.boot, state.monotonic_s = self._boot, monotonic_s()


def mark_interval_s(age_max_s: float | None) -> float:
    """Return the seconds between two marks."""
    return MARK_INTERVAL_S if age_max_s is None else min(MARK_INTERVAL_S, age_max_s / MARKS_PER_AGE)


def put_mark(transaction: Any, ages: Any, sequence: int, clock_s: float) -> None:
    """Note that everything up to `sequence` had been committed at `clock_s`."""
    transaction.put(KEY.pack(sequence), sealed(KEY.pack(int(clock_s))), db=ages)


def marked_before(transaction: Any, ages: Any, clock_s: float) -> int:
    """Return the last sequence that is known to have been committed before `clock_s`, or 0."""
    found = 0
    for key, stored in transaction.cursor(ages):
        if KEY.unpack(unsealed(stored))[0] >= clock_s:
            break
        (found,) = KEY.unpack(key)
    return found


def forget_marks(transaction: Any, ages: Any, up_to: int) -> None:
    """Remove the marks at or before a sequence."""
    with transaction.cursor(ages) as cursor:
        while cursor.first() and KEY.unpack(cursor.key())[0] <= up_to:
            cursor.delete()
