"""Blocks as compaction leaves them: small. Samples stand tag by tag, as numbers that are alike.

Every value becomes an integer: booleans, integers and the places of texts as they are, floats by
their form (floats.py). Of each tag the first integer is kept and then differences, in classes of
tags whose differences are of one size. docs/formats/block.md draws it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from common.block.arrays import ArrayReader, ArrayWriter, Description, Times, unit_of
from common.block.batch import Batch, PlacedGap, Section
from common.block.body import COLUMN_ORDER, SectionDirectory, checked_counts, pieces_of
from common.block.floats import apart, together
from common.block.header import BlockHeader, PlanCount, sealed
from common.block.parts import FLOAT_KIND, NO_SOURCE_TIME, STRING_KIND, kinds_of
from common.block.runs import (
    Mask,
    Words,
    begins,
    bit_lengths,
    differences,
    in_order,
    merged,
    present,
    sums,
    unzigzag,
    zigzag,
)
from common.records import Plan

_NS_PER_MS = 1_000_000
_FLUSH_BYTES = 256
"""Less is not worth a zstd block of its own."""
_CLASS_BITS = 2
"""Tags are of one class when the mean size of their differences is alike within this."""
_COMPRESSION = zstandard.ZstdCompressionParameters(
    # Optimal parsing, and no short matches: in nearly random bytes they cost more than they save.
    strategy=zstandard.STRATEGY_BTOPT, min_match=6, search_log=3, target_length=16,
    window_log=17, hash_log=13, chain_log=13, write_content_size=True,
)  # fmt: skip

_compressor = zstandard.ZstdCompressor(compression_params=_COMPRESSION)


def encode_batch(batch: Batch, stage: int) -> bytes:
    """Return the block of a batch in its compact form. Raises ValueError beyond the limits."""
    sections = [section for section in batch.sections if section.records]
    first_at_ns, last_at_ns = _extent(sections, batch.gaps)
    arrays = ArrayWriter()
    directories = [
        _section(section, batch.first_sequence, first_at_ns, arrays) for section in sections
    ]
    gaps = [(gap.sequence - batch.first_sequence, gap.number, gap.gap) for gap in batch.gaps]
    pieces = pieces_of(directories, gaps, arrays.arrays)
    counts = tuple(
        PlanCount(section.plan_id, section.records, section.samples) for section in sections
    )
    header = BlockHeader(
        batch.first_sequence,
        batch.last_sequence,
        len(gaps),
        stage,
        first_at_ns,
        last_at_ns,
        counts,
        sum([len(piece) for piece in pieces]),
    )
    return sealed(header, _packed(pieces, header.body_bytes))


def _packed(pieces: list[bytes], size: int) -> bytes:
    """Compress into one frame, in which every piece begins a zstd block.

    A zstd block has one table of codes; pieces that differ would pay for sharing it.
    """
    frame = _compressor.compressobj(size=size)
    packed, pending = [], 0
    for piece in pieces:
        packed.append(frame.compress(piece))
        pending += len(piece)
        if pending >= _FLUSH_BYTES:
            packed.append(frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            pending = 0
    packed.append(frame.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))
    return b"".join(packed)


def _extent(sections: Sequence[Section], gaps: Sequence[PlacedGap]) -> tuple[int, int]:
    """Return the earliest and the latest read time of records and gaps; zeros without any."""
    firsts = [int(section.read_at_ns.min()) for section in sections]
    lasts = [int(section.read_at_ns.max()) for section in sections]
    firsts += [gap.gap.first_at_ns for gap in gaps]
    lasts += [gap.gap.last_at_ns for gap in gaps]
    return min(firsts, default=0), max(lasts, default=0)


def _section(
    section: Section, first_sequence: int, first_at_ns: int, arrays: ArrayWriter
) -> SectionDirectory:
    period_ns = section.plan.period_ms * _NS_PER_MS
    null, quality = section.null, section.quality
    not_good = None if quality is None else np.flatnonzero(quality)
    directory = SectionDirectory(
        order=COLUMN_ORDER,
        sequences=arrays.deltas(section.sequences - np.uint64(first_sequence)),
        read_at=arrays.times(section.read_at_ns - first_at_ns, period_ns),
        presence=_presence(section, arrays),
        nulls=None if null is None else arrays.deltas(np.flatnonzero(null)),
        quality_at=None if not_good is None else arrays.deltas(not_good),
        qualities=None if quality is None else arrays.planes(quality[not_good]),
        source_at=_source_times(section, arrays),
        values=[],
        texts=[],
    )
    directory.values, directory.texts = _values(section, arrays)
    return directory


def _presence(section: Section, arrays: ArrayWriter) -> list[Description]:
    """Write how many samples each tag has, and how many records after the one before it each."""
    width = len(section.plan.columns)
    if section.samples == section.records * width:
        return []
    counts = np.bincount(section.column, minlength=width)
    ordinal = section.record.astype("<u8") + np.uint64(1)
    return [arrays.planes(counts), arrays.planes(differences(ordinal, begins(section.column)))]


def read_presence(
    directory: SectionDirectory, arrays: ArrayReader, count: PlanCount, width: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
    """Return (place of its record, column) of each sample."""
    columns = np.arange(width, dtype=np.uint16)
    if not directory.presence:
        records = np.arange(count.records, dtype=np.uint32)
        return np.tile(records, width), columns.repeat(count.records)
    counts, places = directory.presence
    column = columns.repeat(checked_counts(arrays.read(counts, "<u4"), width, count.samples))
    ordinal = sums(arrays.read(places, "<u8"), begins(column))
    if np.any((ordinal == 0) | (ordinal > count.records)):
        raise ValueError(f"a sample of a record beyond {count.records}")
    return (ordinal - np.uint64(1)).astype("<u4"), column


def _source_times(section: Section, arrays: ArrayWriter) -> list[Any]:
    """Write source times record by record: a device often sweeps over all that it reports at once.

    Written is by how much each is earlier than its record was read.
    """
    if section.source_at_ns is None:
        return []
    order = in_order(section.record)
    times_ns, record = section.source_at_ns[order], section.record[order]
    timed = times_ns != NO_SOURCE_TIME
    times_ns, record = times_ns[timed], record[timed]
    unit_ns = unit_of(times_ns)
    early = section.read_at_ns[record] // unit_ns - times_ns // unit_ns
    begin = begins(record)
    steps = zigzag(differences(early.view("<u8"), begin))
    return [
        unit_ns,
        arrays.deltas(np.flatnonzero(~timed)),
        arrays.planes(steps[begin]),
        arrays.planes(steps[~begin]),
    ]


def read_source_times(
    directory: SectionDirectory,
    arrays: ArrayReader,
    record: npt.NDArray[np.uint32],
    read_at_ns: Times,
) -> Times:
    """Return the source time of each sample."""
    unit_ns, untimed, firsts, rest = directory.source_at
    if unit_ns < 1:
        raise ValueError(f"a clock that counts in {unit_ns} ns")
    samples = len(record)
    order = np.delete(in_order(record), arrays.read(untimed, "<u4"))
    record = record[order]
    begin = begins(record)
    steps = merged(arrays.read(firsts, "<u8"), arrays.read(rest, "<u8"), begin)
    early = sums(unzigzag(steps), begin).view("<i8")
    times_ns = np.full(samples, NO_SOURCE_TIME)
    times_ns[order] = (read_at_ns[record] // unit_ns - early) * unit_ns
    return times_ns


def _values(section: Section, arrays: ArrayWriter) -> tuple[list[Description], list[str | bytes]]:
    """Write every value there is; return with their arrays the texts that they name."""
    plan = section.plan
    valued = slice(None) if section.null is None else ~section.null
    tag, numbers = section.column[valued], section.bits[valued].copy()
    kinds = kinds_of(plan)[tag]
    texts = _renamed(numbers, np.flatnonzero(kinds >= STRING_KIND), section.texts)
    floats = np.flatnonzero(kinds == FLOAT_KIND)
    codes, integers, corrections = apart(numbers[floats].view("<f8"), tag[floats], plan)
    numbers[floats] = integers.view("<u8")
    begin = begins(tag)
    steps = zigzag(differences(numbers, begin))
    rest = steps[~begin]
    classes = _classes(rest, tag[~begin], len(plan.columns))
    class_of = classes[tag[~begin]]
    return [
        arrays.planes(codes),
        arrays.planes(zigzag(corrections.view("<u8"))),
        arrays.planes(classes),
        arrays.planes(steps[begin]),
        *[arrays.planes(rest[class_of == each]) for each in present(class_of)],
    ], texts


def _renamed(
    numbers: Words, textual: npt.NDArray[np.intp], texts: list[str | bytes]
) -> list[str | bytes]:
    """Return the texts that are used, each once, and name them in `numbers` by their new places."""
    used = [texts[place] for place in numbers[textual].tolist()]
    places: dict[str | bytes, int] = {}
    numbers[textual] = [places.setdefault(text, len(places)) for text in used]
    return list(places)


def _classes(steps: Words, tag: npt.NDArray[np.uint16], width: int) -> npt.NDArray[np.uint8]:
    """Return the class of each tag: how many bits its differences take on average, roughly."""
    counts = np.bincount(tag, minlength=width)
    bits = np.bincount(tag, bit_lengths(steps), width)
    return np.rint(bits / np.maximum(counts, 1) / _CLASS_BITS).astype(np.uint8)


def read_values(
    directory: SectionDirectory,
    arrays: ArrayReader,
    plan: Plan,
    column: npt.NDArray[np.uint16],
    null: Mask | None,
) -> Words:
    """Return the bits of each sample."""
    valued = slice(None) if null is None else ~null
    tag = column[valued]
    begin = begins(tag)
    forms, corrected, classed, firsts, *rests = directory.values
    codes, corrections = arrays.read(forms, "<u1"), arrays.read(corrected, "<u8")
    class_of = arrays.read(classed, "<u1")[tag[~begin]]
    first = arrays.read(firsts, "<u8")
    rest = np.zeros(len(class_of), "<u8")
    for each, description in zip(present(class_of), rests, strict=True):
        rest[class_of == each] = arrays.read(description, "<u8")
    numbers = sums(unzigzag(merged(first, rest, begin)), begin)
    kinds = kinds_of(plan)[tag]
    if np.any(numbers[kinds >= STRING_KIND] >= len(directory.texts)):
        raise ValueError(f"a text beyond {len(directory.texts)}")
    floats = np.flatnonzero(kinds == FLOAT_KIND)
    numbers[floats] = together(
        codes, numbers[floats].view("<i8"), unzigzag(corrections).view("<i8"), tag[floats], plan
    )
    bits = np.zeros(len(column), "<u8")
    bits[valued] = numbers
    return bits
