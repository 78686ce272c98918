"""Modbus addresses: table, 0-based number, type and byte order, in the dialects people write.

    holding:0:FLOAT32@CDAB   canonical: the number is the one on the wire
    holding:5.3              bit 3 of a register; bit 0 is the least significant
    40001  400001  4x00001   1-based, as in most manuals; the first digit names the table
    40001:FLOAT32@CDAB       every form may carry its type and order; else the `type` column does

Source of the numbering: MODBUS Application Protocol Specification V1.1b3, section 4.4: data items
are numbered from 1, and item n is addressed as n - 1 in the request.
"""

import enum
import re
from typing import NamedTuple

from common.config import suggestion
from common.records import ValueType

NUMBERS = 65_536
"""Items in each table; the wire has 16 bits for the number."""


class Table(enum.StrEnum):
    """The four tables of a device; each has its own read function and its own numbers."""

    COIL = "coil"
    DISCRETE = "discrete"
    HOLDING = "holding"
    INPUT = "input"

    @property
    def holds_bits(self) -> bool:
        """True for tables of single bits, False for tables of 16-bit registers."""
        return self in (Table.COIL, Table.DISCRETE)


_DIGITS = {"0": Table.COIL, "1": Table.DISCRETE, "3": Table.INPUT, "4": Table.HOLDING}


class DataType(NamedTuple):
    """How many registers a value takes, how `struct` names it, and what leaves the house."""

    registers: int
    code: str
    value_type: ValueType


TYPES = {
    "BOOL": DataType(1, "H", ValueType.BOOL),
    "INT16": DataType(1, "h", ValueType.INT64),
    "UINT16": DataType(1, "H", ValueType.UINT64),
    "INT32": DataType(2, "i", ValueType.INT64),
    "UINT32": DataType(2, "I", ValueType.UINT64),
    "INT64": DataType(4, "q", ValueType.INT64),
    "UINT64": DataType(4, "Q", ValueType.UINT64),
    "FLOAT32": DataType(2, "f", ValueType.FLOAT64),
    "FLOAT64": DataType(4, "d", ValueType.FLOAT64),
}

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
"""Big-endian; words swapped; bytes swapped within words; little-endian."""


class Address(NamedTuple):
    """One tag's place in the device. `str()` is the canonical form."""

    table: Table
    number: int
    """0-based, as on the wire."""
    bit: int | None
    """Of a register, 0 is the least significant; None for a whole value and in tables of bits."""
    type_name: str
    order: str

    @property
    def data_type(self) -> DataType:
        """The entry of TYPES."""
        return TYPES[self.type_name]

    @property
    def source_type(self) -> str:
        """Type and order as written in the canonical form; the default order is left out."""
        return self.type_name if self.order == ORDERS[0] else f"{self.type_name}@{self.order}"

    def __str__(self) -> str:
        bit = "" if self.bit is None else f".{self.bit}"
        return f"{self.table}:{self.number}{bit}:{self.source_type}"


_FORM = re.compile(
    r"(?P<place>[A-Za-z]+:\d+|[0-9][xX]\d+|\d+)(?:\.(?P<bit>\d+))?(?::(?P<type>[A-Za-z0-9@]+))?"
)


def parse_address(text: str, type_text: str = "") -> Address:
    """Return the address. Raises ValueError with a sentence that says what to write instead."""
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ValueError(
            f"{text!r} is not a Modbus address; write holding:0:FLOAT32 (0-based), or 40001 with "
            "a type"
        )
    table, number = _place(found["place"])
    bit = None if found["bit"] is None else int(found["bit"])
    if bit is not None and table.holds_bits:
        raise ValueError(f"{text!r}: a {table} is a single bit; leave out .{bit}")
    if bit is not None and not 0 <= bit <= 15:  # noqa: PLR2004 - a register has 16 bits
        raise ValueError(f"{text!r}: a register has bits 0 to 15, found {bit}")
    implied = "BOOL" if table.holds_bits or bit is not None else ""
    type_name, order = _type(text, found["type"] or "", type_text.strip(), implied)
    if implied and type_name != implied:
        raise ValueError(f"{text!r} is a single bit: its type is BOOL, found {type_name}")
    if type_name == "BOOL" and not implied:
        raise ValueError(f"{text!r} is a whole register; for a bit write {table}:{number}.0 to .15")
    if type_name == "BOOL" and order != ORDERS[0]:
        raise ValueError(f"{text!r}: a bit has no byte order; leave out @{order}")
    if number + TYPES[type_name].registers > NUMBERS:
        raise ValueError(f"{text!r}: {type_name} at {number} ends after the last item, 65535")
    return Address(table, number, bit, type_name, order)


def _place(place: str) -> tuple[Table, int]:
    """Return table and 0-based number."""
    word, colon, digits = place.partition(":")
    if colon:
        known = [str(table) for table in Table]
        if word.lower() not in known:
            raise ValueError(f"unknown table {word!r}{suggestion(word.lower(), known)}")
        table, number, lowest = Table(word.lower()), int(digits), 0
    else:
        table, number, lowest = _numbered(place)
    if not 0 <= number < NUMBERS:
        raise ValueError(
            f"{place!r}: the number must be {lowest} to {NUMBERS - 1 + lowest} in this form"
        )
    return table, number


def _numbered(place: str) -> tuple[Table, int, int]:
    """Read 40001, 400001 or 4x00001: the first digit is the table, the rest counts from 1."""
    digits = place[2:] if place[1:2] in ("x", "X") else place[1:]
    marked = digits != place[1:]
    if not marked and len(digits) not in (4, 5):
        raise ValueError(
            f"{place!r} does not say which table; write holding:{place}, input:{place}, "
            f"coil:{place} or discrete:{place} (0-based), or five or six digits such as 40001"
        )
    table = _DIGITS.get(place[0])
    if table is None:
        raise ValueError(
            f"{place!r}: no table {place[0]!r}; 0 is coil, 1 discrete, 3 input, 4 holding"
        )
    return table, int(digits) - 1, 1


def _type(text: str, written: str, column: str, implied: str) -> tuple[str, str]:
    """Return type name and order from the address, the type column, or the table."""
    if written and column:
        in_address, in_column = _split_type(text, written), _split_type(text, column)
        # A column of plain names may stand beside addresses that add the order.
        same = in_address[0] == in_column[0] if "@" not in column else in_address == in_column
        if not same:
            raise ValueError(f"{text!r} says {written} but its type column says {column}; keep one")
        return in_address
    if written or column:
        return _split_type(text, written or column)
    if not implied:
        raise ValueError(f"{text!r} needs a type, one of {', '.join(list(TYPES)[1:])}")
    return implied, ORDERS[0]


def _split_type(text: str, written: str) -> tuple[str, str]:
    name, _, order = written.upper().partition("@")
    if name not in TYPES:
        raise ValueError(f"{text!r}: unknown type {name!r}{suggestion(name, list(TYPES))}")
    order = order or ORDERS[0]
    if order not in ORDERS:
        raise ValueError(f"{text!r}: unknown order {order!r}; one of {', '.join(ORDERS)}")
    return name, order
