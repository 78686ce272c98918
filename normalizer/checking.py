"""Raw values → arrays of their column's type; what does not fit becomes a null of Bad quality."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from common.records import Plan, Quality, ValueType
from normalizer.reporting import DTYPES, Codes, Mask

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
_LIMITS = {ValueType.INT64: (-(2**63), 2**63 - 1), ValueType.UINT64: (0, 2**64 - 1)}


class Checks:
    """Type, scale and finiteness of every column of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._scale = np.array([column.scale for column in plan.columns])
        self._offset = np.array([column.offset for column in plan.columns])
        self._scaled = np.array([column.scaled for column in plan.columns])

    def typed(
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

    def finished(
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


def _array(value_type: ValueType, values: Sequence[Any]) -> Any:
    if value_type in DTYPES:
        return np.array(values, DTYPES[value_type])
    return values if isinstance(values, list) else list(values)


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
