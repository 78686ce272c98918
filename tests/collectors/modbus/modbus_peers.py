"""Modbus peers that do exactly what a test says, and a small plant that reads them.

A peer hears requests on TCP, UDP or the far end of a pty, and gives each to a behaviour: a
coroutine that sends what it likes, or nothing. The truth is in the address: register n of unit u
holds 1000 * u + n, so that a value which belongs to another request is seen to be wrong.
"""

import asyncio
import contextlib
import os
import socket
import struct
import tty
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collectors.contract import Collector
from collectors.modbus.device import build_collector
from collectors.modbus.framing import crc, lrc
from collectors.registry import compiler_of
from collectors.runner import DeviceState, keep_collecting, reconnect_delays_s
from common.errors import Finding
from common.plant import load_plant
from common.records import Plan, Scan

GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'
READS = (1, 2, 3, 4)
Send = Callable[[bytes], None]


@dataclass
class Asked:
    """One request as it arrived, and where to send to."""

    framing: str
    unit: int
    pdu: bytes
    transaction: int = 0
    send: Send = field(default=lambda _: None, repr=False)
    close: Callable[[], None] = field(default=lambda: None, repr=False)
    """Ends the connection by a reset."""
    over: Callable[[], bool] = field(default=lambda: False, repr=False)
    """Whether the other side has ended it."""

    @property
    def function(self) -> int:
        return self.pdu[0]

    @property
    def start(self) -> int:
        return int.from_bytes(self.pdu[1:3], "big")

    @property
    def quantity(self) -> int:
        return int.from_bytes(self.pdu[3:5], "big")

    def truth(self, unit: int | None = None) -> bytes:
        """The PDU that an honest device answers."""
        unit = self.unit if unit is None else unit
        numbers = range(self.start, self.start + self.quantity)
        if self.function in (1, 2):
            bits = sum(1 << at for at, number in enumerate(numbers) if number % 3 == 0)
            data = bits.to_bytes(-(-self.quantity // 8), "little")
        else:
            data = struct.pack(f">{self.quantity}H", *((1000 * unit + n) & 0xFFFF for n in numbers))
        return bytes([self.function, len(data)]) + data

    def framed(
        self, pdu: bytes, *, unit: int | None = None, transaction: int | None = None
    ) -> bytes:
        """A whole frame around a PDU."""
        body = bytes([self.unit if unit is None else unit]) + pdu
        if self.framing == "rtu":
            return body + crc(body).to_bytes(2, "little")
        if self.framing == "ascii":
            return b":" + (body + bytes([lrc(body)])).hex().upper().encode() + b"\r\n"
        number = self.transaction if transaction is None else transaction
        return struct.pack(">HHH", number % 65_536, 0, len(body)) + body

    def answer(self) -> None:
        self.send(self.framed(self.truth()))

    def refuse(self, code: int) -> None:
        self.send(self.framed(bytes([self.function | 0x80, code])))


Behaviour = Callable[[Asked], Awaitable[None]]


async def honest(asked: Asked) -> None:
    asked.answer()


async def silent(asked: Asked) -> None:
    del asked


class Peer:
    """What a server heard, and how it answers from now on."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.asked: list[Asked] = []
        self.connections = 0
        self.open_connections = 0
        self.port = 0
        self.path = ""
        self.failures: list[BaseException] = []
        """Of the peer itself; they fail the test."""

    async def answer(self, asked: Asked) -> None:
        try:
            await self.behave(asked)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except BaseException as error:
            self.failures.append(error)
            raise

    def cut(self, heard: bytearray, framing: str) -> Iterator[Asked]:
        """Take whole requests out of what was heard; any write request fails the test."""
        while True:
            if framing == "mbap":
                if len(heard) < 12:
                    return
                number, _, _, unit = struct.unpack_from(">HHHB", heard)
                asked = Asked(framing, unit, bytes(heard[7:12]), number)
                del heard[:12]
            elif framing == "rtu":
                if len(heard) < 8:
                    return
                assert crc(heard[:6]) == int.from_bytes(heard[6:8], "little")
                asked = Asked(framing, heard[0], bytes(heard[1:6]))
                del heard[:8]
            else:
                line, end, rest = heard.partition(b"\r\n")
                if not end:
                    return
                body = bytes.fromhex(line[1:].decode())
                assert lrc(body[:-1]) == body[-1]
                asked = Asked(framing, body[0], body[1:6])
                heard[:] = rest
            if asked.function not in READS:
                self.failures.append(AssertionError(f"asked for function {asked.function}"))
            self.asked.append(asked)
            yield asked


@asynccontextmanager
async def tcp_peer(behave: Behaviour, framing: str = "mbap", port: int = 0) -> AsyncIterator[Peer]:
    """Serve on TCP; each connection answers in the order of its requests."""
    peer = Peer(behave)
    handling: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.connections += 1
        peer.open_connections += 1
        heard = bytearray()

        def reset() -> None:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

        async def answer() -> None:
            with suppress(ConnectionError):
                while True:
                    await peer.answer(await requests.get())

        requests: asyncio.Queue[Asked] = asyncio.Queue()
        answering = asyncio.create_task(answer())
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                while data := await reader.read(4096):
                    heard += data
                    for asked in peer.cut(heard, framing):
                        asked.send, asked.close = writer.write, reset
                        asked.over = writer.transport.is_closing
                        requests.put_nowait(asked)
        finally:
            peer.open_connections -= 1
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            writer.transport.abort()

    writers: set[asyncio.StreamWriter] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Known from the first instant: a task that is cancelled before it began closes nothing.
        writers.add(writer)
        task = asyncio.ensure_future(handle(reader, writer))
        handling.add(task)
        task.add_done_callback(handling.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        tasks = list(handling)
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
        assert peer.failures == []


class SerialLine:
    """A pty: the collector opens `path`, the peers are at the other end. Can be pulled out."""

    def __init__(self, peer: Peer, framing: str, path: Path) -> None:
        self.path = path
        self._peer = peer
        self._framing = framing
        self._master = -1
        self._answering: asyncio.Task[None] | None = None

    def plug(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        tty.setraw(self._master)
        os.set_blocking(self._master, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        self._slave = slave
        self._requests: asyncio.Queue[Asked] = asyncio.Queue()
        self._heard = bytearray()
        asyncio.get_running_loop().add_reader(self._master, self._hear)
        self._answering = asyncio.create_task(self._answer())

    async def unplug(self) -> None:
        if self._answering:
            asyncio.get_running_loop().remove_reader(self._master)
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)
            self._answering = None
            os.close(self._master)
            os.close(self._slave)
            self.path.unlink(missing_ok=True)

    def _hear(self) -> None:
        with suppress(OSError):
            self._heard += os.read(self._master, 4096)
        for asked in self._peer.cut(self._heard, self._framing):
            asked.send = self._send
            self._requests.put_nowait(asked)

    def _send(self, data: bytes) -> None:
        # As on a line that nobody listens to: what does not fit is gone.
        with suppress(BlockingIOError):
            os.write(self._master, data)

    async def _answer(self) -> None:
        while True:
            await self._peer.answer(await self._requests.get())


@asynccontextmanager
async def serial_peer(
    behave: Behaviour, folder: Path, framing: str = "rtu"
) -> AsyncIterator[tuple[Peer, SerialLine]]:
    """Serve on a pty whose name is a link in `folder`."""
    peer = Peer(behave)
    line = SerialLine(peer, framing, folder / "ttyUSB0")
    line.plug()
    peer.path = str(line.path)
    try:
        yield peer, line
    finally:
        await line.unplug()
        assert peer.failures == []


@asynccontextmanager
async def relayed_ptys() -> AsyncIterator[tuple[str, str]]:
    """Two serial ports of this box, joined by a cable: for a server that opens a port itself."""
    loop = asyncio.get_running_loop()
    ends = [os.openpty() for _ in range(2)]
    for ours, theirs in ends:
        tty.setraw(ours)
        tty.setraw(theirs)
        os.set_blocking(ours, False)

    def copy(source: int, target: int) -> None:
        with suppress(OSError):
            os.write(target, os.read(source, 4096))

    (one, _), (other, _) = ends
    loop.add_reader(one, copy, one, other)
    loop.add_reader(other, copy, other, one)
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        for ours, theirs in ends:
            loop.remove_reader(ours)
            os.close(ours)
            os.close(theirs)


def device_text(name: str, keys: str, registers: Sequence[int] = (0,), period_ms: int = 50) -> str:
    rows = ", ".join(
        f'{{ name = "R{number}", address = "holding:{number}:UINT16" }}' for number in registers
    )
    return (
        f'[devices.{name}]\nprotocol = "modbus"\n{keys}\n'
        f"[devices.{name}.groups.all]\nperiod_ms = {period_ms}\ntags = [{rows}]\n"
    )


def collectors_of(folder: Path, *devices: str) -> list[Any]:
    """Build every device of a plant, as the collector process does."""
    (folder / "ot").mkdir(parents=True, exist_ok=True)
    (folder / "ot/plant.toml").write_text(GATEWAY + "\n".join(devices), encoding="utf-8")
    findings: list[Finding] = []
    compiled = [compiler_of("modbus")(each, findings) for each in load_plant(folder).devices]
    assert findings == []
    return [build_collector(settings) for settings in compiled]


class Reading:
    """Devices kept read by the house's own runner, and what came of it."""

    def __init__(self, built: Sequence[Collector]) -> None:
        self.devices = {each.plans[0].device: DeviceState(each) for each in built}
        self.scans: dict[str, list[Scan]] = defaultdict(list)
        self._news = asyncio.Event()

    def forward(self, scan: Scan, plan: Plan) -> None:
        self.scans[plan.device].append(scan)
        self._news.set()

    def good(self, device: str) -> int:
        """How many scans the device itself gave without anything Bad."""
        return sum(1 for scan in self.scans[device] if scan.qualities is None)

    def values(self, device: str) -> set[tuple[Any, ...]]:
        """Every different set of values that was taken for good."""
        return {tuple(scan.values) for scan in self.scans[device] if scan.qualities is None}

    def state(self, device: str) -> str:
        return self.devices[device].state

    async def until(self, condition: Callable[[], bool], timeout_s: float = 30) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                with suppress(TimeoutError):
                    # A state may change without a scan.
                    async with asyncio.timeout(0.05):
                        await self._news.wait()

    async def for_scans(self, device: str, scans: int, timeout_s: float = 30) -> None:
        aim = self.good(device) + scans
        await self.until(lambda: self.good(device) >= aim, timeout_s)


@asynccontextmanager
async def reading(
    built: Sequence[Collector], delays_s: Callable[[], Iterator[float]] | None = None
) -> AsyncIterator[Reading]:
    """Read devices for the length of the block."""
    plant = Reading(built)
    tasks = [
        asyncio.create_task(keep_collecting(device, plant.forward, delays_s or reconnect_delays_s))
        for device in plant.devices.values()
    ]
    try:
        yield plant
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        crashed = [
            each
            for each in ended
            if isinstance(each, BaseException) and not isinstance(each, asyncio.CancelledError)
        ]
        with contextlib.suppress(IndexError):
            raise crashed[0]
