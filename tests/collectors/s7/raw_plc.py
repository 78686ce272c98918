"""A PLC of our own that speaks just enough COTP and S7, records what it is asked, and can lie.

Written from the protocol's description, not from the code under test: it takes requests apart with
its own struct formats and builds replies byte by byte, so that both sides cannot share a mistake.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

AREAS = {0x80: "PI", 0x81: "I", 0x82: "Q", 0x83: "M", 0x84: "DB", 0x1C: "C", 0x1D: "T"}

Asked = tuple[str, int, int, int]
"""Area, block, first byte (or number), bytes (or elements)."""
Reply = bytes | None
Alter = Callable[[int, bytes, bytes], list[Reply] | Awaitable[list[Reply]]]
"""(number of the read, request, true reply) → messages to send instead; None closes."""


def frame(message: bytes) -> bytes:
    """Return an S7 message in COTP and TPKT."""
    return struct.pack(">BBH", 3, 0, len(message) + 7) + b"\x02\xf0\x80" + message


def acknowledged(reference: int, parameters: bytes, data: bytes = b"", error: int = 0) -> bytes:
    """Return an answer."""
    head = struct.pack(">BBHHHHH", 0x32, 3, 0, reference, len(parameters), len(data), error)
    return head + parameters + data


@dataclass
class RawPlc:
    """Memory by (area, block); what is not there does not exist."""

    memory: dict[tuple[str, int], bytes] = field(default_factory=dict)
    pdu_bytes: int = 480
    alter: Alter | None = None
    codes: dict[tuple[str, int], int] = field(default_factory=dict)
    """Areas that are refused with an item code of their own."""
    holes: dict[tuple[str, int], range] = field(default_factory=dict)
    """Bytes within an area that cannot be read."""
    clock: bytes | None = None
    """Ten bytes; None answers with an error, as S7-1200 and S7-1500 do."""
    asked: list[list[Asked]] = field(default_factory=list)
    """Each ReadVar request, as its items."""
    tsaps: list[tuple[int, int]] = field(default_factory=list)
    pdus_asked: list[int] = field(default_factory=list)
    frames_bytes: list[int] = field(default_factory=list)
    """Sizes of all S7 frames, received and sent."""
    connections: int = 0
    """Accepted so far."""
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    """One for each connection that is open."""
    port: int = 0

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator["RawPlc"]:
        """Serve for the length of the block."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        try:
            await self._connected(reader)
            writer.write(bytes.fromhex("0300000b06d00001000200"))
            while True:
                for reply in await self._answers(await self._message(reader)):
                    if reply is None:
                        return
                    writer.write(reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()

    async def _connected(self, reader: asyncio.StreamReader) -> None:
        _, _, length = struct.unpack(">BBH", await reader.readexactly(4))
        request = await reader.readexactly(length - 4)
        parameters, found = request[7:], {}
        while parameters:
            found[parameters[0]] = int.from_bytes(parameters[2 : 2 + parameters[1]], "big")
            parameters = parameters[2 + parameters[1] :]
        self.tsaps.append((found[0xC1], found[0xC2]))

    async def _message(self, reader: asyncio.StreamReader) -> bytes:
        _, _, length = struct.unpack(">BBH", await reader.readexactly(4))
        body = await reader.readexactly(length - 4)
        if body[1] == 0x80:
            raise ConnectionError("goodbye")
        self.frames_bytes.append(length)
        return body[3:]

    async def _answers(self, request: bytes) -> list[Reply]:
        kind, reference = request[1], struct.unpack(">H", request[4:6])[0]
        if kind == 7:
            return [self._sent(frame(self._userdata(request)))]
        assert kind == 1, f"a job, found {kind}"
        function = request[10]
        assert function in (0xF0, 0x04), f"function {function:#x} is no set-up and no read"
        if function == 0xF0:
            self.pdus_asked.append(struct.unpack(">H", request[16:18])[0])
            granted = struct.pack(">BBHHH", 0xF0, 0, 1, 1, self.pdu_bytes)
            return [self._sent(frame(acknowledged(reference, granted)))]
        true = acknowledged(reference, request[10:12], self._read(request))
        if self.alter is None:
            return [self._sent(frame(true))]
        altered = self.alter(len(self.asked), request, true)
        return altered if isinstance(altered, list) else await altered

    def _sent(self, whole: bytes) -> bytes:
        self.frames_bytes.append(len(whole))
        return whole

    def _read(self, request: bytes) -> bytes:
        count, items, data = request[11], [], b""
        assert len(request) == 12 + 12 * count, "the request is as long as its items"
        assert len(request) <= self.pdu_bytes, "the request fits the PDU"
        for index in range(count):
            spec = request[12 + 12 * index : 24 + 12 * index]
            head, size, length, db, area = spec[:3], *struct.unpack(">BHHB", spec[3:9])
            assert head == b"\x12\x0a\x10"
            address = int.from_bytes(spec[9:12], "big")
            counted = size in (0x1C, 0x1D)
            start = address if counted else address // 8
            items.append((AREAS[area], db, start, length))
            unit = 2 if counted else 1
            data += self._item(AREAS[area], db, start * unit, length * unit, counted=counted)
            if index < count - 1 and len(data) % 2:
                data += b"\0"
        self.asked.append(items)
        assert 14 + len(data) <= self.pdu_bytes, "the reply fits the PDU"
        return data

    def _item(self, area: str, db: int, start: int, length: int, *, counted: bool) -> bytes:
        memory = self.memory.get((area, db))
        code = self.codes.get((area, db))
        hole = self.holes.get((area, db), range(0))
        if code is None and memory is None:
            code = 0x0A
        elif code is None and memory is not None and start + length > len(memory):
            code = 0x05
        elif code is None and any(byte in hole for byte in range(start, start + length)):
            code = 0x03
        if code is not None or memory is None:
            return struct.pack(">BBH", code or 0x0A, 0, 0)
        found = memory[start : start + length]
        if counted:
            return struct.pack(">BBH", 0xFF, 9, length) + found
        return struct.pack(">BBH", 0xFF, 4, length * 8) + found

    def _userdata(self, request: bytes) -> bytes:
        group, subfunction = request[15] & 0x0F, request[16]
        assert (group, subfunction) in ((7, 1), (3, 2), (3, 3)), "questions that change nothing"
        data, error = b"\x0a\x00\x00\x00", 0x8104
        if (group, subfunction) == (7, 1) and self.clock is not None:
            data, error = struct.pack(">BBH", 0xFF, 9, 10) + self.clock, 0
        parameters = bytes([0, 1, 0x12, 8, 0x12, 0x80 | group, subfunction, 0, 0, 0])
        parameters += struct.pack(">H", error)
        head = struct.pack(">BBH2sHH", 0x32, 7, 0, request[4:6], len(parameters), len(data))
        return head + parameters + data
