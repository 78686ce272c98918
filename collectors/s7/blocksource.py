"""The source of a data block, as TIA Portal and STEP 7 write it → tags and addresses. Pure.

TIA Portal: right click on a block, *Generate source from blocks*, gives a .db file; STEP 7's SCL
sources look the same. Data types (TYPE … END_TYPE) may stand in the same text.

    DATA_BLOCK "Press"
    { S7_Optimized_Access := 'FALSE' }
       STRUCT
          Temperature : Real;   // Oil temperature
          Zones : Array[1..8] of Real;
          State : Struct
             Running : Bool;
          END_STRUCT;
       END_STRUCT;
    BEGIN
    END_DATA_BLOCK

How a block with standard access lies in memory: bits follow each other, eight in a byte; a value of
one byte stands at the next byte; everything else, and each array and structure, begins and ends at
an even byte. Of a block with optimised access nothing is known: it has no offsets.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from collectors.inspection import Found
from collectors.s7.address import BITS_PER_BYTE, Address, Array, check_place
from collectors.s7.types import ONLY_OF_AREA, SYNONYMS, TYPES

SOURCE_CHARACTERS_MAX = 4_000_000
FOUND_MAX = 10_000
"""Tags of one source; a group has no more."""
LEVELS_MAX = 32

_TOKEN = re.compile(
    r"(?P<comment>//[^\n]*)|(?P<skip>\s+|\(\*.*?\*\)|\{[^}]*\})"
    r'|(?P<name>"[^"\n]*"|[^\W\d]\w*)|(?P<text>\'(?:[^\'$\n]|\$.)*\')'
    r"|(?P<mark>:=|\.\.|[\d\w.#+-]+?(?=\.\.)|[\d\w.#+-]+|.)",
    re.DOTALL,
)
_UNFIT = re.compile(r"[/+#\x00-\x1f]")
"""What the level of a topic cannot hold."""
_OPTIMISED = re.compile(r"S7_Optimized_Access\s*:=\s*'TRUE'", re.IGNORECASE)
_SECTION_ENDS = ("END_STRUCT", "END_VAR")


@dataclass
class _Node:
    """A declared type: a value, a structure, or an array of either."""

    name: str = ""
    """Of a type in TYPES; empty for a structure."""
    room: int = 0
    members: list[tuple[str, "_Node", str]] = field(default_factory=list)
    """(name, type, comment)."""
    bounds: list[tuple[int, int]] = field(default_factory=list)

    @property
    def element(self) -> "_Node":
        return _Node(self.name, self.room, self.members)

    @property
    def lower(self) -> int:
        """Number of the first element; 0 when several dimensions are taken for one."""
        return self.bounds[0][0] if len(self.bounds) == 1 else 0

    @property
    def elements(self) -> int:
        return math.prod(high - low + 1 for low, high in self.bounds)

    def bits(self) -> int:
        """Return how much memory it takes."""
        if self.bounds:
            one = self.element.bits()
            small = one < 2 * BITS_PER_BYTE and self.name
            return _even(self.elements * (one if small else _even(one)))
        if self.name == "BOOL":
            return 1
        if self.name:
            return Address("DB", 1, 0, 0, self.name, self.room).length * BITS_PER_BYTE
        at = 0
        for _, member, _ in self.members:
            at = member.aligned(at) + member.bits()
        return _even(at)

    def aligned(self, at: int) -> int:
        """Return the first bit from `at` where it may stand."""
        if self.bounds or self.bits() > BITS_PER_BYTE or not self.name:
            return _even(at)
        return at if self.name == "BOOL" else -(-at // BITS_PER_BYTE) * BITS_PER_BYTE


def _even(bits: int) -> int:
    return -(-bits // (2 * BITS_PER_BYTE)) * 2 * BITS_PER_BYTE


def tags_of_source(text: str, db: int | None = None) -> list[Found]:
    """Return every tag of the first data block in a source, in its order.

    `db` is the block's number, where the source names the block by a symbol. An array of simple
    values is one row; of structures, each element's members are. Raises ValueError with the line
    and what to do.
    """
    if len(text) > SOURCE_CHARACTERS_MAX:
        raise ValueError(f"more than {SOURCE_CHARACTERS_MAX} characters; export one block")
    block, number = _Source(text).block()
    number = db if db is not None else number
    if number is None:
        raise ValueError("the source does not say the block's number; give it, such as --db 40")
    found: list[Found] = []
    for each in _tags(block, number, 0, "", ""):
        if len(found) == FOUND_MAX:
            raise ValueError(f"more than {FOUND_MAX} tags; export the structures that are needed")
        found.append(each)
    return found


def _tags(node: _Node, db: int, at: int, name: str, comment: str) -> Iterator[Found]:
    """Yield what stands from bit `at` on."""
    if node.name:
        byte, bit = divmod(at, BITS_PER_BYTE)
        first = Address("DB", db, byte, bit, node.name, node.room)
        place = Array(first, node.lower, node.elements) if node.bounds else first
        check_place(place, name)
        yield Found(name=name, address=str(place), type="", description=comment)
    elif node.bounds:
        element, bits = node.element, node.element.bits()
        for index in range(node.elements):
            level = f"{name}/{node.lower + index}"
            yield from _tags(element, db, at + index * bits, level, comment)
    else:
        for member, kind, said in node.members:
            at = kind.aligned(at)
            level = _UNFIT.sub("_", member)
            yield from _tags(kind, db, at, f"{name}/{level}" if name else level, said)
            at += kind.bits()


class _Source:
    """The tokens of a source, and the place among them."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str, int]] = []
        """(kind, text, line), without what says nothing."""
        self._at = 0
        self._types: dict[str, _Node] = {}
        self._optimised: list[int] = []
        """Lines that say a block has optimised access."""
        line = 1
        for found in _TOKEN.finditer(text):
            if found.lastgroup and found.lastgroup != "skip":
                self._tokens.append((found.lastgroup, found[0], line))
            elif found[0].startswith("{") and _OPTIMISED.search(found[0]):
                self._optimised.append(line)
            line += found[0].count("\n")

    def block(self) -> tuple[_Node, int | None]:
        """Return the first data block and its number, where the source says it."""
        while self._at < len(self._tokens):
            word = self._next().upper()
            if word == "TYPE":
                name = self._next().strip('"').upper()
                self._to_section()
                self._types[name] = self._structure(0)
            elif word == "DATA_BLOCK":
                first_line = self._line
                name = self._next()
                digits = self._next() if name.upper() == "DB" else name.strip('"')[2:]
                numbered = name.upper().startswith("DB") and digits.isdecimal()
                self._to_section()
                self._refuse_optimised(first_line)
                return self._structure(0), int(digits) if numbered else None
        raise ValueError("no DATA_BLOCK in this source; generate it from a global data block")

    def _refuse_optimised(self, first_line: int) -> None:
        """Raise ValueError for a block whose head, from its first line to here, says so."""
        for line in self._optimised:
            if first_line <= line <= self._line:
                raise ValueError(
                    f"line {line}: the block has optimised access and so no offsets: read the PLC "
                    "over OPC UA (docs/s7-1500-over-opcua.md); or untick it in the block's "
                    "attributes, compile, download, and generate the source anew"
                )

    def _to_section(self) -> None:
        """Go behind the word that opens the declarations: STRUCT, or VAR with what it retains."""
        while (word := self._next().upper()) not in ("STRUCT", "VAR"):
            if word in ("BEGIN", "END_DATA_BLOCK", "END_TYPE"):
                raise self._wrong("declarations (STRUCT or VAR)", word)
        while self._peek().upper() in ("RETAIN", "NON_RETAIN", "DB_SPECIFIC"):
            self._next()

    def _structure(self, level: int) -> _Node:
        if level > LEVELS_MAX:
            raise self._wrong(f"at most {LEVELS_MAX} structures in each other", "more")
        node = _Node()
        while True:
            name = self._next()
            if name.upper() in _SECTION_ENDS:
                if not node.members:
                    raise self._wrong("a declaration", name)
                return node
            self._expect(":")
            kind = self._type(level)
            line = self._line
            while self._next() != ";":
                line = self._line  # An initial value.
            node.members.append((name.strip('"'), kind, self._comment(line)))

    def _type(self, level: int) -> _Node:
        written = self._next()
        name = SYNONYMS.get(written.upper(), written.upper())
        if name == "ARRAY":
            return self._array(level)
        if name == "STRUCT":
            return self._structure(level + 1)
        if known := self._types.get(name.strip('"')):
            return known
        if name not in TYPES or name in ONLY_OF_AREA:
            raise ValueError(
                f"line {self._line}: {written} is of a size that is not known, so nothing behind "
                "it can be found; add its TYPE to the source, or write the addresses by hand"
            )
        room_max = TYPES[name].room_max
        room = min(room_max, 254)
        if room_max and self._peek() == "[":
            self._next()
            room = self._number()
            self._expect("]")
        return _Node(name, room)

    def _array(self, level: int) -> _Node:
        self._expect("[")
        bounds = [self._range()]
        while (mark := self._next()) == ",":
            bounds.append(self._range())
        if mark != "]" or self._next().upper() != "OF":
            raise self._wrong("] OF", mark)
        kind = self._type(level)
        small = kind.name and kind.bits() <= BITS_PER_BYTE
        if kind.bounds or (len(bounds) > 1 and (small or not kind.name)):
            raise ValueError(
                f"line {self._line}: an array of arrays, or of several dimensions of bits, bytes "
                "or structures, is not laid out here; write the addresses from TIA Portal"
            )
        return _Node(kind.name, kind.room, kind.members, bounds)

    def _range(self) -> tuple[int, int]:
        low = self._number()
        self._expect("..")
        high = self._number()
        if not 0 <= high - low < FOUND_MAX:
            raise self._wrong(f"1 to {FOUND_MAX} elements", f"{low}..{high}")
        return low, high

    def _number(self) -> int:
        word = self._next()
        sign, word = (-1, self._next()) if word == "-" else (1, word)
        if not re.fullmatch(r"[+-]?\d{1,6}", word):
            raise self._wrong("a number", word)
        return sign * int(word)

    def _comment(self, line: int) -> str:
        """Return the comment that stands behind a declaration, in its line."""
        if self._at < len(self._tokens):
            kind, text, at_line = self._tokens[self._at]
            if kind == "comment" and at_line == line:
                return text.removeprefix("//").strip()
        return ""

    @property
    def _line(self) -> int:
        return self._tokens[min(self._at, len(self._tokens)) - 1][2] if self._tokens else 1

    def _peek(self) -> str:
        while self._at < len(self._tokens) and self._tokens[self._at][0] == "comment":
            self._at += 1
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        word = self._peek()
        if not word:
            raise ValueError(f"line {self._line}: the source ends in the middle; export it anew")
        self._at += 1
        return word

    def _expect(self, mark: str) -> None:
        word = self._next()
        if word != mark:
            raise self._wrong(repr(mark), word)

    def _wrong(self, wanted: str, word: str) -> ValueError:
        return ValueError(f"line {self._line}: expected {wanted}, found {word!r}")
