"""Goal: what a PLC is asked is the least that a hand calculation gives, and all of it is counted.

Method: a PLC of our own that records every request on the wire, item by item, and fails on a
request or reply larger than the PDU it granted. Seen to bite: an item for each tag, gaps that are
never read along, a search that asks tag by tag, and traffic without its frames.
"""

import ast
import asyncio
import logging
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from raw_plc import RawPlc, acknowledged, frame
from s7_reading import Compile, reading

import collectors.s7
from collectors import probing
from collectors.s7.config import compile_device
from collectors.s7.device import build_collector
from common.clock import now_ns
from common.plant import load_plant
from common.records import Quality

DB1 = bytes(range(256)) * 4
SAMPLE = Path(collectors.s7.__file__).with_name("sample.toml")


async def test_one_request_asks_for_every_area_at_once(s7_compiled: Compile) -> None:
    """By hand: DB1 needs bytes 0 to 5 and 200 to 203, flags byte 4, timer 5, counter 2: 5 items."""
    plc = RawPlc(
        memory={
            ("DB", 1): DB1,
            ("M", 0): bytes(8),
            ("T", 0): struct.pack(">8H", *[0x0012] * 5, 0x2150, 0, 0),
            ("C", 0): struct.pack(">3H", 0, 0, 0x0987),
        }
    )
    rows = [
        ("A", "DB1.DBW0:INT", ""),
        ("B", "DB1.DBD2:DWORD", ""),
        ("Far", "DB1.DBD200:DWORD", ""),
        ("Flag", "M4.0", ""),
        ("Timer", "T5", ""),
        ("Counter", "Z2", ""),
    ]
    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        scan = await anext(scans)

    assert sorted(plc.asked[0]) == [
        ("C", 0, 2, 1),
        ("DB", 1, 0, 6),
        ("DB", 1, 200, 4),
        ("M", 0, 4, 1),
        ("T", 0, 5, 1),
    ]
    assert len(plc.asked) == 1
    assert scan.values == [1, 0x02030405, 0xC8C9CACB, False, 150_000, 987]
    assert scan.qualities is None


def test_nothing_that_can_change_a_plc_is_taken_from_the_library() -> None:
    """Its client can write, stop and load a PLC; its protocol class has the messages for that."""
    taken: set[str] = set()
    for path in Path(collectors.s7.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("snap7"):
                taken |= {f"{node.module}.{each.name}" for each in node.names}
            if isinstance(node, ast.Attribute) and node.attr.startswith(
                ("build_", "set_", "send_")
            ):
                taken.add(node.attr)

    assert taken == {
        "snap7.connection.ISOTCPConnection",
        "snap7.error.S7Error",
        "snap7.error.S7TimeoutError",
        "snap7.s7protocol.S7Protocol",
        "snap7.s7protocol.S7UserDataGroup",
        "snap7.s7protocol.S7UserDataSubfunction",
        "build_get_clock_request",
        "build_list_blocks_of_type_request",
        "build_get_block_info_request",
        "build_userdata_followup_request",
        "send_data",
    }


async def test_bytes_that_are_no_value_are_logged_once_over_all_connections(
    s7_compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    plc = RawPlc(memory={("DB", 1): bytes(12)})
    async with plc.listening():
        collector = build_collector(s7_compiled(plc.port, ("When", "DB1.DBB0:DTL", "")))
        for _ in range(2):
            async with asyncio.timeout(10), collector.connect() as session:
                scans = session.scans()
                for _ in range(2):
                    assert (await anext(scans)).qualities == [Quality.BAD_DECODING_ERROR]
                await scans.aclose()

    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert lines == ["no DTL at this address; check the tag"]


async def test_the_sample_takes_one_request(tmp_path: Path) -> None:
    """By hand: DB40 bytes 12 to 89, input byte 0, flag bytes 4 and 5, timer 5."""
    plc = RawPlc(
        memory={("DB", 40): bytes(90), ("I", 0): bytes(1), ("M", 0): bytes(6), ("T", 0): bytes(12)}
    )
    async with plc.listening():
        place = f'host = "127.0.0.1"\nport = {plc.port}\n'
        sample = SAMPLE.read_text("utf-8").replace('host = "192.0.2.20"\n', place)
        (tmp_path / "ot").mkdir()
        (tmp_path / "ot/plant.toml").write_text(f'[gateway]\nid = "g"\nroot = "A"\n{sample}')
        settings = compile_device(load_plant(tmp_path).devices[0], [])
        assert settings is not None
        async with reading(settings) as scans:
            scan = await anext(scans)

    assert [sorted(items) for items in plc.asked] == [
        [("DB", 40, 12, 78), ("I", 0, 0, 1), ("M", 0, 4, 2), ("T", 0, 5, 1)]
    ]
    assert len(scan.values) == 8 + 8, "eight zones"


async def test_two_hundred_scattered_tags_take_ten_requests(s7_compiled: Compile) -> None:
    """By hand: 200 items of 4 bytes, 20 to a request (252 of 480 bytes, reply 174)."""
    plc = RawPlc(memory={("DB", 1): bytes(20_000)})
    rows = [(f"T{i}", f"DB1.DBD{100 * i}:REAL", "") for i in range(200)]

    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        await anext(scans)

    assert [len(items) for items in plc.asked] == [20] * 10


@pytest.mark.parametrize(
    ("pdu_bytes", "parts"),
    [(240, [220] * 7 + [60]), (480, [460, 460, 460, 220]), (960, [940, 660])],
)
async def test_a_dense_block_is_read_in_as_few_replies_as_hold_it(
    pdu_bytes: int, parts: list[int], s7_compiled: Compile
) -> None:
    """By hand: 1,600 bytes in replies of 222, 462 or 942, cut at a REAL."""
    plc = RawPlc(memory={("DB", 1): bytes(1_600)}, pdu_bytes=pdu_bytes)

    async with plc.listening():
        settings = s7_compiled(plc.port, ("All", "DB1.DBD0:REAL[400]", ""), pdu_bytes_max=960)
        async with reading(settings) as scans:
            scan = await anext(scans)

    assert [items[0][3] for items in plc.asked] == parts
    assert len(scan.values) == 400


async def test_inputs_past_the_process_image_are_asked_for_as_such(s7_compiled: Compile) -> None:
    """The library's server knows no such area; an S7-300 does."""
    plc = RawPlc(memory={("PI", 0): bytes(256) + b"\x6c\x00", ("I", 0): b"\x04"})
    rows = [("Analogue", "PEW256", "int"), ("Same", "%IW256:P", "int"), ("Image", "I0.2", "")]

    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        scan = await anext(scans)

    assert scan.values == [27_648, 27_648, True]
    assert sorted(plc.asked[0]) == [("I", 0, 0, 1), ("PI", 0, 256, 2)]


async def test_a_pdu_of_240_is_kept_by_request_and_reply(s7_compiled: Compile) -> None:
    """The PLC fails on what is larger. By hand: 19 items to a request, so 2 for 20 tags."""
    plc = RawPlc(memory={("DB", 1): bytes(4_000)}, pdu_bytes=240)
    rows = [(f"T{i}", f"DB1.DBB{101 * i}:BYTE", "") for i in range(20)]

    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        assert (await anext(scans)).qualities is None

    assert sorted(len(items) for items in plc.asked) == [1, 19]


async def test_a_text_longer_than_a_reply_comes_in_parts_that_are_joined(
    s7_compiled: Compile,
) -> None:
    text = "Öl läuft " * 44
    header = struct.pack(">HH", 400, len(text))
    plc = RawPlc(memory={("DB", 1): header + text.encode("utf-16-be") + bytes(100)}, pdu_bytes=240)

    async with (
        plc.listening(),
        reading(s7_compiled(plc.port, ("Text", "DB1.DBB0:WSTRING(400)", ""))) as scans,
    ):
        assert (await anext(scans)).values == [text]

    assert [items[0][3] for items in plc.asked] == [222, 222, 222, 138], "804 bytes"


async def test_overrides_make_one_small_request_of_each_tag(s7_compiled: Compile) -> None:
    plc = RawPlc(memory={("DB", 1): DB1})
    rows = [(f"T{i}", f"DB1.DBW{2 * i}:INT", "") for i in range(4)]

    async with plc.listening():
        settings = s7_compiled(plc.port, *rows, merge="false", items_max=1, pdu_bytes_max=240)
        async with reading(settings) as scans:
            scan = await anext(scans)

    assert plc.asked == [[("DB", 1, 2 * i, 2)] for i in range(4)]
    assert plc.pdus_asked == [240]
    assert scan.values == [0x0001, 0x0203, 0x0405, 0x0607]


async def test_requests_keep_the_pause_that_the_device_wants(s7_compiled: Compile) -> None:
    """Three requests with 60 ms between them cannot take less than 120 ms."""
    at_s: list[float] = []
    loop = asyncio.get_running_loop()

    def note(_: int, __: bytes, true: bytes) -> list[bytes | None]:
        at_s.append(loop.time())
        return [frame(true)]

    plc = RawPlc(memory={("DB", 1): DB1}, alter=note)
    rows = [(f"T{i}", f"DB1.DBW{2 * i}:INT", "") for i in range(3)]
    async with plc.listening():
        settings = s7_compiled(plc.port, *rows, merge="false", items_max=1, pause_ms=60)
        async with reading(settings) as scans:
            await anext(scans)

    gaps = [after - before for before, after in pairwise(at_s)]
    assert all(gap >= 0.059 for gap in gaps), gaps


@pytest.mark.parametrize(
    ("keys", "tsaps"),
    [
        ({}, (0x0100, 0x0101)),
        ({"rack": 1, "slot": 3, "connection_type": '"op"'}, (0x0100, 0x0223)),
        ({"local_tsap": "0x1000", "remote_tsap": "0x0200"}, (0x1000, 0x0200)),
        ({"local_tsap": '"10.00"', "remote_tsap": '"02.00"'}, (0x1000, 0x0200)),
    ],
)
async def test_the_plc_is_called_by_the_tsaps_that_are_meant(
    keys: dict[str, object], tsaps: tuple[int, int], s7_compiled: Compile
) -> None:
    plc = RawPlc(memory={("DB", 1): DB1})

    async with plc.listening():
        settings = s7_compiled(plc.port, ("A", "DB1.DBB0:BYTE", ""), **keys)
        async with reading(settings) as scans:
            await anext(scans)

    assert plc.tsaps == [tsaps]


async def test_traffic_is_what_was_on_the_wire(s7_compiled: Compile) -> None:
    plc = RawPlc(memory={("DB", 1): DB1})
    rows = [("A", "DB1.DBB0:BYTE", ""), ("B", "DB1.DBB500:BYTE", ""), ("Off", "DB9.DBB0:BYTE", "")]
    async with plc.listening():
        collector = build_collector(s7_compiled(plc.port, *rows))
        async with asyncio.timeout(10), collector.connect() as session:
            scans = session.scans()
            for _ in range(3):
                await anext(scans)
            await scans.aclose()
            traffic = collector.traffic
            sent, received = traffic.bytes_sent, traffic.bytes_received

    assert traffic.requests == 1 + len(plc.asked), "the set-up, and every read"
    assert sent == sum(plc.frames_bytes[0::2])
    assert received == sum(plc.frames_bytes[1::2])
    assert traffic.quantile_s(0.5) is not None


async def test_a_refused_item_spoils_no_other_and_is_found_in_the_same_scan(
    s7_compiled: Compile,
) -> None:
    """By hand: the refused read has two tags, both are asked for at once, then all anew: 3."""
    plc = RawPlc(memory={("DB", 1): DB1[:100], ("DB", 2): DB1})
    rows = [
        ("Good", "DB1.DBB90:BYTE", ""),
        ("Past", "DB1.DBD98:REAL", ""),
        ("Gone", "DB7.DBB0:BYTE", ""),
        ("Other", "DB2.DBB3:BYTE", ""),
    ]
    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        first = await anext(scans)
        requests = len(plc.asked)
        await anext(scans)

    assert first.values == [90, None, None, 3]
    bad = Quality.BAD_OUT_OF_RANGE
    assert first.qualities == [Quality.GOOD, bad, bad, Quality.GOOD]
    assert requests == 3
    assert len(plc.asked) == 4, "one request a scan from then on"


async def test_of_hundreds_of_tags_the_bad_ones_are_found_with_few_requests(
    s7_compiled: Compile,
) -> None:
    """Of 400 bytes in one read, 137 are there: 20 probes leave 20 tags, which are asked for."""
    plc = RawPlc(memory={("DB", 1): bytes(137)})
    rows = [(f"T{i}", f"DB1.DBB{i}:BYTE", "") for i in range(400)]

    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        scan = await anext(scans)

    assert scan.qualities == [0] * 137 + [Quality.BAD_OUT_OF_RANGE] * 263
    assert len(plc.asked) <= 5, "the read, two rounds of twenty, and the read of what is given"


async def test_a_hole_in_the_memory_turns_only_its_own_tags_bad(s7_compiled: Compile) -> None:
    """No border between good and bad: each tag of the read is asked for."""
    plc = RawPlc(memory={("DB", 1): DB1}, holes={("DB", 1): range(10, 14)})
    rows = [(f"T{i}", f"DB1.DBB{i}:BYTE", "") for i in range(60)]

    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        scan = await anext(scans)

    denied = [i for i, code in enumerate(scan.qualities or []) if code]
    assert denied == [10, 11, 12, 13]
    assert scan.values[9] == 9
    assert scan.values[14] == 14


async def test_what_was_refused_is_asked_for_again_at_a_slow_rate(
    s7_compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "FIRST_S", 0.3)
    plc = RawPlc(memory={("DB", 1): DB1})
    rows = [("A", "DB7.DBD0:REAL", ""), ("B", "DB7.DBD4:REAL", ""), ("C", "DB1.DBB0:BYTE", "")]

    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        assert (await anext(scans)).values == [None, None, 0]
        plc.asked.clear()
        for _ in range(5):
            await anext(scans)
        while_refused = [item for items in plc.asked for item in items if item[1] == 7]
        plc.memory["DB", 7] = struct.pack(">ff", 1.0, 2.0)
        scan = await anext(scans)
        while scan.values[0] is None:
            scan = await anext(scans)

    assert len(while_refused) <= 1, "the found plan is kept; the PLC is not asked each scan"
    assert scan.values == [1.0, 2.0, 0]
    assert scan.qualities is None


async def test_reads_that_a_busy_plc_split_are_merged_again(
    s7_compiled: Compile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged reads are refused for a while, single ones are not: the group is read tag by tag."""
    monkeypatch.setattr(probing, "FIRST_S", 0.1)
    busy = [True]

    def refuse(_: int, request: bytes, true: bytes) -> list[bytes | None]:
        if busy[0] and request[11] == 1 and request[16:18] == b"\x00\x14":
            return [frame(acknowledged_refusal(request, 0x05))]
        return [frame(true)]

    plc = RawPlc(memory={("DB", 1): DB1}, alter=refuse)
    rows = [(f"T{i}", f"DB1.DBB{i}:BYTE", "") for i in range(20)]
    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        assert (await anext(scans)).qualities is None
        plc.asked.clear()
        await anext(scans)
        while_busy = plc.asked.copy()
        busy[0] = False
        while plc.asked[-1] != [("DB", 1, 0, 20)]:
            await anext(scans)
        plc.asked.clear()
        for _ in range(3):
            scan = await anext(scans)

    assert while_busy == [[("DB", 1, i, 1) for i in range(20)]], "tag by tag, in one request"
    assert plc.asked == [[("DB", 1, 0, 20)]] * 3, "one item a scan again"
    assert scan.values == list(range(20))


def acknowledged_refusal(request: bytes, code: int) -> bytes:
    """Return an answer that refuses the request's only item."""
    reference = int.from_bytes(request[4:6], "big")
    return acknowledged(reference, b"\x04\x01", bytes([code, 0, 0, 0]))


async def test_a_device_that_takes_no_several_items_is_asked_for_one_at_a_time(
    s7_compiled: Compile,
) -> None:
    def only_one(_: int, request: bytes, true: bytes) -> list[bytes | None]:
        if request[11] > 1:
            return [frame(acknowledged(int.from_bytes(request[4:6], "big"), b"", error=0x8500))]
        return [frame(true)]

    plc = RawPlc(memory={("DB", 1): DB1, ("M", 0): DB1}, alter=only_one)
    rows = [("A", "DB1.DBB1:BYTE", ""), ("B", "MB2:BYTE", ""), ("Far", "DB1.DBB900:BYTE", "")]
    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        first = await anext(scans)
        plc.asked.clear()
        second = await anext(scans)

    assert first.values == second.values == [1, 2, 900 % 256]
    assert [len(items) for items in plc.asked] == [1, 1, 1], "learned; no request fails any more"


WORDS: list[tuple[Callable[[RawPlc], None], int, list[str]]] = [
    (
        lambda plc: plc.codes.update({("DB", 1): 0x05}),
        Quality.BAD_OUT_OF_RANGE,
        ["DB1 is shorter than 1 bytes, or has optimised block access", "Optimized block access"],
    ),
    (
        lambda plc: plc.codes.update({("DB", 1): 0x0A}),
        Quality.BAD_OUT_OF_RANGE,
        ["DB1 is missing in the PLC, or has optimised block access"],
    ),
    (
        lambda plc: plc.codes.update({("DB", 1): 0x03}),
        Quality.BAD_USER_ACCESS_DENIED,
        ["DB1 is protected", "PUT/GET"],
    ),
    (
        lambda plc: plc.codes.update({("DB", 1): 0x06}),
        Quality.BAD_TYPE_MISMATCH,
        ["does not give DB1 as bytes"],
    ),
    (
        lambda plc: plc.codes.update({("DB", 1): 0x07}),
        Quality.BAD_TYPE_MISMATCH,
        ["does not give DB1 as bytes"],
    ),
    (
        lambda plc: plc.codes.update({("DB", 1): 0x01}),
        Quality.BAD_DEVICE_FAILURE,
        ["diagnostic buffer"],
    ),
]


@pytest.mark.parametrize(("refuse", "quality", "words"), WORDS)
async def test_each_code_says_what_to_look_at(
    refuse: Callable[[RawPlc], None],
    quality: int,
    words: list[str],
    s7_compiled: Compile,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plc = RawPlc(memory={("DB", 1): DB1, ("DB", 2): DB1})
    refuse(plc)
    rows = [("A", "DB1.DBB0:BYTE", ""), ("B", "DB2.DBB5:BYTE", "")]

    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        scan = await anext(scans)

    assert scan.values == [None, 5]
    assert scan.qualities == [quality, Quality.GOOD]
    [line] = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    for word in words:
        assert word in line


async def test_a_cpu_without_put_get_is_said_so_and_stays_connected(
    s7_compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    """Error 0x8104 for the whole request: nothing is asked twice, every tag is Bad, one line."""

    def deny(_: int, request: bytes, __: bytes) -> list[bytes | None]:
        return [frame(acknowledged(int.from_bytes(request[4:6], "big"), b"", error=0x8104))]

    plc = RawPlc(memory={("DB", 1): DB1}, alter=deny)
    rows = [("A", "DB1.DBB0:BYTE", ""), ("B", "DB1.DBB2:BYTE", ""), ("C", "M0.0", "")]
    async with plc.listening(), reading(s7_compiled(plc.port, *rows)) as scans:
        first, second = await anext(scans), await anext(scans)

    for scan in (first, second):
        assert scan.qualities == [Quality.BAD_NOT_READABLE] * 3
    assert len(plc.asked) == 1
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(lines) == 2, "one for DB1, one for M; none for each scan"
    assert all("Permit access with PUT/GET communication" in line for line in lines)


def bcd_clock(at: datetime) -> bytes:
    """Return a time as a PLC tells it: reserved, century, year, and so on to the weekday."""
    ms = at.microsecond // 1_000
    pairs = [at.year // 100, at.year % 100, at.month, at.day, at.hour, at.minute, at.second]
    return bytes([0, *(int(str(pair), 16) for pair in [*pairs, ms // 10]), ms % 10 << 4 | 1])


async def test_the_plcs_clock_is_asked_for_when_that_is_wanted(s7_compiled: Compile) -> None:
    """The PLC is one hour ahead, as one that is set to local time."""
    ahead = datetime.fromtimestamp(now_ns() / 1e9, UTC) + timedelta(hours=1)
    plc = RawPlc(memory={("DB", 1): DB1}, clock=bcd_clock(ahead))
    async with plc.listening():
        settings = s7_compiled(plc.port, ("A", "DB1.DBB7:BYTE", ""), read_clock="true")
        collector = build_collector(settings)
        async with asyncio.timeout(10), collector.connect() as session:
            scans = session.scans()
            for _ in range(2):
                assert (await anext(scans)).values == [7]
            await scans.aclose()

    assert collector.clock.offset_ns is not None
    assert abs(collector.clock.offset_ns / 1e9 - 3_600) < 10
    assert collector.traffic.requests == 1 + 2 + 1, "set-up, two reads, one question for the time"


async def test_a_plc_that_does_not_tell_its_time_is_asked_once(
    s7_compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    plc = RawPlc(memory={("DB", 1): DB1})
    async with plc.listening():
        settings = s7_compiled(plc.port, ("A", "DB1.DBB7:BYTE", ""), read_clock="true")
        collector = build_collector(settings)
        for _ in range(2):
            async with asyncio.timeout(10), collector.connect() as session:
                scans = session.scans()
                for _ in range(2):
                    assert (await anext(scans)).values == [7]
                await scans.aclose()

    assert collector.clock.offset_ns is None
    assert collector.traffic.requests == 2 * (1 + 2) + 1
    assert [r.getMessage() for r in caplog.records if "read_clock = false" in r.getMessage()] == [
        "the PLC does not tell its time (S7-1200/1500 never do); set read_clock = false"
    ]
