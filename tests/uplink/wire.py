"""The line between uplink and broker: slow, narrow, cut or frozen, as a test wants it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK_DELAY_S = 0.01
"""On the wire: with WINDOW it makes a drain take seconds, so that there is a middle to hit."""
NARROW_CHUNK_BYTES = 256


class Wire:
    """A slow TCP proxy in front of a broker, that can be cut and frozen."""

    def __init__(self, port: int, bytes_per_s: int | None) -> None:
        self._to_port = port
        self._bytes_per_s = bytes_per_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flows = threading.Event()
        self._flows.set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to_port))
            except OSError:
                near.close()  # The broker is away.
                continue
            self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=self._copy, args=(source, sink))
                self._threads.append(thread)
                thread.start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(NARROW_CHUNK_BYTES if self._bytes_per_s else 65_536):
                self._flows.wait()
                time.sleep(len(data) / self._bytes_per_s if self._bytes_per_s else CHUNK_DELAY_S)
                sink.sendall(data)
        except OSError:
            pass  # Cut: that is what it is for.
        for each in (source, sink):
            with suppress(OSError):  # The other direction was first.
                each.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Swallow everything in both directions, like a dead line; connections stay open."""
        self._flows.clear()

    def thaw(self) -> None:
        """Let it flow again."""
        self._flows.set()

    def cut(self) -> None:
        """End every connection."""
        for pair in self._pairs:
            for each in pair:
                with suppress(OSError):  # Ended before.
                    each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        self.thaw()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()
        for pair in self._pairs:
            for each in pair:
                each.close()


@contextmanager
def wire_to(port: int, bytes_per_s: int | None = None) -> Iterator[Wire]:
    """Open a wire for the length of the block; with `bytes_per_s` it is narrow, either way."""
    wire = Wire(port, bytes_per_s)
    try:
        yield wire
    finally:
        wire.close()
