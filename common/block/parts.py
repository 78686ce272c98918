"""What the normalizer hands over: scans that have no sequence yet, column by column."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from common.records import Plan, ValueType

NO_SOURCE_TIME = -(2**63)

Ints = npt.NDArray[np.int64]
Indexes = npt.NDArray[np.uint16]
Positions = npt.NDArray[np.uint32]

TYPES = tuple(ValueType)
"""The number of a type is its place here: in a block's directory, and in `kinds_of`."""
FLOAT_KIND, STRING_KIND, BYTES_KIND = (
    TYPES.index(each) for each in (ValueType.FLOAT64, ValueType.STRING, ValueType.BYTES)
)
DTYPES: dict[ValueType, np.dtype[Any]] = {
    ValueType.BOOL: np.dtype("<u1"),
    ValueType.INT64: np.dtype("<i8"),
    ValueType.UINT64: np.dtype("<u8"),
    ValueType.FLOAT64: np.dtype("<f8"),
}
"""How the numbers of a type are stored. The others are texts: STRING and BYTES."""


def kinds_of(plan: Plan) -> npt.NDArray[np.uint8]:
    """Return the number of each column's type."""
    return np.array([TYPES.index(column.value_type) for column in plan.columns], np.uint8)


class Layout:
    """Which columns of a plan hold which value type; made once per plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.kinds = kinds_of(plan)
        self.columns_of = {
            TYPES[kind]: np.flatnonzero(self.kinds == kind).astype(np.uint16)
            for kind in sorted(set(self.kinds.tolist()))
        }


@dataclass(slots=True)
class Part:
    """One normalised scan, or what is worth reporting of it, before it has a sequence.

    Each type's array holds the present columns of that type in ascending order. A sample without
    a value has 0 (or an empty text) there, and its place among all present columns is in `nulls`.
    """

    layout: Layout
    read_at_ns: int
    arrays: dict[ValueType, Any]
    """numpy arrays for numbers and booleans, lists for STRING and BYTES."""
    samples: int
    indexes: Indexes | None = None
    """Present columns, ascending; None when all are."""
    nulls: Positions | None = None
    quality_at: Positions | None = None
    """Places among the present columns whose quality is not Good."""
    qualities: Positions | None = None
    source_at_ns: Ints | None = None
    """Source time of each present column, UTC ns; NO_SOURCE_TIME where there is none."""
