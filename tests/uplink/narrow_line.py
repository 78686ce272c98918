"""A line that carries so many bytes a second towards the broker, as a cheap modem does."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SLICE_BYTES = 256


class NarrowLine:
    """Forwards TCP to a port on 127.0.0.1; only the way there is narrow."""

    def __init__(self, to_port: int, bytes_per_s: int) -> None:
        self._to_port = to_port
        self._bytes_per_s = bytes_per_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # Closed.
            far = socket.create_connection(("127.0.0.1", self._to_port))
            self._sockets += [near, far]
            for source, sink, narrow in ((near, far, True), (far, near, False)):
                thread = threading.Thread(target=self._copy, args=(source, sink, narrow))
                self._threads.append(thread)
                thread.start()

    def _copy(self, source: socket.socket, sink: socket.socket, narrow: bool) -> None:  # noqa: FBT001 - a thread's argument
        try:
            while data := source.recv(SLICE_BYTES):
                if narrow:
                    time.sleep(len(data) / self._bytes_per_s)
                sink.sendall(data)
        except OSError:
            pass  # The other direction has ended it.
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()


@contextmanager
def narrow_line(to_port: int, bytes_per_s: int) -> Iterator[NarrowLine]:
    """Open a line for the length of the block."""
    line = NarrowLine(to_port, bytes_per_s)
    try:
        yield line
    finally:
        line.close()
