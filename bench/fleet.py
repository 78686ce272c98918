"""Many Modbus TCP devices in one cheap process, each at a loopback address of its own.

Every device answers at once, so that what is measured is whoever reads them. Beside the good ones
there are three kinds of dead ones:

    refused   nobody listens at its address
    silent    accepts a connection and never answers
    full      its backlog is full: the kernel drops every SYN, as a host that is gone does
"""

import argparse
import asyncio
import socket
import struct
from contextlib import ExitStack

BACKLOG = 128
_HEADER = struct.Struct(">HHHBBHH")
_FIRST_DEVICE = {"good": "127.1.1.1", "silent": "127.1.2.1", "full": "127.1.3.1"}
REFUSED_FROM = "127.1.4.1"


def addresses(first: str, count: int) -> list[str]:
    """Return `count` loopback addresses from `first` on."""
    start = int.from_bytes(socket.inet_aton(first), "big")
    return [socket.inet_ntoa((start + i).to_bytes(4, "big")) for i in range(count)]


def hosts(good: int, silent: int, full: int, refused: int) -> dict[str, list[str]]:
    """Return the addresses of each kind of device."""
    counts = {"good": good, "silent": silent, "full": full}
    found = {kind: addresses(_FIRST_DEVICE[kind], count) for kind, count in counts.items()}
    return found | {"refused": addresses(REFUSED_FROM, refused)}


class Device(asyncio.Protocol):
    """One connection to a good device: every register is its request's number."""

    def __init__(self) -> None:
        self._buffer = b""
        self._requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a TCP server
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request: a read of registers, as the collector asks it."""
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            transaction, _, _, unit, function, _, count = _HEADER.unpack_from(self._buffer)
            self._buffer = self._buffer[_HEADER.size :]
            self._requests += 1
            data_bytes = 2 * count
            head = struct.pack(
                ">HHHBBB", transaction, 0, 3 + data_bytes, unit, function, data_bytes
            )
            value = struct.pack(">f", float(self._requests))
            self._transport.write(head + (value * (count // 2 + 1))[:data_bytes])


def bound(address: str, port: int, backlog: int) -> socket.socket:
    """Return a listening socket."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    listening.listen(backlog)
    return listening


def filled(address: str, port: int) -> list[socket.socket]:
    """Return a listening socket that takes no connection any more, and what fills it."""
    listening = bound(address, port, 0)
    kept = [listening]
    for _ in range(3):  # Linux takes one more than the backlog says; the rest make it certain.
        filler = socket.socket()
        filler.settimeout(0)
        filler.connect_ex((address, port))
        kept.append(filler)
    return kept


async def serve(good: int, silent: int, full: int) -> None:
    """Serve until ended; print `ready PORT`, the one port of all."""
    loop = asyncio.get_running_loop()
    found = hosts(good, silent, full, 0)
    with ExitStack() as stack:
        first = bound(found["good"][0], 0, BACKLOG)
        port = first.getsockname()[1]
        sockets = [first] + [bound(each, port, BACKLOG) for each in found["good"][1:]]
        for each in sockets:
            await loop.create_server(Device, sock=each)
        for each in found["silent"]:
            await loop.create_server(asyncio.Protocol, sock=bound(each, port, BACKLOG))
        for each in found["full"]:
            for kept in filled(each, port):
                stack.callback(kept.close)
        print(f"ready {port}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve as many devices of each kind as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    for kind in ("good", "silent", "full"):
        parser.add_argument(f"--{kind}", type=int, default=1)
    asyncio.run(serve(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
