"""Goal: a person can ask a PLC for a symbol and for the list of them, with no configuration kept.

Method: the emulator with symbols; the rows that browse gives are fed to the tag table again.
"""

import asyncio
import struct
from collections.abc import Callable

import pytest
from s7commplus.protocol import DataType
from s7commplus.typeinfo import Softdatatype
from s7plus_server import Plc, Variable

from collectors.inspection import Found
from collectors.registry import inspect_of
from collectors.s7plus.config import S7PlusSettings
from common.records import Quality

Compile = Callable[..., S7PlusSettings]

ROW = ("Temperature_C", '"Press"."Temperature"', "REAL")


async def test_a_symbol_is_read_with_its_bytes_and_its_place(
    plc: Plc, s7plus_compiled: Compile
) -> None:
    plc.run()

    async with asyncio.timeout(20), inspect_of("s7plus")(s7plus_compiled(plc.port, ROW)) as asked:
        [reading] = await asked.read('"Press"."Temperature"', "")
        [missing] = await asked.read('"Press"."Nobody"', "REAL")
        [refused] = await asked.read("8A0E0028.63", "INT")
        [wrong] = await asked.read('"Press"."Strokes"', "DINT")

    assert (reading.value, reading.source_type) == (61.5, "REAL"), "the type is the PLC's own"
    assert reading.raw == struct.pack(">f", 61.5)
    assert (reading.wire, reading.quality) == ("GetMultiVariables 8A0E0028.A", Quality.GOOD)
    assert missing.quality == Quality.BAD_NODE_ID_UNKNOWN
    assert "tailrace browse" in missing.note
    assert refused.quality == Quality.BAD_OUT_OF_RANGE
    assert wrong.quality == Quality.BAD_TYPE_MISMATCH


async def test_an_array_is_a_reading_for_each_element(plc: Plc, s7plus_compiled: Compile) -> None:
    plc.blocks[40].zones = [struct.pack(">f", value) for value in (1.0, 2.0)]
    plc.run()

    async with asyncio.timeout(20), inspect_of("s7plus")(s7plus_compiled(plc.port, ROW)) as asked:
        readings = await asked.read('"Press"."Zones"', "REAL[1..2]")

    assert [(each.address, each.value) for each in readings] == [
        ('"Press"."Zones"[1]', 1.0),
        ('"Press"."Zones"[2]', 2.0),
    ]


async def test_what_is_found_is_a_row_of_the_tag_table(plc: Plc, s7plus_compiled: Compile) -> None:
    press = plc.blocks[40]
    press.zones = [struct.pack(">f", 1.0), struct.pack(">f", 2.0)]
    press.variables["Druck in bar"] = Variable(
        Softdatatype.LREAL, DataType.LREAL, struct.pack(">d", 5.5), 12
    )
    press.variables["Pointer"] = Variable(Softdatatype.POINTER, DataType.BLOB, b"", 13)
    plc.run()

    async with asyncio.timeout(20), inspect_of("s7plus")(s7plus_compiled(plc.port, ROW)) as asked:
        found: list[Found] = [each async for each in asked.browse("")]
        below = [each.address async for each in asked.browse('"Press"."Zones"')]

    assert [(each.name, each.address, each.type) for each in found] == [
        ("Press/Temperature", '"Press"."Temperature"', "REAL"),
        ("Press/Strokes", '"Press"."Strokes"', "INT"),
        ("Press/Druck_in_bar", '"Press"."Druck in bar"', "LREAL"),
        ("Press/Pointer", '"Press"."Pointer"', ""),
        ("Press/Zones/1", '"Press"."Zones"[1]', "REAL"),
        ("Press/Zones/2", '"Press"."Zones"[2]', "REAL"),
    ]
    assert [each.readable for each in found] == [True, True, True, False, True, True]
    assert below == ['"Press"."Zones"[1]', '"Press"."Zones"[2]']
    rows = [(each.name, each.address, each.type) for each in found if each.readable]
    assert len(s7plus_compiled(plc.port, *rows).groups[0].addresses) == 5


async def test_a_plc_that_lists_nothing_says_so(plc: Plc, s7plus_compiled: Compile) -> None:
    plc.blocks.clear()
    plc.run()

    async with asyncio.timeout(20), inspect_of("s7plus")(s7plus_compiled(plc.port, ROW)) as asked:
        with pytest.raises(ValueError, match="OPC UA server instead"):
            [each async for each in asked.browse("")]
        with pytest.raises(ValueError, match="nothing to guess"):
            await asked.guess('"Press"."Temperature"')
