"""The press: an S7 CPU (rack 0, slot 1) with one data block, DB40.

address    type    meaning
DBD12      REAL    oil temperature, Cel
DBD16      UDINT   strokes: +1 every `count_every_ms`
DBX20.0    BOOL    running
DBX20.1    BOOL    guard closed
DBW22      INT     hydraulic pressure, 0.1 bar
DBD24      REAL    press force, kN

It can only be read: refusing.py.
"""

import struct
from typing import Any

from snap7 import SrvArea
from snap7.server import Server

from demo.children import LOOPBACK
from demo.plant.pace import announce, counts, moments, wave
from demo.plant.refusing import Refusals

BLOCK = 40
BLOCK_BYTES = 64
TEMPERATURE, STROKES, STATES, PRESSURE, FORCE = 12, 16, 20, 22, 24
RUNNING_AND_GUARD_CLOSED, ONLY_GUARD_CLOSED = 0b11, 0b10
RUNS_S, CYCLE_S = 50.0, 60.0
"""The press stands still for the last ten seconds of every minute (a change of coil)."""


_JOB, _USER_DATA = 1, 7
_READS = frozenset({0x04, 0xF0})
"""Functions of a job: read variables, set up the communication."""
_WRITES = {
    0x05: "write variables",
    0x1A: "request download",
    0x1B: "download block",
    0x1C: "download ended",
    0x1D: "start upload",
    0x1E: "upload",
    0x1F: "end upload",
    0x28: "PLC control",
    0x29: "PLC stop",
}
"""Their names; an upload changes nothing, but no business of a gateway either."""
_BLOCK_LISTS, _SYSTEM_STATE, _CLOCK = 3, 4, 7
_CLOCK_READS = (1, 3)
"""Groups of user data that only read, and the functions of the clock that do."""
_NOT_PERMITTED = 0x8104
_HEADER_BYTES = 10


def change_asked(message: bytes) -> str:
    """Return what a message would change, in words; empty for what only reads."""
    if len(message) <= _HEADER_BYTES:
        return ""  # No request: the server refuses it by itself.
    kind, function = message[1], message[_HEADER_BYTES]
    if kind == _JOB:
        name = _WRITES.get(function, "unknown")
        return "" if function in _READS else f"S7 function 0x{function:02X}, {name}"
    if kind != _USER_DATA:
        return f"S7 message of kind {kind}"
    group, function = (message[_HEADER_BYTES + 5 : _HEADER_BYTES + 7] + bytes(2))[:2]
    group &= 0x0F
    if group in (_BLOCK_LISTS, _SYSTEM_STATE) or (group == _CLOCK and function in _CLOCK_READS):
        return ""
    return f"S7 user data, group {group}, function {function}"


class _ReadOnlyServer(Server):
    """snap7's emulator, which would take every write."""

    def __init__(self, refusals: Refusals) -> None:
        super().__init__(log=False)
        self._refusals = refusals

    def _process_request(self, request_data: bytes, client_address: tuple[str, int]) -> Any:
        """Answer one message; called by the thread of its client."""
        if not (change := change_asked(request_data)):
            return super()._process_request(request_data, client_address)
        self._refusals.note(change)
        request = {"sequence": int.from_bytes(request_data[4:6], "big")}
        if request_data[1] == _USER_DATA:
            return self._build_userdata_error_response(request, _NOT_PERMITTED)
        return self._build_error_response(request, _NOT_PERMITTED)


async def serve(port: int, count_every_ms: int) -> None:
    """Serve until cancelled; `port` 0 takes any free one. Raises WriteRefused."""
    memory = bytearray(BLOCK_BYTES)  # The registered bytes are the CPU's memory.
    refusals = Refusals()
    server = _ReadOnlyServer(refusals)
    server.register_area(SrvArea.DB, BLOCK, memory)
    server.start_to(LOOPBACK, port)
    listening = server.server_socket
    assert listening is not None  # noqa: S101 - start_to raises when it cannot listen
    try:
        announce(listening.getsockname()[1])
        await refusals.live(_count(memory, count_every_ms), _move(memory))
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
