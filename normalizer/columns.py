"""One group's scans → values that IT can trust, column by column.

Raw values are checked against their declared type, scaled, bounded, and compared with what was last
reported; what is worth reporting becomes a Part for the queue. Nothing here works sample by
sample except for texts, bytes and values that are wrong.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from common.block import NO_SOURCE_TIME, Layout, Part
from common.records import Plan, Quality, Scan, ValueType
from normalizer.limits import Limits
from normalizer.reporting import (
    DTYPES,
    Ready,
    Reporting,
    Verdict,
    marked_as_repeated,
)
from normalizer.transforms import Transforms

INSTANT_NS_MAX = 2**62
"""The year 2116. A source time outside of 1970 to then is a device's error and left out."""

READ_AT_STEP_NS = 1_000
"""No reply over a network tells its instant to the nanosecond; these digits would only be noise,
and cost up to a byte per sample on disk."""

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint32]

_ACCEPTED: dict[ValueType, frozenset[type]] = {
    ValueType.BOOL: frozenset({bool}),
    ValueType.INT64: frozenset({int}),
    ValueType.UINT64: frozenset({int}),
    ValueType.FLOAT64: frozenset({float, int}),
    ValueType.STRING: frozenset({str}),
    ValueType.BYTES: frozenset({bytes}),
}
_EMPTY: dict[ValueType, Any] = {
    ValueType.BOOL: False,
    ValueType.INT64: 0,
    ValueType.UINT64: 0,
    ValueType.FLOAT64: 0.0,
    ValueType.STRING: "",
    ValueType.BYTES: b"",
}
_NUMBERS = (ValueType.INT64, ValueType.UINT64, ValueType.FLOAT64)
_LIMITS = {ValueType.INT64: (-(2**63), 2**63 - 1), ValueType.UINT64: (0, 2**64 - 1)}


class ScanMalformed(ValueError):
    """A scan that does not fit its plan; its samples are booked as a gap."""


class GroupNormalizer:
    """Normalises the scans of one plan, and remembers what it last reported of each column."""

    def __init__(self, plan: Plan) -> None:
        self.layout = Layout(plan)
        width = len(plan.columns)
        self._scale = np.array([column.scale for column in plan.columns])
        self._offset = np.array([column.offset for column in plan.columns])
        self._scaled = np.array([column.scaled for column in plan.columns])
        self._transforms = Transforms(plan)
        self._limits = Limits(plan)
        self._reporting = Reporting(self.layout)
        self._all_columns = np.arange(width, dtype=np.uint16)
        self._whole = {
            value_type: (columns, columns) for value_type, columns in self.layout.columns_of.items()
        }

    def normalise(self, scan: Scan) -> Part | None:
        """Return what the scan reports, None when nothing changed beyond its deadband.

        Raises ScanMalformed when the scan's lists do not fit the plan or each other.
        """
        try:
            return self._normalise(scan)
        except OverflowError as error:
            raise ScanMalformed(f"a number does not fit its place: {error}") from error

    def forget(self, up_to_ns: int) -> None:
        """Tell again what may be among what was lost (reporting.py)."""
        self._reporting.forget(up_to_ns)

    @property
    def waits(self) -> bool:
        """True when `due` may have something to say."""
        return self._reporting.waits

    def due(self, now_ns: int, *, alive: bool) -> list[tuple[Part, bool]]:
        """Return what is to be told without a scan, and whether it is a repetition."""
        return [
            (self._part_of(ready), ready.repeated)
            for ready in self._reporting.due(now_ns, alive=alive)
        ]

    def _normalise(self, scan: Scan) -> Part | None:
        columns = self._present(scan)
        self._reporting.notice(scan.read_at_ns)
        held = self._whole if scan.indexes is None else self._split(columns)
        raw_values, codes = self._transforms.apply(scan.values, scan.qualities, scan.indexes)
        qualities = (
            np.zeros(len(columns), np.uint32) if codes is None else np.array(codes, np.uint32)
        )
        nulls = np.zeros(len(columns), bool)
        moved = np.zeros(len(columns), bool)
        arrays: dict[ValueType, Any] = {}
        for value_type, (places, of_type) in held.items():
            raw = (
                raw_values
                if len(places) == len(raw_values)
                else [raw_values[place] for place in places.tolist()]
            )
            array = self._typed(value_type, raw, places, qualities, nulls)
            if value_type is ValueType.FLOAT64:
                array = self._finished(array, of_type, places, qualities, nulls)
            if value_type in _NUMBERS:
                array = self._limits.apply(array, of_type, places, qualities, nulls)
            arrays[value_type] = array
            moved[places] = self._reporting.moved(value_type, array, of_type)
        verdict = self._reporting.judge(columns, scan.read_at_ns, moved, qualities, nulls)
        if verdict.hold is not None and verdict.hold.any():
            self._hold(scan, columns, held, arrays, verdict.hold)
        return self._report(scan, columns, held, arrays, verdict, qualities, nulls)

    def _present(self, scan: Scan) -> npt.NDArray[np.uint16]:
        columns = self._all_columns
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

    def _split(
        self, columns: npt.NDArray[np.uint16]
    ) -> dict[ValueType, tuple[npt.NDArray[Any], npt.NDArray[np.uint16]]]:
        """Return {type: (places among the present columns, those columns)}."""
        kinds = self.layout.kinds[columns]
        split = {}
        for value_type, of_type in self.layout.columns_of.items():
            places = np.flatnonzero(kinds == self.layout.kinds[of_type[0]])
            if len(places):
                split[value_type] = (places, columns[places])
        return split

    def _typed(
        self,
        value_type: ValueType,
        raw: Sequence[Any],
        places: npt.NDArray[Any],
        qualities: Codes,
        nulls: Mask,
    ) -> Any:
        """Return raw values as one array; what is not of the type becomes a null of Bad quality."""
        if _ACCEPTED[value_type].issuperset(map(type, raw)):
            try:
                return _array(value_type, raw)
            except OverflowError:
                pass  # Some integer is out of range; find it below.
        checked = list(raw)
        for i, value in enumerate(raw):
            if type(value) in _ACCEPTED[value_type] and _within(value_type, value):
                continue
            checked[i] = _EMPTY[value_type]
            place = places[i]
            nulls[place] = True
            if qualities[place] >> 30 < 2:  # noqa: PLR2004 - two top bits: 00 Good, 01 Uncertain
                qualities[place] = _reason(value_type, value)
        return _array(value_type, checked)

    def _finished(
        self,
        array: npt.NDArray[np.float64],
        of_type: npt.NDArray[np.uint16],
        places: npt.NDArray[Any],
        qualities: Codes,
        nulls: Mask,
    ) -> npt.NDArray[np.float64]:
        """Scale, then turn what JSON has no number for (NaN, infinities) into nulls."""
        if self._scaled[of_type].any():
            with np.errstate(over="ignore", invalid="ignore"):
                array = array * self._scale[of_type] + self._offset[of_type]
        finite = np.isfinite(array)
        if not finite.all():
            wrong = places[~finite]
            nulls[wrong] = True
            good = wrong[qualities[wrong] >> 30 < 2]  # noqa: PLR2004 - as above
            qualities[good] = Quality.BAD_OUT_OF_RANGE
            array = np.where(finite, array, 0.0)
        return array

    def _hold(
        self,
        scan: Scan,
        columns: npt.NDArray[np.uint16],
        held: dict[ValueType, tuple[npt.NDArray[Any], npt.NDArray[np.uint16]]],
        arrays: dict[ValueType, Any],
        hold: Mask,
    ) -> None:
        """Keep what came too soon after the last telling."""
        for value_type, (places, of_type) in held.items():
            mask = hold[places]
            if mask.any():
                array = _masked(arrays[value_type], mask)
                self._reporting.held_values(value_type, of_type[mask], array, scan.read_at_ns)
        times = _source_times(scan, hold)
        self._reporting.held_source_times(columns[hold], NO_SOURCE_TIME if times is None else times)

    def _part_of(self, ready: Ready) -> Part:
        quality_at = np.flatnonzero(ready.qualities).astype(np.uint32)
        null_at = np.flatnonzero(ready.nulls).astype(np.uint32)
        timed = bool((ready.source_at_ns != NO_SOURCE_TIME).any())
        return Part(
            layout=self.layout,
            read_at_ns=ready.read_at_ns - ready.read_at_ns % READ_AT_STEP_NS,
            arrays=ready.arrays,
            samples=len(ready.columns),
            indexes=None if len(ready.columns) == len(self._all_columns) else ready.columns,
            nulls=null_at if len(null_at) else None,
            quality_at=quality_at if len(quality_at) else None,
            qualities=ready.qualities[quality_at] if len(quality_at) else None,
            source_at_ns=ready.source_at_ns if timed else None,
        )

    def _report(
        self,
        scan: Scan,
        columns: npt.NDArray[np.uint16],
        held: dict[ValueType, tuple[npt.NDArray[Any], npt.NDArray[np.uint16]]],
        arrays: dict[ValueType, Any],
        verdict: Verdict,
        qualities: Codes,
        nulls: Mask,
    ) -> Part | None:
        tell = verdict.tell
        count = int(np.count_nonzero(tell))
        if count == 0:
            return None
        everything = count == len(columns)
        reported = {}
        for value_type, (places, of_type) in held.items():
            array = arrays[value_type]
            mask = tell[places]
            if not everything:
                array = _masked(array, mask)
                of_type = of_type[mask]  # noqa: PLW2901 - the reported ones from here on
            if len(of_type):
                self._reporting.told_values(value_type, of_type, array)
                reported[value_type] = array
        columns_told = columns if everything else columns[tell]
        self._reporting.told(columns_told, scan.read_at_ns, qualities[tell], nulls[tell])
        if verdict.repeated is not None and verdict.repeated.any():
            qualities = marked_as_repeated(qualities, verdict.repeated)
        bad_at = np.flatnonzero(qualities[tell]).astype(np.uint32)
        null_at = np.flatnonzero(nulls[tell]).astype(np.uint32)
        return Part(
            layout=self.layout,
            read_at_ns=scan.read_at_ns - scan.read_at_ns % READ_AT_STEP_NS,
            arrays=reported,
            samples=count,
            indexes=None if count == len(self._all_columns) else columns_told,
            nulls=null_at if len(null_at) else None,
            quality_at=bad_at if len(bad_at) else None,
            qualities=qualities[tell][bad_at] if len(bad_at) else None,
            source_at_ns=_source_times(scan, tell),
        )


def _array(value_type: ValueType, values: Sequence[Any]) -> Any:
    if value_type in DTYPES:
        return np.array(values, DTYPES[value_type])
    return values if isinstance(values, list) else list(values)


def _masked(array: Any, mask: Mask) -> Any:
    if isinstance(array, list):
        return [value for value, kept in zip(array, mask.tolist(), strict=True) if kept]
    return array[mask]


def _within(value_type: ValueType, value: Any) -> bool:
    low, high = _LIMITS.get(value_type, (None, None))
    return low is None or high is None or low <= value <= high


def _reason(value_type: ValueType, value: object) -> int:
    """Why a value cannot be published, as an OPC UA status code."""
    if value is None:
        return Quality.BAD
    if type(value) in _ACCEPTED[value_type]:
        return Quality.BAD_OUT_OF_RANGE
    return Quality.BAD_TYPE_MISMATCH


def _source_times(scan: Scan, changed: Mask) -> npt.NDArray[np.int64] | None:
    if scan.source_at_ns is None:
        return None
    times = [
        at_ns if at_ns is not None and 0 <= at_ns < INSTANT_NS_MAX else NO_SOURCE_TIME
        for at_ns in scan.source_at_ns
    ]
    return np.array(times, np.int64)[changed]
