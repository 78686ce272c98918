"""A proxy between us and a server, that changes what the server says, or is cut."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

Change = Callable[[bytes], bytes]


def unchanged(data: bytes) -> bytes:
    """Return what the server says."""
    return data


def unparsable_mark(data: bytes) -> bytes:
    """Have the text MARKMARK announced as an ExtensionObject: nobody can read on from there."""
    return data.replace(b"\x0c\x08\0\0\0MARKMARK", b"\x16\x08\0\0\0MARKMARK")


class Proxy:
    """Forwards connections to a port, while it is `up`."""

    def __init__(self, port: int, changing: Callable[[], Change]) -> None:
        self.endpoint = ""
        self.up = True
        self._port, self._changing = port, changing
        self._tasks: set[asyncio.Task[None]] = set()

    async def cut(self) -> None:
        """End every connection, and take no other while not `up`."""
        self.up = False
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side ends it."""
        if not self.up:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        inner, outer = await asyncio.open_connection("127.0.0.1", self._port)
        pumps = [
            asyncio.create_task(_pump(reader, outer, unchanged)),
            asyncio.create_task(_pump(inner, writer, self._changing())),
        ]
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in pumps:
            each.cancel()
        for stream in (writer, outer):
            stream.close()
        self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Change) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(change(data))


@asynccontextmanager
async def proxy(
    port: int, changing: Callable[[], Change] = lambda: unchanged
) -> AsyncIterator[Proxy]:
    """Yield a proxy; `changing` makes one Change of each connection's replies."""
    between = Proxy(port, changing)
    server = await asyncio.start_server(between.serve, "127.0.0.1", 0)
    between.endpoint = f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield between
    finally:
        server.close()
        await between.cut()
