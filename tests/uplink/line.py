"""A line between a gateway and its broker that does what lines do: TCP forwarding with faults.

    with Line(broker.port) as line:
        site.configure(line.port)
        line.hold(OUT)            # a black hole, one way; line.hold() both ways
        line.release()
        line.reset()              # RST to both ends
        line.cut()                # FIN to both ends; line.block(): and nobody gets through
        line.half_close(OUT)      # the broker sees the end, the gateway does not
        line.orphan()             # half-open: these connections are dead and nobody says so

What is held is kept and goes on when the line is released, as TCP itself would send it again; what
is orphaned is gone.
Bandwidth and delay are of each direction. Each connection has four threads of its own; nothing
listens but on 127.0.0.1.
"""

import queue
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Self

from common.clock import monotonic_s

CHUNK_BYTES = 65_536
CHUNK_S = 0.01
"""How long a chunk takes on a slow line; small ones make it even."""
QUEUE_CHUNKS = 4_096
"""On their way in one direction."""
SLOW_CHUNKS = 16
BUFFER_BYTES = 8_192
"""Of the sockets of a slow line: large ones would hold seconds of it."""
SLOW_CHUNK_BYTES = 256
Chunks = queue.Queue[tuple[float, bytes]]
"""When each is due, and the data; empty at the end."""


class Way(Enum):
    """A direction."""

    OUT = "from the gateway to the broker"
    IN = "from the broker to the gateway"


OUT, IN = Way.OUT, Way.IN
BOTH = (OUT, IN)


class _Connection:
    """Two sockets, and what is on its way between them."""

    def __init__(self, line: "Line", near: socket.socket, far: socket.socket) -> None:
        self.ends = {OUT: far, IN: near}
        """Where each direction leads."""
        self._line = line
        self.dead: frozenset[Way] = frozenset()
        """Directions in which nothing goes through any more, and neither end is told."""
        self.ended = threading.Event()
        self.threads = []
        for way in BOTH:
            source = near if way is OUT else far
            chunks: Chunks = queue.Queue(line.chunks_max)
            for work in (self._take, self._give):
                self.threads.append(threading.Thread(target=work, args=(way, source, chunks)))

    def start(self) -> None:
        """Begin to forward."""
        for thread in self.threads:
            thread.start()

    def _take(self, _way: Way, source: socket.socket, chunks: Chunks) -> None:
        try:
            while data := source.recv(self._line.chunk_bytes):
                chunks.put((monotonic_s() + self._line.delay_s, data))
        except OSError:
            pass  # Ended by the other end, or by us: that is what the line is for.
        chunks.put((monotonic_s() + self._line.delay_s, b""))

    def _give(self, way: Way, _source: socket.socket, chunks: Chunks) -> None:
        free_at_s = 0.0
        data = b"-"
        while data:
            due_at_s, data = chunks.get()
            if self.ended.is_set():
                continue  # Nothing more goes out; the taking thread may wait for room.
            self.ended.wait(max(0.0, due_at_s - monotonic_s(), free_at_s - monotonic_s()))
            self._line.flows[way].wait()
            if way in self.dead:
                self.ended.wait()  # Until the line itself is taken down.
                continue
            try:
                if data:
                    self.ends[way].sendall(data)
                else:
                    self.ends[way].shutdown(socket.SHUT_WR)
            except OSError:
                self.end()
            if self._line.bits_per_s:
                free_at_s = max(free_at_s, monotonic_s()) + 8 * len(data) / self._line.bits_per_s

    def end(self, *, reset: bool = False) -> None:
        """End both ends, by RST or in order."""
        self.ended.set()
        for each in self.ends.values():
            with suppress(OSError):  # Ended before.
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    each.shutdown(socket.SHUT_RD)  # Wakes the thread that reads from it.
                else:
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the sockets back; after a reset this is what sends the RST."""
        for each in self.ends.values():
            each.close()


class Line:
    """Forwards from a port of its own to another; faults apply to new connections as well."""

    def __init__(self, to_port: int, *, bits_per_s: float = 0.0, delay_s: float = 0.0) -> None:
        """0 bits/s is as fast as can be; `delay_s` is of each direction."""
        self._to_port = to_port
        self.bits_per_s = bits_per_s
        self.delay_s = delay_s
        slow_bytes = max(SLOW_CHUNK_BYTES, int(bits_per_s / 8 * CHUNK_S))
        self.chunk_bytes = min(slow_bytes, CHUNK_BYTES) if bits_per_s else CHUNK_BYTES
        self.chunks_max = SLOW_CHUNKS if bits_per_s else QUEUE_CHUNKS
        self.flows = {way: threading.Event() for way in BOTH}
        self.release()
        self._blocked = False
        self._listener = socket.socket()
        if bits_per_s:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = int(self._listener.getsockname()[1])
        self.connections: list[_Connection] = []
        self._known = threading.Lock()
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.release()
        self.cut()
        for each in self.connections:
            for thread in each.threads:
                thread.join()
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._blocked:
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self._to_port))
            except OSError:
                near.close()
                continue
            for each in (near, far):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._known:  # Known before anything flows, and running once it is known.
                self.connections.append(_Connection(self, near, far))
                self.connections[-1].start()

    def hold(self, *ways: Way) -> None:
        """Let nothing through; connections stay open and new ones are taken."""
        for way in ways or BOTH:
            self.flows[way].clear()

    def release(self) -> None:
        """Let it flow again, what was held first."""
        for flow in self.flows.values():
            flow.set()

    def reset(self) -> None:
        """Break every connection by RST, at both ends."""
        self._each(lambda one: one.end(reset=True), closing=True)

    def cut(self) -> None:
        """End every connection in order, at both ends."""
        self._each(_Connection.end)

    def block(self, *, blocked: bool = True) -> None:
        """Hang up on whoever comes."""
        self._blocked = blocked

    def half_close(self, way: Way) -> None:
        """End one direction of every connection; the other stays open."""
        for each in self.connections:
            with suppress(OSError):
                each.ends[way].shutdown(socket.SHUT_WR)

    def orphan(self, *ways: Way) -> None:
        """Leave every connection open and dead: half-open, as after a reboot of a router."""
        for each in self.connections:
            each.dead |= frozenset(ways or BOTH)

    def _each(self, act: Callable[[_Connection], None], *, closing: bool = False) -> None:
        with self._known:
            known = list(self.connections)
        for each in known:
            act(each)
        if closing:
            for each in known:
                for thread in each.threads:
                    thread.join(5)
                each.close()
