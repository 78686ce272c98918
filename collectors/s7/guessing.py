"""The bytes at a place of an S7's memory, taken for every type that they could be. Pure.

A guess is plausible when a machine would show such a value: a number that is not astronomically
large or small, a date of this century, a text that can be printed.
"""

import math

from collectors.inspection import Guess
from collectors.s7.address import BITS_PER_BYTE, Address
from collectors.s7.decode import decoder
from collectors.s7.types import TYPES
from common.records import Scalar, ValueType

GUESSED_BYTES = 256
"""As many as a STRING of the usual room takes."""
_ROOM = 254
_MAGNITUDES = (1e-6, 1e9)
_WHOLE_MAX = 10**9
_YEARS = range(1990, 2100)
_DAY_MS = 86_400_000
_DATED = ("DATE", "DT", "LDT", "DTL")


def guesses(area: str, start: int, memory: bytes) -> list[Guess]:
    """Return each type whose bytes are there and are a value of it, in the order of TYPES.

    A BOOL is shown for each of the eight bits; of a timer or counter there is one.
    """
    found: list[Guess] = []
    for name, kind in TYPES.items():
        counted = {"T": "TIMER", "C": "COUNTER"}.get(area)
        if (counted or name) != name or (not counted and name in ("TIMER", "COUNTER")):
            continue
        for bit in range(BITS_PER_BYTE if name == "BOOL" else 1):
            room = _room(name, memory) if kind.room_max else 0
            address = Address(area, 1, start, bit, name, room)
            if len(memory) < address.length or (kind.room_max and not room):
                continue
            try:
                value = decoder(address)(memory, 0)
            except ValueError:
                continue
            shown = f"BOOL, bit {bit}" if name == "BOOL" else address.kind
            found.append(Guess(source_type=shown, value=value, plausible=_plausible(name, value)))
    return found


def text_bytes(memory: bytes) -> list[int]:
    """Return how many bytes a STRING and a WSTRING would take here, by their headers."""
    if len(memory) < 2:  # noqa: PLR2004 - the room that a header tells
        return []
    rooms = {"STRING": memory[0], "WSTRING": int.from_bytes(memory[:2], "big")}
    return [
        TYPES[name].bytes + room * TYPES[name].character_bytes
        for name, room in rooms.items()
        if 1 <= room <= _ROOM
    ]


def _room(name: str, memory: bytes) -> int:
    """Return the room that a text's header says, 0 when no text can stand here."""
    header = memory[: TYPES[name].bytes]
    room = header[0] if name == "STRING" else int.from_bytes(header[:2], "big")
    fits = TYPES[name].bytes + room * TYPES[name].character_bytes <= len(memory)
    return room if 1 <= room <= _ROOM and fits else 0


def _plausible(name: str, value: Scalar) -> bool:
    if isinstance(value, float):
        low, high = _MAGNITUDES
        return value == 0 or (math.isfinite(value) and low <= abs(value) <= high)
    if isinstance(value, str):
        if name in _DATED:
            return int(value[:4]) in _YEARS
        return value != "" and value.isprintable()
    if isinstance(value, bool) or TYPES[name].value_type is ValueType.BOOL:
        return True
    if name == "TIME":
        return isinstance(value, int) and 0 <= value <= _DAY_MS
    return isinstance(value, int) and abs(value) <= _WHOLE_MAX
