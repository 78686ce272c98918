"""Goal: a block gives back exactly what was put in, or says that it is damaged."""

import random
import struct
import zlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.block import (
    BODY_BYTES_MAX,
    HEADER_BYTES,
    NO_SOURCE_TIME,
    Layout,
    Part,
    decode_block,
    encode_block,
    read_header,
    samples_by_plan,
)
from common.errors import BlockDamaged
from common.records import Column, Gap, GapRecord, Plan, Quality, Record, ValueType

GOLDEN = Path(__file__).with_name("block-v1.bin")
VALUES = {
    ValueType.BOOL: st.booleans(),
    ValueType.INT64: st.integers(-(2**63), 2**63 - 1),
    ValueType.UINT64: st.integers(0, 2**64 - 1),
    ValueType.FLOAT64: st.floats(allow_nan=False, allow_infinity=False),
    ValueType.STRING: st.text(max_size=20),
    ValueType.BYTES: st.binary(max_size=20),
}
_DTYPES = {
    ValueType.BOOL: np.uint8,
    ValueType.INT64: np.int64,
    ValueType.UINT64: np.uint64,
    ValueType.FLOAT64: np.float64,
}


def plan_of(*types: ValueType, group: str = "fast") -> Plan:
    columns = tuple(Column(f"t{i}", f"Acme/t{i}", f"a{i}", "T", t) for i, t in enumerate(types))
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
            if value_type in _DTYPES:
                arrays[value_type] = np.array(
                    [0 if value is None else value for value in held], _DTYPES[value_type]
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
def scans(draw: st.DrawFn) -> tuple[Plan, list[dict[str, object]]]:
    plan = plan_of(*draw(st.lists(st.sampled_from(list(ValueType)), min_size=1, max_size=6)))
    width = len(plan.columns)
    rows: list[dict[str, object]] = []
    for _ in range(draw(st.integers(1, 5))):
        partial = draw(st.booleans())
        present = sorted(draw(st.sets(st.integers(0, width - 1), min_size=1))) if partial else None
        shown = list(range(width)) if present is None else present
        values = [
            draw(st.one_of(st.none(), VALUES[plan.columns[column].value_type])) for column in shown
        ]
        qualities = [Quality.BAD if value is None else Quality.GOOD for value in values]
        times = draw(
            st.one_of(
                st.none(),
                st.lists(
                    st.one_of(st.none(), st.integers(0, 2**61)),
                    min_size=len(shown),
                    max_size=len(shown),
                ),
            )
        )
        rows.append(
            {
                "read_at_ns": draw(st.integers(0, 2**61)),
                "values": values,
                "indexes": present,
                "qualities": qualities if any(qualities) else None,
                "source_at_ns": times,
            }
        )
    return plan, rows


@settings(max_examples=300, deadline=None)
@given(st.lists(scans(), min_size=1, max_size=3), st.integers(1, 2**62))
def test_records_come_back_as_they_were_put(
    groups: list[tuple[Plan, list[dict[str, object]]]], first: int
) -> None:
    parts, wanted, plans = [], [], []
    for plan, rows in groups:
        plans.append(plan)
        for row in rows:
            parts.append(part_of(plan, **row))  # type: ignore[arg-type]
            whole = row["indexes"] is None or len(row["indexes"]) == len(plan.columns)  # type: ignore[arg-type]
            shown = {**row, "indexes": None if whole else row["indexes"]}
            wanted.append(Record(first + len(wanted), plan, **shown))  # type: ignore[arg-type]

    block = encode_block(parts, first, plans.index)
    found = decode_block(block, plans.__getitem__)

    assert [without_empty_times(each) for each in found] == [
        without_empty_times(each) for each in wanted
    ]


def without_empty_times(record: Record | GapRecord) -> Record:
    """A list of nothing but None says the same as no list: the device gave no times."""
    assert isinstance(record, Record)
    times = record.source_at_ns
    known = times is not None and any(at is not None for at in times)
    return msgspec.structs.replace(record, source_at_ns=times if known else None)


def test_gaps_stand_in_their_place_among_records() -> None:
    plan = plan_of(ValueType.FLOAT64)
    gap = Gap("press", "fast", "outbox-full", 5, 9, 3, 30)
    parts = [part_of(plan, 10, [1.5]), gap, part_of(plan, 11, [2.5])]

    found = decode_block(encode_block(parts, 7, lambda _: 1), lambda _: plan)

    assert [record.sequence for record in found] == [7, 8, 9]
    assert found[1] == GapRecord(8, gap)


def test_the_header_tells_extent_without_unpacking() -> None:
    plan = plan_of(ValueType.FLOAT64, ValueType.STRING)
    parts = [part_of(plan, 20, [1.0, "a"]), part_of(plan, 10, ["b"], indexes=[1])]
    block = encode_block(parts, 100, lambda _: 3)

    header = read_header(block[:HEADER_BYTES])

    assert (header.first_sequence, header.last_sequence) == (100, 101)
    assert (header.records, header.samples) == (2, 3)
    assert (header.first_at_ns, header.last_at_ns) == (10, 20)
    assert samples_by_plan(block) == ({3: (2, 3)}, [])


def test_every_flipped_bit_is_noticed() -> None:
    plan = plan_of(ValueType.FLOAT64, ValueType.INT64)
    block = encode_block([part_of(plan, i, [i / 3, i]) for i in range(50)], 1, lambda _: 1)
    choose = random.Random(1)
    for _ in range(400):
        damaged = bytearray(block)
        damaged[choose.randrange(len(block))] ^= 1 << choose.randrange(8)
        with pytest.raises(BlockDamaged):
            decode_block(bytes(damaged), lambda _: plan)


@pytest.mark.parametrize("length", [0, 3, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 5])
def test_a_block_cut_short_is_noticed(length: int) -> None:
    plan = plan_of(ValueType.FLOAT64)
    block = encode_block([part_of(plan, 1, [1.0])], 1, lambda _: 1)

    with pytest.raises(BlockDamaged):
        decode_block(block[:length], lambda _: plan)


def test_a_plan_missing_from_the_catalog_is_damage_not_a_crash() -> None:
    plan = plan_of(ValueType.FLOAT64)
    block = encode_block([part_of(plan, 1, [1.0])], 1, lambda _: 1)

    with pytest.raises(BlockDamaged, match="not readable"):
        decode_block(block, {}.__getitem__)


def golden_parts() -> tuple[Plan, list[Part | Gap]]:
    plan = plan_of(*ValueType)
    at = 1_700_000_000_000_000_000
    return plan, [
        part_of(plan, at, [True, -5, 2**64 - 1, 21.5, "läuft", b"\x00\xff"]),
        Gap("press", "fast", "outbox-full", at, at + 1, 2, 12),
        part_of(
            plan,
            at + 250_000_000,
            [None, 22.25],
            indexes=[0, 3],
            qualities=[Quality.BAD_NO_COMMUNICATION, 0],
            source_at_ns=[None, at + 249_000_000],
        ),
    ]


def test_blocks_of_format_1_stay_readable() -> None:
    """The file was written once and is never made again: what breaks it is a new format."""
    plan, _ = golden_parts()

    found = decode_block(GOLDEN.read_bytes(), {1: plan}.__getitem__)

    at = 1_700_000_000_000_000_000
    assert found == [
        Record(41, plan, at, [True, -5, 2**64 - 1, 21.5, "läuft", b"\x00\xff"], None, None,
               [None] * 6),
        GapRecord(42, Gap("press", "fast", "outbox-full", at, at + 1, 2, 12)),
        Record(43, plan, at + 250_000_000, [None, 22.25], [0, 3],
               [Quality.BAD_NO_COMMUNICATION, 0], [None, at + 249_000_000]),
    ]  # fmt: skip


def test_a_body_that_claims_to_be_huge_is_refused_before_memory_is_reserved() -> None:
    plan = plan_of(ValueType.FLOAT64)
    block = bytearray(encode_block([part_of(plan, 1, [1.0])], 1, lambda _: 1))
    struct.pack_into("<I", block, HEADER_BYTES - 8, BODY_BYTES_MAX + 1)
    crc = zlib.crc32(block[HEADER_BYTES:], zlib.crc32(block[: HEADER_BYTES - 4]))
    struct.pack_into("<I", block, HEADER_BYTES - 4, crc)

    with pytest.raises(BlockDamaged, match="at most"):
        decode_block(bytes(block), lambda _: plan)
