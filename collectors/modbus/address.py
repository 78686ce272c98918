"""Modbus addresses: table, 0-based number, type and byte order, in the dialects people write.

    holding:0:FLOAT32@CDAB   canonical: the number is the one on the wire
    holding:0x10             the same number in hexadecimal, as some manuals give it
    holding:5.3              bit 3 of a register; bit 0 is the least significant
    40001  400001  4x00001   1-based, as in most manuals; the first digit names the table
    holding-register:1       1-based, as PLC4X writes it; also input-register, discrete-input
    1!400001                 with the unit in front, as Neuron writes it: it must be the device's
    40001:FLOAT32@CDAB       every form may carry its type and order; else the `type` column does

Source of the numbering: MODBUS Application Protocol Specification V1.1b3, section 4.4: data items
are numbered from 1, and item n is addressed as n - 1 in the request.
"""

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple

from collectors.modbus.types import SIZED, TYPES, DataType, data_type, default_order, parse_type
from common.config import suggestion

NUMBERS = 65_536
"""Items in each table; the wire has 16 bits for the number."""

_REGISTER_BITS = 16


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
_COUNTED_FROM_1 = {
    "discrete-input": Table.DISCRETE,
    "holding-register": Table.HOLDING,
    "input-register": Table.INPUT,
}
"""PLC4X's names of the tables. Its `coil:` is ours, which counts from 0."""


class Address(NamedTuple):
    """One tag's place in the device. `str()` is the canonical form."""

    table: Table
    number: int
    """0-based, as on the wire."""
    bit: int | None
    """Of a register, 0 is the least significant; None for a whole value and in tables of bits."""
    type_name: str
    order: str
    span: tuple[int, int] | None = None
    """Number and length of the array that it is an element of."""

    @property
    def data_type(self) -> DataType:
        """How its registers become a value."""
        return data_type(self.type_name, self.order)

    @property
    def source_type(self) -> str:
        """Type and order as written in the canonical form; the default order is left out."""
        return self.type_name + _order_text(self.type_name, self.order)

    @property
    def place(self) -> str:
        """The canonical form without type and order."""
        bit = "" if self.bit is None else f".{self.bit}"
        return f"{self.table}:{self.number}{bit}"

    def __str__(self) -> str:
        return f"{self.place}:{self.source_type}"


class Array(NamedTuple):
    """Elements side by side. `str()` is the canonical form."""

    first: Address
    indexes: range
    """The numbers of the elements, as they are written behind the tag's name."""

    def elements(self) -> Iterator[tuple[int, Address]]:
        """Yield index and address of each."""
        first = self.first
        units = first.data_type.registers
        span = (first.number, self.units)
        for at, index in enumerate(self.indexes):
            if first.bit is None:
                yield index, first._replace(number=first.number + at * units, span=span)
            else:
                more, bit = divmod(first.bit + at, _REGISTER_BITS)
                yield index, first._replace(number=first.number + more, bit=bit, span=span)

    @property
    def units(self) -> int:
        """Registers, or bits of a table of bits, from the first to the last element."""
        if self.first.bit is None:
            return len(self.indexes) * self.first.data_type.registers
        return (self.first.bit + len(self.indexes) - 1) // _REGISTER_BITS + 1

    def __str__(self) -> str:
        first, indexes = self.first, self.indexes
        counted = f"{len(indexes)}" if not indexes.start else f"{indexes.start}..{indexes[-1]}"
        order = _order_text(first.type_name, first.order)
        return f"{first.place}:{first.type_name}[{counted}]{order}"


def _order_text(type_name: str, order: str) -> str:
    return "" if order == default_order(type_name) else f"@{order}"


_FORM = re.compile(
    r"(?:(?P<unit>[0-9]{1,9})!)?"
    r"(?P<place>[A-Za-z-]+:(?:0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,9})|[0-9][xX][0-9]{1,9}|[0-9]{1,9})"
    r"(?:\.(?P<bit>[0-9]{1,9}))?(?::(?P<type>.+))?"
)


def parse_address(text: str, type_text: str = "", unit: int | None = None) -> Address:
    """Return the address of one value.

    `unit` is the device's own. Raises ValueError with a sentence that says what to write instead.
    """
    parsed = parse(text, type_text, unit)
    if isinstance(parsed, Array):
        raise ValueError(f"{text!r} is an array; write a single element, {parsed.first}")  # noqa: TRY004 - the text is wrong
    return parsed


def parse(text: str, type_text: str = "", unit: int | None = None) -> Address | Array:
    """Return the address of one value or array. `unit` and errors as of `parse_address`."""
    found = _FORM.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a Modbus address; {_instead(text)}")
    _check_unit(text, found["unit"], unit)
    table, number = _place(found["place"])
    bit = None if found["bit"] is None else int(found["bit"])
    if bit is not None and table.holds_bits:
        raise ValueError(f"{text!r}: a {table} is a single bit; leave out .{bit}")
    if bit is not None and not 0 <= bit < _REGISTER_BITS:
        raise ValueError(f"{text!r}: a register has bits 0 to 15, found {bit}")
    implied = "BOOL" if table.holds_bits or bit is not None else ""
    type_name, indexes, order = _type(text, found["type"] or "", type_text.strip(), implied)
    if implied and type_name != implied:
        raise ValueError(f"{text!r} is a single bit: its type is BOOL, found {type_name}")
    if type_name == "BOOL" and not implied:
        raise ValueError(f"{text!r} is a whole register; for a bit write {table}:{number}.0 to .15")
    first = Address(table, number, bit, type_name, order or default_order(type_name))
    parsed = first if indexes is None else Array(first, indexes)
    units = first.data_type.registers if isinstance(parsed, Address) else parsed.units
    if number + units > NUMBERS:
        raise ValueError(f"{text!r}: {type_name} at {number} ends after the last item, 65535")
    return parsed


def _instead(text: str) -> str:
    """Say what to write for what is near to a dialect, but not the same to all who write it."""
    if "#" in text:
        return (
            "write the byte order behind the type, 400001:FLOAT32@CDAB, as # means another order "
            "to each tool; tailrace read --guess shows which one gives sense"
        )
    if re.search(r"\.[0-9]+[HLDE]$", text.strip()):
        return "write a text with its registers and packing, 400001:STRING(10)@L"
    return "write holding:0:FLOAT32 (0-based), or 40001 with a type"


def _check_unit(text: str, written: str | None, unit: int | None) -> None:
    if written is None or unit == int(written):
        return
    belongs = "the device says the unit" if unit is None else f"this device is unit {unit}"
    raise ValueError(
        f"{text!r} names unit {int(written)}, but {belongs}; leave out {written}!, or make a "
        f"device of its own with unit = {int(written)}"
    )


def _place(place: str) -> tuple[Table, int]:
    """Return table and 0-based number."""
    word, colon, digits = place.partition(":")
    if colon:
        table, number, lowest = _named(word.lower(), digits)
    else:
        table, number, lowest = _numbered(place)
    if not 0 <= number < NUMBERS:
        raise ValueError(
            f"{place!r}: the number must be {lowest} to {NUMBERS - 1 + lowest} in this form"
        )
    return table, number


def _named(word: str, digits: str) -> tuple[Table, int, int]:
    number = int(digits, 16) if digits[:2].lower() == "0x" else int(digits)
    if word in _COUNTED_FROM_1:
        return _COUNTED_FROM_1[word], number - 1, 1
    known = [str(table) for table in Table]
    if word not in known:
        raise ValueError(f"unknown table {word!r}{suggestion(word, known)}")
    return Table(word), number, 0


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


def _type(text: str, written: str, column: str, implied: str) -> tuple[str, range | None, str]:
    """Return type, array and order from the address, the type column, or the table."""
    if not written and not column:
        if not implied:
            raise ValueError(f"{text!r} needs a type, one of {_type_names()}")
        return implied, None, ""
    try:
        parts = [parse_type(each) for each in (written, column) if each]
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    if len(parts) == 1:
        return parts[0]
    in_address, in_column = parts
    # A column of plain names may stand beside addresses that add array and order.
    order = in_address.order or default_order(in_address.name)
    same = (
        in_column.name == in_address.name
        and in_column.indexes in (None, in_address.indexes)
        and in_column.order in ("", order)
    )
    if not same:
        raise ValueError(f"{text!r} says {written} but its type column says {column}; keep one")
    return in_address


def _type_names() -> str:
    return ", ".join([*list(TYPES)[1:], *(f"{name}(registers)" for name in SIZED)])
