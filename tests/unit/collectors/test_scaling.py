"""Goal: what the columns of a row say together is one straight line, in the published unit.

Method: rows as a tag table has them; points of the line.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.scaling import Scaling, deadband_of_range, scaling_of
from common.tagtable import TagRow


def scaling(**columns: object) -> Scaling:
    return scaling_of(TagRow(name="T", address="a", **columns))  # type: ignore[arg-type]


def at(line: Scaling, raw: float) -> float:
    return raw * line.scale + line.offset


def test_a_row_without_any_of_it_publishes_what_the_device_says() -> None:
    line = scaling(unit="Cel")

    assert not line.calculates
    assert line.unit == "Cel"


def test_a_raw_range_becomes_the_scaled_range() -> None:
    """Siemens analogue inputs: 0 to 27648 for the whole range of the sensor."""
    line = scaling(raw_low=0, raw_high=27_648, scaled_low=-50, scaled_high=150, unit="Cel")

    assert at(line, 0) == -50
    assert at(line, 27_648) == pytest.approx(150)
    assert (line.clamp_low, line.clamp_high) == (-math.inf, math.inf), "not asked for"


def test_a_range_may_fall_and_is_clamped_at_its_lower_and_upper_end() -> None:
    line = scaling(raw_low=4, raw_high=20, scaled_low=100, scaled_high=0, clamp="both")

    assert at(line, 4) == 100
    assert at(line, 20) == 0
    assert (line.clamp_low, line.clamp_high) == (0, 100)


def test_one_end_is_clamped_alone() -> None:
    line = scaling(raw_low=0, raw_high=10, scaled_low=0, scaled_high=1, clamp="low")

    assert (line.clamp_low, line.clamp_high) == (0, math.inf)


def test_a_unit_is_converted_after_scaling() -> None:
    """Seen to bite: with the offset left in the source unit."""
    line = scaling(scale=0.1, offset=32, source_unit="°F", unit="°C")

    assert at(line, 0) == pytest.approx(0, abs=1e-12)
    assert at(line, 1_800) == pytest.approx(100)
    assert line.unit == "Cel", "published by its UCUM code"


def test_clamped_ends_are_converted_too() -> None:
    line = scaling(
        raw_low=0, raw_high=100, scaled_low=32, scaled_high=212, clamp="both",
        source_unit="°F", unit="Cel",
    )  # fmt: skip

    assert (line.clamp_low, line.clamp_high) == pytest.approx((0, 100))


def test_a_unit_that_nobody_knows_is_published_as_it_is_written() -> None:
    assert scaling(unit="Furlongs per fortnight").unit == "Furlongs per fortnight"


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"source_unit": "bar", "unit": "°C"}, "bar measures pressure, Cel measures temperature"),
        ({"source_unit": "bar"}, "source_unit 'bar' needs a unit beside it"),
        ({"source_unit": "barr", "unit": "bar"}, "source_unit 'barr' is not a unit"),
        ({"source_unit": "bar", "unit": "kbar"}, "unit 'kbar' is not a unit"),
    ],
)
def test_units_that_cannot_be_are_refused_in_words(columns: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        scaling(**columns)


@given(
    raw=st.floats(-1e6, 1e6), scale=st.sampled_from([0.1, 2.0, -3.0]), offset=st.floats(-1e3, 1e3)
)
def test_scaling_and_converting_at_once_is_the_same_as_one_after_the_other(
    raw: float, scale: float, offset: float
) -> None:
    line = scaling(scale=scale, offset=offset, source_unit="bar", unit="kPa")

    assert at(line, raw) == pytest.approx((raw * scale + offset) * 100, rel=1e-9, abs=1e-6)


def share(**columns: object) -> float:
    row = TagRow(name="T", address="a", deadband_percent=1.0, deadband_of="range", **columns)  # type: ignore[arg-type]
    return deadband_of_range(row)


def test_a_share_of_the_range_is_an_absolute_deadband() -> None:
    line = {"raw_low": 0.0, "raw_high": 100.0, "scaled_low": 32.0, "scaled_high": 212.0}

    assert share(minimum=-50, maximum=150) == pytest.approx(2)
    assert share(**line) == pytest.approx(1.8)
    assert share(**line, source_unit="°F", unit="Cel") == pytest.approx(1.0), "as it is published"
    assert share(**line, minimum=0, maximum=1_000) == pytest.approx(10), "what was said outright"


def test_a_share_of_no_range_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a range: minimum and maximum"):
        share(minimum=0)
