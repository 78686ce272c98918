"""A block's body: a directory in msgpack, then the arrays that it describes, packed by zstd.

Samples stand in one of two orders: record by record, as they are written first (append.py), or
tag by tag, as compaction leaves them (compact.py). docs/formats/block.md draws both.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from common.block.arrays import ArrayReader, Description
from common.errors import BlockDamaged, FormatUnknown
from common.records import Gap

RECORD_ORDER, COLUMN_ORDER = range(2)

_LENGTH = struct.Struct("<I")


class SectionDirectory(msgspec.Struct, array_like=True):
    """The records of one plan. Arrays stand in the order of these fields; fields are only appended.

    How presence, source times and values are written depends on the order of the samples.
    """

    order: int
    sequences: Description
    """Of each record, its sequence after the block's first."""
    read_at: Description
    """Of each record, its read time in ns after the block's earliest."""
    presence: list[Description]
    """Which columns each record has; empty when all have all."""
    nulls: Description | None
    """Places of the samples without a value."""
    quality_at: Description | None
    """Places of the samples that are not Good."""
    qualities: Description | None
    """Their status codes."""
    source_at: list[Any]
    """When the device took each sample; empty when it never says."""
    values: list[Any]
    texts: list[Any]
    """Strings and bytes that the values name by their place."""


class _Directory(msgspec.Struct, array_like=True):
    sections: list[msgspec.Raw]
    gaps: list[tuple[int, int, Gap]]
    """Sequence after the block's first, number, gap."""


class _Order(msgspec.Struct, array_like=True):
    """As much of a section's directory as every version has."""

    order: int


_encoder = msgspec.msgpack.Encoder()
_directories = msgspec.msgpack.Decoder(_Directory)
_orders = msgspec.msgpack.Decoder(_Order)
_sections = msgspec.msgpack.Decoder(SectionDirectory)
_decompressor = zstandard.ZstdDecompressor()


def pieces_of(
    sections: Sequence[SectionDirectory],
    gaps: Sequence[tuple[int, int, Gap]],
    arrays: Sequence[bytes],
) -> list[bytes]:
    """Return the pieces of a body: its directory, then the arrays."""
    raw = [msgspec.Raw(_encoder.encode(section)) for section in sections]
    directory = _encoder.encode(_Directory(raw, list(gaps)))
    return [_LENGTH.pack(len(directory)) + directory, *arrays]


def opened(
    packed: memoryview, body_bytes: int
) -> tuple[list[SectionDirectory], list[tuple[int, int, Gap]], ArrayReader]:
    """Unpack a body of a length that the header has bounded; to be called inside `readable`."""
    if zstandard.frame_content_size(packed) != body_bytes:
        raise ValueError("the body has another length than its header says")
    body = memoryview(_decompressor.decompress(packed, allow_extra_data=False))
    (length,) = _LENGTH.unpack_from(body)
    directory = _directories.decode(body[_LENGTH.size : _LENGTH.size + length])
    sections = [_section(raw) for raw in directory.sections]
    return sections, directory.gaps, ArrayReader(body[_LENGTH.size + length :])


def _section(raw: msgspec.Raw) -> SectionDirectory:
    order = _orders.decode(raw).order
    if order not in (RECORD_ORDER, COLUMN_ORDER):
        raise FormatUnknown(f"samples in order {order}; this version reads 0 and 1")
    return _sections.decode(raw)


def checked_counts(counts: npt.NDArray[np.uint32], items: int, total: int) -> Any:
    """Return counts that are known to be as many and to sum up to as much as they should."""
    if len(counts) != items or counts.sum(dtype=np.uint64) != total:
        raise ValueError(f"{len(counts)} counts of {items}, of {counts.sum()} samples in {total}")
    return counts


@contextmanager
def readable() -> Iterator[None]:
    """Turn what reading a body may raise into BlockDamaged; FormatUnknown passes."""
    try:
        yield
    except (
        ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
        struct.error, msgspec.MsgspecError, zstandard.ZstdError,
    ) as error:  # fmt: skip
        raise BlockDamaged(f"whole, and yet not readable: {error}") from error
