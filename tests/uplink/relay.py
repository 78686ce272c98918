"""A TCP relay in front of a broker that may talk to the client first, and tamper afterwards."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Change = Callable[[bytes, int], bytes]
"""What to pass on instead of a chunk; its second argument is how many bytes came before it."""
Open = Callable[[socket.socket], int | None]
"""Talks to a client first; returns the port of 127.0.0.1 to relay to, None to hang up."""


def unchanged(data: bytes, _before: int) -> bytes:
    """Pass on as it came."""
    return data


class Relay:
    """Listens on 127.0.0.1; each connection has two threads of its own."""

    def __init__(
        self, opening: Open | int, *, outward: Change = unchanged, inward: Change = unchanged
    ) -> None:
        """`opening` may be just the port. `outward` is from the client to the broker."""
        self._opening = opening
        self.outward = outward
        self.inward = inward
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.accepted = 0
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """End every connection."""
        for each in self._open:
            _shut(each)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(near)
            thread = threading.Thread(target=self._serve, args=(near,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, suppress(OSError):  # Either side may leave whenever it likes.
            port = self._opening(near) if callable(self._opening) else self._opening
            if port is None:
                return
            with socket.create_connection(("127.0.0.1", port)) as far:
                self._open.append(far)
                back = threading.Thread(target=_copy, args=(far, near, lambda: self.inward))
                back.start()
                _copy(near, far, lambda: self.outward)
                back.join()


def _copy(source: socket.socket, sink: socket.socket, change: Callable[[], Change]) -> None:
    before = 0
    with suppress(OSError):  # Cut.
        while data := source.recv(65_536):
            sink.sendall(change()(data, before))
            before += len(data)
    _shut(source)
    _shut(sink)


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):  # Closed already.
        connection.shutdown(socket.SHUT_RDWR)
