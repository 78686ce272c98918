"""Which spans of memory a group needs, and which of its tags the PLC does not give. Pure.

An area of an S7 can be read from its first byte to its last. So of the tags in a span that is
refused, sorted by where they end, the first ones are good and the rest are bad: a binary search
with single reads finds the border.
"""

from collections.abc import Sequence

from collectors.compiling import CompiledGroup
from collectors.planning import Field, Placed, Read, plan_reads
from collectors.s7.address import Address


class GroupReads:
    """The reads of one group, without the tags that the PLC refused."""

    def __init__(self, group: CompiledGroup[Address], *, bytes_max: int, gap_max: int) -> None:
        self.group = group
        self.fields = [
            Field(column, (address.area, address.db), address.start, address.length)
            for column, address in enumerate(group.addresses)
        ]
        self.refused: dict[int, Field] = {}
        """By column."""
        self._bytes_max = bytes_max
        self._gap_max = gap_max
        self._alone: set[int] = set()
        """Columns that are only given when they are asked for singly."""
        self.reads: list[Read] = []
        self.plan()

    def plan(self) -> None:
        """Plan anew for every tag that is not refused."""
        wanted = [field for field in self.fields if field.column not in self.refused]
        # A text longer than one reply is read by itself; the client then asks in parts.
        singly = [f for f in wanted if f.length > self._bytes_max or f.column in self._alone]
        merged = [field for field in wanted if field not in singly]
        self.reads = plan_reads(merged, units_max=self._bytes_max, gap_max=self._gap_max)
        self.reads += [Read(f.area, f.start, f.length, (Placed(f.column, 0),)) for f in singly]

    def candidates(self, read: Read) -> list[Field]:
        """Return the fields of a refused read, the one that ends first at the front."""
        fields = [self.fields[placed.column] for placed in read.fields]
        return sorted(fields, key=lambda field: field.start + field.length)

    def refuse(self, fields: Sequence[Field]) -> None:
        """Leave these tags out of the reads from now on."""
        self.refused |= {field.column: field for field in fields}
        self.plan()

    @property
    def complete(self) -> bool:
        """True when every tag is asked for, in reads that are merged."""
        return not self.refused and not self._alone

    def read_alone(self, fields: Sequence[Field]) -> None:
        """Ask for each of these tags by itself until `merge`."""
        self._alone |= {field.column for field in fields}
        self.plan()

    def merge(self) -> None:
        """Ask for tags in merged reads again that were asked for by themselves."""
        self._alone.clear()
        self.plan()

    def first_refused(self) -> list[Field]:
        """Return the refused field that ends first in each area: if it is given, ask for all."""
        first: dict[object, Field] = {}
        for field in sorted(self.refused.values(), key=lambda field: field.start + field.length):
            first.setdefault(field.area, field)
        return list(first.values())

    def restore(self) -> list[int]:
        """Ask for everything again; return the columns that were refused."""
        columns = sorted(self.refused)
        self.refused.clear()
        self.merge()
        return columns
