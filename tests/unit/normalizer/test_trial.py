"""Goal: what is rehearsed is what the service would do, on a clock that nobody waits for."""

import math
from typing import Any

import msgspec
import pytest

from common.records import (
    Column,
    CounterTotal,
    Plan,
    Quality,
    Scan,
    ValueType,
    WindowValue,
)
from common.trials import (
    Last,
    Question,
    Questions,
    RawScan,
    Rehearsals,
    Run,
    Step,
    StepOutcome,
    packed,
    unpacked,
)
from normalizer import service
from normalizer.rehearsing import DUE_EVERY_NS, Rehearsal
from normalizer.trial import judge, rehearse

S = 1_000_000_000
START_NS = 1_700_000_040 * S  # A whole minute.


def plan_of(*made: Column, **rules: Any) -> Plan:
    column = Column("T", "Acme/T", "a", "REAL", ValueType.FLOAT64, **rules)
    return Plan("s7", "press", "fast", "Press", 1_000, (column, *made))


def steps_of(plan: Plan, readings: list[tuple[float, Any]], restart_at: int = -1) -> list[Step]:
    """Return a step for each (seconds, value); None reads nothing."""
    return [
        Step(
            at_ns=START_NS + round(at_s * S),
            scans=[]
            if value is None
            else [RawScan(plan=plan.fingerprint, values=[packed(value)], indexes=[0])],
            restart=number == restart_at,
        )
        for number, (at_s, value) in enumerate(readings)
    ]


def outcomes(plan: Plan, steps: list[Step]) -> list[StepOutcome]:
    asked = [column.topic for column in plan.columns]
    found = rehearse(Rehearsals(plans=[plan.encoded], runs=[Run(steps=steps, asked=asked)]))
    return found.runs[0]


def values(plan: Plan, steps: list[Step], topic: str = "Acme/T") -> list[list[Any]]:
    """Return what each step told of a topic."""
    return [
        [unpacked(sample.value) for sample in each.told if sample.topic == topic]
        for each in outcomes(plan, steps)
    ]


def test_it_looks_as_often_as_the_service() -> None:
    assert DUE_EVERY_NS == service.DUE_EVERY_S * 1e9


def test_what_is_held_is_told_while_time_passes() -> None:
    plan = plan_of(min_interval_ms=2_000)
    steps = steps_of(plan, [(0, 1.0), (0.5, 2.0), (1.9, None), (2.1, None), (9, None)])

    assert values(plan, steps) == [[1.0], [], [], [2.0], []]


def test_a_heartbeat_comes_by_the_clock_alone() -> None:
    plan = plan_of(heartbeat_s=10.0)

    found = outcomes(plan, steps_of(plan, [(0, 1.0), (9, None), (31, None)]))

    told = [[(each.value, each.quality) for each in outcome.told] for outcome in found]
    assert told == [[(1.0, 0)], [], [(1.0, Quality.REPEATED)] * 3]


def test_a_window_is_over_two_seconds_after_its_end() -> None:
    mean = Column("M", "Acme/M", "=", "expression", ValueType.FLOAT64, made=WindowValue("mean", 0, 60.0))  # fmt: skip # noqa: E501 - one column
    plan = plan_of(mean)
    readings = [(0, 1.0), (30, 3.0), (60, None), (61.9, None), (62.1, None)]

    found = values(plan, steps_of(plan, readings), "Acme/M")

    assert found == [[], [], [], [], [2.0]]


def test_a_restart_forgets_what_was_told_and_keeps_what_was_counted() -> None:
    """Seen to bite: with the counters forgotten as well the total began at 0 again."""
    counter = Column("N", "Acme/N", "a", "UDINT", ValueType.UINT64)
    total = Column("N/total", "Acme/N/total", "a", "total", ValueType.UINT64, made=CounterTotal(0, 0))  # fmt: skip # noqa: E501 - one column
    plan = Plan("s7", "press", "fast", "Press", 1_000, (counter, total))
    steps = steps_of(plan, [(0, 5), (1, 9), (2, 9), (3, 9)], restart_at=3)

    assert values(plan, steps, "Acme/N") == [[5], [9], [], [9]]
    assert values(plan, steps, "Acme/N/total") == [[0], [4], [], [4]]


def test_runs_know_nothing_of_each_other() -> None:
    plan = plan_of()
    run = Run(steps=steps_of(plan, [(0, 1.0)]))

    found = rehearse(Rehearsals(plans=[plan.encoded], runs=[run, run]))

    assert [[len(each.told) for each in outcome] for outcome in found.runs] == [[1], [1]]


def test_a_very_long_time_passes_in_larger_strides() -> None:
    plan = plan_of(heartbeat_s=3_600.0)
    rehearsal = Rehearsal([plan])
    list(rehearsal.advance(START_NS))
    rehearsal.take(Scan(plan.fingerprint, START_NS, 0, [1.0]))

    told = list(rehearsal.advance(START_NS + 7 * 86_400 * S))

    # Each comes at most a stride late, here half a minute, so that a few fall out of the week.
    assert 7 * 24 - 3 <= len(told) <= 7 * 24


@pytest.mark.parametrize("value", [math.nan, -math.inf, b"\x00\xff", 2**64 - 1, "a", True, None])
def test_no_value_becomes_another_on_its_way(value: Any) -> None:
    there = msgspec.json.decode(msgspec.json.encode(packed(value)))

    assert repr(unpacked(there)) == repr(value)


@pytest.mark.parametrize(
    "wrong", [{"float": 1}, {"bytes": "0"}, {"bytes": "00", "float": "nan"}, [1], {}]
)
def test_what_is_no_value_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"is no value|hexadecimal"):
        unpacked(wrong)


def test_a_reading_is_judged_by_what_was_told_before() -> None:
    plan = plan_of(scale=2.0, deadband=1.0)
    known = Last(value=50.0, at_ns=START_NS)
    asked = [
        Question(plan=plan.encoded, column=0, value=value, at_ns=START_NS + S, last=last)
        for value, last in [(25.4, known), (25.6, known), (25.4, None), ("hot", known)]
    ]

    found = judge(Questions(questions=asked)).decisions

    assert [(each.outcome, each.value, each.last_value) for each in found] == [
        ("unchanged", 50.8, 50.0),
        ("told", 51.2, 50.0),
        ("told", 50.8, None),
        ("told", None, 50.0),
    ]
    assert found[0].why == "moved 0.8 from 50: within the deadband of 1 (told 1 s before)"
    assert [link.what for link in found[0].chain] == ["raw", "* 2 + 0"]


@pytest.mark.parametrize(
    ("value_type", "last", "value", "outcome"),
    [
        (ValueType.STRING, "a", "a", "unchanged"),
        (ValueType.STRING, "a", "b", "told"),
        (ValueType.BYTES, b"\x00", b"\x00", "unchanged"),
        (ValueType.BOOL, True, False, "told"),
        (ValueType.UINT64, 2**64 - 1, 2**64 - 1, "unchanged"),
        (ValueType.FLOAT64, None, 1.0, "told"),
    ],
)
def test_every_type_can_be_judged(
    value_type: ValueType, last: Any, value: Any, outcome: str
) -> None:
    column = Column("T", "Acme/T", "a", "T", value_type)
    plan = Plan("s7", "press", "fast", "Press", 1_000, (column,))
    question = Question(
        plan=plan.encoded,
        column=0,
        value=packed(value),
        at_ns=START_NS + S,
        last=Last(value=packed(last), at_ns=START_NS),
    )

    assert judge(Questions(questions=[question])).decisions[0].outcome == outcome
