"""From a tag's raw numbers to its published ones: range, scale and units, compiled to a * x + b."""

import math
from typing import NamedTuple

from common.codes import Wrong
from common.tagtable import TagRow
from common.units import conversion, unit_named, unit_needed


class Scaling(NamedTuple):
    """published = raw * scale + offset; all that follows is in the published unit."""

    scale: float
    offset: float
    unit: str
    """UCUM code, or as it is written where nothing is known of it."""
    clamp_low: float
    clamp_high: float
    """Not beyond; infinite where not asked for."""

    @property
    def calculates(self) -> bool:
        """True when the published value is not the raw value."""
        return self.scale != 1.0 or self.offset != 0.0


def scaling_of(row: TagRow) -> Scaling:
    """Return what the row's columns say together.

    Raises ValueError, with a sentence for the person, for a unit that is not known where one is to
    be converted, and for units that measure different things.
    """
    scale, offset = row.scale, row.offset
    low, high = -math.inf, math.inf
    if (
        row.raw_low is not None
        and row.raw_high is not None
        and row.scaled_low is not None
        and row.scaled_high is not None
    ):
        scale = (row.scaled_high - row.scaled_low) / (row.raw_high - row.raw_low)
        offset = row.scaled_low - row.raw_low * scale
        ends = sorted((row.scaled_low, row.scaled_high))
        low = ends[0] if row.clamp in ("low", "both") else low
        high = ends[1] if row.clamp in ("high", "both") else high
    published = unit_named(row.unit)
    if row.source_unit:
        if not row.unit:
            raise Wrong(
                "OT-0414",
                f"source_unit {row.source_unit!r} needs a unit beside it: what shall be published",
            )
        a, b = conversion(
            unit_needed(row.source_unit, "source_unit"), unit_needed(row.unit, "unit")
        )
        scale, offset, low, high = a * scale, a * offset + b, a * low + b, a * high + b
    return Scaling(scale, offset, published.code if published else row.unit, low, high)


def deadband_of_range(row: TagRow) -> float:
    """Return the absolute deadband that a share of the range means; 0 when none is asked for.

    The range is minimum to maximum, else the scaled range. Raises ValueError when there is neither.
    """
    if row.deadband_of != "range":
        return 0.0
    ends = (row.minimum, row.maximum)
    if None in ends:
        line = scaling_of(row)
        if row.raw_low is None or row.raw_high is None:
            raise Wrong(
                "OT-0415",
                "deadband_of = range needs a range: minimum and maximum, or raw_low, raw_high, "
                "scaled_low and scaled_high",
            )
        ends = (row.raw_low * line.scale + line.offset, row.raw_high * line.scale + line.offset)
    low, high = ends
    assert low is not None  # noqa: S101 - both are, by the lines above
    assert high is not None  # noqa: S101 - the same
    return abs(high - low) * row.deadband_percent / 100
