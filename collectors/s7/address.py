"""S7 addresses: area, byte, bit and type, in the dialects people write.

    DB40.DBD12:REAL                    canonical: as TIA Portal writes it, with the type behind it
    %DB40.DBD12   MW4   I0.0   E0.0    TIA Portal, in English or German; else the `type` column
    DB40,REAL12   DB1,X0.3             Kepware and nodeS7; DB1,STRING12.20 has room for 20
    DB40.R12      DB1.DI4              Telegraf; its DW has 32 bits, where TIA's DBW has 16
    %DB40:12:REAL                      Apache PLC4X

A value whose type has no letter of its own (8 bytes, or text) stands at a byte: DB40.DBB12:LREAL.
"""

import re
from typing import NamedTuple

from common.config import suggestion
from common.records import ValueType

NUMBER_MAX = 65_535
"""Of a data block, and of a byte in it."""
STRING_MAX = 254
STRING_HEADER_BYTES = 2
"""Room for characters, then characters in use."""


class DataType(NamedTuple):
    """How many bytes a value takes, the letter of its size, and what leaves the house."""

    bytes: int
    letter: str
    """X bit, B byte, W word, D double word."""
    value_type: ValueType


TYPES = {
    "BOOL": DataType(1, "X", ValueType.BOOL),
    "BYTE": DataType(1, "B", ValueType.UINT64),
    "SINT": DataType(1, "B", ValueType.INT64),
    "USINT": DataType(1, "B", ValueType.UINT64),
    "CHAR": DataType(1, "B", ValueType.STRING),
    "WORD": DataType(2, "W", ValueType.UINT64),
    "INT": DataType(2, "W", ValueType.INT64),
    "UINT": DataType(2, "W", ValueType.UINT64),
    "REAL": DataType(4, "D", ValueType.FLOAT64),
    "DINT": DataType(4, "D", ValueType.INT64),
    "DWORD": DataType(4, "D", ValueType.UINT64),
    "UDINT": DataType(4, "D", ValueType.UINT64),
    "LWORD": DataType(8, "", ValueType.UINT64),
    "LINT": DataType(8, "", ValueType.INT64),
    "ULINT": DataType(8, "", ValueType.UINT64),
    "LREAL": DataType(8, "", ValueType.FLOAT64),
    "STRING": DataType(STRING_HEADER_BYTES, "", ValueType.STRING),
}
_LETTERS = {"DBX": "X", "DBB": "B", "DBW": "W", "DBD": "D", "X": "X", "B": "B", "W": "W"}
_TELEGRAF = {"C": "CHAR", "DW": "DWORD", "I": "INT", "DI": "DINT", "R": "REAL", "S": "STRING"}
_AREAS = {"I": "I", "E": "I", "Q": "Q", "A": "Q", "M": "M"}
_ELSEWHERE = {
    "FLOAT": "REAL",
    "FLOAT32": "REAL",
    "DOUBLE": "LREAL",
    "FLOAT64": "LREAL",
    "INT16": "INT",
    "INT32": "DINT",
    "INT64": "LINT",
    "UINT16": "UINT",
    "UINT32": "UDINT",
    "UINT64": "ULINT",
}
"""What other protocols call the types of an S7."""
_BITS = {"X": 1, "B": 8, "W": 16, "D": 32}

_ADDRESS = re.compile(
    r"%?(?:DB(?P<db>\d+)(?P<mark>[.,:])|(?P<area>[IEQAM])[,:]?)\s*"
    r"(?P<word>[A-Z]*)(?P<start>\d+)(?:\.(?P<after>\d+))?"
    r"(?::(?P<type>[A-Z]+)(?:\((?P<room>\d+)\))?)?"
)
_TYPE = re.compile(r"([A-Z]+)(?:\s*[(\[]\s*(\d+)\s*[)\]])?")
_EXAMPLES = "DB40.DBD12:REAL, DB1.DBX0.3, MW4:INT, I0.0 or DB40,REAL12"


class Address(NamedTuple):
    """One tag's place in the PLC. `str()` is the canonical form."""

    area: str
    """`DB`, `I`, `Q` or `M`."""
    db: int
    """Number of the data block, 0 in other areas."""
    start: int
    """Byte within the area."""
    bit: int
    """Of the byte, 0 is the least significant; 0 for everything but BOOL."""
    type_name: str
    room: int
    """Characters that a STRING has room for, 0 for everything else."""

    @property
    def data_type(self) -> DataType:
        """The entry of TYPES."""
        return TYPES[self.type_name]

    @property
    def length(self) -> int:
        """Bytes that the value takes."""
        return self.data_type.bytes + self.room

    def __str__(self) -> str:
        """Return the address as TIA Portal writes it, with its type."""
        letter = self.data_type.letter or "B"
        place = f"{self.start}.{self.bit}" if letter == "X" else str(self.start)
        kind = f"STRING({self.room})" if self.type_name == "STRING" else self.type_name
        if self.area == "DB":
            return f"DB{self.db}.DB{letter}{place}:{kind}"
        return f"{self.area}{'' if letter == 'X' else letter}{place}:{kind}"


def parse_address(text: str, type_cell: str) -> Address:
    """Return the place that `text` names, its type in the address or in the `type` cell.

    Raises ValueError that tells what to write instead.
    """
    found = _ADDRESS.fullmatch(text.strip().upper())
    if not found:
        raise ValueError(f"{text!r} is not an S7 address; write it as {_EXAMPLES}{_hint(text)}")
    word, after = found["word"], found["after"]
    letter, named = _LETTERS.get(word, ""), ""
    if word in ("D", "L") and found["mark"] is None:
        letter = "D" if word == "D" else ""
    elif word and not letter:
        named = _type_of_word(word, text)
    type_name, room = _type(text, (named, found["type"], found["room"]), type_cell, letter, after)
    if type_name == "STRING":
        room = int(after) if named == "STRING" and after else room or STRING_MAX
        if not 1 <= room <= STRING_MAX:
            raise ValueError(f"{text!r}: a STRING has room for 1 to {STRING_MAX} characters")
    area = "DB" if found["db"] else _AREAS[found["area"]]
    address = Address(area, int(found["db"] or 0), int(found["start"]), 0, type_name, room)
    _check_place(address, text, letter, after, named=bool(named))
    return address._replace(bit=int(after)) if type_name == "BOOL" else address


def _type_of_word(word: str, text: str) -> str:
    name = _TELEGRAF.get(word, word)
    if name not in TYPES:
        known = ["DBX", "DBB", "DBW", "DBD", *TYPES]
        raise ValueError(f"{text!r}: unknown {word!r}{suggestion(word, known)}")
    return name


def _type(
    text: str,
    written: tuple[str, str | None, str | None],
    cell: str,
    letter: str,
    after: str | None,
) -> tuple[str, int]:
    """Return type and room from wherever they are written; they may not contradict each other."""
    found: dict[str, int] = {}
    if written[0]:
        found[written[0]] = 0
    if written[1]:
        found[written[1]] = int(written[2] or 0)
    if cell:
        match = _TYPE.fullmatch(cell.strip().upper())
        name = match[1] if match else cell
        room = int(match[2] or 0) if match else 0
        found[name] = found.get(name) or room
    if not found and (letter == "X" or (not letter and after is not None)):
        return "BOOL", 0
    for name in found:
        if name not in TYPES:
            known = f"; did you mean {_ELSEWHERE[name]!r}?" if name in _ELSEWHERE else ""
            known = known or suggestion(name, list(TYPES))
            raise ValueError(f"{text!r}: unknown type {name!r}{known}")
    if len(found) > 1:
        raise ValueError(f"{text!r} has two types, {' and '.join(found)}; keep the right one")
    if not found:
        if not letter:
            raise ValueError(
                f"{text!r} names no size; append the type, {text.strip()}:REAL, or the bit, "
                f"{text.strip()}.0"
            )
        could_be = [name for name, each in TYPES.items() if each.letter == letter]
        raise ValueError(
            f"{text!r} could be {', '.join(could_be[:-1])} or {could_be[-1]}; append the right "
            f"one, {text.strip()}:{could_be[0]}, or write it in the 'type' column"
        )
    return next(iter(found.items()))


def _check_place(
    address: Address, text: str, letter: str, after: str | None, *, named: bool
) -> None:
    """Refuse a letter, bit or number that does not belong to the type."""
    own = address.data_type.letter
    if letter and own and letter != own:
        raise ValueError(
            f"{text!r}: {letter} is {_BITS[letter]} bit, but {address.type_name} has "
            f"{_BITS[own]}; write {address._replace(bit=int(after or 0))}"
        )
    if own == "X":
        if after is None or int(after) > 7:  # noqa: PLR2004 - a byte has bits 0 to 7
            raise ValueError(f"{text!r}: a BOOL needs its bit, 0 to 7, such as {address}")
    elif after is not None and int(after) and not (named and address.type_name == "STRING"):
        raise ValueError(
            f"{text!r}: arrays are not read, and only a BOOL has a bit; write one tag for each "
            f"element: {address}"
        )
    if address.area == "DB" and not 1 <= address.db <= NUMBER_MAX:
        raise ValueError(f"{text!r}: data blocks are numbered from 1 to {NUMBER_MAX}")
    if address.start + address.length - 1 > NUMBER_MAX:
        raise ValueError(f"{text!r} ends behind byte {NUMBER_MAX}, the last of any area")


def _hint(text: str) -> str:
    if '"' in text:
        return '; symbolic names are read over the PLC\'s OPC UA server (protocol = "opcua")'
    if re.fullmatch(r"\s*[TCZ]\d+\s*", text.upper()):
        return "; timers and counters are not read, copy them into a data block"
    return ""
