"""Requests of a device, and their replies → values. Pure; knows the wire, not the library.

A request's decoder is compiled once. It gathers the registers of its fields one after the other,
words already in their final order, and unpacks all of them by two precompiled structs:

    order   on the wire   words     struct
    ABCD    A B C D       as read   big-endian
    CDAB    C D A B       reversed  big-endian
    BADC    B A D C       reversed  little-endian
    DCBA    D C B A       as read   little-endian

Values of 64 bits have four words: CDAB is GH EF CD AB, all words in reverse. Texts and raw bytes
are taken as read; types.py makes of them what their packing says.

Measured for 62 FLOAT32: 5 us this way, 102 us by the library's own conversion.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from collectors.modbus.address import Address, Table
from collectors.planning import Field, Hole, Read, plan_reads

REGISTERS_MAX = 125
BITS_MAX = 2_000
"""Of one read: MODBUS Application Protocol Specification V1.1b3, sections 6.1 to 6.4."""

_BITS_PER_REGISTER = 16
_BIT_TABLES = (Table.COIL, Table.DISCRETE)
_WORDS_REVERSED = ("CDAB", "BADC")
_LITTLE_ENDIAN = ("BADC", "DCBA")


class Limits(NamedTuple):
    """What one request to a device may ask for."""

    registers_max: int = REGISTERS_MAX
    bits_max: int = BITS_MAX
    gap_registers_max: int = 16
    """Read along without need to save a request; of bits, sixteen times as many."""
    merge: bool = True
    """False: one request for each field."""

    def plan(self, fields: Sequence[Field], holes: Iterable[Hole] = ()) -> list[Read]:
        """Return the fewest reads of fields whose area is their table."""
        bits = [each for each in fields if each.area in _BIT_TABLES]
        registers = [each for each in fields if each.area not in _BIT_TABLES]
        reads: list[Read] = []
        for members, units_max, gap_max in (
            (registers, self.registers_max, self.gap_registers_max),
            (bits, self.bits_max, self.gap_registers_max * _BITS_PER_REGISTER),
        ):
            reads += plan_reads(
                members, units_max=units_max, gap_max=gap_max, holes=holes, merge=self.merge
            )
        return reads


class Item(NamedTuple):
    """One tag of a request."""

    column: int
    address: Address


class Request:
    """One read of a device, and how the values of its tags are found in the reply."""

    def __init__(self, read: Read, addresses: Mapping[int, Address]) -> None:
        self.start = read.start
        self.count = read.length
        self.items = [Item(column, addresses[column]) for column, _ in read.fields]
        self.table: Table = self.items[0].address.table
        self._compile()

    def decode(self, reply: Sequence[int] | Sequence[bool]) -> Sequence[Any]:
        """Return the values of `columns`, from a reply of `count` registers or bits.

        None stands for what cannot be a value of its type: a BCD digit above 9.
        """
        gathered = [reply[index] for index in self._gather]
        if self.table.holds_bits:
            return gathered
        packed = self._registers.pack(*gathered)
        values: list[Any] = list(self._big.unpack_from(packed, 0))
        values += self._little.unpack_from(packed, self._big.size)
        for position, bit in self._bits:
            values[position] = bool(values[position] >> bit & 1)
        for position, convert in self._converted:
            values[position] = convert(values[position])
        return values

    def _compile(self) -> None:
        big = [item for item in self.items if item.address.order not in _LITTLE_ENDIAN]
        little = [item for item in self.items if item.address.order in _LITTLE_ENDIAN]
        ordered = big + little
        self.columns = [item.column for item in ordered]
        """Of the plan, in the order of the decoded values."""
        self._gather = [index for item in ordered for index in self._indexes(item.address)]
        self._registers = struct.Struct(f">{len(self._gather)}H")
        self._big = struct.Struct(">" + "".join(item.address.data_type.code for item in big))
        self._little = struct.Struct("<" + "".join(item.address.data_type.code for item in little))
        self._bits = [
            (position, item.address.bit)
            for position, item in enumerate(ordered)
            if item.address.bit is not None
        ]
        self._converted = [
            (position, convert)
            for position, item in enumerate(ordered)
            if (convert := item.address.data_type.convert)
        ]

    def _indexes(self, address: Address) -> Sequence[int]:
        first = address.number - self.start
        indexes = range(first, first + address.data_type.registers)
        return indexes[::-1] if address.order in _WORDS_REVERSED else indexes


def fields_of(items: Iterable[Item]) -> list[Field]:
    """Return where the tags stand; the elements of one array are a block."""
    return [
        Field(column, address.table, address.number, address.data_type.registers, address.span)
        for column, address in items
    ]


def plan_requests(items: Sequence[Item], limits: Limits) -> list[Request]:
    """Return the fewest requests for `items`; a request stays within one table."""
    addresses = {item.column: item.address for item in items}
    return [Request(read, addresses) for read in limits.plan(fields_of(items))]
