"""Blocks: how the queue stores records, as compressed columns. docs/formats/block.md draws them.

A block holds the records of one or more scans, of any number of plans, under consecutive
sequences. Its header can be read without unpacking; its checksum covers header and body.
Records of the same plan share one section, and in it every value type has one array.
"""

import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from common.errors import BlockDamaged
from common.records import Gap, GapRecord, Plan, Record, ValueType

BODY_BYTES_MAX = 64 * 1024 * 1024
"""A larger body is a damaged length, not data; it is refused before memory is reserved."""
NO_SOURCE_TIME = -(2**63)
COMPRESSION_LEVEL = 1
RECORD_ORDER = 0
"""Samples stand record by record. Further orders may follow; readers refuse the unknown."""
RAW = 0
"""Array encoding 0: little-endian items. Others may follow; readers refuse the unknown."""

_MAGIC = b"TRB1"
_ZSTD = 1
_HEADER = struct.Struct("<4sBBHQQIIqqI")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size

Ints = npt.NDArray[np.int64]
Indexes = npt.NDArray[np.uint16]
Positions = npt.NDArray[np.uint32]

_TYPES = tuple(ValueType)
"""The order of the value arrays in a section."""
_DTYPES: dict[ValueType, np.dtype[Any]] = {
    ValueType.BOOL: np.dtype("<u1"),
    ValueType.INT64: np.dtype("<i8"),
    ValueType.UINT64: np.dtype("<u8"),
    ValueType.FLOAT64: np.dtype("<f8"),
}


class Layout:
    """Which columns of a plan hold which value type; made once per plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.kinds = np.array([_TYPES.index(c.value_type) for c in plan.columns], np.uint8)
        present = sorted(set(self.kinds.tolist()))
        self.single = _TYPES[present[0]] if len(present) == 1 else None
        """The one type of all columns, None when they differ."""
        self.columns_of = {
            _TYPES[kind]: np.flatnonzero(self.kinds == kind).astype(np.uint16) for kind in present
        }


@dataclass(slots=True)
class Part:
    """One normalised scan, or what is worth reporting of it, before it has a sequence.

    Each type's array holds the present columns of that type in ascending order. A sample without
    a value has 0 (or an empty text) there, and its place among all present columns is in `nulls`.
    """

    layout: Layout
    read_at_ns: int
    arrays: dict[ValueType, Any]
    """numpy arrays for numbers and booleans, lists for STRING and BYTES."""
    samples: int
    indexes: Indexes | None = None
    """Present columns, ascending; None when all are."""
    nulls: Positions | None = None
    quality_at: Positions | None = None
    """Places among the present columns whose quality is not Good."""
    qualities: Positions | None = None
    source_at_ns: Ints | None = None
    """Source time of each present column, UTC ns; NO_SOURCE_TIME where there is none."""


class BlockHeader(NamedTuple):
    """What a block says of itself without being unpacked."""

    first_sequence: int
    last_sequence: int
    records: int
    samples: int
    first_at_ns: int
    last_at_ns: int
    """Read times of the earliest and the latest record (gateway clock, UTC)."""


class _Section(msgspec.Struct, array_like=True):
    """All records of one plan in a block. Fields are only ever appended."""

    plan: int
    sequences: bytes
    read_at: bytes
    counts: bytes | None
    indexes: bytes | None
    order: int
    arrays: list[tuple[int, Any] | None]
    nulls: bytes
    quality_at: bytes
    qualities: bytes
    source_at: bytes | None


class _Body(msgspec.Struct, array_like=True):
    sections: list[_Section]
    gaps: list[tuple[int, Gap]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)
_compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_content_size=True)
_decompressor = zstandard.ZstdDecompressor()


def encode_block(
    parts: Sequence[Part | Gap], first_sequence: int, plan_id: Callable[[Plan], int]
) -> bytes:
    """Return the block of `parts`, sequences first_sequence, +1, … in the order given."""
    by_plan: dict[bytes, list[tuple[int, Part]]] = {}
    gaps: list[tuple[int, Gap]] = []
    times: list[int] = []
    samples = 0
    for offset, part in enumerate(parts):
        if isinstance(part, Part):
            by_plan.setdefault(part.layout.plan.fingerprint, []).append((offset, part))
            times.append(part.read_at_ns)
            samples += part.samples
        else:
            gaps.append((offset, part))
            times += (part.first_at_ns, part.last_at_ns)
    first_at_ns, last_at_ns = min(times), max(times)
    sections = [
        _encode_section(of_plan, plan_id(of_plan[0][1].layout.plan), first_at_ns)
        for of_plan in by_plan.values()
    ]
    raw = _encoder.encode(_Body(sections, gaps))
    body = _compressor.compress(raw)
    last_sequence = first_sequence + len(parts) - 1
    header = _HEADER.pack(
        _MAGIC, _ZSTD, 0, 0, first_sequence, last_sequence, len(parts), samples,
        first_at_ns, last_at_ns, len(raw),
    )  # fmt: skip
    return header + _CRC.pack(zlib.crc32(body, zlib.crc32(header))) + body


def _encode_section(of_plan: list[tuple[int, Part]], plan_id: int, first_at_ns: int) -> _Section:
    parts = [part for _, part in of_plan]
    partial = any(part.indexes is not None for part in parts)
    starts = np.cumsum([0] + [part.samples for part in parts[:-1]])
    arrays: list[tuple[int, Any] | None] = []
    for value_type in _TYPES:
        held = [part.arrays[value_type] for part in parts if value_type in part.arrays]
        if not held:
            arrays.append(None)
        elif value_type in _DTYPES:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            arrays.append((RAW, joined.astype(_DTYPES[value_type], copy=False).tobytes()))
        else:
            arrays.append((RAW, [value for values in held for value in values]))
    return _Section(
        plan=plan_id,
        sequences=np.array([offset for offset, _ in of_plan], "<u4").tobytes(),
        read_at=np.array([part.read_at_ns - first_at_ns for part in parts], "<i8").tobytes(),
        counts=np.array([p.samples for p in parts], "<u4").tobytes() if partial else None,
        indexes=b"".join(_indexes_of(part).tobytes() for part in parts) if partial else None,
        order=RECORD_ORDER,
        arrays=arrays,
        nulls=_shifted(starts, [part.nulls for part in parts]),
        quality_at=_shifted(starts, [part.quality_at for part in parts]),
        qualities=b"".join(
            part.qualities.astype("<u4", copy=False).tobytes()
            for part in parts
            if part.qualities is not None
        ),
        source_at=_source_times(parts),
    )


def _indexes_of(part: Part) -> Indexes:
    if part.indexes is None:
        return np.arange(part.samples, dtype="<u2")
    return part.indexes.astype("<u2", copy=False)


def _shifted(starts: npt.NDArray[Any], positions: Iterable[Positions | None]) -> bytes:
    """Places within each record → places within the section."""
    return b"".join(
        (places + start).astype("<u4").tobytes()
        for start, places in zip(starts, positions, strict=True)
        if places is not None
    )


def _source_times(parts: Sequence[Part]) -> bytes | None:
    """Source times as offsets from the record's read time, None when there are none at all."""
    if all(part.source_at_ns is None for part in parts):
        return None
    joined = []
    for part in parts:
        times = part.source_at_ns
        if times is None:
            joined.append(np.full(part.samples, NO_SOURCE_TIME, "<i8"))
        else:
            offsets = np.where(times == NO_SOURCE_TIME, times, times - part.read_at_ns)
            joined.append(offsets.astype("<i8", copy=False))
    return np.concatenate(joined).tobytes()


def read_header(block: bytes) -> BlockHeader:
    """Return a block's header. Raises BlockDamaged. Does not check the body."""
    if len(block) < HEADER_BYTES:
        raise BlockDamaged(f"{len(block)} bytes, shorter than a header of {HEADER_BYTES}")
    magic, codec, _, _, first, last, records, samples, first_at, last_at, _ = _HEADER.unpack_from(
        block
    )
    if magic != _MAGIC or codec != _ZSTD:
        raise BlockDamaged(f"not a block of this version (begins {bytes(block[:5])!r})")
    return BlockHeader(first, last, records, samples, first_at, last_at)


def decode_block(block: bytes, plan_of: Callable[[int], Plan]) -> list[Record | GapRecord]:
    """Return the records of a block in order of sequence.

    `plan_of` finds a plan in the catalog and raises KeyError for an unknown id.
    Raises BlockDamaged when the bytes are not what was written.
    """
    header = read_header(block)
    body = _checked_body(block)
    records: list[Record | GapRecord] = [
        GapRecord(header.first_sequence + offset, gap) for offset, gap in body.gaps
    ]
    try:
        for section in body.sections:
            records += _decode_section(section, header, plan_of(section.plan))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise BlockDamaged(f"checksum right, content not readable: {error}") from error
    records.sort(key=lambda record: record.sequence)
    return records


def samples_by_plan(block: bytes) -> tuple[dict[int, tuple[int, int]], list[Gap]]:
    """Return {plan id: (records, samples)} and the gaps of a block, without building records."""
    body = _checked_body(block)
    counts = {}
    for section in body.sections:
        held = [array for array in section.arrays if array is not None]
        sizes = (
            len(array[1]) // (_DTYPES[value_type].itemsize if value_type in _DTYPES else 1)
            for value_type, array in zip(_TYPES, section.arrays, strict=True)
            if array is not None
        )
        counts[section.plan] = (len(section.sequences) // 4, sum(sizes) if held else 0)
    return counts, [gap for _, gap in body.gaps]


def _checked_body(block: bytes) -> _Body:
    (crc,) = _CRC.unpack_from(block, _HEADER.size)
    raw_bytes = _HEADER.unpack_from(block)[-1]
    view = memoryview(block)
    if zlib.crc32(view[HEADER_BYTES:], zlib.crc32(view[: _HEADER.size])) != crc:
        raise BlockDamaged("the checksum does not match")
    if raw_bytes > BODY_BYTES_MAX:
        raise BlockDamaged(f"a body of {raw_bytes} bytes; {BODY_BYTES_MAX} at most")
    try:
        raw = _decompressor.decompress(view[HEADER_BYTES:], max_output_size=raw_bytes)
        return _decoder.decode(raw)
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise BlockDamaged(f"checksum right, content not readable: {error}") from error


def _decode_section(section: _Section, header: BlockHeader, plan: Plan) -> list[Record]:
    if section.order != RECORD_ORDER:
        raise BlockDamaged(f"array order {section.order}: written by a newer version; update")
    sequences = np.frombuffer(section.sequences, "<u4").tolist()
    read_at = (np.frombuffer(section.read_at, "<i8") + header.first_at_ns).tolist()
    width = len(plan.columns)
    if section.counts is None or section.indexes is None:
        counts = [width] * len(sequences)
        indexes = np.tile(np.arange(width, dtype=np.uint16), len(sequences))
    else:
        counts = np.frombuffer(section.counts, "<u4").tolist()
        indexes = np.frombuffer(section.indexes, "<u2")
    total = sum(counts)
    values = _values_of(section, Layout(plan).kinds[indexes], total)
    for place in np.frombuffer(section.nulls, "<u4").tolist():
        values[place] = None
    qualities = _sparse(section.quality_at, section.qualities, total)
    offsets = None if section.source_at is None else np.frombuffer(section.source_at, "<i8")
    records = []
    start = 0
    for i, count in enumerate(counts):
        end = start + count
        part = qualities[start:end] if qualities else None
        records.append(
            Record(
                sequence=header.first_sequence + sequences[i],
                plan=plan,
                read_at_ns=read_at[i],
                values=values[start:end],
                indexes=None if count == width else indexes[start:end].tolist(),
                qualities=part if part and any(part) else None,
                source_at_ns=None
                if offsets is None
                else [
                    None if offset == NO_SOURCE_TIME else read_at[i] + offset
                    for offset in offsets[start:end].tolist()
                ],
            )
        )
        start = end
    return records


def _values_of(section: _Section, kinds: npt.NDArray[np.uint8], total: int) -> list[Any]:
    """All values of a section in stored order, from its one array per type."""
    unpacked: dict[int, list[Any]] = {}
    for kind, (value_type, array) in enumerate(zip(_TYPES, section.arrays, strict=True)):
        if array is None:
            continue
        encoding, stored = array
        if encoding != RAW:
            raise BlockDamaged(f"array encoding {encoding}: written by a newer version; update")
        if value_type in _DTYPES:
            unpacked[kind] = np.frombuffer(stored, _DTYPES[value_type]).tolist()
        else:
            unpacked[kind] = list(stored)
        if value_type is ValueType.BOOL:
            unpacked[kind] = [value != 0 for value in unpacked[kind]]
    if len(unpacked) == 1:
        (values,) = unpacked.values()
    else:
        sources = {kind: iter(values) for kind, values in unpacked.items()}
        values = [next(sources[kind]) for kind in kinds.tolist()]
    if len(values) != total:
        raise ValueError(f"{len(values)} values for {total} samples")
    return values


def _sparse(places: bytes, codes: bytes, total: int) -> list[int] | None:
    if not places:
        return None
    dense = np.zeros(total, np.uint32)
    dense[np.frombuffer(places, "<u4")] = np.frombuffer(codes, "<u4")
    return dense.tolist()
