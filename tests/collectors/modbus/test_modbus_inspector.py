"""Goal: a person at the console sees what stands at an address, and what to try when nothing does.

Method: the inspector against peers; register n of unit u holds 1000 * u + n. The device is named by
a URL, as `tailrace read` does without any configuration.
"""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from collectors.modbus.config import compile_device, keys_of_url
from collectors.modbus.inspector import ModbusInspector
from collectors.registry import inspect_of
from common.errors import Finding, SourceUnavailable
from common.plant import Device
from common.records import Quality
from tests.collectors.modbus.modbus_peers import Asked, honest, serial_peer, silent, tcp_peer


@asynccontextmanager
async def inspecting(url: str) -> AsyncIterator[ModbusInspector]:
    findings: list[Finding] = []
    keys = keys_of_url(urlsplit(url))
    device = Device("modbus", "modbus", "modbus", (), keys, Path.cwd())
    settings = compile_device(device, findings)
    assert findings == []
    assert settings is not None
    async with inspect_of("modbus")(settings) as inspector:
        assert isinstance(inspector, ModbusInspector)
        yield inspector


def only_from(first: int, last: int, code: int = 2) -> object:
    async def behave(asked: Asked) -> None:
        if first <= asked.start and asked.start + asked.quantity - 1 <= last:
            asked.answer()
        else:
            asked.refuse(code)

    return behave


async def test_an_address_is_shown_with_its_bytes_its_wire_form_and_its_number_in_manuals() -> None:
    async with (
        tcp_peer(honest) as peer,
        inspecting(f"modbus://127.0.0.1:{peer.port}/3") as inspector,
    ):
        (reading,) = await inspector.read("400001", "UINT32")

    assert reading.address == "holding:0"
    assert reading.source_type == "UINT32"
    assert reading.wire == ("unit 3, function 3, register 0 (0x0000), count 2; 400001 = holding 0")
    assert reading.raw == struct.pack(">HH", 3000, 3001)
    assert reading.value == 3000 << 16 | 3001
    assert reading.quality == Quality.GOOD
    assert 0 < reading.reply_s < 1
    assert reading.note == ""


async def test_arrays_bits_and_serial_lines_are_shown_too(tmp_path: Path) -> None:
    async with (
        serial_peer(honest, tmp_path) as (peer, _),
        inspecting(f"modbus+rtu://{peer.path}?unit=2&parity=N") as inspector,
    ):
        array = await inspector.read("input:10", "UINT16[3]")
        (bit,) = await inspector.read("coil:3", "")
        (of_register,) = await inspector.read("holding:7.0", "")

    assert [(each.address, each.value) for each in array] == [
        ("input:10", 2010),
        ("input:11", 2011),
        ("input:12", 2012),
    ]
    assert array[2].raw == struct.pack(">H", 2012)
    assert array[2].wire == ("unit 2, function 4, register 10 (0x000a), count 3; 300013 = input 12")
    assert (bit.value, bit.raw) == (True, b"\1")
    assert bit.wire == "unit 2, function 1, coil 3 (0x0003), count 1; 000004 = coil 3"
    assert (of_register.value, of_register.raw) == (True, struct.pack(">H", 2007))


async def test_without_a_type_a_register_is_shown_as_what_it_is_and_the_note_says_so() -> None:
    async with (
        tcp_peer(honest) as peer,
        inspecting(f"modbus://127.0.0.1:{peer.port}") as inspector,
    ):
        (reading,) = await inspector.read("holding:5", "")
        with pytest.raises(ValueError, match="does not say which table"):
            await inspector.read("5", "")

    assert (reading.source_type, reading.value) == ("UINT16", 1005)
    assert "--guess" in reading.note


async def test_of_an_illegal_address_the_neighbours_are_tried_and_the_note_says_which_answers() -> (
    None
):
    """Seen to bite: without the question for the neighbours the note ends before them."""
    async with (
        tcp_peer(only_from(1, 50)) as peer,  # type: ignore[arg-type]
        inspecting(f"modbus://127.0.0.1:{peer.port}") as inspector,
    ):
        (first,) = await inspector.read("holding:0", "UINT16")
        (last,) = await inspector.read("holding:50", "UINT32")
        (nowhere,) = await inspector.read("holding:99", "UINT16")

    assert first.quality == Quality.BAD_OUT_OF_RANGE
    assert first.value is None
    assert first.raw is None
    assert first.note.startswith("exception 2, illegal address")
    assert "holding:1 answers" in first.note
    assert "holding:49 answers" in last.note
    assert "answers" not in nowhere.note


@pytest.mark.parametrize(
    ("code", "said", "quality"),
    [
        (1, "no such table", Quality.BAD_CONFIGURATION_ERROR),
        (11, "check the unit number", Quality.BAD_NO_COMMUNICATION),
        (99, "which the protocol does not know", Quality.BAD_DEVICE_FAILURE),
    ],
)
async def test_every_other_refusal_is_told_in_words(code: int, said: str, quality: int) -> None:
    async with (
        tcp_peer(only_from(9, 9, code)) as peer,  # type: ignore[arg-type]
        inspecting(f"modbus://127.0.0.1:{peer.port}") as inspector,
    ):
        (reading,) = await inspector.read("holding:0", "UINT16")

    assert f"exception {code}, " in reading.note
    assert said in reading.note
    assert reading.quality == quality
    assert len(peer.asked) == 1


async def test_registers_are_guessed_and_fewer_of_them_at_the_end_of_a_device() -> None:
    async with (
        tcp_peer(only_from(0, 10)) as peer,  # type: ignore[arg-type]
        inspecting(f"modbus://127.0.0.1:{peer.port}") as inspector,
    ):
        guesses = await inspector.guess("holding:0")
        at_the_end = await inspector.guess("holding:10")
        with pytest.raises(ValueError, match=r"holding:11 is refused: illegal address"):
            await inspector.guess("holding:11")
        with pytest.raises(ValueError, match="single bit: there is nothing to guess"):
            await inspector.guess("coil:0")

    assert {"UINT16", "FLOAT32", "UINT64"} <= {each.source_type for each in guesses}
    assert {each.source_type for each in at_the_end} >= {"UINT16", "INT16"}
    assert 1010 in [each.value for each in at_the_end]
    assert [asked.quantity for asked in peer.asked[1:4]] == [4, 2, 1]


async def test_nothing_can_be_listed_but_a_range_can_be_scanned() -> None:
    async with (
        tcp_peer(only_from(20, 29)) as peer,  # type: ignore[arg-type]
        inspecting(f"modbus://127.0.0.1:{peer.port}") as inspector,
    ):
        for under in ("", "all", "holding:", "register:0-9"):
            with pytest.raises(ValueError, match="cannot list what it has"):
                await anext(inspector.browse(under))
        for under in ("holding:9-1", "holding:0-70000", "holding:0-1000"):
            with pytest.raises(ValueError, match="from low to high"):
                await anext(inspector.browse(under))
        found = [each async for each in inspector.browse("holding:0-199")]

    assert [each.address for each in found] == [f"holding:{number}" for number in range(20, 30)]
    assert found[0].type == "UINT16"
    assert found[0].value == 1020
    assert found[0].description == "400021 = holding 20"
    assert len(peer.asked) <= 2 * 200
    async with (
        tcp_peer(only_from(0, 0, 1)) as peer,  # type: ignore[arg-type]
        inspecting(f"modbus://127.0.0.1:{peer.port}") as inspector,
    ):
        with pytest.raises(ValueError, match="input:0-99 is refused: illegal function"):
            await anext(inspector.browse("input:0-99"))


async def test_a_device_that_is_not_there_is_unavailable_with_the_reason() -> None:
    async with tcp_peer(silent) as peer:
        url = f"modbus://127.0.0.1:{peer.port}/9?reply_timeout_ms=100"
        async with inspecting(url) as inspector:
            with pytest.raises(SourceUnavailable, match="did not answer unit 9 within 100 ms"):
                await inspector.read("holding:0", "UINT16")
    with pytest.raises(SourceUnavailable, match="cannot be connected"):
        async with inspecting(url):
            pass
