"""A snap7 server that tests command; as a program, one in a process that can be frozen."""

import contextlib
import socket
import threading

from snap7.server import Server
from snap7.type import SrvArea


def free_port() -> int:
    """Return a port that nobody listens on.

    The server sets SO_REUSEPORT and would share a port that is taken, without a word.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        raise AssertionError(f"somebody listens on port {port}")
    return port


class Plc:
    """A PLC with DB1 of 600 bytes, and 64 bytes each of inputs, outputs and flags."""

    def __init__(self) -> None:
        self.port = free_port()
        self.db1 = bytearray(600)
        self.areas = {kind: bytearray(64) for kind in (SrvArea.PE, SrvArea.PA, SrvArea.MK)}
        self.server: Server | None = None

    def start(self, dbs: dict[int, bytearray] | None = None) -> None:
        """Listen; the registered memory is the memory, so a test writes it in place."""
        self.server = Server(log=False)
        for number, memory in (dbs or {1: self.db1}).items():
            self.server.register_area(SrvArea.DB, number, memory)
        for kind, memory in self.areas.items():
            self.server.register_area(kind, 0, memory)
        self.server.start_to("127.0.0.1", self.port)

    def stop(self) -> None:
        """Stop listening and close every connection; a second call does nothing."""
        server, self.server = self.server, None
        if server:
            server.stop()


if __name__ == "__main__":
    plc = Plc()
    plc.start()
    print(plc.port, flush=True)  # noqa: T201 - what the test waits for
    threading.Event().wait()
