"""Modbus types: how many registers a value takes, in which order, and how its bytes become it.

    INT16  UINT16  INT32  UINT32  INT64  UINT64  FLOAT16  FLOAT32  FLOAT64
    INT8H  INT8L  UINT8H  UINT8L    the high or the low byte of one register
    BCD16  BCD32  BCD64             four decimal digits in each register
    STRING(n)  RAW(n)               text and bytes of n registers
    BOOL                            a coil, a discrete input, or one bit of a register
    FLOAT32[10]  BOOL[1..16]        arrays: elements side by side, numbered from 0 or as written

Behind the type stands the order of its bytes: `@ABCD` and so on for numbers, `@H` and so on for
texts. The protocol itself knows only 16-bit registers, most significant byte first (MODBUS
Application Protocol Specification V1.1b3, section 4.2); all the rest is each vendor's own.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from common.config import suggestion
from common.records import ValueType

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
"""Big-endian; words swapped; bytes swapped within words; little-endian."""

PACKINGS = ("H", "L", "D", "E")
"""Of a text: two characters to a register, in its high byte first, or in its low byte first; one
to a register, in its low byte, or in its high byte. The letters are Neuron's."""

SIZE_MAX = 125
"""Registers of one text; what one read holds."""


class DataType(NamedTuple):
    """How many registers a value takes, how `struct` names it, and what leaves the house."""

    registers: int
    code: str
    value_type: ValueType
    convert: Callable[[Any], Any] | None = None
    """From what `struct` unpacks to the value; None is its word for what cannot be one."""


def _bcd(digits: int) -> int | None:
    text = f"{digits:x}"
    return int(text) if text.isdecimal() else None


def _high(register: int) -> int:
    return register >> 8


def _low(register: int) -> int:
    return register & 0xFF


def _signed_high(register: int) -> int:
    return (register >> 8 ^ 0x80) - 0x80


def _signed_low(register: int) -> int:
    return (register & 0xFF ^ 0x80) - 0x80


TYPES = {
    "BOOL": DataType(1, "H", ValueType.BOOL),
    "INT16": DataType(1, "h", ValueType.INT64),
    "UINT16": DataType(1, "H", ValueType.UINT64),
    "INT32": DataType(2, "i", ValueType.INT64),
    "UINT32": DataType(2, "I", ValueType.UINT64),
    "INT64": DataType(4, "q", ValueType.INT64),
    "UINT64": DataType(4, "Q", ValueType.UINT64),
    "FLOAT16": DataType(1, "e", ValueType.FLOAT64),
    "FLOAT32": DataType(2, "f", ValueType.FLOAT64),
    "FLOAT64": DataType(4, "d", ValueType.FLOAT64),
    "INT8H": DataType(1, "H", ValueType.INT64, _signed_high),
    "INT8L": DataType(1, "H", ValueType.INT64, _signed_low),
    "UINT8H": DataType(1, "H", ValueType.UINT64, _high),
    "UINT8L": DataType(1, "H", ValueType.UINT64, _low),
    "BCD16": DataType(1, "H", ValueType.UINT64, _bcd),
    "BCD32": DataType(2, "I", ValueType.UINT64, _bcd),
    "BCD64": DataType(4, "Q", ValueType.UINT64, _bcd),
}
"""Types of a fixed size; of STRING(n) and RAW(n), see `data_type`."""

SIZED = ("STRING", "RAW")
_WITHOUT_ORDER = {
    "BOOL": "a bit",
    "INT8H": "a byte of a register",
    "INT8L": "a byte of a register",
    "UINT8H": "a byte of a register",
    "UINT8L": "a byte of a register",
    "RAW": "RAW, which keeps the bytes as they come,",
}

_ALIASES = {
    "BIT": "BOOL", "BOOLEAN": "BOOL",
    "SHORT": "INT16", "I16": "INT16", "S16": "INT16", "SINT16": "INT16",
    "WORD": "UINT16", "USHORT": "UINT16", "U16": "UINT16",
    "DINT": "INT32", "I32": "INT32", "S32": "INT32", "SINT32": "INT32",
    "DWORD": "UINT32", "UDINT": "UINT32", "U32": "UINT32",
    "LINT": "INT64", "I64": "INT64", "S64": "INT64", "SINT64": "INT64",
    "LWORD": "UINT64", "ULINT": "UINT64", "U64": "UINT64",
    "HALF": "FLOAT16", "F16": "FLOAT16",
    "REAL": "FLOAT32", "FLOAT": "FLOAT32", "SINGLE": "FLOAT32", "F32": "FLOAT32",
    "LREAL": "FLOAT64", "DOUBLE": "FLOAT64", "F64": "FLOAT64",
    "BYTES": "RAW", "TEXT": "STRING", "ASCII": "STRING",
}  # fmt: skip
"""Names of other tools that mean one thing in all of them."""

_AMBIGUOUS = {
    "INT": "INT16 or INT32",
    "UINT": "UINT16 or UINT32",
    "INTEGER": "INT16 or INT32",
    "UNSIGNED": "UINT16 or UINT32",
    "LONG": "INT32 or INT64",
    "ULONG": "UINT32 or UINT64",
    "INT8": "INT8H or INT8L, the high or the low byte of the register",
    "UINT8": "UINT8H or UINT8L, the high or the low byte of the register",
    "SINT": "INT8H or INT8L, the high or the low byte of the register",
    "USINT": "UINT8H or UINT8L, the high or the low byte of the register",
    "BYTE": "UINT8H or UINT8L, the high or the low byte of the register",
    "CHAR": "STRING(1), or UINT8H or UINT8L",
    "BCD": "BCD16 or BCD32",
    "LBCD": "BCD32 or BCD64",
}


class TypeText(NamedTuple):
    """A type as written."""

    name: str
    """`FLOAT32` or `STRING(10)`."""
    indexes: range | None
    """Of an array's elements."""
    order: str
    """Empty where it is not written."""


_FORM = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9]*)\s*(?:\((?P<size>[0-9]{1,9})\))?\s*"
    r"(?:\[(?:(?P<first>[0-9]{1,9})\.\.)?(?P<last>[0-9]{1,9})\])?\s*(?:@(?P<order>[A-Za-z]+))?"
)


@lru_cache(maxsize=4_096)
def data_type(type_name: str, packing: str) -> DataType:
    """Return what a type is, as `parse_type` names it; `packing` is the order of a text."""
    if type_name in TYPES:
        return TYPES[type_name]
    name, _, size = type_name.rstrip(")").partition("(")
    registers = int(size)
    code = f"{2 * registers}s"
    if name == "RAW":
        return DataType(registers, code, ValueType.BYTES)
    return DataType(registers, code, ValueType.STRING, _UNPACK[packing])


def default_order(type_name: str) -> str:
    """Return the order that is meant where none is written."""
    return PACKINGS[0] if type_name.startswith("STRING") else ORDERS[0]


def parse_type(written: str) -> TypeText:
    """Return the type. Raises ValueError with a sentence that says what to write instead."""
    found = _FORM.fullmatch(written.strip())
    if not found:
        raise ValueError(
            f"{written!r} is not a Modbus type; write FLOAT32, FLOAT32@CDAB, STRING(10) for text "
            "of 10 registers, or FLOAT32[10] for an array"
        )
    name = found["name"].upper()
    name = _ALIASES.get(name, name)
    if name in _AMBIGUOUS:
        raise ValueError(f"{found['name']} is not the same everywhere; write {_AMBIGUOUS[name]}")
    if name not in TYPES and name not in SIZED:
        raise ValueError(f"unknown type {name!r}{suggestion(name, [*TYPES, *SIZED])}")
    order = _order(name, (found["order"] or "").upper())
    return TypeText(_sized(name, found["size"]), _indexes(found["first"], found["last"]), order)


def _sized(name: str, size: str | None) -> str:
    if name not in SIZED:
        if size is not None:
            raise ValueError(f"{name} has no size; for an array write {name}[{size}]")
        return name
    if size is None:
        raise ValueError(f"{name} needs its size in registers, such as {name}(10)")
    if not 1 <= int(size) <= SIZE_MAX:
        raise ValueError(f"{name} has 1 to {SIZE_MAX} registers, found {size}")
    return f"{name}({int(size)})"


def _indexes(first: str | None, last: str | None) -> range | None:
    if last is None:
        return None
    indexes = range(int(last)) if first is None else range(int(first), int(last) + 1)
    if not indexes:
        raise ValueError("an array needs an element at least, as in FLOAT32[10] or FLOAT32[1..10]")
    return indexes


def _order(name: str, order: str) -> str:
    if not order:
        return ""
    if name in _WITHOUT_ORDER:
        # The default said aloud is no mistake.
        if order == ORDERS[0]:
            return ""
        raise ValueError(f"{_WITHOUT_ORDER[name]} has no byte order; leave out @{order}")
    if name == "STRING":
        order = {"ABCD": "H", "BADC": "L"}.get(order, order)
        if order not in PACKINGS:
            raise ValueError(
                f"unknown packing {order!r} of a text; H is the high byte first, L the low byte "
                "first, D one character in each low byte, E one in each high byte"
            )
    elif order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; one of {', '.join(ORDERS)}")
    return order


def _text(data: bytes | bytearray) -> str:
    # Latin-1 knows every byte, so that nothing is lost of a text that is not ASCII.
    return data.decode("latin-1").rstrip("\0 ")


def _swapped(data: bytes) -> str:
    swapped = bytearray(data)
    swapped[0::2], swapped[1::2] = data[1::2], data[0::2]
    return _text(swapped)


def _low_bytes(data: bytes) -> str:
    return _text(data[1::2])


def _high_bytes(data: bytes) -> str:
    return _text(data[0::2])


_UNPACK: dict[str, Callable[[bytes], str]] = {
    "H": _text,
    "L": _swapped,
    "D": _low_bytes,
    "E": _high_bytes,
}
