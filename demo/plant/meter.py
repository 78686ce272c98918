"""The energy meter: Modbus TCP, unit 1, holding registers (0-based), big-endian words.

register   type      meaning
0 .. 1     FLOAT32   active power, kW
2 .. 3     FLOAT32   voltage, V
4 .. 5     UINT32    energy, Wh
6 .. 7     UINT32    pulses: +1 every `count_every_ms`
8          UINT16    frequency, 0.01 Hz

It can only be read: refusing.py.
"""

import asyncio
import struct
from functools import partial

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from demo.children import LOOPBACK
from demo.plant.pace import announce, counts, moments, wave
from demo.plant.refusing import Refusals

UNIT = 1
POWER, VOLTAGE, ENERGY, PULSES, FREQUENCY = 0, 2, 4, 6, 8
REGISTERS = 16
WH_PER_COUNT = 3
_WRITE_HOLDING = 16
"""The function code by which the simulator's own registers are set."""
_READS = frozenset({1, 2, 3, 4, 7, 11, 12, 17, 20, 24, 43})
"""Tables, counters, logs, files, queues and identification (V1.1b3, section 5.1). Not 8: some
diagnostics restart a device."""
_FUNCTION_AT = 7
"""In a frame: transaction u16, protocol u16, length u16 of what follows, unit u8, function u8."""


class _RefusedRequest(ModbusPDU):
    """Stands in for a request that would change something: nothing is done."""

    def __init__(self, request: ModbusPDU) -> None:
        super().__init__(request.dev_id, request.transaction_id)
        self.function_code = request.function_code

    async def datastore_update(self, _context: object, _device_id: int) -> ModbusPDU:
        return ExceptionResponse(self.function_code, ExcCodes.ILLEGAL_FUNCTION)


def functions_asked(received: bytes) -> list[tuple[int, int]]:
    """Return (function, unit) of every whole request; pymodbus shows only those that it knows."""
    found, at = [], 0
    while len(received) - at > _FUNCTION_AT:
        end = at + 6 + int.from_bytes(received[at + 4 : at + 6], "big")
        if not at + _FUNCTION_AT < end <= len(received):
            break
        found.append((received[at + _FUNCTION_AT], received[at + _FUNCTION_AT - 1]))
        at = end
    return found


def _watched(refusals: Refusals, sending: bool, data: bytes) -> bytes:  # noqa: FBT001 - pymodbus's signature
    for function, unit in [] if sending else functions_asked(data):
        if function not in _READS:
            refusals.note(f"Modbus function {function} of unit {unit}")
    return data


def _harmless(sending: bool, pdu: ModbusPDU) -> ModbusPDU:  # noqa: FBT001 - the same
    return pdu if sending or pdu.function_code in _READS else _RefusedRequest(pdu)


async def serve(port: int, count_every_ms: int) -> None:
    """Serve until cancelled; `port` 0 takes any free one. Raises WriteRefused."""
    memory = SimData(0, values=[0] * REGISTERS, datatype=DataType.REGISTERS)
    refusals = Refusals()
    server = ModbusTcpServer(
        SimDevice(UNIT, simdata=[memory]),
        address=(LOOPBACK, port),
        trace_packet=partial(_watched, refusals),
        trace_pdu=_harmless,
    )
    await server.serve_forever(background=True)
    try:
        announce(_port(server))
        await refusals.live(_count(server, count_every_ms), _move(server))
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
