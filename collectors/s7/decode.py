"""Bytes of an S7's memory → scalars. Everything is big-endian."""

import struct
from collections.abc import Callable

from collectors.s7.address import STRING_HEADER_BYTES, Address
from common.records import Scalar

Decode = Callable[[bytes, int], Scalar]
"""(memory, offset) → value. Raises ValueError when the bytes are no value of the type."""

_FORMATS = {
    "BYTE": ">B",
    "SINT": ">b",
    "USINT": ">B",
    "WORD": ">H",
    "INT": ">h",
    "UINT": ">H",
    "DWORD": ">I",
    "DINT": ">i",
    "UDINT": ">I",
    "REAL": ">f",
    "LWORD": ">Q",
    "LINT": ">q",
    "ULINT": ">Q",
    "LREAL": ">d",
}


def decoder(address: Address) -> Decode:
    """Return the function that takes the address's value out of the memory around it."""
    if address.type_name == "BOOL":
        return _bool(1 << address.bit)
    if address.type_name == "CHAR":
        return _char
    if address.type_name == "STRING":
        return _string(address.room)
    return _number(struct.Struct(_FORMATS[address.type_name]))


def _bool(mask: int) -> Decode:
    return lambda memory, offset: memory[offset] & mask != 0


def _char(memory: bytes, offset: int) -> str:
    return chr(memory[offset])


def _number(form: struct.Struct) -> Decode:
    unpack = form.unpack_from
    return lambda memory, offset: unpack(memory, offset)[0]


def _string(room: int) -> Decode:
    def decode(memory: bytes, offset: int) -> str:
        used = memory[offset + 1]
        if used > room or used > memory[offset]:
            # Either no STRING stands here, or the PLC never wrote it: its header is not valid.
            raise ValueError(f"{used} characters in use of {min(room, memory[offset])}")
        start = offset + STRING_HEADER_BYTES
        return memory[start : start + used].decode("latin-1")

    return decode
