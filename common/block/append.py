"""Blocks as they are written first: fast, record by record, every array as it stands."""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from common.block.arrays import ArrayReader, ArrayWriter, Description, Times
from common.block.body import RECORD_ORDER, SectionDirectory, checked_counts, pieces_of
from common.block.header import BlockHeader, PlanCount, sealed
from common.block.parts import (
    BYTES_KIND,
    DTYPES,
    NO_SOURCE_TIME,
    STRING_KIND,
    TYPES,
    Part,
    Positions,
    kinds_of,
)
from common.block.runs import Mask, Words
from common.records import Gap, Plan, ValueType

COMPRESSION_LEVEL = 1
WHOLE = 0
"""The stage of a block that has given up nothing."""
_WORD = 8

_compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_content_size=True)


def encode_block(
    parts: Sequence[Part | Gap], first_sequence: int, plan_id: Callable[[Plan], int]
) -> bytes:
    """Return the block of `parts`, sequences first_sequence, +1, … in the order given."""
    by_plan: dict[bytes, list[tuple[int, Part]]] = {}
    gaps: list[tuple[int, int, Gap]] = []
    times: list[int] = []
    for offset, part in enumerate(parts):
        if isinstance(part, Part):
            by_plan.setdefault(part.layout.plan.fingerprint, []).append((offset, part))
            times.append(part.read_at_ns)
        else:
            gaps.append((offset, 0, part))
            times += (part.first_at_ns, part.last_at_ns)
    first_at_ns, last_at_ns = min(times), max(times)
    arrays = ArrayWriter()
    sections, counts = [], []
    for of_plan in by_plan.values():
        sections.append(_section(of_plan, first_at_ns, arrays))
        plan = of_plan[0][1].layout.plan
        samples = sum([part.samples for _, part in of_plan])
        counts.append(PlanCount(plan_id(plan), len(of_plan), samples))
    body = b"".join(pieces_of(sections, gaps, arrays.arrays))
    header = BlockHeader(
        first_sequence,
        first_sequence + len(parts) - 1,
        len(gaps),
        WHOLE,
        first_at_ns,
        last_at_ns,
        tuple(counts),
        len(body),
    )
    return sealed(header, _compressor.compress(body))


def _section(
    of_plan: Sequence[tuple[int, Part]], first_at_ns: int, arrays: ArrayWriter
) -> SectionDirectory:
    parts = [part for _, part in of_plan]
    starts = list(accumulate([part.samples for part in parts[:-1]], initial=0))
    offsets = np.array([offset for offset, _ in of_plan], "<u8")
    read_at = np.array([part.read_at_ns - first_at_ns for part in parts], "<i8")
    return SectionDirectory(
        order=RECORD_ORDER,
        sequences=arrays.raw([offsets], "<u8"),
        read_at=arrays.raw([read_at], "<i8"),
        presence=_presence(parts, arrays),
        nulls=_some(_shifted([part.nulls for part in parts], starts), "<u4", arrays),
        quality_at=_some(_shifted([part.quality_at for part in parts], starts), "<u4", arrays),
        qualities=_some([part.qualities for part in parts], "<u4", arrays),
        source_at=_source_times(parts, arrays),
        values=[
            _some([part.arrays.get(value_type) for part in parts], dtype.str, arrays)
            for value_type, dtype in DTYPES.items()
        ],
        texts=[
            text
            for value_type in (ValueType.STRING, ValueType.BYTES)
            for part in parts
            for text in part.arrays.get(value_type, ())
        ],
    )


def _some(
    held: Iterable[npt.NDArray[Any] | None], dtype: str, arrays: ArrayWriter
) -> Description | None:
    """Write as one array what some parts have; None when none has."""
    present = [array for array in held if array is not None]
    return arrays.raw(present, dtype) if present else None


def _presence(parts: Sequence[Part], arrays: ArrayWriter) -> list[Description]:
    """Write how many columns each record has, and which."""
    if all(part.indexes is None for part in parts):
        return []
    counts = np.array([part.samples for part in parts], "<u4")
    indexes = [np.arange(part.samples) if part.indexes is None else part.indexes for part in parts]
    return [arrays.raw([counts], "<u4"), arrays.raw(indexes, "<u2")]


def _shifted(
    places: Iterable[Positions | None], starts: Sequence[int]
) -> list[npt.NDArray[Any] | None]:
    """Turn places within each record into places within the section."""
    return [
        None if each is None else each.astype(np.int64) + start
        for each, start in zip(places, starts, strict=True)
    ]


def _source_times(parts: Sequence[Part], arrays: ArrayWriter) -> list[Description]:
    if all(part.source_at_ns is None for part in parts):
        return []
    offsets = []
    for part in parts:
        times = part.source_at_ns
        if times is None:
            offsets.append(np.full(part.samples, NO_SOURCE_TIME))
        else:
            offsets.append(np.where(times == NO_SOURCE_TIME, times, times - part.read_at_ns))
    return [arrays.raw(offsets, "<i8")]


def read_source_times(
    directory: SectionDirectory,
    arrays: ArrayReader,
    record: npt.NDArray[np.uint32],
    read_at_ns: Times,
) -> Times:
    """Return the source time of each sample."""
    late_ns = arrays.read(directory.source_at[0], "<i8")
    return np.where(late_ns == NO_SOURCE_TIME, late_ns, late_ns + read_at_ns[record])


def read_presence(
    directory: SectionDirectory, arrays: ArrayReader, count: PlanCount, width: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
    """Return (place of its record, column) of each sample."""
    records = np.arange(count.records, dtype=np.uint32)
    if not directory.presence:
        columns = np.empty((count.records, width), np.uint16)
        columns[:] = np.arange(width)
        return records.repeat(width), columns.reshape(-1)
    counts, indexes = directory.presence
    record = records.repeat(
        checked_counts(arrays.read(counts, "<u4"), count.records, count.samples)
    )
    column = arrays.read(indexes, "<u2")
    if column.max(initial=0) >= width:
        raise ValueError(f"column {column.max()} of {width}")
    return record, column


def read_values(
    directory: SectionDirectory,
    arrays: ArrayReader,
    plan: Plan,
    column: npt.NDArray[np.uint16],
    _null: Mask | None,
) -> Words:
    """Return the bits of each sample."""
    held: list[tuple[int, Words]] = []
    for kind, description in enumerate(directory.values):
        if description is not None:
            array = arrays.read(description, DTYPES[TYPES[kind]].str)
            words = array.view("<u8") if array.itemsize == _WORD else (array != 0).astype("<u8")
            held.append((kind, words))
    if not directory.texts and len(held) == 1:
        return held[0][1]
    kinds = kinds_of(plan)[column]
    texts = np.arange(len(directory.texts), dtype="<u8")
    strings = int(np.count_nonzero(kinds == STRING_KIND))
    held += [(STRING_KIND, texts[:strings]), (BYTES_KIND, texts[strings:])]
    bits = np.zeros(len(kinds), "<u8")
    for kind, words in held:
        of_kind = np.flatnonzero(kinds == kind)
        if len(of_kind) != len(words):
            raise ValueError(f"{len(words)} values for {len(of_kind)} samples")
        bits[of_kind] = words
    return bits
