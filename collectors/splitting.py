"""What a device refuses, found out by its answers: which reads each scan asks. Pure, no I/O.

One bad address spoils a merged read. A refused read is therefore asked in halves, until those to
blame stand alone; what was learned decides what later scans ask:

* a field that is refused by itself is left out. The plan is made anew around it, as no read may
  hold it, and it is probed: after 1 s, then ever more rarely, at most every 60 s
* both halves given, the whole refused: the device does not like what lies between them (units
  that do not exist, or a length beyond its own limit). No read goes over that hole; the refused
  read is probed in the same way, and the fields are merged again once it is given
* everything refused: the device starts, or knows none of it. Each scan asks one of the merged reads
  and one field alone, in turn; as soon as one is given all are asked, so that the first scan after
  the start is whole

    reads = survey.begin()
    while reads:
        reads = survey.heard([(read, <what the device answered>) for read in reads])

A field to blame among n of a read costs at most 2 log2(n) + 1 reads, in the scan that meets it.
"""

import enum
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from collectors.planning import Field, Hole, Read
from collectors.probing import Probes

SPLIT_READS_MAX = 256
"""Of one scan, to find out what is refused. What is left then is split in the scans after it."""
PROBE_READS_MAX = 16
"""Of one scan, to ask again for fields that were found refused in one and the same scan."""


class Answer(enum.Enum):
    """What a device made of a read."""

    GIVEN = enum.auto()
    REFUSED = enum.auto()
    """It may be the fault of one field, or of what lies between them."""
    UNSUPPORTED = enum.auto()
    """Refused, and so would be each of the fields alone."""
    FAILED = enum.auto()
    """Says nothing of the fields: the device has no time, or is not there."""


Plan = Callable[[Sequence[Field], Iterable[Hole]], list[Read]]
"""Fields, and what no read may hold → the fewest reads, by the limits of a protocol and device."""


@dataclass(slots=True)
class _Refusals:
    """Fields that were found refused in one and the same scan, or one hole."""

    probes: Probes
    turn: int = 0


@dataclass(slots=True)
class _Parent:
    """A refused read whose parts are asked."""

    read: Read
    parts: list[Read]
    given: int = 0


@dataclass(slots=True)
class _Scan:
    """What is known of the scan that is going on."""

    regular: bool = True
    """It asks for fields that are not known to be refused."""
    parents: list[_Parent] = field(default_factory=list)
    parent_of: dict[Read, _Parent] = field(default_factory=dict)
    probed: dict[Read, _Refusals] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    """Columns that are refused by themselves, found in this scan."""
    split_reads: int = 0
    given: bool = False
    """The device gave something."""
    failed: bool = False
    changed: bool = False
    """The plan is no longer the best."""


class Survey:
    """One group's fields on one connection. Nothing is known of them at first."""

    def __init__(
        self, fields: Iterable[Field], plan: Plan, new_probes: Callable[[], Probes] = Probes
    ) -> None:
        self._fields = {each.column: each for each in fields}
        self._plan = plan
        self._new_probes = new_probes
        self._whole = plan(list(self._fields.values()), ())
        self._regular = self._whole
        self._refused: dict[int, _Refusals] = {}
        self._holes: dict[Hole, tuple[Read, _Refusals]] = {}
        """Hole → the refused read that showed it."""
        self._postponed: list[Read] = []
        """Parts of refused reads that the scan before had no reads left for."""
        self._turn = 0
        self._scan = _Scan()

    @property
    def left_out(self) -> set[int]:
        """Columns that the scan's regular reads do not hold: refused, or not yet asked alone."""
        waiting = {column for read in self._postponed for column, _ in read.fields}
        return waiting.union(self._refused)

    @property
    def all_refused(self) -> bool:
        """Whether the device gives none of it."""
        return len(self._refused) == len(self._fields)

    def begin(self) -> list[Read]:
        """Return the reads that a scan begins with."""
        self._scan = _Scan(regular=bool(self._regular))
        if self.all_refused:
            return self._knocks()
        reads = self._regular
        if self._postponed:
            postponed, self._postponed = self._postponed, []
            reads = reads + self._within_budget(postponed)
            self._scan.changed = True
        return reads + self._probe_reads() if self._refused or self._holes else reads

    def heard(self, answers: Iterable[tuple[Read, Answer]]) -> list[Read]:
        """Take the answers to reads; return those to ask next, none when the scan is complete."""
        again: list[Read] = []
        parts: list[Read] = []
        for read, answer in answers:
            if answer is Answer.GIVEN:
                again += self._given(read)
            elif answer is Answer.FAILED:
                self._scan.failed = True
            elif self.all_refused or read in self._scan.probed:
                pass  # Nothing new.
            elif answer is Answer.REFUSED and (halves := self._halves(read)):
                parts += halves
            else:
                self._scan.refused += [column for column, _ in read.fields]
        wanted = again + self._within_budget(parts)
        if not wanted:
            self._conclude()
        return wanted

    def _given(self, read: Read) -> list[Read]:
        scan = self._scan
        scan.given = True
        if self.all_refused:
            # The device is there: all that it was asked once is asked again, in this very scan.
            self._refused.clear()
            self._holes.clear()
            scan.changed = True
            return [each for each in self._whole if each != read]
        if read in scan.parent_of:
            scan.parent_of[read].given += 1
        if read not in scan.probed:
            return []
        scan.changed = True
        self._holes = {hole: each for hole, each in self._holes.items() if each[0] != read}
        for column, _ in read.fields:
            self._refused.pop(column, None)
        # What was refused together may be given together: the rest of it is asked at once.
        together = scan.probed[read]
        rest = [column for column, each in self._refused.items() if each is together]
        for column in rest:
            del self._refused[column]
        return self._reads_of(rest)

    def _halves(self, read: Read) -> list[Read]:
        """Return reads of the first and the second half of the fields; none of a single place."""
        ordered = [self._fields[column] for column, _ in read.fields]
        cuts = [i for i, pair in enumerate(pairwise(map(_place, ordered)), 1) if len({*pair}) > 1]
        if not cuts:
            return []
        middle = min(cuts, key=lambda cut: abs(2 * cut - len(ordered)))
        halves = (ordered[:middle], ordered[middle:])
        parts = [part for half in halves for part in self._plan(half, self._holes)]
        parent = _Parent(read, parts)
        self._scan.parents.append(parent)
        self._scan.parent_of.update(dict.fromkeys(parts, parent))
        return parts

    def _within_budget(self, wanted: list[Read]) -> list[Read]:
        scan = self._scan
        now = wanted[: SPLIT_READS_MAX - scan.split_reads]
        scan.split_reads += len(now)
        if len(now) < len(wanted):
            self._postponed += wanted[len(now) :]
            scan.changed = True
        return now

    def _conclude(self) -> None:
        """Draw the conclusions of a scan, for the scans after it."""
        scan = self._scan
        for parent in reversed(scan.parents):
            if parent.given == len(parent.parts):
                gaps, seams = _between(parent.parts)
                for hole in gaps or seams:
                    self._holes[hole] = (parent.read, self._refusals())
                    scan.changed = True
                if seams and not gaps and parent.read in scan.parent_of:
                    # A limit to the length explains why the larger read was refused, too.
                    scan.parent_of[parent.read].given += 1
        if scan.refused:
            self._refused.update(dict.fromkeys(scan.refused, self._refusals()))
            scan.changed = True
        silent = not scan.given and not scan.failed and not self.all_refused
        if silent and (scan.regular or not self._postponed):
            self._postponed = []
            self._refused = dict.fromkeys(self._fields, self._refusals())
        elif scan.changed:
            self._regular = self._reads_of(set(self._fields) - self.left_out)

    def _refusals(self) -> _Refusals:
        probes = self._new_probes()
        probes.start()
        return _Refusals(probes)

    def _reads_of(self, columns: Iterable[int]) -> list[Read]:
        refused = (self._fields[column] for column in self._refused)
        holes = [*self._holes, *(Hole(each.area, each.start, each.end) for each in refused)]
        return self._plan([self._fields[column] for column in sorted(columns)], holes)

    def _knocks(self) -> list[Read]:
        """Return what is asked of a device that refused everything."""
        self._turn += 1
        read = self._whole[self._turn % len(self._whole)]
        member = list(self._fields.values())[self._turn % len(self._fields)]
        alone = [each for each in self._plan([member], ()) if _extent(each) != _extent(read)]
        return [read, *alone]

    def _probe_reads(self) -> list[Read]:
        """Return reads that ask again for what was refused, where it is time for it."""
        probed = self._scan.probed
        for shown_by, refusals in self._holes.values():
            if refusals.probes.due():
                probed[shown_by] = refusals
        for refusals in {id(each): each for each in self._refused.values()}.values():
            if refusals.probes.due():
                for read in self._probes_of(refusals):
                    probed[read] = refusals
        return list(probed)

    def _probes_of(self, refusals: _Refusals) -> list[Read]:
        members = [
            self._fields[column] for column, each in self._refused.items() if each is refusals
        ]
        merged = self._plan(members, self._holes)
        extents = {_extent(read) for read in merged}
        alone = {_extent(read): read for each in members for read in self._plan([each], ())}
        singles = [read for extent, read in alone.items() if extent not in extents]
        refusals.turn += 1
        return [
            *_window(merged, PROBE_READS_MAX // 2, refusals.turn),
            *_window(singles, PROBE_READS_MAX // 2, refusals.turn),
        ]


def _place(each: Field) -> tuple[int, int]:
    return each.start, each.length


def _extent(read: Read) -> tuple[Hashable, int, int]:
    return read.area, read.start, read.length


def _window(reads: list[Read], most: int, turn: int) -> list[Read]:
    """Return so many of the reads, others at each turn."""
    first = turn * most % len(reads) if len(reads) > most else 0
    return (reads[first:] + reads[:first])[:most]


def _between(parts: Iterable[Read]) -> tuple[list[Hole], list[Hole]]:
    """Return what a device may have refused in a read of which it gives each part.

    That is the units that no part holds, if there are any, or else the seams: the device has a
    limit of its own. Neither, when one part holds all of it: it had a moment of weakness.
    """
    gaps: list[Hole] = []
    seams: list[Hole] = []
    for before, after in pairwise(sorted(parts, key=lambda read: read.start)):
        end, after_end = before.start + before.length, after.start + after.length
        if end < after.start:
            gaps.append(Hole(before.area, end, after.start))
        elif before.start < after.start and end < after_end:
            seams.append(Hole(before.area, after.start - 1, end + 1))
    return gaps, seams
