"""One Modbus value at a time, byte by byte, as a manual explains it: the judge of the decoder."""

import math
import struct
from typing import Any

STRUCTS = {"INT16": "h", "UINT16": "H", "INT32": "i", "UINT32": "I", "INT64": "q", "UINT64": "Q"}
STRUCTS |= {"FLOAT16": "e", "FLOAT32": "f", "FLOAT64": "d"}


def naive_value(registers: list[int], type_name: str, order: str) -> Any:
    """Return what registers hold; None where it is no value of the type."""
    wire = [byte for register in registers for byte in (register >> 8, register & 0xFF)]
    if type_name.startswith("STRING"):
        pairs = [wire[at : at + 2] for at in range(0, len(wire), 2)]
        take = {"H": (0, 1), "L": (1, 0), "D": (1,), "E": (0,)}[order]
        return "".join(chr(pair[at]) for pair in pairs for at in take).rstrip("\0 ")
    if type_name.startswith("RAW"):
        return bytes(wire)
    if "INT8" in type_name:
        byte = wire[0] if type_name.endswith("H") else wire[1]
        return byte - 256 if type_name[0] == "I" and byte > 127 else byte
    # The letters say which byte of the value comes first on the wire, A the most significant.
    # Of 64 bits: whole words change places, or the bytes within each, or both.
    words = [wire[at : at + 2] for at in range(0, len(wire), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    data = bytes(byte for word in words for byte in word)
    if type_name.startswith("BCD"):
        digits = [half for byte in data for half in (byte >> 4, byte & 15)]
        return None if max(digits) > 9 else int("".join(map(str, digits)))
    return struct.unpack(">" + STRUCTS[type_name], data)[0]


def same(got: Any, expected: Any) -> bool:
    """Return whether both are the same to the bit, of one type."""
    if isinstance(expected, float) and isinstance(got, float):
        bits = struct.pack(">d", got) == struct.pack(">d", expected)
        return bits or (math.isnan(got) and math.isnan(expected))
    return type(got) is type(expected) and got == expected
