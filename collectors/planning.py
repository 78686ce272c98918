"""Fields of a device's memory → the fewest reads. Pure; shared by the block-reading protocols.

A PLC spends a scan cycle on each request, so fewer and larger reads disturb it less than many
small ones. A unit is whatever the protocol counts in: registers, bits or bytes.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Field(NamedTuple):
    """One tag's place in the device."""

    column: int
    """Of the plan."""
    area: Hashable
    """What a read cannot cross: a register table, a data block."""
    start: int
    """First unit within the area."""
    length: int
    """In units, at least 1."""
    block: Hashable = None
    """Fields of one block (an array's elements) are read together where one read holds them."""

    @property
    def end(self) -> int:
        """The unit behind the last one."""
        return self.start + self.length


class Placed(NamedTuple):
    """A field within a read."""

    column: int
    offset: int
    """Units from the start of the read."""


@dataclass(frozen=True, slots=True)
class Read:
    """One request: `length` units of `area` from `start`, and the fields found in it."""

    area: Hashable
    start: int
    length: int
    fields: tuple[Placed, ...] = field(hash=False)
    """In order of start and length. Left out of the hash, which is asked for at every scan."""


class Hole(NamedTuple):
    """Units that a device does not give: no read may hold all of them."""

    area: Hashable
    start: int
    end: int
    """The unit behind the last one."""


@dataclass(slots=True)
class _Cluster:
    """Fields that are read together, whatever the plan."""

    start: int
    end: int
    fields: list[Field]


def plan_reads(
    fields: Iterable[Field],
    *,
    units_max: int,
    gap_max: int,
    holes: Iterable[Hole] = (),
    merge: bool = True,
) -> list[Read]:
    """Return the fewest reads that hold every field whole, in order of area and start.

    No read is longer than `units_max`, crosses an area, holds a hole, or asks for a run of more
    than `gap_max` units that no tag needs. Without `merge` each field is a read of its own, and
    only fields of one block or of the very same place share one. Raises ValueError when a single
    field is longer than `units_max`.
    """
    areas: dict[Hashable, list[Field]] = {}
    for each in fields:
        if not 1 <= each.length <= units_max:
            raise ValueError(
                f"a field of {each.length} units does not fit one read of 1 to {units_max}"
            )
        areas.setdefault(each.area, []).append(each)
    spoilt: dict[Hashable, list[Hole]] = {}
    for hole in holes:
        spoilt.setdefault(hole.area, []).append(hole)
    reads: list[Read] = []
    for area, members in areas.items():
        reach = _Reach(spoilt.get(area, ()), units_max)
        clusters = _clusters(members, reach, gap_max, merge=merge)
        runs = _runs(clusters, reach, gap_max) if merge else ([each] for each in clusters)
        reads += [_read(area, run) for run in runs]
    return reads


class _Reach:
    """How far a read that starts at a unit may go."""

    def __init__(self, holes: Sequence[Hole], units_max: int) -> None:
        ordered = sorted(holes, key=lambda hole: hole.start)
        self._starts = [hole.start for hole in ordered]
        self._first_ends: list[int] = []
        """Of the hole at the same index and all behind it, the end that comes first."""
        for hole in reversed(ordered):
            nearest = self._first_ends[-1] if self._first_ends else hole.end
            self._first_ends.append(min(hole.end, nearest))
        self._first_ends.reverse()
        self._units_max = units_max

    def end_from(self, start: int) -> int:
        """Return the last end that a read from `start` may have."""
        end = start + self._units_max
        at = bisect_left(self._starts, start)
        return min(end, self._first_ends[at] - 1) if at < len(self._starts) else end


def _clusters(members: list[Field], reach: _Reach, gap_max: int, *, merge: bool) -> list[_Cluster]:
    """Put together what belongs together, ordered by start; a block that fits no read is cut."""
    blocks: dict[Hashable, list[Field]] = {}
    alone: list[_Cluster] = []
    for each in members:
        if each.block is not None:
            blocks.setdefault(("block", each.block), []).append(each)
        elif not merge:
            blocks.setdefault((each.start, each.length), []).append(each)
        else:
            alone.append(_Cluster(each.start, each.end, [each]))
    clusters = alone
    for block in blocks.values():
        block.sort(key=lambda each: each.start)
        ordered = [_Cluster(each.start, each.end, [each]) for each in block]
        for run in _runs(ordered, reach, gap_max):
            together = [each for cluster in run for each in cluster.fields]
            clusters.append(_Cluster(run[0].start, max(each.end for each in run), together))
    return sorted(clusters, key=lambda cluster: cluster.start)


def _runs(ordered: list[_Cluster], reach: _Reach, gap_max: int) -> Iterable[list[_Cluster]]:
    """Cut clusters, ordered by start, into runs of one read each.

    Taking as many as fit is optimal: the read of the first cluster cannot start after it, so no
    other choice reaches further, and whatever fits into a read fits into one that starts later.
    """
    run: list[_Cluster] = []
    end = end_max = 0
    for cluster in ordered:
        if run and (cluster.end > end_max or cluster.start - end > gap_max):
            yield run
            run = []
        if not run:
            end, end_max = cluster.end, reach.end_from(cluster.start)
        end = max(end, cluster.end)
        run.append(cluster)
    if run:
        yield run


def _read(area: Hashable, run: list[_Cluster]) -> Read:
    start = run[0].start
    length = max(cluster.end for cluster in run) - start
    members = [each for cluster in run for each in cluster.fields]
    members.sort(key=lambda each: (each.start, each.length))
    placed = tuple(Placed(each.column, each.start - start) for each in members)
    return Read(area, start, length, placed)
