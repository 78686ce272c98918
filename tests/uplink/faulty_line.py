"""A TCP line of one's own between the uplink and a broker, with the faults that real ones have.

Each direction has its own: bytes that vanish, a rate, a delay. Ends are passed on as they come
(a FIN as a FIN, of one direction alone), a reset as a reset. It runs in a thread with a loop of its
own.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

CHUNK_BYTES = 4_096
BUFFERED_BYTES_MAX = 32 * 1024
"""What a slow line holds before the sender's own TCP must wait: a router's queue."""
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Direction:
    """One way of the line; may be changed at any time."""

    def __init__(self) -> None:
        self.vanishing = False
        """True: what is sent is taken and never arrives."""
        self.bits_per_s = 0
        """0: no limit."""
        self.delay_s = 0.0


class _Call:
    """One connection through the line."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.near, self.far = near, far
        self.ended: set[asyncio.StreamWriter] = set()
        """Who was told that nothing more comes."""

    def say_end(self, to: asyncio.StreamWriter) -> None:
        if to not in self.ended:
            self.ended.add(to)
            to.write_eof()

    def end(self, *, reset: bool) -> None:
        for writer in (self.near, self.far):
            found = writer.get_extra_info("socket")
            if reset and found is not None:
                with suppress(OSError):  # Closed already.
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            writer.transport.abort() if reset else writer.close()


class FaultyLine:
    """`with` listens on a port of 127.0.0.1 and forwards to another."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self.port = 0
        self.outward = Direction()
        """From the uplink to the broker."""
        self.inward = Direction()
        self.answering = True
        """False: connections are taken, and nobody is behind them."""
        self.calls = 0
        """Connections taken so far."""
        self._open: set[_Call] = set()
        self._silent: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faulty line")
        self._over = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the line is up"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def vanish(self, *, outward: bool, inward: bool) -> None:
        """Lose every byte of a direction, or of both, from now on."""
        self.outward.vanishing, self.inward.vanishing = outward, inward

    def slow(self, bits_per_s: int) -> None:
        """Carry no more than so much, each way."""
        self.outward.bits_per_s = self.inward.bits_per_s = bits_per_s

    def stretch(self, round_trip_s: float) -> None:
        """Let every byte take half of it, each way."""
        self.outward.delay_s = self.inward.delay_s = round_trip_s / 2

    def reset(self) -> None:
        """End every connection by RST."""
        self._call(lambda: [call.end(reset=True) for call in list(self._open)])

    def half_close(self) -> None:
        """Tell the uplink that nothing more comes (FIN), and go on reading from it."""
        self._call(lambda: [call.say_end(call.near) for call in list(self._open)])

    def _call(self, what: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(what)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for call in list(self._open):
            call.end(reset=True)
        for writer in self._silent:
            writer.transport.abort()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await server.wait_closed()

    async def _carry(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        self.calls += 1
        if not self.answering:
            self._silent.append(near_out)
            return
        try:
            far, far_out = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:  # The broker is away: so is the line, for this caller.
            near_out.close()
            return
        call = _Call(near_out, far_out)
        self._open.add(call)
        pumps = [
            asyncio.create_task(self._pump(near, far_out, self.outward, call)),
            asyncio.create_task(self._pump(far, near_out, self.inward, call)),
        ]
        self._pumps.update(pumps)
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*pumps)
        self._pumps.difference_update(pumps)
        self._open.discard(call)
        call.end(reset=False)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        direction: Direction,
        call: _Call,
    ) -> None:
        """Carry one direction: each chunk arrives after the ones before it, as the line is then."""
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(
            BUFFERED_BYTES_MAX // CHUNK_BYTES if direction.bits_per_s else 0
        )
        delivery = asyncio.create_task(self._deliver(on_the_way, sink, direction, call))
        free_at_s = 0.0
        try:
            while chunk := await source.read(CHUNK_BYTES):
                if direction.vanishing:
                    continue
                now_s = self._loop.time()
                took_s = len(chunk) * 8 / direction.bits_per_s if direction.bits_per_s else 0.0
                free_at_s = max(free_at_s, now_s) + took_s
                await on_the_way.put((free_at_s + direction.delay_s, chunk))
            if not direction.vanishing:
                await on_the_way.put((self._loop.time() + direction.delay_s, b""))
                await delivery
        except ConnectionError:
            call.end(reset=True)
        finally:
            delivery.cancel()

    async def _deliver(
        self,
        on_the_way: "asyncio.Queue[tuple[float, bytes]]",
        sink: asyncio.StreamWriter,
        direction: Direction,
        call: _Call,
    ) -> None:
        with suppress(OSError):  # The far end broke it; the pump of the other direction tells.
            while True:
                at_s, chunk = await on_the_way.get()
                await asyncio.sleep(max(0.0, at_s - self._loop.time()))
                if not chunk:
                    call.say_end(sink)
                    return
                if direction.vanishing or sink in call.ended:
                    continue
                sink.write(chunk)
                await sink.drain()
