"""Where a group's tags stand in the PLC, which of them it does not give, the fewest reads. Pure.

A symbol is looked up among those that the PLC lists; the local ids found are good until the next
download. A read takes at most 50 items and a frame of 900 bytes (the library's measurements).
"""

from collections.abc import Iterable, Mapping, Sequence

from collectors.compiling import CompiledGroup
from collectors.s7plus.address import NAME_OF, TYPES, Address
from common.config import suggestion
from common.records import Quality

ITEMS_MAX = 50
"""Of one read: a CPU 1215C refused 51."""
ITEM_BYTES_MAX = 780
"""Of all the item addresses of one read: what a frame leaves beside header, qualifier and ids."""
PLC_TAG_AREAS = ("IArea", "QArea", "MArea")
"""Below these the library lists the PLC tags: inputs, outputs, flags."""

Place = tuple[int, ...]
"""Access area and local ids."""
Known = Mapping[str, tuple[Place, str]]
"""Symbol, as the library spells it → where it stands, and the PLC's type."""


class GroupReads:
    """The reads of one group: without tags that cannot be looked up, or that the PLC refuses."""

    def __init__(self, group: CompiledGroup[Address]) -> None:
        self.group = group
        self.places: list[Place | None] = [None] * len(group.addresses)
        self.qualities = [Quality.BAD_NODE_ID_UNKNOWN] * len(group.addresses)
        """Of the columns that are not read."""
        self.problems: dict[int, str] = {}
        """Column → why it is not read, and what to do."""
        self.refused: dict[int, None] = {}
        """Columns, the one that was refused longest ago first."""
        self.batches: list[list[int]] = []
        """Columns of each read."""
        self.resolve({})

    @property
    def symbolic(self) -> bool:
        """True when a tag has to be looked up."""
        return any(address.symbol for address in self.group.addresses)

    def resolve(self, known: Known) -> None:
        """Look every symbol up anew."""
        self.problems.clear()
        for column, address in enumerate(self.group.addresses):
            self.places[column] = address.access or self._place(column, address, known)
        self.restore()

    def refuse(self, columns: Iterable[int], reason: str) -> None:
        """Leave these columns out of the reads from now on. `reason` may be empty."""
        shown = f" ({reason})" if reason else ""
        for column in columns:
            self.refused[column] = None
            self.qualities[column] = Quality.BAD_OUT_OF_RANGE
            self.problems[column] = (
                f"the PLC gives no value here{shown}; check that it is accessible from HMI, and "
                "for an address of local ids that the block was not downloaded anew"
            )
        self._plan()

    def restore(self, most: int | None = None) -> list[int]:
        """Ask for what was refused again, of many the longest refused; return their columns."""
        columns = list(self.refused)[:most]
        for column in columns:
            del self.refused[column]
            self.problems.pop(column, None)
        self._plan()
        return columns

    def _place(self, column: int, address: Address, known: Known) -> Place | None:
        found = found_at(address, known)
        if found is None:
            self.qualities[column] = Quality.BAD_NODE_ID_UNKNOWN
            guess = suggestion(address.symbol, list(known)) if known else ""
            self.problems[column] = f"the PLC lists no such symbol{guess}; check case and quotes"
            return None
        place, plc_type = found
        if plc_type not in TYPES[address.type_name].plc_names:
            self.qualities[column] = Quality.BAD_TYPE_MISMATCH
            is_a = NAME_OF.get(plc_type, plc_type)
            self.problems[column] = f"is a {is_a} in the PLC; correct its type"
            return None
        return place

    def _plan(self) -> None:
        self.batches = []
        room = 0
        for column, place in enumerate(self.places):
            if place is None or column in self.refused:
                continue
            size = item_bytes(place)
            if size > room or len(self.batches[-1]) == ITEMS_MAX:
                self.batches.append([])
                room = ITEM_BYTES_MAX
            self.batches[-1].append(column)
            room -= size


def found_at(address: Address, known: Known) -> tuple[Place, str] | None:
    """Return where a symbol stands, and the PLC's type of it."""
    names = [address.symbol]
    if address.written.count('"') == 2:  # noqa: PLR2004 - one name: the tag table's, not a block's
        names += [f"{area}.{address.symbol}" for area in PLC_TAG_AREAS]
    return next((known[name] for name in names if name in known), None)


def item_bytes(place: Sequence[int]) -> int:
    """Return what an item's address takes on the wire: every number seven bits to the byte."""
    fixed = 1 + 1 + 2
    """No symbol CRC, the count of ids, the sub-area."""
    return fixed + sum(max(1, -(-number.bit_length() // 7)) for number in place)
