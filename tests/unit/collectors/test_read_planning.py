"""Goal: every tag is read, in the fewest requests the device's limits allow.

Method: the planner against a brute force that tries every grouping of small sets of fields.
"""

from collections.abc import Hashable
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.planning import Field, Hole, Read, plan_reads


def fields(most: int, areas: int = 2) -> st.SearchStrategy[list[Field]]:
    one = st.tuples(
        st.integers(0, areas - 1), st.integers(0, 24), st.integers(1, 4)
    )  # area, start, length
    return st.lists(one, max_size=most).map(
        lambda rows: [Field(column, *row) for column, row in enumerate(rows)]
    )


LIMITS = {"units_max": st.integers(4, 12), "gap_max": st.integers(0, 6)}


@given(all_fields=fields(most=40), **LIMITS)
def test_every_field_is_read_whole_and_exactly_once(
    units_max: int, gap_max: int, all_fields: list[Field]
) -> None:
    reads = plan_reads(all_fields, units_max=units_max, gap_max=gap_max)

    placed = {column: (read, offset) for read in reads for column, offset in read.fields}
    assert sum(len(read.fields) for read in reads) == len(all_fields), "none twice, none missing"
    for field in all_fields:
        read, offset = placed[field.column]
        assert read.area == field.area, "in its own area"
        assert read.start + offset == field.start, "where it stands"
        assert 0 <= offset <= read.length - field.length, "whole"


@given(all_fields=fields(most=40), **LIMITS)
def test_no_read_exceeds_its_limits_or_begins_and_ends_in_waste(
    units_max: int, gap_max: int, all_fields: list[Field]
) -> None:
    for read in plan_reads(all_fields, units_max=units_max, gap_max=gap_max):
        lengths = {field.column: field.length for field in all_fields}
        needed = {
            offset + unit for column, offset in read.fields for unit in range(lengths[column])
        }
        unused = [unit not in needed for unit in range(read.length)]
        gaps = [len(list(run)) for is_gap, run in groupby(unused) if is_gap]
        assert read.length <= units_max
        assert max(gaps, default=0) <= gap_max
        assert not unused[0]
        assert not unused[-1]


HOLES = st.lists(st.tuples(st.integers(0, 26), st.integers(1, 3)), max_size=3).map(
    lambda rows: [Hole(0, start, start + length) for start, length in rows]
)


@given(all_fields=fields(most=6, areas=1), holes=HOLES, **LIMITS)
def test_no_other_plan_needs_fewer_reads(
    units_max: int, gap_max: int, all_fields: list[Field], holes: list[Hole]
) -> None:
    """Seen to bite: a planner that overlooks the holes."""
    good = [each for each in all_fields if not spoilt(each.start, each.end, holes)]

    reads = plan_reads(good, units_max=units_max, gap_max=gap_max, holes=holes)

    assert len(reads) == fewest(good, units_max, gap_max, holes)
    assert not [read for read in reads if spoilt(read.start, read.start + read.length, holes)]


def spoilt(start: int, end: int, holes: list[Hole]) -> bool:
    return any(start <= hole.start and hole.end <= end for hole in holes)


def fewest(remaining: list[Field], units_max: int, gap_max: int, holes: list[Hole]) -> int:
    """Try every set of fields that may share a read with the first one."""
    if not remaining:
        return 0
    first, rest = remaining[0], remaining[1:]
    best = len(remaining)
    for choice in range(2 ** len(rest)):
        together = [first] + [each for bit, each in enumerate(rest) if choice >> bit & 1]
        if fits(together, units_max, gap_max, holes):
            left = [each for bit, each in enumerate(rest) if not choice >> bit & 1]
            best = min(best, 1 + fewest(left, units_max, gap_max, holes))
    return best


def fits(together: list[Field], units_max: int, gap_max: int, holes: list[Hole]) -> bool:
    ordered = sorted(together, key=lambda field: field.start)
    end = ordered[0].start
    for field in ordered:
        if field.start - end > gap_max:
            return False
        end = max(end, field.start + field.length)
    return end - ordered[0].start <= units_max and not spoilt(ordered[0].start, end, holes)


def places(reads: list[Read]) -> list[tuple[Hashable, int, int]]:
    return [(read.area, read.start, read.length) for read in reads]


@given(all_fields=fields(most=20, areas=2), **LIMITS)
def test_without_merging_each_field_is_a_read_of_its_own(
    units_max: int, gap_max: int, all_fields: list[Field]
) -> None:
    reads = plan_reads(all_fields, units_max=units_max, gap_max=gap_max, merge=False)

    assert sorted(places(reads)) == sorted({each[1:4] for each in all_fields})
    assert sum(len(read.fields) for read in reads) == len(all_fields)


@pytest.mark.parametrize("merge", [True, False])
def test_a_block_is_read_at_once_where_one_read_holds_it(*, merge: bool) -> None:
    """Eight registers, then an array of ten: cut after the twelfth it would be torn."""
    array = [Field(8 + i, "holding", 8 + i, 1, "array") for i in range(10)]
    fields_of_all = [Field(i, "holding", i, 1) for i in range(8)] + array

    reads = plan_reads(fields_of_all, units_max=12, gap_max=0, merge=merge)

    assert places(reads)[-1] == ("holding", 8, 10)
    assert len(reads) == (2 if merge else 9)


def test_a_block_that_is_too_long_or_has_a_hole_is_cut_as_little_as_may_be() -> None:
    array = [Field(i, "holding", i, 1, "array") for i in range(10)]

    def planned(holes: list[Hole]) -> list[tuple[Hashable, int, int]]:
        return places(plan_reads(array, units_max=8, gap_max=0, holes=holes, merge=False))

    assert planned([]) == [("holding", 0, 8), ("holding", 8, 2)]
    assert planned([Hole("holding", 4, 6)]) == [("holding", 0, 5), ("holding", 5, 5)]


@pytest.mark.parametrize("length", [0, 9])
def test_a_field_that_fits_no_read_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"a field of {length} units does not fit"):
        plan_reads([Field(0, "holding", 0, length)], units_max=8, gap_max=0)
