"""Goal: an aggregate is that of what was read in its window, whatever the readings' times.

Method: random readings against a plain reference that walks over every millisecond of time.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.records import Quality
from normalizer.windows import Closed, Window

MS = 1_000_000
S = 1_000_000_000
DAY_NS = 1_700_006_400 * S
"""A midnight, UTC."""


def closed_by(window: Window, readings: list[tuple[int, float]], end_ms: int) -> list[Closed]:
    found = []
    for at_ms, value in readings:
        found += window.add(DAY_NS + at_ms * MS, value, Quality.GOOD)
    return found + window.close(DAY_NS + end_ms * MS)


READINGS = st.lists(
    st.tuples(st.integers(0, 5_999), st.sampled_from([0.0, 1.0, 2.5, -4.0])),
    min_size=1,
    max_size=30,
    unique_by=lambda each: each[0],
).map(sorted)


def reference(function: str, readings: list[tuple[int, float]], begin_ms: int) -> float | None:
    """Of the window of 1,000 ms from `begin_ms`."""
    inside = [value for at, value in readings if begin_ms <= at < begin_ms + 1_000]
    held = []
    for ms in range(begin_ms, begin_ms + 1_000):
        before = [value for at, value in readings if at <= ms]
        if before:
            held.append(before[-1])
    match function:
        case "count":
            return float(len(inside))
        case "on_time":
            return sum(value != 0 for value in held) / 1000 if held else None
        case "off_time":
            return sum(value == 0 for value in held) / 1000 if held else None
        case "time_mean":
            return sum(held) / len(held) if held else None
    if not inside:
        return None
    whole = {"mean": sum(inside) / len(inside), "sum": sum(inside), "last": inside[-1]}
    return (whole | {"min": min(inside), "max": max(inside)})[function]


@pytest.mark.parametrize(
    "function", ["mean", "sum", "min", "max", "last", "count", "on_time", "off_time", "time_mean"]
)
@given(readings=READINGS)
def test_every_window_is_that_of_a_plain_reference(
    function: str, readings: list[tuple[int, float]]
) -> None:
    """Seen to bite: without what held when the window began, on_time misses its beginning."""
    window = Window(function, S)

    closed = closed_by(window, readings, 6_000)

    first = readings[0][0] // 1_000
    assert [each.end_at_ns for each in closed] == [DAY_NS + (n + 1) * S for n in range(first, 6)], (
        "one for each window since the first reading, in order"
    )
    for number, each in enumerate(closed, first):
        expected = reference(function, readings, number * 1_000)
        assert each.value == (None if expected is None else pytest.approx(expected, abs=1e-9))


def test_a_window_not_seen_from_its_beginning_is_uncertain() -> None:
    first, second = closed_by(Window("mean", S), [(500, 1.0), (1_500, 2.0)], 2_000)

    assert (first.quality, second.quality) == (Quality.UNCERTAIN, Quality.GOOD)


def test_a_reading_that_is_not_good_makes_its_window_uncertain() -> None:
    window = Window("mean", S)
    window.add(DAY_NS, 1.0, Quality.GOOD)
    window.add(DAY_NS + 1, None, Quality.BAD_NO_COMMUNICATION)

    [closed] = window.close(DAY_NS + S)

    assert closed == Closed(DAY_NS + S, 1.0, Quality.UNCERTAIN)


def test_while_nothing_is_known_no_windows_are_told() -> None:
    window = Window("on_time", S)
    window.add(DAY_NS, None, Quality.BAD_NO_COMMUNICATION)

    closed = window.close(DAY_NS + 100 * S)

    assert len(closed) == 1, "the one in which the device was lost"
    assert closed[0].value is None
    assert closed[0].quality == Quality.BAD_NO_DATA


def test_an_earlier_reading_is_left_out() -> None:
    window = Window("sum", S)
    window.add(DAY_NS + 500 * MS, 1.0, Quality.GOOD)
    window.add(DAY_NS + 400 * MS, 10.0, Quality.GOOD)

    [closed] = window.close(DAY_NS + S)

    assert closed.value == 1.0


def test_after_a_silence_of_a_year_not_every_second_of_it_is_told() -> None:
    window = Window("on_time", S)
    window.add(DAY_NS, 1.0, Quality.GOOD)

    closed = window.close(DAY_NS + 365 * 86_400 * S)

    assert len(closed) <= 2_000
    assert window.close(DAY_NS + 365 * 86_400 * S) == []
