"""Goal: the column path says what a plain sample-by-sample reference says, on any scans.

The reference below is the specification in ten lines of Python: check the type, scale, compare
with what was last reported.
"""

import math
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.block import Part, decode_block, encode_block
from common.records import (
    BitField,
    CleanText,
    Column,
    EnumTexts,
    Plan,
    Quality,
    Record,
    Scan,
    Transform,
    ValueType,
)
from normalizer.columns import GroupNormalizer, ScanMalformed

ACCEPTED: dict[ValueType, tuple[type, ...]] = {
    ValueType.BOOL: (bool,),
    ValueType.INT64: (int,),
    ValueType.UINT64: (int,),
    ValueType.FLOAT64: (float, int),
    ValueType.STRING: (str,),
    ValueType.BYTES: (bytes,),
}
LIMITS = {ValueType.INT64: (-(2**63), 2**63 - 1), ValueType.UINT64: (0, 2**64 - 1)}


class Told(NamedTuple):
    value: Any
    quality: int
    at_ns: int


class Reference:
    """One group, sample by sample."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.last: dict[int, Told] = {}

    def normalise(self, scan: Scan) -> dict[int, tuple[Any, int]]:
        reported = {}
        present = scan.indexes or range(len(self.plan.columns))
        qualities = scan.qualities or [0] * len(scan.values)
        for index, raw, quality in zip(present, scan.values, qualities, strict=True):
            column = self.plan.columns[index]
            value, code = self.published(column, *self.transformed(column, raw, quality))
            before = self.last.get(index)
            silent_ns = scan.read_at_ns - before.at_ns if before else 0
            edge = before is None or before.quality != code or (before.value is None) != (
                value is None
            )  # fmt: skip
            if edge or self.moved(index, value, before.value):
                if not edge and silent_ns < column.min_interval_ms * 1_000_000:
                    continue  # Held back; `due` tells it, which has tests of its own.
                reported[index] = (value, code)
            elif column.heartbeat_s and silent_ns >= column.heartbeat_s * 1e9:
                reported[index] = (value, code | Quality.REPEATED)
            if index in reported:
                self.last[index] = Told(value, code, scan.read_at_ns)
        return reported

    def transformed(self, column: Column, raw: Any, quality: int) -> tuple[Any, int]:
        whole = isinstance(raw, int) and not isinstance(raw, bool)
        match column.transform:
            case EnumTexts(texts=texts) if whole:
                known = dict(texts)
                return known.get(raw, str(raw)), quality or (
                    Quality.GOOD if raw in known else Quality.UNCERTAIN
                )
            case BitField(first=first, count=count) if whole:
                bits = raw >> first & (1 << count) - 1
                return bool(bits) if count == 1 else bits, quality
            case CleanText() if isinstance(raw, str):
                return raw.partition("\0")[0].strip(), quality
        return raw, quality

    def published(self, column: Column, raw: Any, quality: int) -> tuple[Any, int]:
        bad = quality >> 30 >= 2
        if type(raw) not in ACCEPTED[column.value_type]:
            why = Quality.BAD if raw is None else Quality.BAD_TYPE_MISMATCH
            return None, quality if bad else why
        low, high = LIMITS.get(column.value_type, (-math.inf, math.inf))
        if column.value_type in LIMITS and not low <= raw <= high:
            return None, quality if bad else Quality.BAD_OUT_OF_RANGE
        if column.value_type is ValueType.FLOAT64:
            value = float(raw) * column.scale + column.offset
            if not math.isfinite(value):
                return None, quality if bad else Quality.BAD_OUT_OF_RANGE
            return self.bounded(column, value, quality)
        if column.value_type in LIMITS:
            return self.bounded(column, raw, quality)
        return raw, quality

    def bounded(self, column: Column, value: Any, quality: int) -> tuple[Any, int]:
        held = min(max(value, column.clamp_low), column.clamp_high)
        if (held != value or not column.minimum <= value <= column.maximum) and quality == 0:
            quality = Quality.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
        return held, quality

    def moved(self, index: int, value: Any, last: Any) -> bool:
        if value is None or last is None:
            return value is not last
        column = self.plan.columns[index]
        if isinstance(value, (str, bytes)):
            return bool(value != last)
        deadband = column.deadband
        if column.deadband_percent:
            deadband = max(deadband, column.deadband_percent / 100 * abs(float(last)))
        if deadband == 0:
            return bool(value != last)
        return bool(abs(value - last) > deadband)


def reported(part: Part | None, plan: Plan) -> dict[int, tuple[Any, int]]:
    """What a part holds, read back from a real block."""
    if part is None:
        return {}
    (record,) = decode_block(encode_block([part], 1, lambda _: 1), lambda _: plan)
    assert isinstance(record, Record)
    indexes = record.indexes or range(len(plan.columns))
    qualities = record.qualities or [0] * len(record.values)
    return {
        i: (value, quality)
        for i, value, quality in zip(indexes, record.values, qualities, strict=True)
    }


RAW = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 100, 2**63 - 1, 2**63 - 2, -(2**63), 2**64 - 1, 2**64 - 2]),
    st.floats(min_value=-5, max_value=5),
    st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -0.0]),
    st.sampled_from(["", "a", "b", " a\0x", b"", b"a"]),
)
GOOD = {
    ValueType.BOOL: st.booleans(),
    ValueType.INT64: st.integers(-3, 3),
    ValueType.UINT64: st.integers(0, 3),
    ValueType.FLOAT64: st.floats(min_value=-3, max_value=3),
    ValueType.STRING: st.sampled_from(["a", "b"]),
    ValueType.BYTES: st.sampled_from([b"a", b"b"]),
}


TRANSFORMS: dict[ValueType, list[Transform | None]] = {
    ValueType.STRING: [None, CleanText(), EnumTexts(((0, "Off"), (1, "On")))],
    ValueType.BOOL: [None, BitField(1, 1)],
    ValueType.UINT64: [None, BitField(1, 3)],
}
"""Of what comes out of them."""


@st.composite
def plants(draw: st.DrawFn) -> tuple[Plan, list[Scan]]:
    columns = []
    for i in range(draw(st.integers(1, 8))):
        value_type = draw(st.sampled_from(list(ValueType)))
        number = value_type in (ValueType.FLOAT64, ValueType.INT64, ValueType.UINT64)
        scaled = value_type is ValueType.FLOAT64 and draw(st.booleans())
        columns.append(
            Column(
                f"t{i}", f"Acme/t{i}", "a", "T", value_type,
                scale=draw(st.sampled_from([0.1, -2.0, 1e200])) if scaled else 1.0,
                offset=draw(st.sampled_from([0.0, 273.15])) if scaled else 0.0,
                deadband=draw(st.sampled_from([0.0, 0.5, 1.0])) if number else 0.0,
                minimum=draw(st.sampled_from([-math.inf, -1.0])) if number else -math.inf,
                maximum=draw(st.sampled_from([math.inf, 1.5])) if number else math.inf,
                clamp_low=draw(st.sampled_from([-math.inf, -2.0])) if scaled else -math.inf,
                clamp_high=draw(st.sampled_from([math.inf, 2.5])) if scaled else math.inf,
                deadband_percent=draw(st.sampled_from([0.0, 25.0])) if number else 0.0,
                min_interval_ms=draw(st.sampled_from([0, 0, 120])),
                heartbeat_s=draw(st.sampled_from([0.0, 0.0, 0.25])),
                transform=draw(st.sampled_from(TRANSFORMS.get(value_type, [None]))),
            )
        )  # fmt: skip
    plan = Plan("simulated", "press", "fast", "Press", 100, tuple(columns))
    made = []
    for at in range(draw(st.integers(1, 8))):
        some = st.sets(st.integers(0, len(columns) - 1), min_size=1)
        indexes = draw(st.one_of(st.none(), some.map(sorted)))
        present = range(len(columns)) if indexes is None else indexes
        values = [
            draw(RAW) if draw(st.integers(0, 4)) == 0 else draw(GOOD[columns[i].value_type])
            for i in present
        ]
        codes = st.sampled_from([0, 0, 0, Quality.UNCERTAIN, Quality.BAD_TIMEOUT])
        qualities = draw(st.one_of(st.none(), st.just([draw(codes) for _ in values])))
        at_ns = at * 50_000_000
        made.append(Scan(plan.fingerprint, at_ns, at_ns, values, indexes, qualities))
    return plan, made


@settings(max_examples=600, deadline=None)
@given(plants())
def test_columns_say_what_the_sample_by_sample_reference_says(
    plant: tuple[Plan, list[Scan]],
) -> None:
    plan, scans = plant
    columns, reference = GroupNormalizer(plan), Reference(plan)
    for scan in scans:
        assert reported(columns.normalise(scan), plan) == reference.normalise(scan)


def one_column(value_type: ValueType = ValueType.FLOAT64, **rules: Any) -> Plan:
    column = Column("T", "Acme/T", "DB1.DBD0", "REAL", value_type, **rules)
    return Plan("s7", "press", "fast", "Press", 100, (column,))


def values_reported(plan: Plan, raw: list[Any]) -> list[Any]:
    normalizer = GroupNormalizer(plan)
    found = []
    for at, value in enumerate(raw):
        part = normalizer.normalise(Scan(plan.fingerprint, at, at, [value]))
        found += [value for value, _ in reported(part, plan).values()]
    return found


def test_a_reported_value_is_never_further_than_the_deadband_from_the_truth() -> None:
    drift = [i * 0.3 for i in range(100)]

    found = values_reported(one_column(deadband=1.0), drift)

    assert found[0] == 0.0, "the first value is always reported"
    truth = iter(found)
    last = next(truth)
    for value in drift:
        if abs(value - last) > 1.0:
            last = next(truth)
        assert abs(value - last) <= 1.0


def test_nan_from_a_device_is_null_and_bad_and_reported_once() -> None:
    plan = one_column()
    normalizer = GroupNormalizer(plan)
    found = [
        reported(normalizer.normalise(Scan(plan.fingerprint, at, at, [value])), plan)
        for at, value in enumerate([1.0, math.nan, math.nan, 1.0])
    ]

    bad = (None, Quality.BAD_OUT_OF_RANGE)
    assert found == [{0: (1.0, 0)}, {0: bad}, {}, {0: (1.0, 0)}]


def test_integers_keep_all_64_bits() -> None:
    assert values_reported(one_column(ValueType.UINT64), [2**64 - 1]) == [2**64 - 1]
    assert values_reported(one_column(ValueType.INT64), [2**53 + 1]) == [2**53 + 1]


def test_a_deadband_on_large_counters_is_exact() -> None:
    counts = [2**60 + i for i in range(6)]

    assert values_reported(one_column(ValueType.INT64, deadband=0.5), counts) == counts
    assert values_reported(one_column(ValueType.UINT64, deadband=2.0), counts) == counts[::3]


@pytest.mark.parametrize(
    "wrong",
    [
        {"qualities": [2**32]},
        {"qualities": [-1]},
        {"read_at_ns": 2**63 - 1},
        {"read_at_ns": -1},
        {"indexes": [2**63 - 1]},
    ],
)
def test_numbers_that_fit_nowhere_are_a_malformed_scan_not_a_crash(wrong: dict[str, Any]) -> None:
    plan = one_column()
    scan = msgspec.structs.replace(Scan(plan.fingerprint, 1, 1, [1.0]), **wrong)

    with pytest.raises(ScanMalformed):
        GroupNormalizer(plan).normalise(scan)


@pytest.mark.parametrize("source_at_ns", [2**63 - 1, -(2**63), -1])
def test_an_impossible_source_time_is_left_out(source_at_ns: int) -> None:
    plan = one_column()
    part = GroupNormalizer(plan).normalise(
        Scan(plan.fingerprint, 1, 1, [1.0], source_at_ns=[source_at_ns])
    )

    assert part is not None
    (record,) = decode_block(encode_block([part], 1, lambda _: 1), lambda _: plan)
    assert isinstance(record, Record)
    assert record.source_at_ns == [None]


@pytest.mark.parametrize(
    ("values", "indexes"),
    [([1.0, 2.0], None), ([], None), ([1.0], [1]), ([1.0], [-1]), ([1.0, 1.0], [0, 0]), ([], [])],
)
def test_a_scan_that_does_not_fit_its_plan_is_refused_whole(
    values: list[float], indexes: list[int] | None
) -> None:
    plan = one_column()

    with pytest.raises(ScanMalformed):
        GroupNormalizer(plan).normalise(Scan(plan.fingerprint, 1, 1, values, indexes))  # type: ignore[arg-type]


def test_a_clamped_value_is_held_and_says_so() -> None:
    """Seen to bite: without the mark a value held at its end looks measured."""
    group = GroupNormalizer(one_column(scale=0.1, clamp_low=0.0, clamp_high=100.0))

    told = [
        reported(
            group.normalise(Scan(group.layout.plan.fingerprint, at, at, [raw])), group.layout.plan
        )
        for at, raw in enumerate([500.0, 1_001.0, 1_002.0, -1.0])
    ]

    exceeded = Quality.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
    assert told == [{0: (50.0, 0)}, {0: (100.0, exceeded)}, {}, {0: (0.0, exceeded)}]


def test_a_value_beyond_its_limits_is_published_as_it_is_and_uncertain() -> None:
    group = GroupNormalizer(one_column(ValueType.INT64, minimum=0.0, maximum=10.0))
    plan = group.layout.plan

    told = [
        reported(group.normalise(Scan(plan.fingerprint, at, at, [raw])), plan)
        for at, raw in enumerate([10, 11, -5])
    ]

    exceeded = Quality.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
    assert told == [{0: (10, 0)}, {0: (11, exceeded)}, {0: (-5, exceeded)}]


def test_a_value_that_is_bad_anyway_keeps_its_reason() -> None:
    group = GroupNormalizer(one_column(minimum=0.0, clamp_low=0.0, scale=2.0))
    plan = group.layout.plan

    told = reported(
        group.normalise(Scan(plan.fingerprint, 1, 1, [-7.0], qualities=[Quality.UNCERTAIN])), plan
    )
    lost = reported(group.normalise(Scan(plan.fingerprint, 2, 2, [math.inf])), plan)

    assert told == {0: (0.0, Quality.UNCERTAIN)}
    assert lost == {0: (None, Quality.BAD_OUT_OF_RANGE)}
