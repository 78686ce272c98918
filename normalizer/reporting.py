"""Report by exception: what was last told of each column, and what is worth telling now.

    first value, change of quality, value gone or back     told, always
    moved beyond the deadband                               told, unless min_interval is not over
    moved, but too soon                                     held, and told when the interval is over
    silent for heartbeat                                    told again, marked as a repetition

The distance is from what was last told, so a slow drift is followed as well: what a consumer knows
is never further from the truth than the deadband (and never older than the minimum interval).
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from common.block import NO_SOURCE_TIME, Layout
from common.records import Quality, ValueType

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint32]
Indexes = npt.NDArray[np.uint16]

DTYPES: dict[ValueType, Any] = {
    ValueType.BOOL: np.uint8,
    ValueType.INT64: np.int64,
    ValueType.UINT64: np.uint64,
    ValueType.FLOAT64: np.float64,
}
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000


class Verdict(NamedTuple):
    """What becomes of the present columns of a scan."""

    tell: Mask
    repeated: Mask | None
    """Of those told: only because nothing was told for so long; None when there is none."""
    hold: Mask | None
    """Not told, but later; None when there is none."""


class Remembered(NamedTuple):
    """What was last told of a column."""

    value: Any
    """None where there was none."""
    quality: int
    at_ns: int


class Ready(NamedTuple):
    """Columns to be told without a scan: held back before, or silent for long."""

    columns: Indexes
    read_at_ns: int
    arrays: dict[ValueType, Any]
    qualities: Codes
    nulls: Mask
    source_at_ns: npt.NDArray[np.int64]
    repeated: bool


class Reporting:
    """The memory of one plan's columns. Instants are the gateway's UTC, in ns."""

    def __init__(self, layout: Layout) -> None:
        columns = layout.plan.columns
        width = len(columns)
        self._columns_of = layout.columns_of
        self._deadband = np.array([column.deadband for column in columns])
        self._relative = np.array([column.deadband_percent / 100 for column in columns])
        self._deadband_whole = np.minimum(np.floor(self._deadband), 2.0**63).astype(np.uint64)
        """For integers: more than the deadband is more than its whole part."""
        self._interval_ns = np.array([each.min_interval_ms * _NS_PER_MS for each in columns])
        self._heartbeat_ns = np.array([int(each.heartbeat_s * _NS_PER_S) for each in columns])
        self._has_relative = bool(self._relative.any())
        self._has_interval = bool(self._interval_ns.any())
        self._has_heartbeat = bool(self._heartbeat_ns.any())
        self._reported: Mask = np.zeros(width, bool)
        self._told_at_ns = np.zeros(width, np.int64)
        self._newest_at_ns = 0
        self._quality: Codes = np.zeros(width, np.uint32)
        self._null: Mask = np.zeros(width, bool)
        self._last = self._blank(width)
        self._held: Mask = np.zeros(width, bool)
        self._held_values = self._blank(width) if self._has_interval else {}
        self._held_at_ns = np.zeros(width, np.int64)
        self._held_source_ns = np.full(width, NO_SOURCE_TIME, np.int64)
        self._held_marks: Codes = np.zeros(width, np.uint32)

    def _blank(self, width: int) -> dict[ValueType, Any]:
        return {
            value_type: np.zeros(width, DTYPES[value_type])
            if value_type in DTYPES
            else np.full(width, None, object)
            for value_type in self._columns_of
        }

    def forget(self, up_to_ns: int) -> None:
        """Tell again, with the next scan, every value whose record may be among those lost.

        `up_to_ns`: the latest read time of what was lost. A value told later stands in a record
        that is still there.
        """
        self._reported[self._told_at_ns <= up_to_ns] = False

    def notice(self, read_at_ns: int) -> None:
        """Take note of a scan's time, before it is judged."""
        if read_at_ns < self._newest_at_ns:
            self._told_at_ns[:] = 0  # The clock was set back: which was told earlier is not known.
        self._newest_at_ns = read_at_ns

    def moved(self, value_type: ValueType, array: Any, of_type: Indexes) -> Mask:
        """Return which values of one type are further than their deadband from the last told."""
        last = self._last[value_type][of_type]
        if value_type not in DTYPES:
            return np.array([a != b for a, b in zip(array, last, strict=True)], bool)
        different: Mask = array != last
        deadband = self._deadband[of_type]
        if self._has_relative:
            with np.errstate(over="ignore"):
                share = self._relative[of_type] * np.abs(last.astype(np.float64))
            deadband = np.maximum(deadband, share)
        if not deadband.any():
            return different
        if value_type is ValueType.FLOAT64:
            with np.errstate(over="ignore"):
                distance: Any = np.abs(array - last)
            different &= (deadband == 0) | (distance > deadband)
            return different
        # In whole numbers: floats would lose the last bits of a counter above 2**53.
        distance = np.where(array > last, array - last, last - array).astype(np.uint64)
        whole = (
            np.minimum(np.floor(deadband), 2.0**63).astype(np.uint64)
            if self._has_relative
            else self._deadband_whole[of_type]
        )
        different &= (deadband == 0) | (distance > whole)
        return different

    def judge(
        self, columns: Indexes, read_at_ns: int, moved: Mask, qualities: Codes, nulls: Mask
    ) -> Verdict:
        """Return what becomes of each present column."""
        known = self._reported[columns]
        edge = ~known | (nulls != self._null[columns]) | (qualities != self._quality[columns])
        tell = (moved & ~nulls) | edge
        if not (self._has_interval or self._has_heartbeat):
            return Verdict(tell, None, None)
        silent_ns = read_at_ns - self._told_at_ns[columns]
        hold = repeated = None
        if self._has_interval:
            # After the clock was set back nobody knows how long ago it was: told at once.
            early = (silent_ns >= 0) & (silent_ns < self._interval_ns[columns])
            hold = tell & ~edge & early
            tell &= ~hold
            self._held[columns] = hold
        if self._has_heartbeat:
            heartbeat_ns = self._heartbeat_ns[columns]
            repeated = ~tell & (heartbeat_ns > 0) & (silent_ns >= heartbeat_ns)
            if hold is not None:
                repeated &= ~hold
            tell |= repeated
        return Verdict(tell, repeated, hold)

    def told(self, columns: Indexes, read_at_ns: int, qualities: Codes, nulls: Mask) -> None:
        """Remember that these columns were told."""
        self._reported[columns] = True
        self._told_at_ns[columns] = read_at_ns
        self._quality[columns] = qualities
        self._null[columns] = nulls

    def told_values(self, value_type: ValueType, of_type: Indexes, array: Any) -> None:
        """Remember the values of one type that were told."""
        self._last[value_type][of_type] = array

    def remembered(self, value_type: ValueType, column: int) -> Remembered | None:
        """Return what was last told of a column, None when nothing is known; for people."""
        if not self._reported[column]:
            return None
        value = self._last[value_type][column]
        value = value.item() if isinstance(value, np.generic) else value
        value = bool(value) if value_type is ValueType.BOOL else value
        blank, quality = bool(self._null[column]), int(self._quality[column])
        return Remembered(None if blank else value, quality, int(self._told_at_ns[column]))

    def held_values(
        self, value_type: ValueType, of_type: Indexes, array: Any, read_at_ns: int
    ) -> None:
        """Keep values of one type that are to be told later."""
        self._held_values[value_type][of_type] = array
        self._held_at_ns[of_type] = read_at_ns

    def held_source_times(self, columns: Indexes, source_at_ns: Any, marks: Any) -> None:
        """Keep the source times of held columns, NO_SOURCE_TIME where there is none, and marks."""
        self._held_source_ns[columns] = source_at_ns
        self._held_marks[columns] = marks

    @property
    def waits(self) -> bool:
        """True when something may be told without a scan."""
        return self._has_heartbeat or (self._has_interval and bool(self._held.any()))

    def due(self, now_ns: int, *, alive: bool) -> list[Ready]:
        """Return what is to be told without a scan, oldest first; it counts as told.

        Of a device that is polled the next scan tells it; this is for one that speaks only when
        something changes. Nothing is repeated unless its collector is `alive`.
        """
        ready: list[Ready] = []
        silent_ns = now_ns - self._told_at_ns
        if self._has_interval and self._held.any():
            over = self._held & (silent_ns >= self._interval_ns)
            for read_at_ns in np.unique(self._held_at_ns[over]).tolist():
                columns = np.flatnonzero(over & (self._held_at_ns == read_at_ns)).astype(np.uint16)
                ready.append(self._ready(columns, read_at_ns, self._held_values))
                self._held[columns] = False
                self._told_at_ns[columns] = now_ns
        if self._has_heartbeat and alive:
            due = self._reported & (self._heartbeat_ns > 0) & (silent_ns >= self._heartbeat_ns)
            columns = np.flatnonzero(due).astype(np.uint16)
            if len(columns):
                ready.append(self._ready(columns, now_ns, self._last, repeated=True))
                self._told_at_ns[columns] = now_ns
        return ready

    def _ready(
        self,
        columns: Indexes,
        read_at_ns: int,
        values: dict[ValueType, Any],
        *,
        repeated: bool = False,
    ) -> Ready:
        arrays = {}
        for value_type, of_type in self._columns_of.items():
            mine = columns[np.isin(columns, of_type)]
            if len(mine):
                array = values[value_type][mine]
                self._last[value_type][mine] = array
                arrays[value_type] = array if value_type in DTYPES else array.tolist()
        qualities, nulls = self._quality[columns], self._null[columns]
        source_at_ns = np.full(len(columns), NO_SOURCE_TIME, np.int64)
        if repeated:
            qualities = qualities | np.uint32(Quality.REPEATED)
        else:
            source_at_ns = self._held_source_ns[columns]
            qualities = qualities | self._held_marks[columns]
        return Ready(columns, read_at_ns, arrays, qualities, nulls, source_at_ns, repeated)


def marked_as_repeated(qualities: Codes, repeated: Mask) -> Codes:
    """Return the codes with the mark of a repetition where there is one."""
    return np.where(repeated, qualities | np.uint32(Quality.REPEATED), qualities).astype(np.uint32)
