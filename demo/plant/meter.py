"""The energy meter: Modbus TCP, unit 1, holding registers (0-based), big-endian words.

register   type      meaning
0 .. 1     FLOAT32   active power, kW
2 .. 3     FLOAT32   voltage, V
4 .. 5     UINT32    energy, Wh
6 .. 7     UINT32    pulses: +1 every `count_every_ms`
8          UINT16    frequency, 0.01 Hz
"""

import asyncio
import struct

from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from demo.children import LOOPBACK
from demo.plant.pace import announce, counts, moments, wave

UNIT = 1
POWER, VOLTAGE, ENERGY, PULSES, FREQUENCY = 0, 2, 4, 6, 8
REGISTERS = 16
WH_PER_COUNT = 3
_WRITE_HOLDING = 16
"""The function code by which the simulator's own registers are set."""


async def serve(port: int, count_every_ms: int) -> None:
    """Serve until cancelled; `port` 0 takes any free one."""
    memory = SimData(0, values=[0] * REGISTERS, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(UNIT, simdata=[memory]), address=(LOOPBACK, port))
    await server.serve_forever(background=True)
    try:
        announce(_port(server))
        async with asyncio.TaskGroup() as machine:
            machine.create_task(_count(server, count_every_ms))
            machine.create_task(_move(server))
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


def _port(server: ModbusTcpServer) -> int:
    listening = server.transport
    assert isinstance(listening, asyncio.Server)  # noqa: S101 - what serve_forever leaves there
    return int(listening.sockets[0].getsockname()[1])


async def _count(server: ModbusTcpServer, every_ms: int) -> None:
    async for count in counts(every_ms):
        # One call for both counters: a reader never sees half of a change.
        await _set(server, ENERGY, ">II", 1_200_000 + WH_PER_COUNT * count, count)


async def _move(server: ModbusTcpServer) -> None:
    async for elapsed_s in moments():
        power_kw = wave(elapsed_s, 42.0, 9.0, 23.0)
        voltage_v = wave(elapsed_s, 399.0, 2.5, 41.0)
        await _set(server, POWER, ">ff", power_kw, voltage_v)
        await _set(server, FREQUENCY, ">H", round(wave(elapsed_s, 5_000, 3, 61.0)))


async def _set(server: ModbusTcpServer, register: int, layout: str, *values: float) -> None:
    raw = struct.pack(layout, *values)
    words = list(struct.unpack(f">{len(raw) // 2}H", raw))
    await server.async_setValues(UNIT, _WRITE_HOLDING, register, words)
