"""The bytes at a place of an S7's memory → every type that they could be, the likely first. Pure.

A guess is plausible when a machine would show such a value: a number that is not astronomically
large or small, a date of this century, a text that can be printed. The plausible ones are ranked
by what speaks for each (evidence.py) and by the size that the address names: `DBD` has four bytes.
What is rare in programs is behind what is common, and a single bit or byte, which is always
something, behind both.
"""

from collectors.evidence import (
    BITS_PER_LETTER,
    EVIDENCE_MAX,
    TEXT_EVIDENCE_MAX,
    Ranked,
    letters_in,
    likely_first,
    number_evidence,
    plausible_number,
)
from collectors.inspection import Guess
from collectors.s7.address import BITS_PER_BYTE, Address
from collectors.s7.decode import decoder
from collectors.s7.types import TYPES
from common.records import Scalar

GUESSED_BYTES = 256
"""As many as a STRING of the usual room takes."""
_ROOM = 254
_YEARS = range(1990, 2100)
_DAY_MS = 86_400_000
_DATED = ("DATE", "DT", "LDT", "DTL")
_SIZE_EVIDENCE = {"X": 30.0, "W": 6.0, "D": 6.0}
"""Letter of an address → bits for the types of its size; B stands before a value of any."""
_HEADER_EVIDENCE = 4.0
"""A text's header that holds: no more characters in use than there is room for."""
_CLOCK_EVIDENCE = {"DT": EVIDENCE_MAX, "DTL": TEXT_EVIDENCE_MAX, "LTOD": EVIDENCE_MAX, "TOD": 5.6}
"""Bits beyond those that an instant, or a time of day other than midnight, needs."""
_MIDNIGHT = "00:00:00"
_RARITY = {
    **dict.fromkeys(("USINT", "UINT", "UDINT", "ULINT"), 1.0),
    **dict.fromkeys(("BYTE", "WORD", "DWORD", "LWORD", "TIME"), 2.0),
    "TOD": 4.0,
    **dict.fromkeys(("LDT", "LTIME"), 6.0),
    **dict.fromkeys(("DATE", "LTOD", "S5TIME"), 8.0),
    "WCHAR": 10.0,
    "CHAR": 14.0,
    "BOOL": 16.0,
}
"""Bits against a type."""


def guesses(place: Address, memory: bytes) -> list[Guess]:
    """Return each type whose bytes are there and are a value of it, the likely first.

    Of the place its type tells only which size the address names. A BOOL is shown for each of the
    eight bits; of a timer or counter there is one.
    """
    letter = TYPES[place.type_name].letter
    found: list[Ranked] = []
    for name, kind in TYPES.items():
        counted = {"T": "TIMER", "C": "COUNTER"}.get(place.area)
        if (counted or name) != name or (not counted and name in ("TIMER", "COUNTER")):
            continue
        for bit in range(BITS_PER_BYTE if name == "BOOL" else 1):
            room = _room(name, memory) if kind.room_max else 0
            address = Address(place.area, 1, place.start, bit, name, room)
            if len(memory) < address.length or (kind.room_max and not room):
                continue
            try:
                value = decoder(address)(memory, 0)
            except ValueError:
                continue
            shown = f"BOOL, bit {bit}" if name == "BOOL" else address.kind
            guess = Guess(source_type=shown, value=value, plausible=_plausible(name, value))
            evidence = _SIZE_EVIDENCE.get(letter, 0.0) if kind.letter == letter else 0.0
            found.append(Ranked(evidence + _evidence(name, value), guess))
    return likely_first(found)


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
    if isinstance(value, str):
        if name in _DATED:
            return int(value[:4]) in _YEARS
        return value != "" and value.isprintable()
    if not isinstance(value, int | float):
        return False
    if name == "TIME":
        return 0 <= value <= _DAY_MS
    return plausible_number(value, TYPES[name].bytes * BITS_PER_BYTE)


def _evidence(name: str, value: Scalar) -> float:
    """Return how many bits are as they are for no other reason than the type."""
    evidence = 0.0
    if name in _CLOCK_EVIDENCE and not (isinstance(value, str) and value.startswith(_MIDNIGHT)):
        evidence = _CLOCK_EVIDENCE[name]
    elif TYPES[name].room_max and isinstance(value, str):
        letters = BITS_PER_LETTER * letters_in(value) * TYPES[name].character_bytes
        evidence = min(TEXT_EVIDENCE_MAX, _HEADER_EVIDENCE + letters)
    elif isinstance(value, int | float):
        evidence = number_evidence(value, TYPES[name].bytes * BITS_PER_BYTE)
    return evidence - _RARITY.get(name, 0.0)
