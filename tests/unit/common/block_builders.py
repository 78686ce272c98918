"""What the tests of blocks have in common: plans, parts, and any records at all."""

import numpy as np
from hypothesis import strategies as st

from common.block import NO_SOURCE_TIME, Layout, Part
from common.records import Column, Gap, GapRecord, Plan, Quality, Record, ValueType

AT_NS = 1_700_000_000_000_000_000
GAP = Gap("press", "fast", "outbox-full", AT_NS, AT_NS + 1, 2, 12)
VALUES = {
    ValueType.BOOL: st.booleans(),
    ValueType.INT64: st.integers(-(2**63), 2**63 - 1),
    ValueType.UINT64: st.integers(0, 2**64 - 1),
    ValueType.FLOAT64: st.one_of(
        st.floats(allow_nan=False, allow_infinity=False),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        st.integers(-9_999, 9_999).map(lambda tenths: tenths / 10),
        st.sampled_from([0.0, -0.0, 5e-324, -1e-310, 1.7e308, 2.0**53, 2.0**63, 0.1 + 0.2]),
    ),
    ValueType.STRING: st.text(max_size=20),
    ValueType.BYTES: st.binary(max_size=20),
}
DTYPES = {
    ValueType.BOOL: np.uint8,
    ValueType.INT64: np.int64,
    ValueType.UINT64: np.uint64,
    ValueType.FLOAT64: np.float64,
}
Row = dict[str, object]
"""A scan as plain lists: the fields of a Record, without sequence and plan."""


def plan_of(*types: ValueType, group: str = "fast", scale: float = 1.0) -> Plan:
    columns = tuple(
        Column(f"t{i}", f"Acme/t{i}", f"a{i}", "T", value_type, scale=scale)
        for i, value_type in enumerate(types)
    )
    return Plan("simulated", "press", group, "Press", 1_000, columns)


def part_of(
    plan: Plan,
    read_at_ns: int,
    values: list[object],
    indexes: list[int] | None = None,
    qualities: list[int] | None = None,
    source_at_ns: list[int | None] | None = None,
) -> Part:
    """Build a Part from plain lists, the way a reader would see it."""
    present = list(range(len(plan.columns))) if indexes is None else indexes
    arrays: dict[ValueType, object] = {}
    for value_type in ValueType:
        held = [
            value
            for column, value in zip(present, values, strict=True)
            if plan.columns[column].value_type is value_type
        ]
        if any(plan.columns[column].value_type is value_type for column in present):
            if value_type in DTYPES:
                arrays[value_type] = np.array(
                    [0 if value is None else value for value in held], DTYPES[value_type]
                )
            else:
                empty = "" if value_type is ValueType.STRING else b""
                arrays[value_type] = [empty if value is None else value for value in held]
    nulls = [place for place, value in enumerate(values) if value is None]
    bad = [place for place, code in enumerate(qualities or []) if code]
    times = [NO_SOURCE_TIME if at is None else at for at in source_at_ns or []]
    return Part(
        Layout(plan),
        read_at_ns,
        arrays,
        len(values),
        np.array(indexes, np.uint16) if indexes is not None else None,
        np.array(nulls, np.uint32) if nulls else None,
        np.array(bad, np.uint32) if bad else None,
        np.array([(qualities or [])[place] for place in bad], np.uint32) if bad else None,
        np.array(times, np.int64) if source_at_ns else None,
    )


@st.composite
def scans(draw: st.DrawFn, rows_max: int = 5) -> tuple[Plan, list[Row]]:
    """Draw a plan of columns of any types, and scans of some of them, each with any values."""
    types = draw(st.lists(st.sampled_from(list(ValueType)), min_size=1, max_size=6))
    plan = plan_of(*types, scale=draw(st.sampled_from([1.0, 0.1, 0.0125, -3.0])))
    width = len(plan.columns)
    rows: list[Row] = []
    for _ in range(draw(st.integers(1, rows_max))):
        partial = draw(st.booleans())
        present = sorted(draw(st.sets(st.integers(0, width - 1), min_size=1))) if partial else None
        shown = list(range(width)) if present is None else present
        values = [
            draw(st.one_of(st.none(), VALUES[plan.columns[column].value_type])) for column in shown
        ]
        uncertain = draw(st.booleans())
        qualities = [
            Quality.BAD if value is None else Quality.UNCERTAIN if uncertain else Quality.GOOD
            for value in values
        ]
        time = st.one_of(st.none(), st.integers(0, 2**61))
        times = draw(st.one_of(st.none(), st.lists(time, min_size=len(shown), max_size=len(shown))))
        rows.append(
            {
                "read_at_ns": draw(st.integers(0, 2**61)),
                "values": values,
                "indexes": None if present is None or len(present) == width else present,
                "qualities": qualities if any(qualities) else None,
                "source_at_ns": times,
            }
        )
    return plan, rows


def parts_and_records(
    groups: list[tuple[Plan, list[Row]]], first: int
) -> tuple[list[Part], list[Record], list[Plan]]:
    """Return scans as parts, the records that they must become, and their plans by id."""
    parts, records, plans = [], [], []
    for plan, rows in groups:
        plans.append(plan)
        for row in rows:
            parts.append(part_of(plan, **row))  # type: ignore[arg-type]
            records.append(Record(first + len(records), plan, **row))  # type: ignore[arg-type]
    return parts, records, plans


def same(records: list[Record | GapRecord]) -> list[object]:
    """Return records to be compared: to the bit, and a list of no times at all as no list."""
    return [
        (
            each.sequence,
            each.plan.fingerprint,
            each.read_at_ns,
            [value.hex() if isinstance(value, float) else value for value in each.values],
            [type(value) for value in each.values],
            each.indexes,
            each.qualities,
            each.source_at_ns if any(at_ns is not None for at_ns in each.source_at_ns or ()) else 0,
        )
        if isinstance(each, Record)
        else each
        for each in records
    ]
