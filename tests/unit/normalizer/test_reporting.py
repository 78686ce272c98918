"""Goal: what a consumer knows is never further from the truth, or older, than its tag allows.

Method: scans of one column through the whole of a group's normalizer; a consumer that holds what
it was last told, checked at every scan against what was read.
"""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.block import Part
from common.records import Column, Plan, Quality, Scan, ValueType
from normalizer.columns import GroupNormalizer, Origin

MS = 1_000_000
S = 1_000_000_000
START_NS = 1_700_000_000 * S
PERIOD_NS = 100 * MS


def group_of(value_type: ValueType = ValueType.FLOAT64, **rules: Any) -> GroupNormalizer:
    columns = (
        Column("T", "Acme/T", "a", "REAL", value_type, **rules),
        Column("Other", "Acme/Other", "b", "REAL", ValueType.FLOAT64),
    )
    return GroupNormalizer(Plan("opcua", "robot", "fast", "Robot", 100, columns))


def feed(group: GroupNormalizer, at_ns: int, value: Any, quality: int = 0) -> Part | None:
    """One notification of the first tag alone."""
    fingerprint = group.layout.plan.fingerprint
    return group.normalise(
        Scan(fingerprint, START_NS + at_ns, at_ns, [value], indexes=[0], qualities=[quality])
    )


def told(part: Part | None) -> Any:
    """Return what a part says of the first tag; None for nothing."""
    if part is None:
        return None
    [array] = part.arrays.values()
    [value] = list(array)
    return value


NUMBERS = st.one_of(
    st.tuples(st.just(ValueType.FLOAT64), st.lists(st.floats(-1e6, 1e6), min_size=1)),
    st.tuples(st.just(ValueType.INT64), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1)),
    st.tuples(st.just(ValueType.UINT64), st.lists(st.integers(0, 2**64 - 1), min_size=1)),
)


@given(NUMBERS, st.sampled_from([0.0, 0.5, 3.0]), st.sampled_from([0.0, 1.0, 50.0]))
def test_what_is_known_is_within_the_deadband_of_what_was_read(
    numbers: tuple[ValueType, list[Any]], absolute: float, percent: float
) -> None:
    """Seen to bite: with the distance taken from the value read before instead of the one told."""
    value_type, values = numbers
    group = group_of(value_type, deadband=absolute, deadband_percent=percent)
    known: Any = None

    for number, value in enumerate(values):
        change = told(feed(group, number * PERIOD_NS, value))
        known = known if change is None else change
        allowed = max(absolute, abs(float(known)) * percent / 100)
        assert (
            abs(int(value) - int(known)) <= allowed + 1
            if value_type is not (ValueType.FLOAT64)
            else abs(value - known) <= allowed * (1 + 1e-9)
        )


def test_changes_are_told_no_more_often_and_the_last_one_is_not_lost() -> None:
    """Seen to bite: without `due` the value that the machine stopped at is never told."""
    group = group_of(min_interval_ms=1_000)

    now = [told(feed(group, number * PERIOD_NS, float(number))) for number in range(5)]
    early = group.due(START_NS + 900 * MS, alive=True)
    [(late, origin)] = group.due(START_NS + 1_000 * MS, alive=True)
    after = group.due(START_NS + 9_000 * MS, alive=True)

    assert now == [0.0, None, None, None, None]
    assert early == []
    assert (told(late), origin) == (4.0, Origin.HELD)
    assert late.read_at_ns == START_NS + 4 * PERIOD_NS, "of the time at which it was read"
    assert after == [], "once"


def test_what_was_held_and_came_back_is_not_told() -> None:
    group = group_of(min_interval_ms=1_000)

    for number, value in enumerate([1.0, 5.0, 1.0]):
        feed(group, number * PERIOD_NS, value)

    assert group.due(START_NS + 5 * S, alive=True) == [], "nothing changed after all"


def test_a_change_of_quality_does_not_wait() -> None:
    group = group_of(min_interval_ms=1_000)
    feed(group, 0, 1.0)

    part = feed(group, PERIOD_NS, None, Quality.BAD_NO_COMMUNICATION)

    assert part is not None
    assert part.nulls is not None


def test_after_the_clock_was_set_back_nothing_is_held_for_hours() -> None:
    group = group_of(min_interval_ms=1_000)
    feed(group, 3_600 * S, 1.0)

    assert told(feed(group, 0, 2.0)) == 2.0


def test_after_long_silence_a_value_is_told_again_and_says_that_it_is_a_repetition() -> None:
    """Seen to bite: without the mark it looks like a fresh change."""
    group = group_of(heartbeat_s=60.0)
    feed(group, 0, 7.0)

    before = feed(group, 59 * S, 7.0)
    part = feed(group, 60 * S, 7.0)
    next_one = feed(group, 61 * S, 7.0)
    changed = feed(group, 62 * S, 8.0)

    assert before is None
    assert (told(part), quality(part)) == (7.0, Quality.REPEATED)
    assert next_one is None, "the silence begins anew"
    assert (told(changed), quality(changed)) == (8.0, Quality.GOOD)


def test_a_device_that_says_nothing_is_repeated_while_its_collector_lives() -> None:
    group = group_of(heartbeat_s=60.0)
    feed(group, 0, None, Quality.BAD_NO_COMMUNICATION)

    dead = group.due(START_NS + 61 * S, alive=False)
    [(part, origin)] = group.due(START_NS + 61 * S, alive=True)

    assert dead == []
    assert origin is Origin.REPEATED
    assert part.nulls is not None
    assert quality(part) == Quality.BAD_NO_COMMUNICATION | Quality.REPEATED
    assert part.read_at_ns == START_NS + 61 * S


def test_a_group_without_such_rules_never_waits() -> None:
    group = group_of()
    feed(group, 0, 7.0)

    assert not group.waits


@pytest.mark.parametrize("value_type", [ValueType.STRING, ValueType.BYTES, ValueType.BOOL])
def test_values_that_are_no_numbers_can_be_held_and_repeated_too(value_type: ValueType) -> None:
    first, second = {"string": ("a", "b"), "bytes": (b"a", b"b"), "bool": (False, True)}[value_type]
    group = group_of(value_type, min_interval_ms=1_000, heartbeat_s=60.0)
    feed(group, 0, first)
    feed(group, PERIOD_NS, second)

    [(held, _)] = group.due(START_NS + 2 * S, alive=True)
    [(again, origin)] = group.due(START_NS + 70 * S, alive=True)

    assert told(held) == second
    assert (told(again), origin) == (second, Origin.REPEATED)


def quality(part: Part | None) -> int:
    assert part is not None
    return 0 if part.qualities is None else int(np.asarray(part.qualities)[0])
