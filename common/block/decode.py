"""Reading blocks: as records for whoever delivers them, as a batch for whoever rewrites them."""

from collections.abc import Callable
from itertools import accumulate
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from common.block import append, compact
from common.block.arrays import ArrayReader
from common.block.batch import Batch, PlacedGap, Section
from common.block.body import COLUMN_ORDER, RECORD_ORDER, SectionDirectory, opened, readable
from common.block.header import BlockHeader, PlanCount, checked_body
from common.block.parts import DTYPES, NO_SOURCE_TIME, TYPES, kinds_of
from common.block.runs import Words
from common.records import GapRecord, Plan, Record, ValueType

PlanOf = Callable[[int], Plan]
_READERS = {RECORD_ORDER: append, COLUMN_ORDER: compact}


def decode_block(block: bytes, plan_of: PlanOf) -> list[Record | GapRecord]:
    """Return what a block holds, in order of sequence; a gap stands behind a record that shares it.

    `plan_of` finds a plan in the catalog and raises KeyError for an unknown id.
    Raises BlockDamaged when the bytes are not what was written, FormatUnknown when they are, but
    of a version that this one does not know.
    """
    _, sections, gaps = _read(block, plan_of)
    records: list[Record | GapRecord] = []
    for section, order in sections:
        records += records_of(section if order == RECORD_ORDER else section.by_record())
    records += [GapRecord(gap.sequence, gap.gap, gap.number) for gap in gaps]
    if len(sections) > 1 or gaps:
        records.sort(key=attrgetter("sequence"))
    return records


def open_batch(block: bytes, plan_of: PlanOf) -> Batch:
    """Return what a block holds as arrays. Arguments and errors are those of `decode_block`."""
    header, sections, gaps = _read(block, plan_of)
    by_column = [
        section.by_column() if order == RECORD_ORDER else section for section, order in sections
    ]
    return Batch(header.first_sequence, header.last_sequence, by_column, gaps)


def _read(
    block: bytes, plan_of: PlanOf
) -> tuple[BlockHeader, list[tuple[Section, int]], list[PlacedGap]]:
    """Return (header, (section, order of its samples) of each plan, gaps in their order)."""
    header, packed = checked_body(block)
    with readable():
        directories, gaps, arrays = opened(packed, header.body_bytes)
        sections = [
            (_section(directory, arrays, header, count, plan_of(count.plan_id)), directory.order)
            for directory, count in zip(directories, header.plans, strict=True)
        ]
        arrays.finish()
        placed = [PlacedGap(header.first_sequence + after, n, gap) for after, n, gap in gaps]
        if len(placed) != header.gaps:
            raise ValueError(f"{len(placed)} gaps; the header says {header.gaps}")
    placed.sort(key=attrgetter("sequence", "number"))
    return header, sections, placed


def _section(
    directory: SectionDirectory,
    arrays: ArrayReader,
    header: BlockHeader,
    count: PlanCount,
    plan: Plan,
) -> Section:
    """Read a section, its samples as they stand."""
    reader = _READERS[directory.order]
    after_first = arrays.read(directory.sequences, "<u8")
    read_at_ns = arrays.read(directory.read_at, "<i8") + header.first_at_ns
    if not len(after_first) == len(read_at_ns) == count.records:
        raise ValueError(f"{len(after_first)} sequences of {count.records} records")
    if not directory.presence and count.samples != count.records * len(plan.columns):
        raise ValueError(f"{count.samples} samples in {count.records} whole records")
    record, column = reader.read_presence(directory, arrays, count, len(plan.columns))
    null = quality = source_at_ns = None
    if directory.nulls is not None:
        null = np.zeros(count.samples, bool)
        null[arrays.read(directory.nulls, "<u4")] = True
    if directory.quality_at is not None and directory.qualities is not None:
        quality = np.zeros(count.samples, np.uint32)
        places = arrays.read(directory.quality_at, "<u4")
        quality[places] = arrays.read(directory.qualities, "<u4")
    if directory.source_at:
        source_at_ns = reader.read_source_times(directory, arrays, record, read_at_ns)
    bits = reader.read_values(directory, arrays, plan, column, null)
    if not len(record) == len(column) == len(bits) == count.samples:
        raise ValueError(f"{len(bits)} values; the header says {count.samples} samples")
    if not {str, bytes}.issuperset(map(type, directory.texts)):
        raise ValueError("texts that are none")
    return Section(
        plan_id=count.plan_id,
        plan=plan,
        sequences=after_first + np.uint64(header.first_sequence),
        read_at_ns=read_at_ns,
        record=record,
        column=column,
        bits=bits,
        texts=directory.texts,
        null=null,
        quality=quality,
        source_at_ns=source_at_ns,
    )


def records_of(section: Section) -> list[Record]:
    """Return the records of a section whose samples stand record by record."""
    width = len(section.plan.columns)
    values = _values(section)
    if section.samples == section.records * width:
        columns, counts = [], [width] * section.records
    else:
        columns = section.column.tolist()
        counts = np.bincount(section.record, minlength=section.records).tolist()
    qualities = None if section.quality is None else section.quality.tolist()
    source_at_ns = None if section.source_at_ns is None else _source_times(section.source_at_ns)
    records = []
    start = 0
    for sequence, read_at_ns, end in zip(
        section.sequences.tolist(),
        section.read_at_ns.tolist(),
        accumulate(counts),
        strict=True,
    ):
        codes = qualities[start:end] if qualities else None
        records.append(
            Record(
                sequence,
                section.plan,
                read_at_ns,
                values[start:end],
                None if end - start == width else columns[start:end],
                codes if codes and any(codes) else None,
                source_at_ns[start:end] if source_at_ns else None,
            )
        )
        start = end
    return records


def _values(section: Section) -> list[Any]:
    """Return the values as Python knows them."""
    kinds = kinds_of(section.plan)
    used = set(kinds.tolist())
    if len(used) == 1 and section.null is None:
        return _of_kind(used.pop(), section.bits, section.texts)
    kinds = kinds[section.column]
    values = np.full(section.samples, None, object)
    for kind in used:
        chosen = kinds == kind if section.null is None else (kinds == kind) & ~section.null
        values[chosen] = _of_kind(kind, section.bits[chosen], section.texts)
    return values.tolist()


def _of_kind(kind: int, bits: Words, texts: list[Any]) -> list[Any]:
    """Return values of one type."""
    value_type = TYPES[kind]
    if value_type not in DTYPES:
        return [texts[place] for place in bits.tolist()]
    array = bits != 0 if value_type is ValueType.BOOL else bits.view(DTYPES[value_type])
    values: list[Any] = array.tolist()
    return values


def _source_times(times: npt.NDArray[np.int64]) -> list[int | None]:
    return [None if at_ns == NO_SOURCE_TIME else at_ns for at_ns in times.tolist()]
