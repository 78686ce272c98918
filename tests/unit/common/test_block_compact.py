"""Goal: the compact form is small, and loses not one bit for it.

Method: floats of every kind are taken apart and put together again; then plants whose information
is known, since it was drawn, are written, and must take about as much as it.
"""

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.block import Part, decode_block, encode_batch, encode_block, open_batch
from common.block.floats import apart, together
from common.block.parts import Layout
from common.records import Column, Plan, ValueType

RANDOM = np.random.default_rng(7)
Array = npt.NDArray[np.generic]
SCANS = 8_000
PERIOD_NS = 10**9
START_NS = 1_750_000_000_123_456_789

FLOATS = st.one_of(
    st.floats(),
    st.floats(width=32),
    st.integers(-(10**6), 10**6).map(lambda hundredths: hundredths / 100),
    st.integers(-(10**4), 10**4).map(lambda tenths: float(np.float32(tenths) * np.float32(0.1))),
    st.integers(-(2**15), 2**15).map(lambda raw: raw * 0.0125 + 4.0),
    st.sampled_from([0.0, -0.0, 5e-324, -2.2e-308, 1.8e308, math.inf, -math.nan, 2.0**53 + 2]),
)
SCALINGS = st.sampled_from([(1.0, 0.0), (0.0125, 4.0), (1.0, -273.15), (1e-300, 0.0), (0.0, 1.0)])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(SCALINGS, st.lists(FLOATS, max_size=40)), min_size=1, max_size=4))
def test_every_float_comes_back_to_the_bit(
    tags: list[tuple[tuple[float, float], list[float]]],
) -> None:
    """Whatever form suits a tag by most of its values, the others are its corrections.

    Seen to bite: corrections of scaled values left out; single precision judged by one value in
    sixteen alone (the bits of the others were then lost).
    """
    columns = [
        Column(f"t{i}", "", "", "", ValueType.FLOAT64, scale=scale, offset=offset)
        for i, ((scale, offset), _) in enumerate(tags)
    ]
    plan = Plan("simulated", "press", "fast", "Press", 1_000, tuple(columns))
    tag = np.repeat(np.arange(len(tags), dtype=np.uint16), [len(values) for _, values in tags])
    values = np.array([value for _, values in tags for value in values], float)

    codes, numbers, corrections = apart(values, tag, plan)
    bits = together(codes, numbers, corrections, tag, plan)

    assert bits.tolist() == values.view(np.uint64).tolist()


def walk(step: float) -> Array:
    """Return whole numbers that wander, by about `step` each time."""
    return 500 + np.rint(RANDOM.normal(0, step, SCANS)).cumsum()


def single(values: Array) -> Array:
    return values.astype(np.float32).astype(float)


PLANTS = {
    # What is drawn: a step of normal distribution, 2.05 bits + log2 of its deviation.
    "tenths as REAL": (ValueType.FLOAT64, 1.0, single(walk(2) / 10), 0.44),
    "hundredths as LREAL": (ValueType.FLOAT64, 1.0, walk(2) / 100, 0.44),
    "tenths multiplied in the PLC": (
        ValueType.FLOAT64,
        1.0,
        (walk(2).astype("f4") * np.float32(0.1)).astype(float),
        0.58,
    ),
    "tenths scaled by the tag table": (ValueType.FLOAT64, 0.1, walk(2) * 0.1 + 0.0, 0.44),
    "REAL of all bits": (ValueType.FLOAT64, 1.0, single(RANDOM.normal(60, 0.5, SCANS)), 2.6),
    "REAL of all bits, some hundreds": (
        ValueType.FLOAT64,
        1.0,
        single(RANDOM.normal(300, 3, SCANS)),
        2.6,
    ),
    "REAL of all bits, scaled by the tag table": (
        ValueType.FLOAT64,
        0.1,
        single(RANDOM.normal(60, 0.5, SCANS)) * 0.1 + 0.0,
        2.6,
    ),
    "LREAL of all bits": (ValueType.FLOAT64, 1.0, RANDOM.normal(60, 0.5, SCANS), 6.4),
    "a counter": (ValueType.UINT64, 1.0, (2**40 + walk(0).cumsum() + walk(2)).astype("u8"), 0.45),
    "a boolean": (ValueType.BOOL, 1.0, RANDOM.random(SCANS) < 0.02, 0.07),
    "a constant": (ValueType.FLOAT64, 1.0, np.full(SCANS, math.pi), 0.03),
}


def compacted(plan: Plan, read_at_ns: Array, values: Array) -> bytes:
    """Return the compact block of one tag's values."""
    layout = Layout(plan)
    value_type = plan.columns[0].value_type
    parts = [
        Part(layout, at_ns, {value_type: values[i : i + 1]}, 1)
        for i, at_ns in enumerate(read_at_ns.tolist())
    ]
    appended = encode_block(parts, 1, lambda _: 1)
    compact = encode_batch(open_batch(appended, lambda _: plan), 0)
    assert decode_block(compact, lambda _: plan) == decode_block(appended, lambda _: plan)
    return compact


def plan_of_one(value_type: ValueType, scale: float = 1.0) -> Plan:
    column = Column("t", "", "", "", value_type, scale=scale)
    return Plan("simulated", "press", "fast", "Press", PERIOD_NS // 10**6, (column,))


ON_TIME = START_NS + np.arange(SCANS) * PERIOD_NS


@pytest.mark.parametrize(
    ("value_type", "scale", "values", "bytes_max"), PLANTS.values(), ids=PLANTS
)
def test_a_tag_takes_about_what_it_tells(
    value_type: ValueType, scale: float, values: Array, bytes_max: float
) -> None:
    """Each encoding has earned its place by a row.

    Seen to bite: no decimals, no scaling, no single precision, no differences, planes not split.
    """
    block = compacted(plan_of_one(value_type, scale), ON_TIME, values)

    assert len(block) / SCANS <= bytes_max


LATE_NS = RANDOM.normal(4e6, 3e5, SCANS).astype(np.int64)
"""20.2 bits each, of which no clock in microseconds has the last ten."""
READS = {
    "on time": (ON_TIME, 0.03),
    "late by a random time": (ON_TIME + LATE_NS, 2.6),
    "late, by a clock in microseconds": ((ON_TIME + LATE_NS) // 1_000 * 1_000, 1.35),
    "with scans left out": ((ON_TIME + LATE_NS)[RANDOM.random(SCANS) < 0.5], 2.9),
    "set back by a day": (
        np.where(np.arange(SCANS) < 4_000, ON_TIME, ON_TIME - 86_400 * 10**9),
        0.03,
    ),
}


@pytest.mark.parametrize(("read_at_ns", "bytes_max"), READS.values(), ids=READS)
def test_a_read_time_takes_about_what_it_tells(read_at_ns: Array, bytes_max: float) -> None:
    """Seen to bite: times as differences (each lateness is then paid for one and a half times)."""
    block = compacted(plan_of_one(ValueType.BOOL), read_at_ns, np.zeros(len(read_at_ns), np.uint8))

    assert len(block) / len(read_at_ns) <= bytes_max


def test_source_times_of_one_sweep_take_little_after_the_first() -> None:
    """Sixteen tags, taken one after the other some 3 µs apart, in a device's 100 ns.

    Seen to bite: written tag by tag, and in nanoseconds.
    """
    columns = [Column(f"t{i}", "", "", "", ValueType.BOOL) for i in range(16)]
    plan = Plan("opcua", "press", "fast", "Press", 1_000, tuple(columns))
    layout = Layout(plan)
    values = {ValueType.BOOL: np.zeros(16, np.uint8)}
    parts = []
    for at_ns in (ON_TIME + LATE_NS)[:500].tolist():
        taken_ns = at_ns - 90 * 10**6 + RANDOM.normal(3_000, 500, 16).cumsum().astype(np.int64)
        parts.append(Part(layout, at_ns, values, 16, source_at_ns=taken_ns // 100 * 100))

    block = encode_batch(open_batch(encode_block(parts, 1, lambda _: 1), lambda _: plan), 0)

    assert len(block) / (500 * 16) <= 1.0


def test_a_quiet_tag_does_not_pay_for_a_noisy_one() -> None:
    """Twenty tags of which every other one is noise take what ten of each take.

    Seen to bite: one class for all tags.
    """
    columns = [Column(f"t{i}", "", "", "", ValueType.FLOAT64) for i in range(20)]
    plan = Plan("simulated", "press", "fast", "Press", 1_000, tuple(columns))
    layout = Layout(plan)
    rows = np.empty((1_000, 20))
    rows[:, ::2] = single(np.rint(RANDOM.normal(0, 2, (1_000, 10))).cumsum(axis=0) / 10)
    rows[:, 1::2] = single(RANDOM.normal(60, 0.5, (1_000, 10)))
    parts = [
        Part(layout, at_ns, {ValueType.FLOAT64: row}, 20)
        for at_ns, row in zip(ON_TIME.tolist(), rows, strict=False)
    ]

    block = encode_batch(open_batch(encode_block(parts, 1, lambda _: 1), lambda _: plan), 0)

    assert len(block) / rows.size <= (0.44 + 2.6) / 2
