"""S7 addresses: area, byte, bit and type of a value, in their canonical form. Pure.

    DB40.DBD12:REAL       a value in a data block, as TIA Portal writes it, with its type behind it
    DB1.DBX0.3:BOOL       a bit
    DB1.DBB22:STRING(20)  a value whose size has no letter (8 bytes, a text) stands at a byte
    DB1.DBD4:REAL[20]     an array; REAL[1..20] with the bounds that the PLC's program declares
    I0.0:BOOL  QB3:BYTE  MW4:INT   inputs, outputs, flags;  PIW256:INT  the inputs' periphery
    T5:TIMER   C5:COUNTER

dialects.py understands these and what other programs write.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from collectors.s7.types import TYPES, DataType

NUMBER_MAX = 65_535
"""Of a data block, of a byte in any area, of a timer and of a counter."""
ELEMENTS_MAX = 10_000
"""Of one array; a group has no more tags."""
BITS_PER_BYTE = 8
COUNTED_AREAS = {"T": 2, "C": 2}
"""Areas whose elements are numbered, not their bytes: bytes of an element in a reply."""


class Address(NamedTuple):
    """One tag's place in the PLC. `str()` is the canonical form."""

    area: str
    """`DB`, `I`, `Q`, `M`, `PI`, `T` or `C`."""
    db: int
    """Number of the data block, 0 in other areas."""
    start: int
    """Byte within the area; of a timer or counter its number."""
    bit: int
    """Of the byte, 0 is the least significant; 0 for everything but BOOL."""
    type_name: str
    room: int = 0
    """Characters that a text has room for, 0 for everything else."""

    @property
    def data_type(self) -> DataType:
        """The entry of TYPES."""
        return TYPES[self.type_name]

    @property
    def length(self) -> int:
        """Bytes that the value takes in a reply."""
        return self.data_type.bytes + self.room * self.data_type.character_bytes

    @property
    def first_byte(self) -> int:
        """Where it stands when the area is taken for bytes, timers and counters too."""
        return self.start * COUNTED_AREAS.get(self.area, 1)

    @property
    def area_name(self) -> str:
        """The memory that it is a part of: `DB40`, `M`."""
        return f"DB{self.db}" if self.area == "DB" else self.area

    @property
    def kind(self) -> str:
        """The type as it is written: `REAL`, `STRING(20)`."""
        return f"{self.type_name}({self.room})" if self.data_type.room_max else self.type_name

    @property
    def place(self) -> str:
        """The address without its type, as TIA Portal writes it."""
        if self.area in COUNTED_AREAS:
            return f"{self.area}{self.start}"
        letter = self.data_type.letter or "B"
        place = f"{self.start}.{self.bit}" if letter == "X" else str(self.start)
        if self.area == "DB":
            return f"DB{self.db}.DB{letter}{place}"
        return f"{self.area}{'' if letter == 'X' else letter}{place}"

    def __str__(self) -> str:
        """Return the address as TIA Portal writes it, with its type."""
        return f"{self.place}:{self.kind}"


@dataclass(frozen=True, slots=True)
class Array:
    """Several values of one type, one behind the other. `str()` is the canonical form."""

    first: Address
    lower: int
    """Number of the first element: 0, or as the PLC's program declares it."""
    count: int

    def __str__(self) -> str:
        """Return the first element's address, with the bounds behind its type."""
        bounds = f"{self.lower}..{self.lower + self.count - 1}" if self.lower else str(self.count)
        return f"{self.first}[{bounds}]"

    @property
    def last(self) -> Address:
        """The last element."""
        return self._element(self.count - 1)

    def elements(self) -> Iterator[tuple[str, Address]]:
        """Yield (number as the program counts, address) of each element."""
        for index in range(self.count):
            yield str(self.lower + index), self._element(index)

    def _element(self, index: int) -> Address:
        first = self.first
        if first.type_name == "BOOL":
            # Bits of an array fill a byte from its least significant one, then the next byte.
            byte, bit = divmod(first.bit + index, BITS_PER_BYTE)
            return first._replace(start=first.start + byte, bit=bit)
        if first.area in COUNTED_AREAS:
            return first._replace(start=first.start + index)
        # A text in an array begins at an even byte; everything else follows without a gap.
        stride = first.length + (first.length % 2 if first.data_type.room_max else 0)
        return first._replace(start=first.start + index * stride)


def check_place(place: Address | Array, text: str) -> None:
    """Raise ValueError when the place cannot exist in any S7."""
    last = place.last if isinstance(place, Array) else place
    if last.area == "DB" and not 1 <= last.db <= NUMBER_MAX:
        raise ValueError(f"{text!r}: data blocks are numbered from 1 to {NUMBER_MAX}")
    end = last.start if last.area in COUNTED_AREAS else last.start + last.length - 1
    if end > NUMBER_MAX:
        unit = "number" if last.area in COUNTED_AREAS else "byte"
        raise ValueError(f"{text!r} ends behind {unit} {NUMBER_MAX}, the last of any area")
