"""One group's scans → values that IT can trust, column by column.

Raw values are transformed, checked against their type, scaled and bounded; what can be made of them
is added; what is worth reporting becomes a Part for the queue. Nothing here works sample by
sample except for texts, bytes and values that are wrong.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.block import NO_SOURCE_TIME, Layout, Part
from common.records import Plan, Quality, Scan, ScanMark, ValueType
from normalizer.checking import Checks
from normalizer.counters import CounterState
from normalizer.deriving import AssetMemory, ClosedWindow, Derivation, Read
from normalizer.limits import Limits
from normalizer.reporting import (
    DTYPES,
    Codes,
    Indexes,
    Mask,
    Ready,
    Reporting,
    Verdict,
    marked_as_repeated,
)
from normalizer.timing import INSTANT_NS_MAX, GroupTimes, source_times, split_marks
from normalizer.transforms import Transforms
from normalizer.watching import Judged, Watch

Split = dict[ValueType, tuple[npt.NDArray[Any], Indexes]]


class Origin(enum.Enum):
    """Why a part is told without a scan; each is booked in its own way."""

    HELD = enum.auto()
    """Read before, and booked as unchanged then."""
    REPEATED = enum.auto()
    MADE = enum.auto()


READ_AT_STEP_NS = 1_000
"""No reply over a network tells its instant to the nanosecond; these digits would only be noise,
and cost up to a byte per sample on disk."""

_NUMBERS = (ValueType.INT64, ValueType.UINT64, ValueType.FLOAT64)


class ScanMalformed(ValueError):
    """A scan that does not fit its plan; its samples are booked as a gap."""


@dataclass(slots=True)
class _Values:
    """The columns of one scan on their way: index i of each array speaks of the same tag."""

    read_at_ns: int
    columns: Indexes
    split: Split
    arrays: dict[ValueType, Any]
    """By type; of the columns in `split`, in their order."""
    qualities: Codes
    nulls: Mask
    source_at_ns: npt.NDArray[np.int64] | None
    marks: Codes | None
    """Of the samples' own times; None when there is none. No part of what is compared."""


class GroupNormalizer:
    """Normalises the scans of one plan, and remembers what it last reported of each column."""

    def __init__(
        self,
        plan: Plan,
        counters: Mapping[str, CounterState] | None = None,
        memory: AssetMemory | None = None,
    ) -> None:
        self.layout = Layout(plan)
        self._width = len(plan.columns)
        self._checks = Checks(plan)
        self._transforms = Transforms(plan)
        self._limits = Limits(plan)
        self._reporting = Reporting(self.layout)
        self._memory = memory = memory or AssetMemory()
        self._derivation = Derivation(plan, counters, memory)
        self._times = GroupTimes(f"{plan.device}/{plan.group}", memory.axes)
        self._clock_marks = 0
        """For every sample that is told now."""
        self._scanned = np.arange(len(plan.scanned), dtype=np.uint16)
        self._whole = self._split(self._scanned)
        self._closed: list[ClosedWindow] = []
        self.watch: Watch | None = None
        """Told of each scan's verdict (normalizer/trial.py); the service leaves it None."""
        self.made_samples = 0
        """Values of made columns that the last scan brought, told or not."""

    @property
    def changed_counters(self) -> dict[str, CounterState]:
        """States to commit together with the last scan."""
        return self._derivation.changed_counters

    def normalise(self, scan: Scan) -> Part | None:
        """Return what the scan reports, None when nothing changed beyond its deadband.

        Raises ScanMalformed when the scan's lists do not fit the plan or each other.
        """
        try:
            return self._normalise(scan)
        except OverflowError as error:
            raise ScanMalformed(f"a number does not fit its place: {error}") from error

    def last_told(self, name: str) -> Read | None:
        """Return what was last told of a tag that the device gives; None when nothing was."""
        for index, column in enumerate(self.layout.plan.scanned):
            if column.name == name:
                told = self._reporting.remembered(column.value_type, index)
                return Read(*told, self.layout.plan.device) if told else None
        return None

    def forget(self, up_to_ns: int) -> None:
        """Tell again what may be among what was lost (reporting.py)."""
        self._reporting.forget(up_to_ns)

    @property
    def waits(self) -> bool:
        """True when `due` may have something to say."""
        return self._reporting.waits or self._derivation.waits

    def take_closed(self) -> list[Part]:
        """Return the windows that the last scan closed; each is told once."""
        closed, self._closed = self._closed, []
        return self._window_parts(closed)

    def due(self, now_ns: int, *, alive: bool, caught_up: bool = True) -> list[tuple[Part, Origin]]:
        """Return what is to be told without a scan: held back, repeated, or a window's result.

        Unless all scans so far are `caught_up` with, the next ones close the windows.
        """
        self._clock_marks &= ~Quality.CLOCK_STEPPED  # That was the scan which showed the step.
        ready = [
            (self._part_of(each), Origin.REPEATED if each.repeated else Origin.HELD)
            for each in self._reporting.due(now_ns, alive=alive)
        ]
        windows = self._derivation.closed_by(now_ns) if caught_up else []
        if not alive:  # Nobody was reading towards their end.
            windows = [each._replace(closed=each.closed.doubted()) for each in windows]
        closed = self._window_parts(windows)
        return ready + [(part, Origin.MADE) for part in closed]

    def _normalise(self, scan: Scan) -> Part | None:
        columns = self._present(scan)
        self._reporting.notice(scan.read_at_ns)
        self._judge_times(scan)
        given, marks = split_marks(scan.qualities)
        raw_values, codes = self._transforms.apply(scan.values, given, scan.indexes)
        values = _Values(
            read_at_ns=scan.read_at_ns,
            columns=columns,
            split=self._whole if scan.indexes is None else self._split(columns),
            arrays={},
            qualities=np.zeros(len(columns), np.uint32)
            if codes is None
            else np.array(codes, np.uint32),
            nulls=np.zeros(len(columns), bool),
            source_at_ns=source_times(scan),
            marks=marks,
        )
        for value_type, (places, of_type) in values.split.items():
            raw = (
                raw_values
                if len(places) == len(raw_values)
                else [raw_values[place] for place in places.tolist()]
            )
            around = (places, values.qualities, values.nulls)
            array = self._checks.typed(value_type, raw, *around)
            if value_type is ValueType.FLOAT64:
                array = self._checks.finished(array, of_type, *around)
            if value_type in _NUMBERS:
                array = self._limits.apply(array, of_type, *around)
            values.arrays[value_type] = array
        forced = self._derive(values)
        return self._report(values, forced)

    def _judge_times(self, scan: Scan) -> None:
        """Learn what the scan says of the clock, before anything is made of its time."""
        self._clock_marks, step_ns, resumed = self._times.judged(scan)
        if step_ns:
            self._closed += self._derivation.cut(step_ns)
        self._derivation.resumed = resumed
        if scan.marks & ScanMark.FIRST:
            self._memory.begin(self.layout.plan)

    def _derive(self, values: _Values) -> Mask | None:
        """Append what follows from the values; return which of all are events, to be told."""
        self.made_samples = 0
        watched = self._derivation.watched
        if not watched:
            return None
        readings = self._readings(values, watched)
        self._closed += self._derivation.closed(values.read_at_ns, readings)
        made = self._derivation.take(values.read_at_ns, readings)
        self.made_samples = len(made)
        if not made:
            return None
        before = len(values.columns)
        added = np.array([each.column for each in made], np.uint16)
        values.columns = np.concatenate([values.columns, added])
        codes = np.array([each.quality for each in made], np.uint32)
        values.qualities = np.concatenate([values.qualities, codes])
        blanks = np.array([each.value is None for each in made], bool)
        values.nulls = np.concatenate([values.nulls, blanks])
        if values.source_at_ns is not None:
            no_times = np.full(len(made), NO_SOURCE_TIME, np.int64)
            values.source_at_ns = np.concatenate([values.source_at_ns, no_times])
        if values.marks is not None:
            values.marks = np.concatenate([values.marks, np.zeros(len(made), np.uint32)])
        values.split = self._split(values.columns)
        for value_type, (places, _) in values.split.items():
            fresh = [
                made[place - before].value or 0 for place in places.tolist() if place >= before
            ]
            if fresh:
                found = values.arrays.get(value_type, [])
                values.arrays[value_type] = np.concatenate(
                    [np.asarray(found, DTYPES[value_type]), np.array(fresh, DTYPES[value_type])]
                )
        forced = np.zeros(len(values.columns), bool)
        forced[before:] = [each.forced for each in made]
        return forced

    def _readings(self, values: _Values, watched: list[int]) -> dict[int, tuple[Any, int]]:
        """Return value and quality of the watched columns that are present."""
        found: dict[int, tuple[Any, int]] = {}
        wanted = np.isin(values.columns, watched)
        for value_type, (places, of_type) in values.split.items():
            array = values.arrays[value_type]
            for at in np.flatnonzero(wanted[places]).tolist():
                place = int(places[at])
                value = array[at] if isinstance(array, list) else array[at].item()
                blank = bool(values.nulls[place])
                quality = int(values.qualities[place])
                found[int(of_type[at])] = (None if blank else value, quality)
        return found

    def _report(self, values: _Values, forced: Mask | None) -> Part | None:
        moved = np.zeros(len(values.columns), bool)
        for value_type, (places, of_type) in values.split.items():
            array = values.arrays[value_type]
            moved[places] = self._reporting.moved(value_type, array, of_type)
        verdict = self._reporting.judge(
            values.columns, values.read_at_ns, moved, values.qualities, values.nulls
        )
        if forced is not None:
            # An increment is told whenever it is one: two equal ones are two, not a repetition.
            self._derivation.settle(values.columns, forced, verdict.tell)
        if self.watch is not None:
            self.watch(
                Judged(
                    values.read_at_ns,
                    values.columns,
                    values.split,
                    values.arrays,
                    values.qualities,
                    values.nulls,
                    verdict,
                    forced,
                    self._reporting,
                )
            )
        if verdict.hold is not None and verdict.hold.any():
            self._hold(values, verdict.hold)
        return self._told(values, verdict)

    def _told(self, values: _Values, verdict: Verdict) -> Part | None:
        tell = verdict.tell
        count = int(np.count_nonzero(tell))
        if count == 0:
            return None
        everything = count == len(values.columns)
        reported = {}
        for value_type, (places, of_type) in values.split.items():
            array = values.arrays[value_type]
            mask = tell[places]
            if not everything:
                array = _masked(array, mask)
                of_type = of_type[mask]  # noqa: PLW2901 - the reported ones from here on
            if len(of_type):
                self._reporting.told_values(value_type, of_type, array)
                reported[value_type] = array
        columns = values.columns if everything else values.columns[tell]
        qualities, nulls = values.qualities[tell], values.nulls[tell]
        self._reporting.told(columns, values.read_at_ns, qualities, nulls)
        if verdict.repeated is not None and verdict.repeated.any():
            qualities = marked_as_repeated(qualities, verdict.repeated[tell])
        if values.marks is not None:
            qualities = qualities | values.marks[tell]
        times = None if values.source_at_ns is None else values.source_at_ns[tell]
        return self._part(values.read_at_ns, reported, columns, qualities, nulls, times)

    def _hold(self, values: _Values, hold: Mask) -> None:
        """Keep what came too soon after the last telling."""
        for value_type, (places, of_type) in values.split.items():
            mask = hold[places]
            if mask.any():
                array = _masked(values.arrays[value_type], mask)
                self._reporting.held_values(value_type, of_type[mask], array, values.read_at_ns)
        times = NO_SOURCE_TIME if values.source_at_ns is None else values.source_at_ns[hold]
        marks = np.uint32(0) if values.marks is None else values.marks[hold]
        self._reporting.held_source_times(values.columns[hold], times, marks)

    def _part_of(self, ready: Ready) -> Part:
        times = ready.source_at_ns if (ready.source_at_ns != NO_SOURCE_TIME).any() else None
        return self._part(
            ready.read_at_ns, ready.arrays, ready.columns, ready.qualities, ready.nulls, times
        )

    def _window_parts(self, closed: list[ClosedWindow]) -> list[Part]:
        """Return a part for each instant at which windows ended, oldest first."""
        by_end: dict[int, dict[int, ClosedWindow]] = {}
        for each in closed:
            by_end.setdefault(each.closed.end_at_ns, {})[each.column] = each
        parts = []
        for end_at_ns, windows in sorted(by_end.items()):
            ordered = [windows[column].closed for column in sorted(windows)]
            columns = np.array(sorted(windows), np.uint16)
            qualities = np.array([each.quality for each in ordered], np.uint32)
            nulls = np.array([each.value is None for each in ordered], bool)
            array = np.array([each.value or 0.0 for each in ordered], np.float64)
            arrays = {ValueType.FLOAT64: array}
            parts.append(self._part(end_at_ns, arrays, columns, qualities, nulls, None))
        return parts

    def _part(
        self,
        read_at_ns: int,
        arrays: dict[ValueType, Any],
        columns: Indexes,
        qualities: Codes,
        nulls: Mask,
        source_at_ns: npt.NDArray[np.int64] | None,
    ) -> Part:
        if self._clock_marks:
            qualities = qualities | np.uint32(self._clock_marks)
        quality_at = np.flatnonzero(qualities).astype(np.uint32)
        null_at = np.flatnonzero(nulls).astype(np.uint32)
        return Part(
            layout=self.layout,
            read_at_ns=read_at_ns - read_at_ns % READ_AT_STEP_NS,
            arrays=arrays,
            samples=len(columns),
            indexes=None if len(columns) == self._width else columns,
            nulls=null_at if len(null_at) else None,
            quality_at=quality_at if len(quality_at) else None,
            qualities=qualities[quality_at] if len(quality_at) else None,
            source_at_ns=source_at_ns,
        )

    def _present(self, scan: Scan) -> Indexes:
        columns = self._scanned
        if scan.indexes is not None:
            wide = np.array(scan.indexes, np.int64)
            if len(wide) == 0 or wide[0] < 0 or wide[-1] >= len(columns) or (
                np.any(np.diff(wide) <= 0)
            ):  # fmt: skip
                raise ScanMalformed("indexes are not ascending columns of the plan")
            columns = wide.astype(np.uint16)
        if not 0 <= scan.read_at_ns < INSTANT_NS_MAX:
            raise ScanMalformed(f"read time {scan.read_at_ns} is not an instant")
        lists: list[Sequence[object] | None] = [scan.values, scan.qualities, scan.source_at_ns]
        if any(each is not None and len(each) != len(columns) for each in lists):
            raise ScanMalformed(f"lists of other lengths than {len(columns)} columns")
        return columns

    def _split(self, columns: Indexes) -> Split:
        """Return {type: (places among the present columns, those columns)}."""
        kinds = self.layout.kinds[columns]
        split = {}
        for value_type, of_type in self.layout.columns_of.items():
            places = np.flatnonzero(kinds == self.layout.kinds[of_type[0]])
            if len(places):
                split[value_type] = (places, columns[places])
        return split


def _masked(array: Any, mask: Mask) -> Any:
    if isinstance(array, list):
        return [value for value, kept in zip(array, mask.tolist(), strict=True) if kept]
    return array[mask]
