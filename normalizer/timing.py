"""Whether the gateway's clock can be believed, scan by scan. Pure.

Each scan carries two readings of one moment: the clock that may be set, and the one that never
steps. Their difference is the same for every scan as long as nobody sets the clock; a change of
more than STEP_NS between two scans of a group is a step, and the scan that shows it says so. (NTP
that slews a clock moves it by half a millisecond per second at the most.)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from common.block import NO_SOURCE_TIME
from common.clock import monotonic_ns, now_ns, synchronised
from common.records import TIME_MARKS, Quality, Scan, ScanMark

STEP_NS = 1_000_000_000
STEP_SHOWN_NS = 600_000_000_000
"""For ten minutes after a step `tailrace status` says so."""


INSTANT_NS_MAX = 2**62
"""The year 2116. A source time outside of 1970 to then is a device's error and left out."""


class Judgement(NamedTuple):
    """What a scan says of the clock."""

    marks: int
    """For every sample of the scan: `Quality.CLOCK_…` bits."""
    step_ns: int
    """By how much the clock was set since the group's last scan; 0: it was not."""
    resumed: bool
    """True when nobody was reading before this scan, or the clock was set: windows are cut."""


class GroupTimes:
    """The times of one group's scans. `axes` outlives it: a new plan is no new clock."""

    def __init__(self, group: str, axes: dict[str, int]) -> None:
        self._group = group
        self._axes = axes
        """Group → clock minus monotonic clock, as of its last scan."""

    def judged(self, scan: Scan) -> Judgement:
        """Return what the scan says of the clock, compared with the one before."""
        marks = Quality.CLOCK_UNSYNCHRONISED if scan.marks & ScanMark.UNSYNCHRONISED else 0
        axis_ns = scan.read_at_ns - scan.monotonic_ns
        step_ns = axis_ns - self._axes.get(self._group, axis_ns)
        self._axes[self._group] = axis_ns
        resumed = bool(scan.marks & ScanMark.FIRST)
        if abs(step_ns) <= STEP_NS:
            return Judgement(marks, 0, resumed)
        return Judgement(marks | Quality.CLOCK_STEPPED, step_ns, resumed=True)


def split_marks(
    qualities: Sequence[int] | None,
) -> tuple[Sequence[int] | None, npt.NDArray[np.uint32] | None]:
    """Return the codes without marks of their samples' times, and the marks; None where none.

    Raises OverflowError for what is no status code.
    """
    if qualities is None:
        return None, None
    codes = np.array(qualities, np.uint32)
    marks = codes & np.uint32(TIME_MARKS)
    if not marks.any():
        return qualities, None
    return (codes ^ marks).tolist(), marks


def source_times(scan: Scan) -> npt.NDArray[np.int64] | None:
    """Return the source times that are instants, NO_SOURCE_TIME for the others."""
    if scan.source_at_ns is None:
        return None
    times = [
        at_ns if at_ns is not None and 0 <= at_ns < INSTANT_NS_MAX else NO_SOURCE_TIME
        for at_ns in scan.source_at_ns
    ]
    return np.array(times, np.int64)


class ClockWatch:
    """What the normalizer says of the gateway's clock, once a second."""

    def __init__(
        self,
        now_ns: Callable[[], int] = now_ns,
        monotonic_ns: Callable[[], int] = monotonic_ns,
        ask: Callable[[], bool | None] = synchronised,
    ) -> None:
        self._now_ns = now_ns
        self._monotonic_ns = monotonic_ns
        self._ask = ask
        self._axis_ns: int | None = None
        self._shown_until_ns = 0
        """Monotonic."""
        self._steps = 0
        self._last_step_ns: int | None = None

    def detail(self) -> dict[str, Any]:
        """Return the clock's part of the health file."""
        at_ns = self._monotonic_ns()
        axis_ns = self._now_ns() - at_ns
        if self._axis_ns is not None and abs(step_ns := axis_ns - self._axis_ns) > STEP_NS:
            self._steps += 1
            self._last_step_ns = step_ns
            self._shown_until_ns = at_ns + STEP_SHOWN_NS
        self._axis_ns = axis_ns
        return {
            "clock": self._word(at_ns),
            "clock_steps": self._steps,
            "clock_step_s": None if self._last_step_ns is None else self._last_step_ns / 1e9,
        }

    def _word(self, at_ns: int) -> str:
        if at_ns < self._shown_until_ns:
            return "stepped"
        return {None: "unknown", True: "synchronised", False: "unsynchronised"}[self._ask()]
