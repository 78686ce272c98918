"""Goal: a person who asks sees the value, the bytes, the wire, and what to do where there is none.

Method: the library's own server as an S7-300 that lists its blocks, and a PLC of our own that
answers no question beside memory, as S7-1200 and S7-1500 do. Seen to bite: bytes of the whole read
shown for each element, a guess that stops at the first type, and a browse that invents a size.
"""

import asyncio
import re
import struct

import pytest
from raw_plc import RawPlc
from s7_reading import Compile
from s7_server import Plc

from collectors.inspection import Found, Guess
from collectors.s7.inspector import inspect
from collectors.s7.refusals import Refused
from common.errors import SourceUnavailable
from common.records import Quality

ROW = ("A", "DB1.DBB0:BYTE", "")


async def test_a_reading_shows_value_bytes_and_wire(s7: Plc, s7_compiled: Compile) -> None:
    s7.db1[12:16] = struct.pack(">f", 42.5)
    s7.start()

    async with asyncio.timeout(10), inspect(s7_compiled(s7.port, ROW)) as plc:
        [reading] = await plc.read("DB1.DBD12", "real")

    assert (reading.address, reading.source_type) == ("DB1.DBD12", "REAL")
    assert reading.value == 42.5
    assert reading.raw == bytes.fromhex("422a0000")
    assert reading.wire == "DB1, byte 12, 4 bytes; item code 0xFF"
    assert reading.quality == Quality.GOOD
    assert 0 < reading.reply_s < 5


async def test_an_array_has_a_reading_for_each_element_and_is_asked_for_once(
    s7_compiled: Compile,
) -> None:
    plc = RawPlc(memory={("DB", 1): bytes(range(100))})
    async with plc.listening(), asyncio.timeout(10), inspect(s7_compiled(plc.port, ROW)) as asked:
        readings = await asked.read("DB1.DBW10:WORD[3]", "")
        [bit, _] = await asked.read("DB1,X3.1.2", "")

    assert [each.value for each in readings] == [0x0A0B, 0x0C0D, 0x0E0F]
    assert [each.raw for each in readings] == [b"\x0a\x0b", b"\x0c\x0d", b"\x0e\x0f"]
    assert [each.address for each in readings] == ["DB1.DBW10", "DB1.DBW12", "DB1.DBW14"]
    assert bit.wire == "DB1, byte 3, 1 bytes, bit 1; item code 0xFF"
    assert bit.value is True
    assert len(plc.asked) == 2


async def test_a_refusal_is_a_reading_that_says_what_to_do(s7_compiled: Compile) -> None:
    plc = RawPlc(memory={("DB", 1): bytes(10)})
    async with plc.listening(), asyncio.timeout(10), inspect(s7_compiled(plc.port, ROW)) as asked:
        [past] = await asked.read("DB1.DBD8:REAL", "")
        [gone] = await asked.read("DB9.DBD8:REAL", "")

    assert past.value is None
    assert past.quality == Quality.BAD_OUT_OF_RANGE
    assert past.wire == "DB1, byte 8, 4 bytes; item code 0x05"
    assert "DB1 is shorter than 12 bytes, or has optimised block access" in past.note
    assert "DB9 is missing in the PLC" in gone.note


async def test_bytes_that_are_no_value_are_shown_with_the_reason(s7_compiled: Compile) -> None:
    plc = RawPlc(memory={("DB", 1): b"\x00" * 20})
    async with plc.listening(), asyncio.timeout(10), inspect(s7_compiled(plc.port, ROW)) as asked:
        [reading] = await asked.read("DB1.DBB0:DTL", "")

    assert reading.value is None
    assert reading.quality == Quality.BAD_DECODING_ERROR
    assert reading.raw == bytes(12)
    assert "no DTL" in reading.note


async def test_timers_say_their_number_on_the_wire(s7_compiled: Compile) -> None:
    plc = RawPlc(memory={("T", 0): struct.pack(">8H", *range(8))})
    async with plc.listening(), asyncio.timeout(10), inspect(s7_compiled(plc.port, ROW)) as asked:
        [reading] = await asked.read("T5", "")
        guesses = await asked.guess("T5")

    assert reading.wire == "T5, 1 of them; item code 0xFF"
    assert reading.value == 50
    assert guesses == [Guess(source_type="TIMER", value=50, plausible=True)]


async def test_guesses_show_every_type_that_the_bytes_could_be(s7_compiled: Compile) -> None:
    """DB1 ends 10 bytes behind the place: no type of 12 bytes, and no text, is shown."""
    plc = RawPlc(memory={("DB", 1): bytes(8) + struct.pack(">f", 21.5) + b"\xff" * 6})
    async with plc.listening(), asyncio.timeout(10), inspect(s7_compiled(plc.port, ROW)) as asked:
        guesses = {each.source_type: each for each in await asked.guess("DB1.DBD8")}
        with pytest.raises(ValueError, match=r"'DB1\.DBB18' holds nothing: DB1 is shorter"):
            await asked.guess("DB1.DBB18")

    assert guesses["REAL"].value == 21.5
    assert guesses["REAL"].plausible
    assert guesses["DINT"].value == 0x41AC0000
    assert not guesses["DINT"].plausible
    assert guesses["BOOL, bit 0"].value is True
    assert guesses["BOOL, bit 7"].value is False
    assert "DTL" not in guesses
    assert not any(name.startswith("STRING") for name in guesses)
    assert "DT" not in guesses, "no date has these digits"
    assert len(plc.asked) == 3, (
        "all lengths in one request, then a text of 65 characters; all again"
    )


async def test_a_text_is_guessed_by_its_header(s7_compiled: Compile) -> None:
    plc = RawPlc(memory={("DB", 1): b"\x14\x05Press" + bytes(20)})
    async with plc.listening(), asyncio.timeout(10), inspect(s7_compiled(plc.port, ROW)) as asked:
        guesses = await asked.guess("DB1.DBB0:STRING(20)")

    assert Guess(source_type="STRING(20)", value="Press", plausible=True) in guesses


async def test_a_plc_that_lists_its_blocks_is_browsed(s7: Plc, s7_compiled: Compile) -> None:
    s7.start({1: bytearray(600), 40: bytearray(24)})

    async with asyncio.timeout(10), inspect(s7_compiled(s7.port, ROW)) as plc:
        everything = [found async for found in plc.browse("")]
        one = [found async for found in plc.browse("db40")]

    assert [(found.name, found.address, found.type) for found in everything] == [
        ("DB1", "DB1.DBB0", "BYTE[600]"),
        ("DB40", "DB40.DBB0", "BYTE[24]"),
    ]
    assert one == [
        Found(
            name="DB40",
            address="DB40.DBB0",
            type="BYTE[24]",
            description="data block of 24 bytes",
        )
    ]


async def test_a_plc_that_does_not_list_its_blocks_says_where_addresses_are(
    s7_compiled: Compile,
) -> None:
    plc = RawPlc(memory={("DB", 1): bytes(10)})
    async with plc.listening(), asyncio.timeout(10), inspect(s7_compiled(plc.port, ROW)) as asked:
        with pytest.raises(ValueError, match=r"TIA Portal \(a block's column Offset\)"):
            async for _ in asked.browse(""):
                pass


async def test_a_wrong_address_is_answered_before_the_plc_is_asked(s7_compiled: Compile) -> None:
    plc = RawPlc(memory={("DB", 1): bytes(10)})
    async with plc.listening(), asyncio.timeout(10), inspect(s7_compiled(plc.port, ROW)) as asked:
        with pytest.raises(ValueError, match="could be REAL, DINT"):
            await asked.read("DB1.DBD0", "")
        with pytest.raises(ValueError, match="is not an S7 address"):
            await asked.guess("40001")

    assert plc.asked == []


async def test_a_connection_that_is_lost_is_said_so(s7_compiled: Compile) -> None:
    plc = RawPlc(memory={("DB", 1): bytes(10)}, alter=lambda *_: [None])
    async with plc.listening(), asyncio.timeout(10), inspect(s7_compiled(plc.port, ROW)) as asked:
        with pytest.raises(SourceUnavailable, match=re.escape("closed the connection")):
            await asked.read("DB1.DBB0:BYTE", "")


def test_every_refusal_has_words() -> None:
    for code in [*range(256), 0x8104, 0x8304, 0x8500, 0xD241]:
        refused = Refused(code, whole_request=code > 255)
        for area in ("DB1", "M"):
            for readable in (True, False):
                assert refused.advice(area, last_byte=8, readable=readable)
        assert f"{code:02X}" in str(refused)
