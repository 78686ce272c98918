"""Bytes of an S7's memory → scalars. Everything is big-endian. Pure."""

import struct
from collections.abc import Callable

from collectors.s7.address import Address
from collectors.s7.times import DECODERS
from collectors.s7.types import STRING_HEADER_BYTES, WSTRING_HEADER_BYTES
from common.records import Quality, Scalar

Decode = Callable[[bytes, int], Scalar]
"""(memory, offset) → value. Raises NoSuchText, or any other ValueError for bytes that are none."""

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
    "TIME": ">i",
    "LTIME": ">q",
}


class NoSuchText(ValueError):
    """A header that no text of this room has: another type stands here, or nothing was written."""


def misfit_quality(error: ValueError) -> int:
    """Return the quality of a value that a decoder refused with this error."""
    if isinstance(error, NoSuchText):
        return Quality.BAD_TYPE_MISMATCH
    return Quality.BAD_DECODING_ERROR


def decoder(address: Address) -> Decode:
    """Return the function that takes the address's value out of the memory around it."""
    name = address.type_name
    if name in _FORMATS:
        return _number(struct.Struct(_FORMATS[name]))
    if name in DECODERS:
        return DECODERS[name]
    if name == "BOOL":
        return _bool(1 << address.bit)
    if address.room:
        return _string(address.room) if name == "STRING" else _wstring(address.room)
    return _char if name == "CHAR" else _wchar


def _bool(mask: int) -> Decode:
    return lambda memory, offset: memory[offset] & mask != 0


def _char(memory: bytes, offset: int) -> str:
    return chr(memory[offset])


def _wchar(memory: bytes, offset: int) -> str:
    return _utf16(memory, offset, 1)


def _number(form: struct.Struct) -> Decode:
    unpack = form.unpack_from
    return lambda memory, offset: unpack(memory, offset)[0]


def _check_header(room: int, header_room: int, used: int) -> None:
    if used > room or used > header_room:
        raise NoSuchText(f"{used} characters in use of {min(room, header_room)}")


def _string(room: int) -> Decode:
    def decode(memory: bytes, offset: int) -> str:
        used = memory[offset + 1]
        _check_header(room, memory[offset], used)
        start = offset + STRING_HEADER_BYTES
        return memory[start : start + used].decode("latin-1")

    return decode


def _wstring(room: int) -> Decode:
    header = struct.Struct(">HH")

    def decode(memory: bytes, offset: int) -> str:
        header_room, used = header.unpack_from(memory, offset)
        _check_header(room, header_room, used)
        return _utf16(memory, offset + WSTRING_HEADER_BYTES, used)

    return decode


def _utf16(memory: bytes, offset: int, characters: int) -> str:
    # A lone half of a surrogate pair is a UnicodeDecodeError: it could not be handed over.
    return memory[offset : offset + 2 * characters].decode("utf-16-be")
