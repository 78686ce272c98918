"""Goal: what a person is told of a verdict is the verdict, and the way to a value is the value's.

Method: scans of any columns through the whole of a group's normalizer, watched; the parts that it
gives are the truth.
"""

from typing import Any

import pytest
from hypothesis import given, settings

from common.block import decode_block, encode_block
from common.records import (
    REPEATED_MASK,
    BitField,
    Column,
    CounterDelta,
    CounterTotal,
    EnumTexts,
    Plan,
    Quality,
    Record,
    Scan,
    ValueType,
    is_repeated,
)
from normalizer.chain import Link, chain
from normalizer.columns import GroupNormalizer
from normalizer.rehearsing import Reasons, Rehearsal, published
from normalizer.watching import Reason
from tests.unit.normalizer.test_columns import plants

S = 1_000_000_000
AT_NS = 1_700_000_000 * S


def without_mark(code: int) -> int:
    return code & ~REPEATED_MASK if is_repeated(code) else code


@settings(max_examples=200, deadline=None)
@given(plants())
def test_the_reasons_are_those_of_the_verdict_that_was_given(
    plant: tuple[Plan, list[Scan]],
) -> None:
    """Seen to bite: with the memory looked at after it was changed, nothing ever moved."""
    plan, scans = plant
    kept = Reasons()
    rehearsal = Rehearsal([plan], kept.watch_of)
    before: dict[str, Any] = {}
    for scan in scans:
        parts = rehearsal.take(scan)
        told = {
            each.column.name: (each.value, without_mark(each.quality))
            for p in parts
            for each in published(p)
        }
        reasons = {column.name: reason for column, reason in kept.taken()}
        assert len(reasons) == len(scan.values)
        assert told == {
            name: (reason.value, reason.quality)
            for name, reason in reasons.items()
            if reason.outcome in ("told", "repeated")
        }
        for name, reason in reasons.items():
            last = reason.last
            assert (None if last is None else (last.value, last.quality)) == before.get(name)
        before |= told


@settings(max_examples=200, deadline=None)
@given(plants())
def test_the_last_link_of_a_chain_is_what_the_normalizer_makes(
    plant: tuple[Plan, list[Scan]],
) -> None:
    plan, scans = plant
    kept = Reasons()
    rehearsal = Rehearsal([plan], kept.watch_of)
    for scan in scans:
        rehearsal.take(scan)
        made = {reason.column: reason for _, reason in kept.taken()}
        indexes = scan.indexes or range(len(scan.values))
        for place, index in enumerate(indexes):
            quality = scan.qualities[place] if scan.qualities else 0
            last = chain(plan.columns[index], scan.values[place], quality)[-1]
            if last.what != "raw":
                assert (last.value, last.quality) == (made[index].value, made[index].quality)


@settings(max_examples=200, deadline=None)
@given(plants())
def test_what_is_published_is_what_a_reader_of_the_queue_sees(
    plant: tuple[Plan, list[Scan]],
) -> None:
    plan, scans = plant
    group = GroupNormalizer(plan)
    for scan in scans:
        part = group.normalise(scan)
        if part is None:
            continue
        (record,) = decode_block(encode_block([part], 1, lambda _: 1), lambda _: plan)
        assert isinstance(record, Record)
        found = list(published(part))
        assert [each.value for each in found] == record.values
        assert [each.quality for each in found] == (record.qualities or [0] * len(found))
        indexes = record.indexes or range(len(plan.columns))
        assert [each.column for each in found] == [plan.columns[i] for i in indexes]


def reasons_of(scans: list[tuple[int, Any, int]], **rules: Any) -> list[Reason]:
    """Return the reason of each reading of one tag: (ms, value, quality)."""
    column = Column("T", "Acme/T", "a", "REAL", ValueType.FLOAT64, unit="Cel", **rules)
    plan = Plan("s7", "press", "fast", "Press", 100, (column,))
    kept = Reasons()
    rehearsal = Rehearsal([plan], kept.watch_of)
    for at_ms, value, quality in scans:
        at_ns = AT_NS + at_ms * 1_000_000
        rehearsal.take(Scan(plan.fingerprint, at_ns, at_ns, [value], qualities=[quality]))
    return [reason for _, reason in kept.taken()]


@pytest.mark.parametrize(
    ("scans", "rules", "outcome", "says"),
    [
        ([(0, 50.0, 0)], {}, "told", "the first value after a start or a loss is always told"),
        ([(0, 50.0, 0), (500, 50.5, 0)], {}, "told",
         "moved 0.5 Cel from 50: every change is told (told 0.5 s before)"),
        ([(0, 50.0, 0), (500, 50.5, 0)], {"deadband": 0.2}, "told",
         "moved 0.5 Cel from 50: more than the deadband of 0.2 Cel (told 0.5 s before)"),
        ([(0, 50.0, 0), (500, 50.5, 0)], {"deadband_percent": 2.0}, "unchanged",
         "moved 0.5 Cel from 50: within the deadband of 1 Cel (told 0.5 s before)"),
        ([(0, 50.0, 0), (500, 50.0, 0)], {}, "unchanged", "the same as 50 (told 0.5 s before)"),
        ([(0, 50.0, 0), (500, 50.5, 0)], {"min_interval_ms": 1000}, "held",
         ("moved 0.5 Cel from 50: every change is told (told 0.5 s before), but min_interval_ms "
         "1000 is not over: told then")),
        ([(0, 50.0, 0), (60_000, 50.0, 0)], {"heartbeat_s": 60.0}, "repeated",
         "nothing new since it was told 60 s before: heartbeat_s 60 repeats it"),
        ([(0, 50.0, 0), (500, 50.0, Quality.UNCERTAIN)], {}, "told",
         "its quality changed from Good to Uncertain: always told"),
        ([(0, None, Quality.BAD), (500, None, Quality.BAD)], {}, "unchanged",
         "still without a value (told 0.5 s before)"),
        ([(0, None, Quality.BAD), (500, 1.0, Quality.BAD)], {}, "told",
         "it was without a value before, or is now: always told"),
    ],
)  # fmt: skip
def test_every_verdict_has_its_sentence(
    scans: list[tuple[int, Any, int]], rules: dict[str, Any], outcome: str, says: str
) -> None:
    last = reasons_of(scans, **rules)[-1]

    assert (last.outcome, last.why) == (outcome, says)


def test_after_the_clock_was_set_back_nobody_says_how_long_ago() -> None:
    last = reasons_of([(900, 50.0, 0), (500, 50.5, 0)], min_interval_ms=1_000)[-1]

    assert last.outcome == "told"
    assert last.why.endswith("(told before the clock was set back)")


def test_increments_have_sentences_of_their_own() -> None:
    columns = (
        Column("N", "Acme/N", "a", "UDINT", ValueType.UINT64),
        Column("N/total", "Acme/N/total", "a", "total", ValueType.UINT64, made=CounterTotal(0, 0)),
        Column("N/delta", "Acme/N/delta", "a", "delta", ValueType.UINT64, made=CounterDelta(0, 0)),
    )
    plan = Plan("s7", "press", "fast", "Press", 100, columns)
    kept = Reasons()
    rehearsal = Rehearsal([plan], kept.watch_of)
    for at, value in enumerate([5, 8, 11, 11]):
        rehearsal.take(Scan(plan.fingerprint, AT_NS + at, at, [value]))
    deltas = [each for column, each in kept.taken() if column.name == "N/delta"]

    assert [(each.value, each.outcome, each.why) for each in deltas[1:]] == [
        (3, "told", "every increment is told"),
        (3, "told", "every increment is told"),
        (0, "unchanged", "an increment of 0 is no news"),
    ]


@pytest.mark.parametrize(
    ("raw", "rules", "links"),
    [
        (13824, {"scale": 0.5, "offset": 10.0},
         [Link("raw", 13824, 0), Link("* 0.5 + 10", 6922.0, 0)]),
        (400.0, {"clamp_low": 0.0, "clamp_high": 100.0, "maximum": 90.0},
         [Link("raw", 400.0, 0), Link("held within 0 … 100, expected within -inf … 90", 100.0,
                                      Quality.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED)]),
        ("hot", {}, [Link("raw", "hot", 0),
                     Link("is no float64", None, Quality.BAD_TYPE_MISMATCH)]),
        (float("inf"), {}, [Link("raw", float("inf"), 0),
                            Link("no number", None, Quality.BAD_OUT_OF_RANGE)]),
        (1, {"transform": EnumTexts(((1, "On"),)), "value_type": ValueType.STRING},
         [Link("raw", 1, 0), Link("name of the state", "On", 0)]),
        (0xF5, {"transform": BitField(4, 4), "value_type": ValueType.UINT64},
         [Link("raw", 0xF5, 0), Link("bits 4-7", 15, 0)]),
        (0xF5, {"transform": BitField(0, 1), "value_type": ValueType.BOOL},
         [Link("raw", 0xF5, 0), Link("bit 0", value=True, quality=0)]),
    ],
)  # fmt: skip
def test_a_chain_names_its_steps(raw: Any, rules: dict[str, Any], links: list[Link]) -> None:
    rules = {"value_type": ValueType.FLOAT64} | rules

    assert chain(Column("T", "Acme/T", "a", "REAL", **rules), raw, 0) == links
