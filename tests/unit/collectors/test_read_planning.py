"""Goal: every tag is read, in the fewest requests the device's limits allow.

Method: the planner against a brute force that tries every grouping of small sets of fields.
"""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.planning import Field, plan_reads


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


@given(all_fields=fields(most=6, areas=1), **LIMITS)
def test_no_other_plan_needs_fewer_reads(
    units_max: int, gap_max: int, all_fields: list[Field]
) -> None:
    reads = plan_reads(all_fields, units_max=units_max, gap_max=gap_max)

    assert len(reads) == fewest(all_fields, units_max, gap_max)


def fewest(remaining: list[Field], units_max: int, gap_max: int) -> int:
    """Try every set of fields that may share a read with the first one."""
    if not remaining:
        return 0
    first, rest = remaining[0], remaining[1:]
    best = len(remaining)
    for choice in range(2 ** len(rest)):
        together = [first] + [each for bit, each in enumerate(rest) if choice >> bit & 1]
        if fits(together, units_max, gap_max):
            left = [each for bit, each in enumerate(rest) if not choice >> bit & 1]
            best = min(best, 1 + fewest(left, units_max, gap_max))
    return best


def fits(together: list[Field], units_max: int, gap_max: int) -> bool:
    ordered = sorted(together, key=lambda field: field.start)
    end = ordered[0].start
    for field in ordered:
        if field.start - end > gap_max:
            return False
        end = max(end, field.start + field.length)
    return end - ordered[0].start <= units_max


@pytest.mark.parametrize("length", [0, 9])
def test_a_field_that_fits_no_read_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"a field of {length} units does not fit"):
        plan_reads([Field(0, "holding", 0, length)], units_max=8, gap_max=0)
