"""What people write for a place in an S7 → its address. Pure; knows every dialect, shows one.

    DB40.DBD12:REAL   %DB40.DBD12   MW4   I0.0   E0.0   %IW256:P   TIA Portal and STEP 7
    DB40,REAL12   DB1,X0.3   DB1,REAL0.20   DB1,STRING12.20        Kepware and nodeS7
    DB40.R12   DB1.DI4   PE.X0.0   MK.W10                          Telegraf, UMH
    %DB40:12:REAL   %M4:REAL[20]                                   Apache PLC4X
    DB40.DBW12 with FLOAT in the type column                       Neuron, whose letter says nothing
    VD4   V0.1                                                     LOGO! (its VM is data block 1)

Traps: Telegraf's DW has 32 bits where TIA's DBW has 16; the German E and A are I and Q.
"""

import re
from typing import NamedTuple

from collectors.s7.address import (
    BITS_PER_BYTE,
    COUNTED_AREAS,
    ELEMENTS_MAX,
    Address,
    Array,
    check_place,
)
from collectors.s7.types import (
    ELSEWHERE,
    LETTER_TYPES,
    ONLY_OF_AREA,
    SYNONYMS,
    TYPES,
    could_be,
)
from common.config import suggestion

_AREAS = {
    "I": "I", "E": "I", "Q": "Q", "A": "Q", "O": "Q", "M": "M", "F": "M", "MK": "M", "V": "DB",
    "T": "T", "TM": "T", "C": "C", "Z": "C", "CT": "C",
    "PI": "PI", "PE": "PI", "PQ": "PQ", "PA": "PQ",
}  # fmt: skip
_PROCESS_IMAGE = {"PI": "I", "PQ": "Q"}
"""What Telegraf means by PE and PA, which it writes with a full stop."""
_SIZES = {"DBX": "X", "DBB": "B", "DBW": "W", "DBD": "D"}
_BARE_SIZES = ("X", "B", "W", "D")
_BITS = {"X": 1, "B": 8, "W": 16, "D": 32, "": 0}

_BOUNDS = r"\s*-?\d{1,6}\s*(?:\.\.\s*-?\d{1,6}\s*)?"
_ADDRESS = re.compile(
    r"%?(?:DB(?P<db>\d{1,6})(?P<mark>[.,:])"
    r"|(?P<area>P[IEQA]|MK|TM|CT|[IEQAOMFVTCZ])(?P<area_mark>[.,:]?))\s*"
    r"(?P<word>[A-Z_]*)(?P<start>\d{1,9})(?:\.(?P<after>\d{1,6}))?(?:\.(?P<third>\d{1,6}))?"
    rf"(?:\[(?P<elements>{_BOUNDS})\])?(?::(?P<type>.+))?"
)
_TYPE = re.compile(
    r"(?P<name>[A-Z][A-Z0-9_]*)\s*(?:\(\s*(?P<room>\d{1,6})\s*\))?"
    rf"(?:\s*\[(?P<one>{_BOUNDS})\])?(?:\s*\[(?P<two>{_BOUNDS})\])?"
)
_DECLARED_ARRAY = re.compile(rf"ARRAY\s*\[(?P<bounds>{_BOUNDS})\]\s*OF\s+(?P<type>.+)")
_EXAMPLES = "DB40.DBD12:REAL, DB1.DBX0.3, MW4:INT, I0.0 or DB40,REAL12"


class _Type(NamedTuple):
    """A type as it is written at one place."""

    name: str
    room: int = 0
    bounds: str = ""
    foreign: bool = False
    """Of another protocol or program, so that the letter of a size beside it may be one as well."""


def parse_address(text: str, type_cell: str) -> Address | Array:
    """Return the place that `text` names, its type in the address or in the `type` cell.

    Raises ValueError that tells what to write instead.
    """
    written = text.strip().upper()
    plain = re.sub(r":P(?=:|$)", "", written)
    found = _ADDRESS.fullmatch(plain)
    if not found:
        raise ValueError(f"{text!r} is not an S7 address; write it as {_EXAMPLES}{_hint(written)}")
    area = _area(found, text, peripheral=plain != written)
    letter, by_word = _word(found, text)
    types = [by_word] if by_word else []
    if found["type"]:
        types.append(_type(found["type"], text))
    if type_cell.strip():
        types.append(_type(type_cell.strip().upper(), text, foreign=True))
    chosen = _one_type(found, area, letter, types, text)
    if not (chosen.foreign and letter == "W"):
        shown = Address(area, _db(found, area), int(found["start"]), 0, chosen.name, 1)
        _check_letter(shown, letter, found["after"], text)
    place = _place(found, area, chosen, text, by_word=by_word is not None)
    check_place(place, text)
    return place


def _area(found: re.Match[str], text: str, *, peripheral: bool) -> str:
    if found["db"]:
        return "DB"
    area = _AREAS[found["area"]]
    if found["area_mark"] == ".":
        area = _PROCESS_IMAGE.get(area, area)
    if peripheral and area in ("I", "Q"):
        area = f"P{area}"
    if area == "PQ":
        raise ValueError(
            f"{text!r}: the periphery of outputs cannot be read; read their process image, Q"
        )
    return area


def _word(found: re.Match[str], text: str) -> tuple[str, _Type | None]:
    """Return the letter of a size, and the type that the word before the byte says."""
    word = found["word"]
    if not word:
        return "", None
    if found["db"] and word in _SIZES:
        return _SIZES[word], None
    if not found["db"] and not found["area_mark"] and word in _BARE_SIZES:
        return word, None  # MW4 is any type of 16 bits.
    name = SYNONYMS.get(word, LETTER_TYPES.get(word, word))
    if name not in TYPES:
        known = [*_SIZES, *TYPES]
        raise ValueError(f"{text!r}: unknown {word!r}{suggestion(word, known)}")
    if word in _BARE_SIZES:
        # WORD and BYTE unless a type beside it says what else the size holds.
        return word, None if found["type"] or word == "X" else _Type(name)
    return "", _Type(name)


def _type(written: str, text: str, *, foreign: bool = False) -> _Type:
    """Return a type as the address or the column `type` writes it; foreign names in the column."""
    declared = _DECLARED_ARRAY.fullmatch(written)
    found = _TYPE.fullmatch(declared["type"] if declared else written)
    if not found:
        several = "; of an array with several dimensions write the number of all its elements"
        hint = several if re.search(r"\[[^\]]*,|\]\s*\[", written) else ""
        raise ValueError(f"{text!r}: {written!r} is no type; write REAL, STRING(20), REAL[8]{hint}")
    name = SYNONYMS.get(found["name"], found["name"])
    known_elsewhere = ELSEWHERE.get(name)
    if name not in TYPES and not (foreign and known_elsewhere):
        known = f"; did you mean {known_elsewhere!r}?" if known_elsewhere else ""
        known = known or suggestion(name, list(TYPES))
        raise ValueError(f"{text!r}: unknown type {name!r}{known}")
    of_other = name not in TYPES
    name = known_elsewhere if known_elsewhere and of_other else name
    brackets = [each for each in (found["one"], found["two"]) if each]
    room = int(found["room"] or 0)
    if TYPES[name].room_max and not room and brackets and ".." not in brackets[0]:
        room = int(brackets.pop(0))  # TIA Portal declares String[20].
    if declared:
        brackets.append(declared["bounds"])
    if len(brackets) > 1 or (room and not TYPES[name].room_max):
        raise ValueError(
            f"{text!r}: {written!r} is no type; an array has one dimension, and only a STRING or "
            "WSTRING has room"
        )
    return _Type(name, room, brackets[0].strip() if brackets else "", foreign=of_other)


def _one_type(found: re.Match[str], area: str, letter: str, types: list[_Type], text: str) -> _Type:
    """Return what all places say together; they may not contradict each other."""
    names = list(dict.fromkeys(each.name for each in types))
    own = next((name for name, where in ONLY_OF_AREA.items() if where == area), "")
    if own:
        # The type column may say what the words are: a timer's is an S5TIME.
        if not set(names) <= {own, "S5TIME" if own == "TIMER" else "WORD", "WORD"}:
            raise ValueError(f"{text!r} is a {own}, no {names[0]}; leave its type empty")
        names = [own]
    elif misplaced := [name for name in names if name in ONLY_OF_AREA]:
        instead = "T5:TIMER, or S5TIME" if misplaced[0] == "TIMER" else "C5:COUNTER, or WORD"
        raise ValueError(f"{text!r} is no {misplaced[0]}; write {instead} for a word of memory")
    if not names and (letter == "X" or (not letter and found["after"] is not None)):
        names = ["BOOL"]
    if found["word"] in ("B", "W", "D") and found["word"] == letter and len(names) > 1:
        names.remove(LETTER_TYPES[letter])  # A size; the column says of what.
    if len(names) > 1:
        raise ValueError(f"{text!r} has two types, {' and '.join(names)}; keep the right one")
    if not names:
        raise ValueError(_no_type(letter, text))
    rooms = {each.room for each in types} - {0}
    bounds = {each.bounds for each in types} - {""}
    if len(rooms) > 1 or len(bounds) > 1:
        raise ValueError(f"{text!r} has two sizes in its address and type; keep the right one")
    foreign = any(each.foreign for each in types)
    return _Type(names[0], max(rooms, default=0), max(bounds, default=""), foreign)


def _no_type(letter: str, text: str) -> str:
    shown = text.strip()
    if not letter:
        return f"{text!r} names no size; append the type, {shown}:REAL, or the bit, {shown}.0"
    names = could_be(letter)
    return (
        f"{text!r} could be {', '.join(names[:-1])} or {names[-1]}; append the right one, "
        f"{shown}:{names[0]}, or write it in the 'type' column"
    )


def _place(
    found: re.Match[str], area: str, kind: _Type, text: str, *, by_word: bool
) -> Address | Array:
    """Return the address, or the array, with the numbers behind the byte taken for what they are.

    They are the bit of a BOOL, the room of a text, and the number of elements, in this order.
    """
    after = [int(each) for each in (found["after"], found["third"]) if each is not None]
    bit = room = 0
    data_type = TYPES[kind.name]
    if kind.name == "BOOL":
        if not after or after[0] >= BITS_PER_BYTE:
            example = Address(area, int(found["db"] or 1), int(found["start"]), 0, "BOOL")
            raise ValueError(f"{text!r}: a BOOL needs its bit, 0 to 7, such as {example}")
        bit = after.pop(0)
    elif data_type.room_max:
        room = kind.room or (after.pop(0) if after else min(data_type.room_max, 254))
        if not 1 <= room <= data_type.room_max:
            text_max = f"1 to {data_type.room_max} characters"
            raise ValueError(f"{text!r}: a {kind.name} has room for {text_max}")
    elif after == [0] and not by_word:
        after.pop()  # A bit 0 in front of a value says nothing: DB1.DBX8.0:LREAL.
    address = Address(area, _db(found, area), int(found["start"]), bit, kind.name, room)
    counted = by_word or kind.name == "BOOL" or data_type.room_max
    if len(after) > (1 if counted else 0):
        raise ValueError(
            f"{text!r}: only a BOOL has a bit; an array is written {address}[{after[-1] or 8}]"
        )
    bounds = found["elements"] or kind.bounds or (str(after[0]) if after else "")
    return _array(address, bounds, text, single=bool(after)) if bounds else address


def _db(found: re.Match[str], area: str) -> int:
    if area != "DB":
        return 0
    return int(found["db"]) if found["db"] else 1  # LOGO!'s variable memory.


def _array(first: Address, bounds: str, text: str, *, single: bool) -> Address | Array:
    low, dots, high = bounds.partition("..")
    lower, count = (int(low), int(high) - int(low) + 1) if dots else (0, int(low))
    if not 1 <= count <= ELEMENTS_MAX:
        raise ValueError(f"{text!r}: an array has 1 to {ELEMENTS_MAX} elements, found {count}")
    # nodeS7 writes REAL0.1 for one value that is no array.
    return first if single and count == 1 else Array(first, lower, count)


def _check_letter(address: Address, letter: str, after: str | None, text: str) -> None:
    """Refuse the letter of a size that is not the type's."""
    own = address.data_type.letter
    if letter and own and letter != own:
        instead = address._replace(bit=int(after or 0) if own == "X" else 0)
        raise ValueError(
            f"{text!r}: {letter} is {_BITS[letter]} bit, but {address.type_name} has "
            f"{_BITS[own]}; write {instead}"
        )


def _hint(written: str) -> str:
    if '"' in written:
        return '; symbolic names are read over the PLC\'s OPC UA server (protocol = "opcua")'
    if re.fullmatch(r"%?P[QA]?[XBWD]?\d.*|[TCZ]", written):
        return "; the periphery of inputs is PIW256:INT or IW256:P"
    areas = sorted({*COUNTED_AREAS, "DB", "I", "Q", "M", "PI"})
    return f" (areas: {', '.join(areas)})" if re.fullmatch(r"%?[A-Z]+\d.*", written) else ""
