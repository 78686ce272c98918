"""The line between plant and enterprise: forwards TCP from one port of 127.0.0.1 to another.

    python -m demo.wan --port N --to M

Ending this process is pulling the WAN cable: connections break, new ones are refused, while the
broker and its subscribers on the far side stay as they are. TLS passes through untouched.
Prints `ready PORT` when it listens. Ends on SIGTERM or SIGINT.
"""

import asyncio
from contextlib import suppress
from typing import NoReturn

import click

from common.process import main as run_process
from demo.children import LOOPBACK
from demo.plant.pace import announce

CHUNK_BYTES = 64 * 1024


async def forward(port: int, to_port: int) -> None:
    """Forward every connection until cancelled."""

    async def carry(near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        try:
            far, far_out = await asyncio.open_connection(LOOPBACK, to_port)
        except OSError:  # The broker is away: so is the line, for this caller.
            near_out.close()
            return
        await asyncio.gather(_pump(near, far_out), _pump(far, near_out))

    async with await asyncio.start_server(carry, LOOPBACK, port) as server:
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # Either end may break the connection; then both ends are closed.
        while chunk := await source.read(CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
    sink.close()


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0 takes any free port.")
@click.option("--to", "to_port", type=click.IntRange(1, 65_535), required=True)
def main(port: int, to_port: int) -> NoReturn:
    """Forward TCP from one port of 127.0.0.1 to another until told to stop."""
    run_process("wan", lambda: forward(port, to_port))


if __name__ == "__main__":
    main()
