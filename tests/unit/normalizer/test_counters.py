"""Goal: what is booked is what was counted, through roll-overs, resets and restarts.

Method: a machine that counts, read at random instants, against the sum of what it counted.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.records import Quality
from normalizer.counters import CounterState, counted, decode_state, encode_state


def booked(readings: list[int], modulus: int) -> tuple[list[int], int]:
    state: CounterState | None = None
    deltas = []
    for raw in readings:
        result = counted(state, raw, modulus)
        state = decode_state(encode_state(result.state))
        deltas.append(result.delta)
    assert state is not None
    return deltas, state.total


@given(
    start=st.integers(0, 999),
    counts=st.lists(st.integers(0, 500), max_size=50),
)
def test_through_roll_overs_every_count_is_booked_once(start: int, counts: list[int]) -> None:
    """Seen to bite: a roll-over one short (modulus - 1)."""
    readings, true = [start], start
    for count in counts:
        true += count
        readings.append(true % 1_000)

    deltas, total = booked(readings, 1_000)

    assert total == sum(counts)
    assert deltas[1:] == counts


@given(
    spans=st.lists(st.lists(st.integers(0, 10**6), max_size=10), min_size=1, max_size=6),
)
def test_through_resets_only_what_nobody_could_have_read_is_missing(
    spans: list[list[int]],
) -> None:
    """A span is what is counted between two resets, read after each count; the last is read too."""
    readings, counted_all = [0], 0
    for span in spans:
        raw = 0
        readings.append(0)
        for count in span:
            raw += count
            counted_all += count
            readings.append(raw)

    deltas, total = booked(readings, 0)

    assert total == counted_all
    assert min(deltas) >= 0


def test_the_first_reading_counts_nothing() -> None:
    assert counted(None, 4_711, 0) == (CounterState(4_711, 0), 0, Quality.GOOD)


@pytest.mark.parametrize(
    ("raw", "modulus", "delta", "quality"),
    [
        (3, 2**32, 9, Quality.GOOD),
        (2**31 + 10, 2**32, 2**31 + 10, Quality.UNCERTAIN),
        (0, 0, 0, Quality.UNCERTAIN),
        (5, 0, 5, Quality.UNCERTAIN),
        (-7, 0, 0, Quality.UNCERTAIN),
    ],
)
def test_a_counter_that_fell_rolled_over_or_was_reset(
    raw: int, modulus: int, delta: int, quality: int
) -> None:
    result = counted(CounterState(2**32 - 6, 100), raw, modulus)

    assert (result.delta, result.quality) == (delta, quality)
    assert result.state == CounterState(raw, 100 + delta)
