"""Goal: derived tags follow from what was read, before any deadband, and are told like any other.

Method: scans through the whole of a group's normalizer.
"""

from typing import Any

from common.block import Part
from common.records import (
    Column,
    CounterDelta,
    CounterTotal,
    Expression,
    Made,
    Plan,
    Quality,
    Scan,
    ValueType,
    WindowValue,
)
from normalizer.columns import GroupNormalizer, Origin
from normalizer.deriving import AssetMemory

S = 1_000_000_000
DAY_NS = 1_700_006_400 * S


def column(name: str, value_type: ValueType = ValueType.FLOAT64, **more: Any) -> Column:
    return Column(name, f"Acme/{name}", "a", "REAL", value_type, **more)


def group_of(*columns: Column, **how: Any) -> GroupNormalizer:
    return GroupNormalizer(Plan("s7", "press", "fast", "Press", 100, columns), **how)


def feed(group: GroupNormalizer, at_s: float, *values: Any, **more: Any) -> dict[str, Any]:
    """Return what is told: name → value, or (value, quality)."""
    plan = group.layout.plan
    at_ns = DAY_NS + int(at_s * S)
    return told(group.normalise(Scan(plan.fingerprint, at_ns, at_ns, list(values), **more)))


def told(part: Part | None) -> dict[str, Any]:
    if part is None:
        return {}
    columns = part.layout.plan.columns
    present = range(len(columns)) if part.indexes is None else part.indexes.tolist()
    codes = dict.fromkeys(range(len(present)), 0)
    if part.quality_at is not None and part.qualities is not None:
        codes |= dict(zip(part.quality_at.tolist(), part.qualities.tolist(), strict=True))
    nulls = [] if part.nulls is None else part.nulls.tolist()
    values = {kind: iter(list(array)) for kind, array in part.arrays.items()}
    found = {}
    for place, index in enumerate(present):
        value = next(values[columns[index].value_type])
        value = None if place in nulls else value
        found[columns[index].name] = value if not codes[place] else (value, codes[place])
    return found


def made(name: str, how: Made, value_type: ValueType = ValueType.FLOAT64, **more: Any) -> Column:
    return column(name, value_type, made=how, **more)


def test_an_expression_is_told_with_what_it_follows_from() -> None:
    group = group_of(column("U", scale=0.1), column("I"), made("P", Expression("U * I / 1000")))

    assert feed(group, 0, 4_000, 10.0) == {"U": 400.0, "I": 10.0, "P": 4.0}
    assert feed(group, 1, 4_000, 20.0) == {"I": 20.0, "P": 8.0}
    assert feed(group, 2, 4_000, 20.0) == {}


def test_an_expression_sees_what_the_deadband_holds_back() -> None:
    group = group_of(column("T", deadband=5.0), made("Double", Expression("T * 2")))
    feed(group, 0, 10.0)

    assert feed(group, 1, 12.0) == {"Double": 24.0}


def test_its_quality_is_the_worst_of_its_inputs() -> None:
    group = group_of(column("A"), column("B"), made("Sum", Expression("A + B")))

    uncertain = feed(group, 0, 1.0, 2.0, qualities=[0, Quality.UNCERTAIN])
    bad = feed(group, 1, 1.0, None, qualities=[0, Quality.BAD_NO_COMMUNICATION])

    assert uncertain["Sum"] == (3.0, Quality.UNCERTAIN)
    assert bad["Sum"] == (None, Quality.BAD_NO_COMMUNICATION)


def test_what_has_no_number_is_bad_and_its_neighbours_are_not() -> None:
    group = group_of(column("A"), made("Share", Expression("1 / A")))

    assert feed(group, 0, 0.0) == {"A": 0.0, "Share": (None, Quality.BAD_OUT_OF_RANGE)}
    assert feed(group, 1, 4.0) == {"A": 4.0, "Share": 0.25}


def test_a_truth_is_true_or_false() -> None:
    group = group_of(column("T"), made("Hot", Expression("T > 80"), ValueType.BOOL))

    assert [feed(group, n, t).get("Hot") for n, t in enumerate([70.0, 90.0, 91.0])] == [0, 1, None]


def test_a_rate_is_per_second_of_the_reading() -> None:
    group = group_of(column("Energy"), made("Power", Expression("rate(Energy) * 3600")))

    first = feed(group, 0, 100.0)
    second = feed(group, 2, 101.0)

    assert first["Power"] == (None, Quality.BAD_WAITING_FOR_INITIAL_DATA)
    assert second["Power"] == 1_800.0


def test_inputs_that_a_notification_does_not_bring_are_as_they_were_read_last() -> None:
    group = group_of(column("A"), column("B"), made("Sum", Expression("A + B")))
    feed(group, 0, 1.0, 2.0)

    assert feed(group, 1, 5.0, indexes=[1]) == {"B": 5.0, "Sum": 6.0}


def test_an_expression_may_use_another_group_of_the_asset() -> None:
    memory = AssetMemory()
    slow = group_of(column("Setpoint"), memory=memory)
    fast = group_of(column("T"), made("Off", Expression("T - Setpoint")), memory=memory)

    before = feed(fast, 0, 10.0)
    feed(slow, 1, 7.0)
    after = feed(fast, 2, 10.0)

    assert before["Off"] == (None, Quality.BAD_WAITING_FOR_INITIAL_DATA)
    assert after == {"Off": 3.0}


def counter(modulus: int = 0) -> tuple[Column, Column, Column]:
    return (
        column("N", ValueType.UINT64),
        made("N/total", CounterTotal(0, modulus), ValueType.UINT64),
        made("N/delta", CounterDelta(0, modulus), ValueType.UINT64),
    )


def test_equal_increments_are_told_each_time_and_none_is_not() -> None:
    """Seen to bite: report by exception swallows the second of two equal increments."""
    group = group_of(*counter())

    history = [feed(group, n, raw).get("N/delta") for n, raw in enumerate([5, 6, 7, 7, 8])]

    assert history == [0, 1, 1, None, 1]


def test_a_reset_is_uncertain_and_the_total_goes_on() -> None:
    group = group_of(*counter())
    feed(group, 0, 100)
    feed(group, 1, 110)

    assert feed(group, 2, 3) == {
        "N": 3,
        "N/total": (13, Quality.UNCERTAIN),
        "N/delta": (3, Quality.UNCERTAIN),
    }


def test_a_counter_goes_on_from_the_state_that_was_kept() -> None:
    group = group_of(*counter(1_000))
    feed(group, 0, 990)
    feed(group, 1, 995)
    kept = dict(group.changed_counters)

    again = group_of(*counter(1_000), counters=kept)

    assert feed(again, 2, 5) == {"N": 5, "N/total": 15, "N/delta": 10}
    assert group.changed_counters.keys() == {"press/fast/N"}


def test_a_lost_device_is_no_reset() -> None:
    group = group_of(*counter())
    feed(group, 0, 100)
    feed(group, 1, None, qualities=[Quality.BAD_NO_COMMUNICATION])

    back = feed(group, 2, 104)

    assert (back["N/total"], back["N/delta"]) == (4, 4)


def test_a_window_is_told_with_the_time_of_its_end() -> None:
    group = group_of(column("T"), made("Mean", WindowValue("mean", 0, 1.0)))
    for at_s, value in ((0.0, 1.0), (0.5, 3.0), (1.25, 9.0)):
        feed(group, at_s, value)

    [part] = group.take_closed()

    assert told(part) == {"Mean": 2.0}
    assert part.read_at_ns == DAY_NS + S
    assert group.take_closed() == [], "once"


def test_a_window_is_closed_by_the_clock_when_nothing_is_read() -> None:
    group = group_of(column("On"), made("On_s", WindowValue("on_time", 0, 1.0)))
    feed(group, 0, 1.0)

    early = group.due(DAY_NS + S + S // 2, alive=True)
    [(part, origin)] = group.due(DAY_NS + 3 * S + S // 2, alive=True)

    assert early == [], "a reading may still be on its way"
    assert (told(part), origin) == ({"On_s": 1.0}, Origin.MADE)


def test_the_samples_made_of_a_scan_are_counted_for_the_ledger() -> None:
    group = group_of(*counter(), made("Double", Expression("N * 2")))

    feed(group, 0, 5)

    assert group.made_samples == 3
