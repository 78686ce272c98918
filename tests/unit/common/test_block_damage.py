"""Goal: bytes that are not what was written are known as such, and bytes of a newer version too.

Method: every single bit of blocks of both forms is flipped, blocks are cut at every length, and
headers and bodies are forged with right checksums, as a newer version or a madman would write them.
"""

import random
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import msgspec
import pytest
import zstandard

from common.block import (
    BODY_BYTES_MAX,
    SAMPLES_MAX,
    Batch,
    PlanCount,
    check_block,
    decode_block,
    encode_batch,
    encode_block,
    open_batch,
    read_header,
)
from common.block.header import BlockHeader, sealed
from common.errors import BlockDamaged, FormatUnknown
from common.records import ValueType
from tests.unit.common.block_builders import GAP, part_of, plan_of

PLAN = plan_of(ValueType.FLOAT64, ValueType.INT64, ValueType.STRING)
PARTS = [part_of(PLAN, i, [i / 3, i, f"text {i}"]) for i in range(3)]
APPENDED = encode_block([*PARTS, GAP], 1, lambda _: 1)
COMPACT = encode_batch(open_batch(APPENDED, lambda _: PLAN), 1)
BLOCKS = pytest.mark.parametrize("block", [APPENDED, COMPACT], ids=["appended", "compact"])
HEADER_BYTES = 60 + 12
"""Of one plan."""
START = struct.Struct("<4sII")

decoded = partial(decode_block, plan_of=lambda _: PLAN)


@BLOCKS
def test_every_flipped_bit_is_noticed_where_it_is(block: bytes) -> None:
    """A flip in the header is seen from the header alone; one in the body leaves it readable.

    Seen to bite: the magic compared before the checksum (a flip in it was "another version"); the
    manifest, and the length of the header, left out of the checksum.
    """
    for at in range(8 * len(block)):
        damaged = bytearray(block)
        damaged[at // 8] ^= 1 << at % 8
        with pytest.raises(BlockDamaged):
            decoded(bytes(damaged))
        with pytest.raises(BlockDamaged):
            check_block(bytes(damaged))
        if at < 8 * HEADER_BYTES:
            with pytest.raises(BlockDamaged):
                read_header(bytes(damaged))
        else:
            assert read_header(bytes(damaged)) == read_header(block), "the gap can be exact"


@BLOCKS
def test_a_block_cut_at_any_length_is_noticed(block: bytes) -> None:
    for length in range(len(block)):
        with pytest.raises(BlockDamaged):
            decoded(block[:length])
        with pytest.raises(BlockDamaged):
            check_block(block[:length])


@BLOCKS
def test_bytes_behind_a_block_are_noticed(block: bytes) -> None:
    with pytest.raises(BlockDamaged):
        check_block(block + b"\0")


@pytest.mark.parametrize("junk", [b"", b"\0" * 4096, b"TRB2" * 40, b"TRB1" + b"\0" * 99])
def test_what_is_no_block_at_all_is_damage(junk: bytes) -> None:
    with pytest.raises(BlockDamaged):
        read_header(junk)


def with_header(block: bytes, change: Callable[[bytearray], None]) -> bytes:
    """Return a block with its header changed, and the header's checksum right again."""
    _, _, length = START.unpack_from(block)
    header = bytearray(block[:length])
    change(header)
    crc = zlib.crc32(header[8:], zlib.crc32(header[:4]))
    header[4:8] = struct.pack("<I", crc)
    return bytes(header) + block[length:]


def with_body(directory: object, arrays: bytes = b"", records: int = 1, samples: int = 3) -> bytes:
    """Return a block of PLAN with this body, and checksums that are right."""
    packed_directory = msgspec.msgpack.encode(directory)
    body = struct.pack("<I", len(packed_directory)) + packed_directory + arrays
    manifest = (PlanCount(1, records, samples),)
    return sealed(BlockHeader(1, 1, 0, 0, 0, 0, manifest, len(body)), zstandard.compress(body))


def section(order: int = 0, **changes: object) -> list[object]:
    """Return the directory of one record of PLAN, its arrays raw and of zeros."""
    fields = {
        "sequences": [0, 1], "read_at": [0, 1], "presence": [], "nulls": None,
        "quality_at": None, "qualities": None, "source_at": [],
        "values": [None, [0, 1], None, [0, 1]], "texts": ["a"],
    }  # fmt: skip
    return [order, *{**fields, **changes}.values()]


ZEROS = bytes(4 * 8)


def test_the_forger_can_write_a_good_block() -> None:
    """Or the tests below would pass for the wrong reason."""
    (record,) = decoded(with_body([[section()], []], ZEROS))

    assert record.values == [0.0, 0, "a"]


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.__setitem__(slice(0, 4), b"TRB3"),
        lambda header: header.__setitem__(12, 9),
        lambda header: (header.__setitem__(slice(0, 4), b"TRBX"), header.extend(b"more")),
    ],
    ids=["version", "codec", "longer"],
)
def test_a_whole_header_of_another_version_is_not_damage(
    change: Callable[[bytearray], None],
) -> None:
    """What a later version writes must survive a downgrade: it is kept, and never made a gap.

    Seen to bite: FormatUnknown raised as BlockDamaged.
    """

    def longer(header: bytearray) -> None:
        change(header)
        header[8:12] = struct.pack("<I", len(header))

    block = with_header(APPENDED, longer)

    for read in (read_header, check_block, decoded, partial(open_batch, plan_of=lambda _: PLAN)):
        with pytest.raises(FormatUnknown):
            read(block)


NEWER = {
    "order": section(order=2),
    "order, and fields of another kind": [7, {"all": "new"}],
    "encoding": section(sequences=[9, 1]),
    "encoding of values": section(values=[None, [4, 1], None, [0, 1]]),
    "form of floats": section(
        order=1,
        sequences=[1, 1, 0, 0],
        read_at=[1, 1, 0, 0],
        values=[[1, 3, 0x10, 0], [1, 1, 0, 0], [1, 3, 0, 0], [1, 3, 0, 0]],
    ),
}


@pytest.mark.parametrize("directory", NEWER.values(), ids=NEWER)
def test_a_whole_body_of_another_version_is_not_damage(directory: object) -> None:
    block = with_body([[directory], []], ZEROS)

    assert check_block(block).samples == 3
    with pytest.raises(FormatUnknown):
        decoded(block)


FORGED = {
    "no directory": b"",
    "not a directory": {"a": 1},
    "no section": [[], []],
    "two sections": [[section(), section()], []],
    "a field missing": [[section()[:-1]], []],
    "a gap that the header does not count": [[section()], [[0, 0, ["d", "g", "c", 0, 0, 0, 0]]]],
    "too few items": [[section(sequences=[0, 0])], []],
    "too many bytes": [[section(read_at=[0, 0])], []],
    "too many items": [[section(sequences=[0, 2**19])], []],
    "more items than any": [[section(sequences=[1, 2**40, 0, 0])], []],
    "fewer items than none": [[section(sequences=[0, -1])], []],
    "items that are no number": [[section(sequences=[0, "one"])], []],
    "no items": [[section(sequences=[0])], []],
    "a null that is nowhere": [[section(nulls=[1, 1, 3, 0])], []],
    "a column that is nowhere": [[section(presence=[[1, 1, 3, 0], [1, 3, 3, 0]])], []],
    "more columns than samples": [[section(presence=[[1, 1, 4, 0], [1, 4, 0, 0]])], []],
    "a text too few": [[section(texts=[])], []],
    "a text too many": [[section(texts=["a", "b"])], []],
    "nine planes": [[section(sequences=[1, 1, 0, 9])], []],
    "planes of more than 64 bits": [[section(sequences=[1, 1, 2**63, 0, 0])], []],
    "times without a unit": [
        [section(source_at=[0, [1, 0, 0, 0], [1, 1, 0, 0], [1, 2, 0, 0]])],
        [],
    ],
    "a record that is nowhere": [
        [
            section(
                order=1,
                sequences=[1, 1, 0, 0],
                read_at=[1, 1, 0, 0],
                presence=[[1, 3, 1, 0], [1, 3, 2, 0]],
            )
        ],
        [],
    ],
    "counts that wrap around": [
        [section(order=1, presence=[[1, 3, 2**63, 0], [1, 3, 1, 0]])],
        [],
    ],
    "a text that is none": [[section(texts=[1.5])], []],
    "nested without end": [[section(texts=msgspec.Raw(b"\x91" * 10**6 + b"\x90"))], []],
}


@pytest.mark.parametrize("directory", FORGED.values(), ids=FORGED)
def test_a_body_with_a_right_checksum_that_makes_no_sense_is_damage(directory: object) -> None:
    """A disk can hold whole nonsense, an old bug can have written it; no reader may die of it.

    Seen to bite: no limit of items (the process asked for 8 TiB); lengths of arrays not compared.
    """
    with pytest.raises(BlockDamaged):
        decoded(with_body(directory, ZEROS))


@BLOCKS
def test_no_body_with_a_right_checksum_ends_a_reader(block: bytes) -> None:
    """Bytes of the unpacked body are changed at random, thousands of times, and packed again.

    It must be records, damage or another version: no other error, no warning, no vast allocation.
    """
    _, _, length = START.unpack_from(block)
    header, body = read_header(block), zstandard.decompress(block[length:])
    choose = random.Random(1)
    for _ in range(3_000):
        changed = bytearray(body)
        for _ in range(choose.randint(1, 3)):
            changed[choose.randrange(len(changed))] = choose.randrange(256)
        with suppress(BlockDamaged, FormatUnknown):
            decoded(sealed(header, zstandard.compress(bytes(changed))))


def test_arrays_that_the_directory_does_not_mention_are_damage() -> None:
    with pytest.raises(BlockDamaged, match="behind the last array"):
        decoded(with_body([[section()], []], ZEROS + b"\0"))


@pytest.mark.parametrize("order", [0, 1])
def test_one_count_is_not_taken_for_all(order: int) -> None:
    """A million records, all of one count: numpy would gladly repeat it, and ask for 4 TiB.

    Seen to bite: how many counts there are not compared.
    """
    million = [1, SAMPLES_MAX, 0, 0]
    forged = section(
        order,
        sequences=million,
        read_at=million,
        presence=[[1, 1, SAMPLES_MAX, 0], million],
    )

    with pytest.raises(BlockDamaged, match="counts"):
        decoded(with_body([[forged], []], ZEROS, SAMPLES_MAX, SAMPLES_MAX))


def test_lengths_beyond_all_bounds_are_refused_before_memory_is_reserved() -> None:
    """4 GiB in the header, in the manifest, or in zstd's own frame, which must say the same.

    Seen to bite: the frame's own length trusted (the process reserved what it said).
    """

    def claim(at: int, length: int) -> Callable[[bytearray], None]:
        return lambda header: struct.pack_into("<I", header, at, length)

    for change in (claim(52, BODY_BYTES_MAX + 1), claim(52, 2**32 - 1), claim(68, 2**32 - 1)):
        with pytest.raises(BlockDamaged, match="claims"):
            read_header(with_header(APPENDED, change))
    frame = bytearray(zstandard.compress(bytes(300)))
    bomb = bytes(frame[:4]) + b"\xe0" + struct.pack("<Q", 2**32) + bytes(frame[7:])
    assert zstandard.frame_content_size(bomb) == 2**32
    with pytest.raises(BlockDamaged, match="another length"):
        decoded(sealed(BlockHeader(1, 1, 0, 0, 0, 0, (PlanCount(1, 1, 3),), 300), bomb))


def test_more_than_a_reader_takes_is_never_written() -> None:
    plan = plan_of(ValueType.BYTES)
    large = part_of(plan, 1, [bytes(BODY_BYTES_MAX)])
    with pytest.raises(ValueError, match="too much"):
        encode_block([large], 1, lambda _: 1)
    wide = plan_of(*[ValueType.BOOL] * 1024)
    part = part_of(wide, 1, [True] * 1024)
    many = encode_block([part] * (SAMPLES_MAX // 1024), 1, lambda _: 1)
    one = open_batch(encode_block([part], 2**30, lambda _: 2), lambda _: wide)
    sections = [*open_batch(many, lambda _: wide).sections, *one.sections]

    with pytest.raises(ValueError, match="too much"):
        encode_batch(Batch(1, 2**30, sections, []), 0)
