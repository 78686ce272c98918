"""A line between a collector and its device: every request is recorded, answers can be spoiled.

It runs in a thread of its own, so that a test may wait in its own way. What it does to the bytes
is the same for every protocol; what it knows of the requests is in wire_requests.py.
"""

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from enum import StrEnum
from typing import Any, Self

from demo.children import LOOPBACK
from tests.process.wire_requests import DECODERS, READS, Request

CHUNK_BYTES = 64 * 1024


class Spoil(StrEnum):
    """What happens to the device's answers."""

    NOTHING = "nothing"
    LATE = "answers late"
    GARBAGE = "answers garbage"
    HALF = "sends half an answer"
    RESET = "resets in mid-answer"
    SWALLOW = "swallows every answer"


class WireWatch:
    """Listens on a port of its own and forwards to the device's."""

    def __init__(self, protocol: str, device_port: int, *, late_s: float = 3.0) -> None:
        self.requests: list[Request] = []
        """In the order in which they were sent, over all connections."""
        self.connections = 0
        self.spoil = Spoil.NOTHING
        self.port = 0
        self._protocol = protocol
        self._device_port = device_port
        self._late_s = late_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._noise = random.Random(7)

    def histogram(self) -> Counter[str]:
        """Return how often each kind of request was sent."""
        return Counter(request.name for request in list(self.requests))

    def writes(self) -> Counter[str]:
        """Return what is not known to be a read."""
        return Counter(
            {name: n for name, n in self.histogram().items() if name not in READS[self._protocol]}
        )

    def listen(self) -> None:
        """Take connections; after `cut`, on the same port as before. May be repeated."""
        if self._server is None:
            self._call(self._listen())

    def cut(self) -> None:
        """Break every connection and refuse new ones: as a device that died."""
        self._call(self._cut())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            reset(writer)

    async def _carry(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(near_out)
        try:
            far, far_out = await asyncio.open_connection(LOOPBACK, self._device_port)
        except OSError:
            reset(near_out)
            self._open.discard(near_out)
            return
        try:
            await asyncio.gather(self._ask(near, far_out), self._answer(far, near_out))
        finally:
            self._open.discard(near_out)

    async def _ask(self, near: asyncio.StreamReader, far_out: asyncio.StreamWriter) -> None:
        decoder = DECODERS[self._protocol]()
        with suppress(OSError):
            while chunk := await near.read(CHUNK_BYTES):
                self.requests += decoder.feed(chunk)
                far_out.write(chunk)
                await far_out.drain()
        far_out.close()

    async def _answer(self, far: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await far.read(CHUNK_BYTES):
                match self.spoil:
                    case Spoil.LATE:
                        await asyncio.sleep(self._late_s)
                    case Spoil.GARBAGE:
                        chunk = self._noise.randbytes(len(chunk))
                    case Spoil.HALF | Spoil.RESET:
                        chunk = chunk[: len(chunk) // 2]
                    case Spoil.SWALLOW:
                        continue
                near_out.write(chunk)
                await near_out.drain()
                if self.spoil is Spoil.RESET:
                    reset(near_out)
        near_out.close()

    def __enter__(self) -> Self:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._cut())
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection by RST instead of closing it in order."""
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
