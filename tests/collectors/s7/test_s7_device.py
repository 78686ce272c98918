"""Goal: what a PLC holds becomes scans; what it refuses is one Bad tag; when it is gone we know.

Method: a real snap7 server whose memory the test writes, stops and freezes; and a raw listener
that accepts and says nothing.
"""

# ruff: noqa: PT012 - a lost PLC is raised deep in its blocks

import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from s7_reading import Compile, reading
from s7_server import Plc, free_port
from snap7.type import SrvArea

from collectors.s7.device import build_collector
from common.errors import SourceUnavailable
from common.records import Quality, decode_scan, encode_scan

MEMORY: list[tuple[str, str, bytes, object]] = [
    ("DB1.DBX0.0", "BOOL", b"\x01", True),
    ("DB1.DBX1.7", "BOOL", b"\x7f", False),
    ("DB1.DBB2", "BYTE", b"\xfe", 254),
    ("DB1.DBB3", "SINT", b"\xfe", -2),
    ("DB1.DBB4", "USINT", b"\xfe", 254),
    ("DB1.DBB5", "CHAR", b"\xc4", "Ä"),
    ("DB1.DBW6", "WORD", b"\xff\xfe", 0xFFFE),
    ("DB1.DBW8", "INT", b"\xff\xfe", -2),
    ("DB1.DBW10", "UINT", b"\xff\xfe", 0xFFFE),
    ("DB1.DBD12", "DWORD", b"\x80\x00\x00\x01", 0x80000001),
    ("DB1.DBD16", "DINT", b"\x80\x00\x00\x01", -0x7FFFFFFF),
    ("DB1.DBD20", "UDINT", b"\x80\x00\x00\x01", 0x80000001),
    ("DB1.DBD24", "REAL", struct.pack(">f", 42.5), 42.5),
    ("DB1.DBB28", "LWORD", b"\xff" * 8, 2**64 - 1),
    ("DB1.DBB36", "LINT", b"\xff" * 8, -1),
    ("DB1.DBB44", "ULINT", b"\x80" + b"\0" * 7, 2**63),
    ("DB1.DBB52", "LREAL", struct.pack(">d", -0.1), -0.1),
    ("DB1.DBB60", "STRING(10)", b"\x0a\x03\xd6l!" + b"\0" * 7, "Öl!"),
]


async def test_every_type_is_decoded_from_the_memory_it_stands_in(
    s7: Plc, s7_compiled: Compile
) -> None:
    for address, _, memory, _ in MEMORY:
        start = int(address.split(".")[1][3:])
        s7.db1[start : start + len(memory)] = memory
    s7.start()
    rows = [(f"T{i}", address, kind) for i, (address, kind, _, _) in enumerate(MEMORY)]

    async with reading(s7_compiled(s7.port, *rows)) as scans:
        scan = await anext(scans)

    assert scan.values == [value for _, _, _, value in MEMORY]
    assert scan.indexes is None
    assert scan.qualities is None


async def test_inputs_outputs_and_flags_are_read_beside_data_blocks(
    s7: Plc, s7_compiled: Compile
) -> None:
    inputs, outputs, flags = s7.areas.values()
    inputs[2], outputs[3], flags[4:6], s7.db1[2] = 0b100, 7, b"\xff\xff", 9
    s7.start()
    rows = [
        ("I", "E2.2", ""),
        ("Q", "QB3:BYTE", ""),
        ("M", "MW4:INT", ""),
        ("D", "DB1.DBB2", "byte"),
    ]

    async with reading(s7_compiled(s7.port, *rows)) as scans:
        assert (await anext(scans)).values == [True, 7, -1, 9]


async def test_a_scan_shows_the_memory_of_its_moment(s7: Plc, s7_compiled: Compile) -> None:
    s7.start()

    async with reading(s7_compiled(s7.port, ("Count", "DB1.DBD0", "udint"))) as scans:
        first = await anext(scans)
        s7.db1[0:4] = struct.pack(">I", 7)
        second, third = await anext(scans), await anext(scans)

    assert (first.values, second.values) == ([0], [7])
    assert third.monotonic_ns - second.monotonic_ns >= 10_000_000, "polled at the period"


async def test_a_text_longer_than_a_reply_and_far_apart_tags_are_read_whole(
    s7: Plc, s7_compiled: Compile
) -> None:
    s7.db1[0:256] = bytes([254, 250]) + b"x" * 250 + b"\0" * 4
    s7.db1[596:600] = struct.pack(">f", 1.5)
    s7.start()
    settings = s7_compiled(s7.port, ("Text", "DB1.DBB0", "string"), ("Far", "DB1.DBD596:REAL", ""))

    async with reading(settings) as scans:
        assert (await anext(scans)).values == ["x" * 250, 1.5]


async def test_an_address_past_the_end_turns_only_its_own_tag_bad(
    s7: Plc, s7_compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    s7.db1[590:594] = struct.pack(">f", 2.5)
    s7.start()
    rows = [
        ("Past", "DB1.DBD598:REAL", ""),  # Two of its bytes are in the block, two are not.
        ("In", "DB1.DBD590:REAL", ""),
        ("Last", "DB1.DBB599:BYTE", ""),
    ]

    async with reading(s7_compiled(s7.port, *rows)) as scans:
        first, second = await anext(scans), await anext(scans)

    for scan in (first, second):
        assert scan.values == [None, 2.5, 0], "the neighbours are good in the very first scan"
        assert scan.qualities == [Quality.BAD_OUT_OF_RANGE, Quality.GOOD, Quality.GOOD]
    lines = [record for record in caplog.records if record.name.startswith("collectors.s7")]
    assert len(lines) == 1, "the edge is logged, not each scan"
    assert "DB1 is shorter than 602 bytes" in lines[0].getMessage()


async def test_a_missing_data_block_is_bad_and_says_what_to_look_at(
    s7: Plc, s7_compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    s7.start()
    rows = [("A", "DB7.DBD0:REAL", ""), ("B", "DB1.DBB0:BYTE", ""), ("C", "DB7.DBD4:REAL", "")]

    async with reading(s7_compiled(s7.port, *rows)) as scans:
        scan = await anext(scans)

    assert scan.values == [None, 0, None]
    text = "".join(record.getMessage() for record in caplog.records)
    assert "DB7 is missing in the PLC, or has optimised block access" in text


async def test_a_plc_that_refuses_everything_while_it_starts_is_soon_read_in_whole(
    s7: Plc, s7_compiled: Compile
) -> None:
    s7.start({2: bytearray(4)})
    rows = [("A", "DB1.DBB0:BYTE", ""), ("B", "DB1.DBB4:BYTE", "")]

    async with reading(s7_compiled(s7.port, *rows)) as scans:
        assert (await anext(scans)).qualities == [Quality.BAD_OUT_OF_RANGE] * 2
        assert s7.server is not None
        s7.server.register_area(SrvArea.DB, 1, s7.db1)
        async with asyncio.timeout(5):
            while (await anext(scans)).qualities is not None:
                pass


async def test_whatever_the_memory_holds_every_type_can_be_handed_over(
    s7: Plc, s7_compiled: Compile
) -> None:
    rows = [(f"T{i}", address, kind) for i, (address, kind, _, _) in enumerate(MEMORY)]
    s7.start()

    async with reading(s7_compiled(s7.port, *rows)) as scans:
        for byte in (0x00, 0x7F, 0x80, 0xD8, 0xFF):
            s7.db1[:] = bytes([byte]) * len(s7.db1)
            s7.db1[60:62] = b"\x0a\x0a"  # A text of ten such bytes.
            await anext(scans)
            scan = await anext(scans)
            assert scan.values[-1] == chr(byte) * 10
            assert len(decode_scan(encode_scan(scan)).values) == len(rows)


async def test_a_string_that_was_never_written_is_bad_alone(s7: Plc, s7_compiled: Compile) -> None:
    s7.db1[0:2] = b"\x0a\xff"  # 255 characters in use of 10: no STRING stands here.
    s7.start()
    rows = [("Text", "DB1.DBB0", "STRING(10)"), ("Next", "DB1.DBB12", "BYTE")]

    async with reading(s7_compiled(s7.port, *rows)) as scans:
        scan = await anext(scans)

    assert scan.values == [None, 0]
    assert scan.qualities == [Quality.BAD_TYPE_MISMATCH, Quality.GOOD]


async def test_a_plc_that_closes_mid_read_is_unavailable_and_comes_back(
    s7: Plc, s7_compiled: Compile
) -> None:
    s7.start()
    collector = build_collector(s7_compiled(s7.port, ("A", "DB1.DBB0:BYTE", "")))

    async with asyncio.timeout(20):
        with pytest.raises(SourceUnavailable, match=f"127.0.0.1:{s7.port}"):
            async with collector.connect() as session, aclosing(session.scans()) as scans:
                await anext(scans)
                s7.stop()
                async with asyncio.timeout(5):
                    while True:
                        await anext(scans)
        with pytest.raises(SourceUnavailable, match="refused the connection"):
            async with collector.connect():
                pass
        s7.db1[0] = 5
        s7.start()
        async with collector.connect() as session, aclosing(session.scans()) as scans:
            assert (await anext(scans)).values == [5], "a new connection, a new client"


@pytest.mark.process
async def test_a_frozen_plc_is_noticed_within_its_reply_timeout(s7_compiled: Compile) -> None:
    child = subprocess.Popen(  # noqa: ASYNC220 - started before anything is timed
        [sys.executable, str(Path(__file__).parent / "s7_server.py")],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        settings = s7_compiled(port, ("A", "DB1.DBB0:BYTE", ""), reply_timeout_ms=300)
        loop = asyncio.get_running_loop()

        with pytest.raises(SourceUnavailable, match="no answer within 300 ms"):
            async with reading(settings) as scans:
                await anext(scans)
                os.kill(child.pid, signal.SIGSTOP)
                frozen_at_s = loop.time()
                while True:
                    await anext(scans)
        noticed_s = loop.time() - frozen_at_s
    finally:
        os.kill(child.pid, signal.SIGCONT)
        child.kill()
        child.communicate()

    assert noticed_s < 2.5


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A listener whose connections the kernel accepts, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
        yield listener


async def test_a_peer_that_accepts_and_says_nothing_is_left_in_time(
    silent: socket.socket, s7_compiled: Compile
) -> None:
    port = silent.getsockname()[1]
    settings = s7_compiled(port, ("A", "DB1.DBB0:BYTE", ""), connect_timeout_ms=200)

    async with asyncio.timeout(3):
        with pytest.raises(SourceUnavailable, match="no answer within 200 ms"):
            async with build_collector(settings).connect():
                pass


async def test_cancelling_takes_effect_at_once_and_leaves_no_thread_behind(
    silent: socket.socket, s7_compiled: Compile
) -> None:
    port = silent.getsockname()[1]
    settings = s7_compiled(port, ("A", "DB1.DBB0:BYTE", ""), connect_timeout_ms=5000)

    async def connect() -> None:
        async with build_collector(settings).connect():
            pass

    task = asyncio.create_task(connect())
    async with asyncio.timeout(5):
        connection, _ = await asyncio.get_running_loop().sock_accept(silent)
    task.cancel()
    async with asyncio.timeout(2):
        await asyncio.wait([task])

    assert task.cancelled()
    for thread in threading.enumerate():
        if thread.name.startswith("s7-"):
            thread.join(timeout=1)
            assert not thread.is_alive(), "a blocked thread would hold the process at its exit"
    connection.close()


async def test_an_answer_that_is_no_s7_is_an_unavailable_source(s7_compiled: Compile) -> None:
    async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x03\x00\x00\x0bHTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = s7_compiled(port, ("A", "DB1.DBB0:BYTE", ""))

    async with server, asyncio.timeout(5):
        with pytest.raises(SourceUnavailable, match="rack = 0, slot = 1"):
            async with build_collector(settings).connect():
                pass


async def test_nobody_listening_is_said_so(s7_compiled: Compile) -> None:
    with pytest.raises(SourceUnavailable, match="refused the connection"):
        async with build_collector(s7_compiled(free_port(), ("A", "DB1.DBB0:BYTE", ""))).connect():
            pass
