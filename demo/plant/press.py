"""The press: an S7 CPU (rack 0, slot 1) with one data block, DB40.

address    type    meaning
DBD12      REAL    oil temperature, Cel
DBD16      UDINT   strokes: +1 every `count_every_ms`
DBX20.0    BOOL    running
DBX20.1    BOOL    guard closed
DBW22      INT     hydraulic pressure, 0.1 bar
DBD24      REAL    press force, kN
"""

import asyncio
import struct

from snap7 import SrvArea
from snap7.server import Server

from demo.children import LOOPBACK
from demo.plant.pace import announce, counts, moments, wave

BLOCK = 40
BLOCK_BYTES = 64
TEMPERATURE, STROKES, STATES, PRESSURE, FORCE = 12, 16, 20, 22, 24
RUNNING_AND_GUARD_CLOSED, ONLY_GUARD_CLOSED = 0b11, 0b10
RUNS_S, CYCLE_S = 50.0, 60.0
"""The press stands still for the last ten seconds of every minute (a change of coil)."""


async def serve(port: int, count_every_ms: int) -> None:
    """Serve until cancelled; `port` 0 takes any free one."""
    memory = bytearray(BLOCK_BYTES)  # The registered bytes are the CPU's memory.
    server = Server(log=False)
    server.register_area(SrvArea.DB, BLOCK, memory)
    server.start_to(LOOPBACK, port)
    listening = server.server_socket
    assert listening is not None  # noqa: S101 - start_to raises when it cannot listen
    try:
        announce(listening.getsockname()[1])
        async with asyncio.TaskGroup() as machine:
            machine.create_task(_count(memory, count_every_ms))
            machine.create_task(_move(memory))
    finally:
        # stop() joins every client's thread, a second each: not worth waiting for at the end of
        # a simulator. The threads are daemons and end with the process.
        listening.close()


async def _count(memory: bytearray, every_ms: int) -> None:
    async for count in counts(every_ms):
        memory[STROKES : STROKES + 4] = struct.pack(">I", count)


async def _move(memory: bytearray) -> None:
    async for elapsed_s in moments():
        running = elapsed_s % CYCLE_S < RUNS_S
        temperature_cel = wave(elapsed_s, 61.0, 4.0, 47.0)
        memory[TEMPERATURE : TEMPERATURE + 4] = struct.pack(">f", temperature_cel)
        memory[STATES] = RUNNING_AND_GUARD_CLOSED if running else ONLY_GUARD_CLOSED
        pressure = round(wave(elapsed_s, 1_850, 40, 11.0)) if running else 320
        memory[PRESSURE : PRESSURE + 2] = struct.pack(">h", pressure)
        force_kn = wave(elapsed_s, 620.0, 25.0, 17.0) if running else 0.0
        memory[FORCE : FORCE + 4] = struct.pack(">f", force_kn)
