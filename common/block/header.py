"""A block's header: what the block holds, under a checksum of its own. Nothing here unpacks.

Its first twelve bytes are the same in every version: the version, the CRC-32 of the header and its
length. A header of another version is therefore told from a damaged one: it is whole.
"""

import struct
import zlib
from typing import NamedTuple

from common.errors import BlockDamaged, FormatUnknown

MAGIC = b"TRB2"
_FAMILY = MAGIC[:3]
_ZSTD = 1

_START = struct.Struct("<4sII")
"""Magic, CRC-32 of the header without these four bytes, length of the header."""
_CRC = slice(4, 8)
_REST = struct.Struct("<BBHQQqqIII")
"""Codec, stage, plans, sequences, times, gaps, raw bytes of the body, CRC-32 of the stored body."""
_PLAN = struct.Struct("<III")

PLANS_MAX = 2**16 - 1
HEADER_BYTES_MIN = _START.size + _REST.size
HEADER_BYTES_MAX = HEADER_BYTES_MIN + PLANS_MAX * _PLAN.size
SAMPLES_MAX = 2**20
"""In one block. A scan has 65,536 at the most; blocks are joined to some ten thousand."""
BODY_BYTES_MAX = 64 * 1024 * 1024
"""Unpacked. More is a damaged length, not data; it is refused before memory is reserved."""


class PlanCount(NamedTuple):
    """How much a block holds of one plan."""

    plan_id: int
    records: int
    samples: int


class BlockHeader(NamedTuple):
    """What a block says of itself without being unpacked."""

    first_sequence: int
    last_sequence: int
    gaps: int
    stage: int
    """What the block has given up to make room: the queue's word, of no meaning here."""
    first_at_ns: int
    last_at_ns: int
    """Earliest and latest read time of records and gaps (gateway clock, UTC); 0 without any."""
    plans: tuple[PlanCount, ...]
    body_bytes: int
    """Length of the body once unpacked."""

    @property
    def records(self) -> int:
        """How many records there are, gaps not counted."""
        return sum([plan.records for plan in self.plans])

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum([plan.samples for plan in self.plans])


def sealed(header: BlockHeader, body: bytes) -> bytes:
    """Return the block of a header and its packed body. Raises ValueError beyond the limits."""
    if (
        len(header.plans) > PLANS_MAX
        or max(header.samples, header.records) > SAMPLES_MAX
        or header.body_bytes > BODY_BYTES_MAX
    ):
        raise ValueError(
            f"too much for one block: {len(header.plans)} plans, {header.records} records, "
            f"{header.samples} samples, {header.body_bytes} bytes"
        )
    rest = _REST.pack(
        _ZSTD, header.stage, len(header.plans), header.first_sequence, header.last_sequence,
        header.first_at_ns, header.last_at_ns, header.gaps, header.body_bytes, zlib.crc32(body),
    )  # fmt: skip
    rest += b"".join([_PLAN.pack(*plan) for plan in header.plans])
    start = bytearray(_START.pack(MAGIC, 0, _START.size + len(rest)))
    start[_CRC] = _header_crc(start, rest).to_bytes(4, "little")
    return b"".join([start, rest, body])


def read_header(block: bytes) -> BlockHeader:
    """Return a block's header. Looks at nothing behind it: HEADER_BYTES_MAX bytes are enough.

    Raises BlockDamaged when it is not what was written, FormatUnknown when it is whole and of
    another version.
    """
    return _parsed(block)[0]


def check_block(block: bytes) -> BlockHeader:
    """Return the header of a block whose every byte is what was written, without unpacking it.

    Raises as `read_header` does, and BlockDamaged when it is the body that is not.
    """
    return checked_body(block)[0]


def checked_body(block: bytes) -> tuple[BlockHeader, memoryview]:
    """Return (header, packed body). Raises as `check_block` does."""
    header, length, crc = _parsed(block)
    body = memoryview(block)[length:]
    if zlib.crc32(body) != crc:
        raise BlockDamaged("the body fails its checksum")
    return header, body


def _parsed(block: bytes) -> tuple[BlockHeader, int, int]:
    """Return (header, its length, CRC-32 of the body)."""
    if len(block) < _START.size:
        raise BlockDamaged(f"{len(block)} bytes, shorter than any header")
    magic, crc, length = _START.unpack_from(block)
    if magic[: len(_FAMILY)] != _FAMILY or not _START.size <= length <= len(block):
        raise BlockDamaged(f"not a block (begins {bytes(block[: _START.size])!r})")
    view = memoryview(block)
    if _header_crc(view, view[_START.size : length]) != crc:
        raise BlockDamaged("the header fails its checksum")
    if magic != MAGIC:
        raise FormatUnknown(f"a block of format {magic!r}; this version reads {MAGIC!r}")
    if length < HEADER_BYTES_MIN:
        raise BlockDamaged(f"{length} bytes, shorter than a header of {MAGIC!r}")
    codec, stage, count, first, last, first_at, last_at, gaps, raw, body_crc = _REST.unpack_from(
        block, _START.size
    )
    if codec != _ZSTD:
        raise FormatUnknown(f"a body packed by codec {codec}; this version reads {_ZSTD}")
    if length != HEADER_BYTES_MIN + count * _PLAN.size:
        raise BlockDamaged(f"{length} bytes of header for {count} plans")
    plans = tuple(PlanCount(*each) for each in _PLAN.iter_unpack(view[HEADER_BYTES_MIN:length]))
    header = BlockHeader(first, last, gaps, stage, first_at, last_at, plans, raw)
    if max(header.records, header.samples) > SAMPLES_MAX or raw > BODY_BYTES_MAX:
        raise BlockDamaged(
            f"it claims {header.records} records, {header.samples} samples, {raw} bytes"
        )
    return header, length, body_crc


def _header_crc(start: bytes | bytearray | memoryview, rest: bytes | memoryview) -> int:
    """Return the CRC-32 of a header without the four bytes that hold it."""
    crc = zlib.crc32(start[: _CRC.start])
    crc = zlib.crc32(start[_CRC.stop : _START.size], crc)
    return zlib.crc32(rest, crc)
