"""Goal: scans hold what the device holds, and a device that misbehaves is away, not wrong.

Method: the real collector against pymodbus's server on a real socket, and against raw servers
that answer what pymodbus itself would let pass.
"""

import asyncio
import math
import re
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

import collectors.modbus
from collectors import probing
from collectors.modbus.config import ModbusSettings, compile_device
from collectors.modbus.device import ModbusCollector, build_collector
from common.clock import monotonic_s
from common.errors import Finding, SourceUnavailable
from common.plant import load_plant
from common.records import Quality, Scan, ValueType, decode_scan, encode_scan
from demo.pki import Authority

SAMPLE = Path(collectors.modbus.__file__).with_name("sample.toml").read_text(encoding="utf-8")
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'
Answer = Callable[[bytes], bytes | None]


def settings_of(folder: Path, text: str) -> ModbusSettings:
    (folder / "ot").mkdir(parents=True)
    (folder / "ot/plant.toml").write_text(GATEWAY + text, encoding="utf-8")
    findings: list[Finding] = []
    (device,) = load_plant(folder).devices
    settings = compile_device(device, findings)
    assert findings == []
    assert settings is not None
    return settings


def collector_of(
    folder: Path, port: int, addresses: list[str], keys: str = "", period_ms: int = 10
) -> ModbusCollector:
    rows = ", ".join(
        f'{{ name = "T{number}", address = "{address}" }}'
        for number, address in enumerate(addresses)
    )
    return build_collector(
        settings_of(
            folder,
            f'[devices.meter]\nprotocol = "modbus"\nhost = "127.0.0.1"\nport = {port}\n{keys}\n'
            f"[devices.meter.groups.all]\nperiod_ms = {period_ms}\ntags = [{rows}]\n",
        )
    )


async def scans_of(collector: ModbusCollector, count: int) -> list[Scan]:
    """Return the first scans of one session."""
    taken: list[Scan] = []
    async with collector.connect() as session, aclosing(session.scans()) as scans:
        async for scan in scans:
            taken.append(scan)
            if len(taken) == count:
                break
    return taken


async def refusal(collector: ModbusCollector) -> str:
    """Return why the device is away."""
    with pytest.raises(SourceUnavailable) as away:
        await asyncio.wait_for(scans_of(collector, 1_000), 10)
    return str(away.value)


def registers(code: str, *values: float) -> list[int]:
    data = struct.pack(">" + code, *values)
    return list(struct.unpack(f">{len(data) // 2}H", data))


class Meter:
    """A real Modbus server: holding registers 0 to 39 and 60 to 99, and the three other tables."""

    def __init__(self, server: ModbusTcpServer) -> None:
        self.server = server
        self.port: int = server.transport.sockets[0].getsockname()[1]
        self.asked: list[tuple[int, int, int]]

    async def hold(self, at: int, values: list[int]) -> None:
        await self.server.async_setValues(1, 16, at, values)


@asynccontextmanager
async def metering(port: int = 0) -> AsyncIterator[Meter]:
    asked: list[tuple[int, int, int]] = []

    def note(sending: bool, pdu: ModbusPDU) -> ModbusPDU:  # noqa: FBT001 - pymodbus's signature
        if not sending:
            asked.append((pdu.function_code, pdu.address, pdu.count))
        return pdu

    def words(at: int, count: int) -> SimData:
        return SimData(at, values=[0] * count, datatype=DataType.REGISTERS)

    device = SimDevice(
        1,
        simdata=(
            [SimData(0, values=[True, False, True, True] * 5, datatype=DataType.BITS)],
            [SimData(0, values=[False, True] * 8, datatype=DataType.BITS)],
            [words(0, 40), words(60, 40)],
            [SimData(0, values=[7, 8, 9], datatype=DataType.REGISTERS)],
        ),
    )
    server = ModbusTcpServer(device, address=("127.0.0.1", port), trace_pdu=note)
    await server.serve_forever(background=True)
    meter = Meter(server)
    meter.asked = asked
    try:
        yield meter
    finally:
        await server.shutdown()


@pytest.fixture
async def meter() -> AsyncGenerator[Meter, None]:
    async with metering() as running:
        yield running


@asynccontextmanager
async def serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """Serve connections by `handle` and yield the port; every one is closed at the end."""
    handling: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await handle(reader, writer)
        writer.close()
        with suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        tasks = [task for task in handling if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)
        await server.wait_closed()


@asynccontextmanager
async def raw_server(answer: Answer) -> AsyncIterator[int]:
    """Serve what `answer` makes of each request; None closes the connection."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (answered := answer(await reader.readexactly(12))) is not None:
            writer.write(answered)

    async with serving(handle) as port:
        yield port


def reply(request: bytes, pdu: str) -> bytes:
    """Frame a PDU as the answer to `request`."""
    body = bytes.fromhex(pdu)
    return request[:4] + struct.pack(">HB", len(body) + 1, request[6]) + body


async def test_values_of_every_table_and_order_arrive_as_the_device_holds_them(
    tmp_path: Path, meter: Meter
) -> None:
    await meter.hold(0, registers("fi", 12.5, -70_000))
    await meter.hold(4, [0x0000, 0x4148, 0x8001])
    await meter.hold(60, registers("dQ", -1e300, 2**64 - 1))
    addresses = [
        "holding:0:FLOAT32", "40003:INT32", "holding:4:FLOAT32@CDAB", "holding:6.15",
        "holding:6.1", "holding:6:INT16", "holding:60:FLOAT64", "holding:64:UINT64",
        "3x00003:UINT16", "coil:18", "00002", "10002",
    ]  # fmt: skip
    collector = collector_of(tmp_path, meter.port, addresses)

    (scan,) = await scans_of(collector, 1)

    assert scan.plan == collector.plans[0].fingerprint
    assert scan.qualities is None
    assert scan.values == [
        12.5, -70_000, 12.5, True, False, -32_767, -1e300, 2**64 - 1, 9, True, False, True,
    ]  # fmt: skip
    assert sorted(meter.asked) == [(1, 1, 18), (2, 1, 1), (3, 0, 7), (3, 60, 8), (4, 2, 1)]


async def test_whatever_the_registers_hold_every_type_can_be_handed_over(
    tmp_path: Path, meter: Meter
) -> None:
    kinds = ["INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64", "FLOAT32", "FLOAT64"]
    addresses = [f"holding:0:{kind}@{order}" for kind in kinds for order in ("ABCD", "DCBA")]
    collector = collector_of(tmp_path, meter.port, addresses)

    for pattern in (0x0000, 0x7FFF, 0x8000, 0xFFFF, 0xD800, 0x00FF):
        await meter.hold(0, [pattern] * 4)
        (scan,) = await scans_of(collector, 1)
        assert len(decode_scan(encode_scan(scan)).values) == len(addresses), "within 64 bits"


async def test_nan_and_infinity_are_passed_on_as_they_are(tmp_path: Path, meter: Meter) -> None:
    await meter.hold(0, registers("ff", math.nan, -math.inf))

    (scan,) = await scans_of(
        collector_of(tmp_path, meter.port, ["holding:0:FLOAT32", "holding:2:FLOAT32"]), 1
    )

    assert math.isnan(scan.values[0])
    assert scan.values[1] == -math.inf
    assert scan.qualities is None, "what they mean is the normalizer's decision"


async def test_one_wrong_address_makes_only_its_own_tag_bad(tmp_path: Path, meter: Meter) -> None:
    """Registers 40 to 59 do not exist; 41 is asked for between good neighbours."""
    await meter.hold(30, list(range(100, 110)))
    await meter.hold(60, [7])
    numbers = [*range(30, 40), 41, 60]
    addresses = [f"holding:{number}:UINT16" for number in numbers]
    collector = collector_of(tmp_path, meter.port, addresses, "max_gap = 20")

    async with collector.connect() as session, aclosing(session.scans()) as scans:
        first = await anext(scans)
        to_find_it = meter.asked.copy()
        second = await anext(scans)

    bad = numbers.index(41)
    for scan in (first, second):
        assert scan.values == [*range(100, 110), None, 7]
        assert scan.qualities is not None
        assert [at for at, code in enumerate(scan.qualities) if code] == [bad]
        assert scan.qualities[bad] == Quality.BAD_OUT_OF_RANGE
    after = meter.asked[len(to_find_it) :]
    assert to_find_it[0] == (3, 30, 31), "one merged read to begin with"
    assert len(to_find_it) < len(numbers), "halved, not read one by one"
    assert after == [(3, 30, 10), (3, 60, 1)], "the bad one is left out, and costs nothing"


async def test_a_hole_that_only_the_merging_read_over_costs_no_tag(
    tmp_path: Path, meter: Meter
) -> None:
    """39 and 60 exist, what lies between them does not: the device refuses the merged read."""
    collector = collector_of(
        tmp_path, meter.port, ["holding:39:UINT16", "holding:60:UINT16"], "max_gap = 20"
    )

    scans = await scans_of(collector, 2)

    assert [scan.qualities for scan in scans] == [None, None]


def refusing(from_register: int, asked: list[tuple[int, int]], busy: list[bool]) -> Answer:
    """Answer holding reads; while `busy`, refuse those that touch `from_register` or beyond."""

    def answer(request: bytes) -> bytes:
        start, count = struct.unpack(">HH", request[8:12])
        asked.append((start, count))
        if busy[0] and start + count > from_register:
            return reply(request, "83 02")
        return reply(request, f"03 {2 * count:02x}" + "002a" * count)

    return answer


async def test_a_device_that_refuses_everything_once_is_read_in_one_request_again(
    tmp_path: Path,
) -> None:
    asked: list[tuple[int, int]] = []
    busy = [True]
    async with raw_server(refusing(0, asked, busy)) as port:
        addresses = [f"holding:{number}:UINT16" for number in range(100)]
        collector = collector_of(tmp_path, port, addresses)
        async with collector.connect() as session, aclosing(session.scans()) as scans:
            first = await anext(scans)
            asked.clear()
            second = await anext(scans)
            while_busy = asked.copy()
            busy[0] = False
            await anext(scans)
            asked.clear()
            last = [await anext(scans) for _ in range(3)][-1]

    assert first.qualities == second.qualities == [Quality.BAD_OUT_OF_RANGE] * 100
    assert len(while_busy) <= 2, "the merged read, and one tag by itself; not each tag, each scan"
    assert last.values == [42] * 100
    assert asked == [(0, 100)] * 3, "one request a scan, as if it had never been refused"


async def test_tags_that_are_all_given_again_are_merged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "FIRST_S", 0.05)
    asked: list[tuple[int, int]] = []
    busy = [True]
    async with raw_server(refusing(50, asked, busy)) as port:
        addresses = [f"holding:{number}:UINT16" for number in range(100)]
        collector = collector_of(tmp_path, port, addresses)
        async with collector.connect() as session, aclosing(session.scans()) as scans:
            half = await anext(scans)
            busy[0] = False
            async with asyncio.timeout(10):
                while asked[-1] != (0, 100):
                    await anext(scans)
            asked.clear()
            whole = [await anext(scans) for _ in range(3)][-1]

    assert half.values == [42] * 50 + [None] * 50
    assert whole.qualities is None
    assert asked == [(0, 100)] * 3


async def test_one_tag_that_stays_refused_after_the_start_does_not_hide_the_others(
    tmp_path: Path,
) -> None:
    """Everything is refused while the device starts; then all but the last tag is given."""
    asked: list[tuple[int, int]] = []
    busy = [True]
    starting = refusing(0, asked, busy)
    started = refusing(9, asked, [True])

    def answer(request: bytes) -> bytes | None:
        return starting(request) if busy[0] else started(request)

    async with raw_server(answer) as port:
        addresses = [f"holding:{number}:UINT16" for number in range(10)]
        collector = collector_of(tmp_path, port, addresses)
        async with collector.connect() as session, aclosing(session.scans()) as scans:
            await anext(scans)
            busy[0] = False
            two = [await anext(scans) for _ in range(2)]

    assert two[-1].values == [42] * 9 + [None]


@pytest.mark.parametrize(
    ("code", "quality"),
    [
        ("01", Quality.BAD_CONFIGURATION_ERROR),
        ("02", Quality.BAD_OUT_OF_RANGE),
        ("03", Quality.BAD_OUT_OF_RANGE),
        ("04", Quality.BAD_DEVICE_FAILURE),
        ("06", Quality.BAD_DEVICE_FAILURE),
        ("63", Quality.BAD_DEVICE_FAILURE),
    ],
)
async def test_a_refusal_is_a_quality_and_not_a_lost_connection(
    tmp_path: Path, code: str, quality: int
) -> None:
    async with raw_server(lambda request: reply(request, f"83{code}")) as port:
        scans = await scans_of(collector_of(tmp_path, port, ["holding:0:INT16"]), 3)

    assert [scan.qualities for scan in scans] == [[quality]] * 3
    assert [scan.values for scan in scans] == [[None]] * 3


@pytest.mark.parametrize("code", ["0a", "0b"])
async def test_a_unit_that_its_gateway_does_not_reach_is_away(tmp_path: Path, code: str) -> None:
    async with raw_server(lambda request: reply(request, f"83{code}")) as port:
        text = await refusal(collector_of(tmp_path, port, ["holding:0:INT16"], "unit = 7"))

    assert "is not reached by its gateway: no answer of unit 7; check the unit number" in text


@pytest.mark.parametrize(
    ("table", "pdu", "what"),
    [
        ("holding:0:UINT32", "04 04 0000 0001", "function 4 when asked for function 3"),
        ("holding:0:UINT32", "84 02", "function 4 when asked for function 3"),
        ("holding:0:UINT32", "03 02 0001", "2 bytes of data when asked for 4"),
        ("holding:0:UINT32", "03 06 0001 0002 0003", "6 bytes of data when asked for 4"),
        ("holding:0:UINT32", "03 02 0001 0002", "4 bytes of data that it counts as 2"),
        ("holding:0:UINT32", "03 08 0001 0002", "4 bytes of data that it counts as 8"),
        ("holding:0:UINT32", "06 0000 0001", "bytes"),
        ("holding:0:UINT32", "03", "bytes"),
        ("holding:0:UINT32", "", "bytes"),
        ("coil:9", "01 02 00 00", "2 bytes of data when asked for 1"),
        ("coil:9", "02 01 00", "function 2 when asked for function 1"),
    ],
)
async def test_a_reply_that_does_not_answer_the_request_is_never_taken_for_a_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str, pdu: str, what: str
) -> None:
    async with raw_server(lambda request: reply(request, pdu)) as port:
        text = await refusal(collector_of(tmp_path, port, [table], "reply_timeout_ms = 200"))

    assert f"meter at 127.0.0.1:{port}" in text
    assert what in text
    assert "; check " in text, "it says what next"
    assert caplog.records == [], "no library speaks past our own log"


async def test_garbage_is_noticed_at_once(tmp_path: Path) -> None:
    async with raw_server(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        began_s = monotonic_s()
        text = await refusal(
            collector_of(tmp_path, port, ["holding:0:INT16"], "reply_timeout_ms = 60000")
        )

    assert "answered with bytes 48 54 54 50" in text
    assert monotonic_s() - began_s < 5


async def test_a_reply_to_another_request_is_never_taken_for_a_value(tmp_path: Path) -> None:
    def another_first(request: bytes) -> bytes:
        other = struct.pack(">H", int.from_bytes(request[:2], "big") + 7) + request[2:]
        return reply(other, "03 02 dead") + reply(request, "03 02 002a")

    async with raw_server(another_first) as port:
        scans = await scans_of(collector_of(tmp_path, port, ["holding:0:UINT16"]), 3)

    assert [scan.values for scan in scans] == [[42]] * 3


async def test_a_silent_device_is_away_after_the_reply_timeout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_server(lambda _: b"") as port:
        text = await refusal(
            collector_of(tmp_path, port, ["holding:0:INT16"], "unit = 7\nreply_timeout_ms = 100")
        )

    assert "did not answer unit 7 within 100 ms" in text
    assert caplog.records == [], "no library speaks past our own log"


async def test_a_connection_closed_mid_read_is_noticed_at_once(tmp_path: Path) -> None:
    async with raw_server(lambda _: None) as port:
        began_s = monotonic_s()
        text = await refusal(
            collector_of(tmp_path, port, ["holding:0:INT16"], "reply_timeout_ms = 60000")
        )

    assert "closed the connection" in text
    assert monotonic_s() - began_s < 5, "long before the reply timeout"


async def test_a_server_that_stops_between_reads_is_away_and_read_again_when_back(
    tmp_path: Path,
) -> None:
    async with metering() as meter:
        collector = collector_of(tmp_path, meter.port, ["holding:0:INT16"])
        async with collector.connect() as session, aclosing(session.scans()) as scans:
            await anext(scans)
            await meter.server.shutdown()
            with pytest.raises(SourceUnavailable, match="closed the connection"):
                async for _ in scans:
                    pass
        with pytest.raises(SourceUnavailable, match=r"cannot be connected.*; check host, port"):
            await scans_of(collector, 1)

    async with metering(meter.port):
        assert await scans_of(collector, 1), "the same collector, a fresh connection"


async def test_an_unknown_host_name_is_away_not_a_crash(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        '[devices.meter]\nprotocol = "modbus"\nhost = "no..such"\n'
        '[devices.meter.groups.all]\ntags = [{ name = "T", address = "coil:0" }]\n',
    )

    assert "name 'no..such' does not resolve" in await refusal(build_collector(settings))


async def test_cancelling_a_read_takes_effect_at_once_and_closes_the_connection(
    tmp_path: Path,
) -> None:
    asked, closed = asyncio.Event(), asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(12)
        asked.set()
        await reader.read()
        closed.set()

    async with serving(never_answer) as port:
        collector = collector_of(tmp_path, port, ["coil:0"], "reply_timeout_ms = 60000")
        task = asyncio.create_task(scans_of(collector, 1))
        await asyncio.wait_for(asked.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 2)

        await asyncio.wait_for(closed.wait(), 5)


async def test_a_device_slower_than_its_period_is_asked_less_often_and_counted(
    tmp_path: Path,
) -> None:
    waiting_bytes: list[int] = []

    async def answer_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await reader.readexactly(12)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.055):
                    waiting_bytes.append(len(await reader.read(1)))
            writer.write(reply(request, "03 02 002a"))

    async with serving(answer_slowly) as port:
        collector = collector_of(tmp_path, port, ["holding:0:INT16"], period_ms=10)
        assert len(await scans_of(collector, 4)) == 4

    assert collector.overruns >= 3 * 4, "each read took five periods and more"
    assert sum(waiting_bytes) == 0, "nothing is asked before the answer has come"


def uncommented(sample: str) -> str:
    return re.sub(r"^#(?=\w+ = )", "", sample, flags=re.MULTILINE)


def test_the_sample_loads_and_what_it_comments_out_are_the_defaults(tmp_path: Path) -> None:
    short = compiled(tmp_path / "short", SAMPLE)
    full = compiled(tmp_path / "full", uncommented(SAMPLE))

    assert [each.config for each in full] == [each.config for each in short]
    assert [each.groups for each in full] == [each.groups for each in short]
    meter, pump, substation = short
    columns = meter.groups[0].plan.columns
    assert [(column.address, column.value_type) for column in columns[:6]] == [
        ("holding:0:FLOAT32@CDAB", ValueType.FLOAT64),
        ("holding:10:UINT32", ValueType.FLOAT64),
        ("input:0:UINT16", ValueType.FLOAT64),
        ("discrete:0:BOOL", ValueType.BOOL),
        ("holding:20.3:BOOL", ValueType.BOOL),
        ("holding:30:STRING(8)", ValueType.STRING),
    ]
    assert [column.name for column in columns[6:]] == [f"Harmonics/{i}" for i in (1, 2, 3)]
    assert (meter.line.place, meter.line.transport) == ("192.0.2.10:502", "tcp")
    assert (pump.line.place, pump.line.transport) == ("/dev/ttyUSB0", "rtu")
    assert (pump.line.baudrate, pump.line.parity, pump.line.bytesize) == (19_200, "E", 8)
    assert (substation.line.port, substation.line.server_name) == (802, "substation.example.com")


def compiled(folder: Path, text: str) -> list[ModbusSettings]:
    """Return every device of a plant; the files that the sample names are there."""
    (folder / "ot/pki").mkdir(parents=True)
    Authority().write_ca(folder / "ot/pki/ot-ca.pem")
    (folder / "ot/plant.toml").write_text(GATEWAY + text, encoding="utf-8")
    findings: list[Finding] = []
    settings = [compile_device(device, findings) for device in load_plant(folder).devices]
    assert findings == []
    return [each for each in settings if each is not None]


def test_building_a_collector_touches_no_network(tmp_path: Path) -> None:
    collector = collector_of(tmp_path, 9, ["coil:0"])

    assert [plan.group for plan in collector.plans] == ["all"]
