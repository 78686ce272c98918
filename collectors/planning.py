"""Fields of a device's memory → the fewest reads. Pure; shared by the block-reading protocols.

A PLC spends a scan cycle on each request, so fewer and larger reads disturb it less than many
small ones. A unit is whatever the protocol counts in: registers, bits or bytes.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
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
    fields: tuple[Placed, ...]


def plan_reads(fields: Iterable[Field], *, units_max: int, gap_max: int) -> list[Read]:
    """Return the fewest reads that hold every field whole, in order of area and start.

    No read is longer than `units_max`, crosses an area, or asks for a run of more than `gap_max`
    units that no tag needs. Raises ValueError when a single field is longer than `units_max`.
    """
    areas: dict[Hashable, list[Field]] = {}
    for field in fields:
        if not 1 <= field.length <= units_max:
            raise ValueError(
                f"a field of {field.length} units does not fit one read of 1 to {units_max}"
            )
        areas.setdefault(field.area, []).append(field)
    return [
        _read(run)
        for members in areas.values()
        for run in _runs(sorted(members, key=lambda field: field.start), units_max, gap_max)
    ]


def _runs(ordered: list[Field], units_max: int, gap_max: int) -> Iterable[list[Field]]:
    """Cut fields, ordered by start, into runs of one read each.

    Taking as many as fit is optimal: the read of the first field cannot start after it, so no
    other choice reaches further, and a field that does not fit any more ends after all that do.
    """
    run: list[Field] = []
    end = 0
    for field in ordered:
        field_end = field.start + field.length
        if run and (field_end - run[0].start > units_max or field.start - end > gap_max):
            yield run
            run = []
        end = max(end, field_end) if run else field_end
        run.append(field)
    if run:
        yield run


def _read(run: list[Field]) -> Read:
    start = run[0].start
    length = max(field.start + field.length for field in run) - start
    placed = tuple(Placed(field.column, field.start - start) for field in run)
    return Read(run[0].area, start, length, placed)
