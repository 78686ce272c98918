"""Which memory a group needs, in which requests, and which tags the PLC refuses. Pure.

Tags that stand near each other are one read; reads are items of as few requests as there can be.
The fewest requests count most, then the fewest items. So several ways of cutting are tried: gaps
read along or asked around, and reads whole or cut between tags so as to fill each reply.

    read      neighbouring tags as one run of bytes, of one area
    piece     a read, or a part of one that is longer than a reply (a text)
    request   the pieces asked for together
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from collectors.compiling import CompiledGroup
from collectors.planning import Field, Placed, Read, plan_reads
from collectors.s7.address import Address
from collectors.s7.packing import REPLY_ITEM_BYTES, Limits, Load, pack
from collectors.s7.pdu import Item
from collectors.s7.refusals import Refused

Answer = bytes | Refused


class Piece(NamedTuple):
    """One item of a request, and the read that it is a part of."""

    read: int
    item: Item


@dataclass(frozen=True)
class Requests:
    """Reads, and the requests that fetch them."""

    reads: tuple[Read, ...]
    requests: tuple[tuple[Piece, ...], ...]

    @property
    def items(self) -> list[tuple[Item, ...]]:
        """What to ask for, request by request."""
        return [tuple(piece.item for piece in request) for request in self.requests]

    def joined(self, answers: Sequence[Sequence[Answer]]) -> list[Answer]:
        """Return what each read holds; a read with a refused piece is refused."""
        parts: list[dict[int, Answer]] = [{} for _ in self.reads]
        for request, answered in zip(self.requests, answers, strict=True):
            for piece, answer in zip(request, answered, strict=True):
                parts[piece.read][piece.item.start] = answer
        return [_joined([found[start] for start in sorted(found)]) for found in parts]


def _joined(parts: list[Answer]) -> Answer:
    refused = next((part for part in parts if isinstance(part, Refused)), None)
    return refused or b"".join(part for part in parts if isinstance(part, bytes))


def _item(read: Read, start: int, length: int) -> Item:
    area, db = cast("tuple[str, int]", read.area)
    return Item(area, db, start, length)


def requests_for(reads: Sequence[Read], limits: Limits) -> Requests:
    """Return the requests that fetch each read; one longer than a reply comes in parts."""
    pieces = [
        Piece(index, _item(read, start, min(limits.piece_bytes, end - start)))
        for index, read in enumerate(reads)
        for end in [read.start + read.length]
        for start in range(read.start, end, limits.piece_bytes)
    ]
    packed = pack([piece.item.length for piece in pieces], limits)
    return Requests(tuple(reads), tuple(tuple(pieces[i] for i in request) for request in packed))


def singly(fields: Iterable[Field]) -> list[Read]:
    """Return a read for each field."""
    return [Read(f.area, f.start, f.length, (Placed(f.column, 0),)) for f in fields]


def fewest_requests(fields: Sequence[Field], limits: Limits, gap_max: int) -> Requests:
    """Return the fewest requests that fetch every field whole, and of these the fewest items."""
    long = [field for field in fields if field.length > limits.piece_bytes]
    fitting = [field for field in fields if field.length <= limits.piece_bytes]
    # A gap of no more than an item's own header is always cheaper read along.
    gaps = sorted({gap_max, min(gap_max, REPLY_ITEM_BYTES)}, reverse=True)
    ways = [
        requests_for([*reads, *singly(long)], limits)
        for gap in gaps
        for reads in (
            plan_reads(fitting, units_max=limits.piece_bytes, gap_max=gap),
            _filling(fitting, limits, gap),
        )
    ]
    return min(ways, key=lambda way: (len(way.requests), len(way.reads)))


def _filling(fields: Sequence[Field], limits: Limits, gap_max: int) -> list[Read]:
    """Cut reads between fields so that one reply after the other is full."""
    reads: list[Read] = []
    run: list[Field] = []
    end, before = 0, Load()
    """End of the run, and what the request held before it."""
    for field in sorted(fields, key=lambda each: (str(each.area), each.start)):
        field_end = field.start + field.length
        if run:
            grown_end = max(end, field_end)
            near = run[0].area == field.area and field.start - end <= gap_max
            if near and before.with_piece(grown_end - run[0].start).fits(limits):
                run.append(field)
                end = grown_end
                continue
            reads.append(_read(run, end))
            before = before.with_piece(end - run[0].start)
            if not before.with_piece(field.length).fits(limits):
                before = Load()
        run, end = [field], field_end
    return [*reads, _read(run, end)] if run else reads


def _read(run: list[Field], end: int) -> Read:
    start = run[0].start
    placed = tuple(Placed(field.column, field.start - start) for field in run)
    return Read(run[0].area, start, end - start, placed)


class GroupReads:
    """The requests of one group, without the tags that the PLC refused."""

    def __init__(
        self, group: CompiledGroup[Address], *, limits: Limits, gap_max: int, merge: bool = True
    ) -> None:
        self.group = group
        self.fields = [
            Field(column, (address.area, address.db), address.first_byte, address.length)
            for column, address in enumerate(group.addresses)
        ]
        self.refused: dict[int, Refused] = {}
        """By column."""
        self._limits = limits
        self._gap_max = gap_max
        self._merge = merge
        self._alone: set[int] = set()
        """Columns that are only given when they are asked for singly."""
        self._planned: Requests | None = None

    @property
    def planned(self) -> Requests:
        """The requests for every tag that is not refused; planned when they are first wanted."""
        if self._planned is None:
            self._planned = self._plan()
        return self._planned

    def _plan(self) -> Requests:
        wanted = [field for field in self.fields if field.column not in self.refused]
        if not self._merge:
            return requests_for(singly(wanted), self._limits)
        if self._alone:
            alone = [field for field in wanted if field.column in self._alone]
            merged = [field for field in wanted if field.column not in self._alone]
            reads = fewest_requests(merged, self._limits, self._gap_max).reads
            return requests_for([*reads, *singly(alone)], self._limits)
        return fewest_requests(wanted, self._limits, self._gap_max)

    def limit(self, limits: Limits) -> None:
        """Take limits that were learned from the PLC; plan anew when they are others."""
        if limits != self._limits:
            self._limits = limits
            self._planned = None

    def candidates(self, read: Read) -> list[Field]:
        """Return the fields of a refused read, the one that ends first at the front."""
        fields = [self.fields[placed.column] for placed in read.fields]
        return sorted(fields, key=lambda field: field.start + field.length)

    def refuse(self, refused: dict[int, Refused]) -> None:
        """Leave these tags out of the requests from now on."""
        self.refused |= refused
        self._planned = None

    @property
    def complete(self) -> bool:
        """True when every tag is asked for, in reads that are merged."""
        return not self.refused and not self._alone

    def read_alone(self, fields: Sequence[Field]) -> None:
        """Ask for each of these tags by itself until `merge`."""
        self._alone |= {field.column for field in fields}
        self._planned = None

    def merge(self) -> None:
        """Ask for tags in merged reads again that were asked for by themselves."""
        self._alone.clear()
        self._planned = None

    def first_refused(self) -> list[Field]:
        """Return the refused field that ends first in each area: if it is given, ask for all."""
        first: dict[object, Field] = {}
        refused = [self.fields[column] for column in self.refused]
        for field in sorted(refused, key=lambda field: field.start + field.length):
            first.setdefault(field.area, field)
        return list(first.values())

    def restore(self) -> None:
        """Ask for everything again."""
        self.refused.clear()
        self.merge()
