"""Addresses in an S7-1200 or S7-1500: the names of the program, as TIA Portal writes them.

    "Press"."Temperature"            a member of a data block; its type stands behind, or in `type`
    "Press"."Motor"."Speed":INT      of a structure in it
    "Press"."Zones"[3]  "M"[1,2]     an element; counted from the bound that the PLC declares
    "Press"."Zones":LREAL[0..9]      all elements of it, one tag for each: Name/0, Name/1, …
    "Door_closed"                    an input, output or flag by its name in the PLC tag table
    8A0E0028.A                       where a symbol stands: access area and local ids, hexadecimal
                                     (8A0E0028 is DB40; 50, 51 and 52 are inputs, outputs, flags).
                                     Nobody looks it up, and the next download may move it

A name may hold everything but a quotation mark (STEP 7 does not allow it in a name).
"""

import re
from typing import NamedTuple

from common.config import suggestion
from common.records import ValueType

PARTS_MAX = 32
ELEMENTS_MAX = 10_000
"""Of one row; a group has no more tags."""


class DataType(NamedTuple):
    """What a type of the PLC is, and what leaves the house."""

    value_type: ValueType
    plc_names: tuple[str, ...]
    """What the library calls it."""


_I, _U, _F, _S = ValueType.INT64, ValueType.UINT64, ValueType.FLOAT64, ValueType.STRING
TYPES = {
    "BOOL": DataType(ValueType.BOOL, ("BOOL", "BBOOL")),
    "BYTE": DataType(_U, ("BYTE",)),
    "WORD": DataType(_U, ("WORD",)),
    "DWORD": DataType(_U, ("DWORD",)),
    "LWORD": DataType(_U, ("LWORD",)),
    "USINT": DataType(_U, ("USINT",)),
    "UINT": DataType(_U, ("UINT",)),
    "UDINT": DataType(_U, ("UDINT",)),
    "ULINT": DataType(_U, ("ULINT",)),
    "SINT": DataType(_I, ("SINT",)),
    "INT": DataType(_I, ("INT",)),
    "DINT": DataType(_I, ("DINT",)),
    "LINT": DataType(_I, ("LINT",)),
    "REAL": DataType(_F, ("REAL",)),
    "LREAL": DataType(_F, ("LREAL",)),
    "CHAR": DataType(_S, ("CHAR",)),
    "WCHAR": DataType(_S, ("WCHAR",)),
    "STRING": DataType(_S, ("STRING",)),
    "WSTRING": DataType(_S, ("WSTRING",)),
    "S5TIME": DataType(_I, ("S5TIME",)),
    "TIME": DataType(_I, ("TIME",)),
    "LTIME": DataType(_I, ("LTIME",)),
    "DATE": DataType(_S, ("DATE",)),
    "TOD": DataType(_S, ("TIMEOFDAY",)),
    "LTOD": DataType(_S, ("LTOD",)),
    "DT": DataType(_S, ("DATEANDTIME",)),
    "LDT": DataType(_S, ("LDT",)),
}
"""Durations leave as whole numbers (S5TIME, TIME: ms; LTIME: ns), dates and times of day as ISO
8601 without a zone, since a PLC's clock has none."""
NAME_OF = {plc_name: name for name, each in TYPES.items() for plc_name in each.plc_names}
_SYNONYMS = {
    "TIME_OF_DAY": "TOD",
    "LTIME_OF_DAY": "LTOD",
    "DATE_AND_TIME": "DT",
    "DATE_AND_LTIME": "LDT",
}
_ELSEWHERE = {"FLOAT": "REAL", "DOUBLE": "LREAL", "INT16": "INT", "INT32": "DINT", "UINT16": "UINT"}

_PART = r'"[^"]+"(?:\[-?\d+(?:,-?\d+)*\])?'
_SYMBOL = re.compile(rf"({_PART}(?:\.{_PART})*)(?::(.+))?")
_ACCESS = re.compile(
    r"((?:8A0E[0-9A-F]{4}|5[0-2])(?:\.[0-9A-F]{1,8}){1,30})(?::(.+))?", re.IGNORECASE
)
"""A data block by its number, or 50 (inputs), 51 (outputs), 52 (flags). DB40.DBD12, whose letters
are hexadecimal digits as well, is none."""
_TYPE = re.compile(r"([A-Z0-9_]+)(?:\(\d+\))?(?:\[(?:(-?\d+)\.\.)?(-?\d+)\])?")
_TOKEN = re.compile(r'"([^"]+)"|(\[[^\]]+\])')
_LIBRARY_TOKEN = re.compile(r"\[[-\d,]+\]|[^.\[]+")


class Address(NamedTuple):
    """One tag's place in the PLC. `str()` is the canonical form."""

    symbol: str
    """As the library spells it, `Press.Zones[3]`; empty for one given by access and local ids."""
    access: tuple[int, ...]
    """Access area and local ids; empty for a symbol, which is looked up."""
    type_name: str
    written: str
    """Canonical, without the type."""

    def __str__(self) -> str:
        return f"{self.written}:{self.type_name}"


def parse_addresses(text: str, type_cell: str) -> tuple[Address, ...] | list[tuple[str, Address]]:
    """Return a tuple of the one address, or a list of (index, element) for an array.

    Raises ValueError that tells what to write instead.
    """
    stripped = text.strip()
    found = _SYMBOL.fullmatch(stripped) or _ACCESS.fullmatch(stripped)
    if not found:
        raise ValueError(f"{text!r} is not a symbol{_hint(stripped)}")
    written = found[1]
    type_name, bounds = _type(text, found[2], type_cell)
    if not written.startswith('"'):
        if bounds:
            raise ValueError(f"{text!r}: an array is read by its symbol, not by local ids")
        ids = tuple(int(part, 16) for part in written.split("."))
        return (Address("", ids, type_name, written.upper()),)
    if written.count('"') > 2 * PARTS_MAX:
        raise ValueError(f"{text!r}: at most {PARTS_MAX} names one in the other")
    if bounds is None:
        return (Address(library_name(written), (), type_name, written),)
    if written.endswith("]"):
        raise ValueError(f"{text!r} is an element already; leave the bounds of its type away")
    return [
        (str(i), Address(library_name(f"{written}[{i}]"), (), type_name, f"{written}[{i}]"))
        for i in bounds
    ]


def library_name(written: str) -> str:
    """Return `"Press"."Zones"[3]` as the library spells it: `Press.Zones[3]`."""
    found = ""
    for name, index in _TOKEN.findall(written):
        found += index or (f".{name}" if found else name)
    return found


def written_name(library_spelling: str) -> str:
    """Return `Press.Zones[3]` as TIA Portal writes it.

    A name that holds a dot or a bracket itself cannot be told from several; it comes out as those.
    """
    found = ""
    for token in _LIBRARY_TOKEN.findall(library_spelling):
        if token.startswith("["):
            found += token
        else:
            found += f'."{token}"' if found else f'"{token}"'
    return found


def _type(text: str, in_address: str | None, cell: str) -> tuple[str, range | None]:
    """Return the type and an array's bounds from wherever they are written."""
    if in_address and cell and in_address.strip().upper() != cell.strip().upper():
        raise ValueError(f"{text!r} has two types, {in_address} and {cell}; keep the right one")
    written = (in_address or cell).strip().upper()
    if not written:
        raise ValueError(f"{text!r} needs its type, {text.strip()}:REAL, or in the 'type' column")
    match = _TYPE.fullmatch(written.replace(" ", ""))
    name = _SYNONYMS.get(match[1], match[1]) if match else written
    if not match or name not in TYPES:
        known = f"; did you mean {_ELSEWHERE[name]!r}?" if name in _ELSEWHERE else ""
        if name in ("DTL", "STRUCT"):
            known = f': read its members, {text.strip()}."…"'
        raise ValueError(f"{text!r}: unknown type {name!r}{known or suggestion(name, list(TYPES))}")
    if match[3] is None:
        return name, None
    first, last = (int(match[2]), int(match[3])) if match[2] else (0, int(match[3]) - 1)
    if not 1 <= last - first + 1 <= ELEMENTS_MAX:
        raise ValueError(
            f"{text!r}: {written} has {last - first + 1} elements, 1 to {ELEMENTS_MAX} can be"
        )
    return name, range(first, last + 1)


def _hint(text: str) -> str:
    if re.match(r"%?(DB\d+[.,:]|[IEQAM][BWDX]?\d)", text.upper()):
        return (
            '; byte addresses are read with protocol = "s7". A symbol is written as TIA Portal '
            'does: "Press"."Temperature":REAL'
        )
    if re.match(r"(nsu?=|ns=)", text):
        return '; OPC UA nodes are read with protocol = "opcua"'
    return '; write it with its quotation marks: "Press"."Temperature":REAL or "Press"."Zones"[0]'
