"""The data types of an S7: how much memory a value takes, and what leaves the house.

Durations leave as whole numbers: TIME and S5TIME in milliseconds, LTIME in nanoseconds. Dates and
times of day leave as ISO 8601 texts without a zone, since a PLC's clock has none.
"""

from typing import NamedTuple

from common.records import ValueType

STRING_MAX = 254
WSTRING_MAX = 16_382
STRING_HEADER_BYTES = 2
"""Room for characters, then characters in use; a WSTRING has both as words."""
WSTRING_HEADER_BYTES = 4


class DataType(NamedTuple):
    """How many bytes a value takes, the letter of its size, and what leaves the house."""

    bytes: int
    """Of a text: its header's."""
    letter: str
    """X bit, B byte, W word, D double word; empty where the size has no letter."""
    value_type: ValueType
    character_bytes: int = 0
    """Of a text; 0 for everything else."""
    room_max: int = 0


_I, _U, _F, _S = ValueType.INT64, ValueType.UINT64, ValueType.FLOAT64, ValueType.STRING

TYPES = {
    "BOOL": DataType(1, "X", ValueType.BOOL),
    "BYTE": DataType(1, "B", _U),
    "SINT": DataType(1, "B", _I),
    "USINT": DataType(1, "B", _U),
    "CHAR": DataType(1, "B", _S),
    "WORD": DataType(2, "W", _U),
    "INT": DataType(2, "W", _I),
    "UINT": DataType(2, "W", _U),
    "WCHAR": DataType(2, "W", _S),
    "S5TIME": DataType(2, "W", _I),
    "DATE": DataType(2, "W", _S),
    "REAL": DataType(4, "D", _F),
    "DINT": DataType(4, "D", _I),
    "DWORD": DataType(4, "D", _U),
    "UDINT": DataType(4, "D", _U),
    "TIME": DataType(4, "D", _I),
    "TOD": DataType(4, "D", _S),
    "LWORD": DataType(8, "", _U),
    "LINT": DataType(8, "", _I),
    "ULINT": DataType(8, "", _U),
    "LREAL": DataType(8, "", _F),
    "LTIME": DataType(8, "", _I),
    "LTOD": DataType(8, "", _S),
    "DT": DataType(8, "", _S),
    "LDT": DataType(8, "", _S),
    "DTL": DataType(12, "", _S),
    "STRING": DataType(STRING_HEADER_BYTES, "", _S, 1, STRING_MAX),
    "WSTRING": DataType(WSTRING_HEADER_BYTES, "", _S, 2, WSTRING_MAX),
    "TIMER": DataType(2, "", _I),
    "COUNTER": DataType(2, "", _U),
}
ONLY_OF_AREA = {"TIMER": "T", "COUNTER": "C"}
"""A timer is an area and a type of its own, and so is a counter."""

SYNONYMS = {
    "TIME_OF_DAY": "TOD",
    "LTIME_OF_DAY": "LTOD",
    "DATE_AND_TIME": "DT",
    "DATE_AND_LTIME": "LDT",
}
"""The long names of TIA Portal, which Apache PLC4X uses as well."""

LETTER_TYPES = {
    "X": "BOOL",
    "B": "BYTE",
    "C": "CHAR",
    "W": "WORD",
    "D": "DWORD",
    "DW": "DWORD",
    "I": "INT",
    "DI": "DINT",
    "R": "REAL",
    "LR": "LREAL",
    "S": "STRING",
}
"""What Telegraf, nodeS7 and Kepware write between the area and the byte."""

ELSEWHERE = {
    "FLOAT": "REAL",
    "FLOAT32": "REAL",
    "DOUBLE": "LREAL",
    "FLOAT64": "LREAL",
    "BIT": "BOOL",
    "INT8": "SINT",
    "INT16": "INT",
    "INT32": "DINT",
    "INT64": "LINT",
    "UINT8": "USINT",
    "UINT16": "UINT",
    "UINT32": "UDINT",
    "UINT64": "ULINT",
}
"""What Neuron and other protocols call the types of an S7."""


def could_be(letter: str) -> list[str]:
    """Return the types that a letter's size may hold, the most likely first."""
    return [name for name, each in TYPES.items() if each.letter == letter]
