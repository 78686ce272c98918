"""Goal: a thinned history keeps every tag's first, last, least and greatest value, and every turn.

Method: the rule, sample by sample over plain records, is the reference; and a day of a wandering
value is thinned and looked at as a person would.
"""

import math
from itertools import groupby
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.block import (
    Batch,
    Layout,
    Part,
    decode_block,
    encode_batch,
    encode_block,
    open_batch,
    thinned,
)
from common.records import Plan, Quality, Record, ValueType
from tests.unit.common.block_builders import part_of, plan_of

Kept = set[tuple[int, int]]
"""(sequence, column) of every sample."""
VALUES: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.BOOL: st.booleans(),
    ValueType.INT64: st.sampled_from([-(2**63), -2, -1, 0, 1, 2**63 - 1]),
    ValueType.UINT64: st.sampled_from([0, 1, 2**63, 2**64 - 1]),
    ValueType.FLOAT64: st.sampled_from([-1e300, -2.5, -0.0, 0.0, 5e-324, 1.0, 1e300]),
    ValueType.STRING: st.sampled_from(["", "a", "b"]),
    ValueType.BYTES: st.sampled_from([b"", b"a"]),
}


@st.composite
def histories(draw: st.DrawFn) -> tuple[Plan, list[Record]]:
    """Draw records of some columns each, close in time, the clock now and then set back."""
    plan = plan_of(*draw(st.lists(st.sampled_from(list(ValueType)), min_size=1, max_size=3)))
    width = len(plan.columns)
    records = []
    at_ns = 1_000
    for sequence in range(1, draw(st.integers(2, 30))):
        at_ns += draw(st.sampled_from([0, 1, 2, 3, 20, -15]))
        shown = sorted(draw(st.sets(st.integers(0, width - 1), min_size=1)))
        values = [draw(st.one_of(st.none(), VALUES[plan.columns[i].value_type])) for i in shown]
        quality = draw(st.sampled_from([Quality.GOOD, Quality.UNCERTAIN, Quality.BAD]))
        qualities = [Quality.BAD if value is None else quality for value in values]
        records.append(Record(sequence, plan, at_ns, values, shown, qualities))
    return plan, records


def reference(records: list[Record], bucket_ns: int, exempt: list[bool]) -> Kept:
    """Return what stays, by the rule as it is written."""
    kept: Kept = set()
    plan = records[0].plan
    for column, tag in enumerate(plan.columns):
        samples = [
            (record.read_at_ns, record.sequence, record.values[i], (record.qualities or [])[i])
            for record in records
            for i, shown in enumerate(record.indexes or [])
            if shown == column
        ]
        for i, (_, sequence, value, quality) in enumerate(samples):
            before = samples[i - 1] if i else None
            turned = before and (before[3] != quality or (before[2] is None) != (value is None))
            if exempt[column] or turned:
                kept.add((sequence, column))
        for _, run in groupby(samples, key=lambda sample: sample[0] // bucket_ns):
            bucket = list(run)
            kept |= {(bucket[0][1], column), (bucket[-1][1], column)}
            valued = [sample for sample in bucket if sample[2] is not None]
            if valued and tag.value_type not in (ValueType.STRING, ValueType.BYTES):
                for extreme in (min, max):
                    kept.add((extreme(valued, key=rank)[1], column))
    return kept


def rank(sample: tuple[int, int, Any, int]) -> tuple[Any, float]:
    """Return what a value compares by; of two zeros the one with the minus is less."""
    return sample[2], math.copysign(1, sample[2])


@settings(max_examples=250, deadline=None)
@given(histories(), st.sampled_from([1, 7, 20, 1_000_000]), st.lists(st.booleans(), min_size=3))
def test_thinning_keeps_what_the_rule_says(
    history: tuple[Plan, list[Record]], bucket_ns: int, exemptions: list[bool]
) -> None:
    """The vectors say what the loops say.

    Seen to bite: a sample without a value taken for the least; negative floats ranked as unsigned;
    runs that go on over a step back of the clock, or from one tag to the next; turns of quality,
    values that go or come, or exemptions not kept.
    """
    plan, records = history
    if not records:
        return
    exempt = exemptions[: len(plan.columns)]
    parts = [
        part_of(plan, each.read_at_ns, each.values, each.indexes, each.qualities)
        for each in records
    ]
    (section,) = open_batch(encode_block(parts, 1, lambda _: 1), lambda _: plan).sections

    keep = thinned(section, bucket_ns, np.array(exempt))

    places = np.flatnonzero(keep)
    found = set(
        zip(
            section.sequences[section.record[places]].tolist(),
            section.column[places].tolist(),
            strict=True,
        )
    )
    assert found == reference(records, bucket_ns, exempt)


def test_a_thinned_day_shows_every_peak() -> None:
    """One value a second for a day, a minute a bucket: 86,400 values become some 5,000."""
    plan = plan_of(ValueType.FLOAT64)
    layout = Layout(plan)
    values = np.random.default_rng(1).normal(0, 1, 86_400).cumsum().round(1)
    start_ns = 1_700_000_040 * 10**9
    parts = [
        Part(layout, start_ns + i * 10**9, {ValueType.FLOAT64: values[i : i + 1]}, 1)
        for i in range(86_400)
    ]
    batch = open_batch(encode_block(parts, 1, lambda _: 1), lambda _: plan)
    (section,) = batch.sections

    keep = thinned(section, 60 * 10**9, np.array([False]))
    left = encode_batch(Batch(1, 86_400, [section.select(keep)], []), 2)

    by_minute: dict[int, list[float]] = {}
    for record in decode_block(left, lambda _: plan):
        assert isinstance(record, Record)
        by_minute.setdefault((record.sequence - 1) // 60, []).append(record.values[0])
    assert len(by_minute) == 1_440
    for minute, kept in by_minute.items():
        all_of_it = values[minute * 60 : minute * 60 + 60]
        assert len(kept) <= 4
        assert (kept[0], kept[-1]) == (all_of_it[0], all_of_it[-1])
        assert (min(kept), max(kept)) == (all_of_it.min(), all_of_it.max())


def test_of_nothing_nothing_stays() -> None:
    plan = plan_of(ValueType.FLOAT64)
    (section,) = open_batch(
        encode_block([part_of(plan, 1, [1.0])], 1, lambda _: 1), lambda _: plan
    ).sections

    nothing = section.select(np.zeros(1, bool))

    assert (nothing.records, nothing.samples) == (0, 0)
    assert thinned(nothing, 1, np.array([False])).tolist() == []
    assert encode_batch(Batch(1, 1, [nothing], []), 4) == encode_batch(Batch(1, 1, [], []), 4)
