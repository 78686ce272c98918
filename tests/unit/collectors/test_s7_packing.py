"""Goal: a group's memory is fetched by the fewest requests, none larger than the PLC takes.

Method: lengths drawn at random against the limits counted anew here; small cases against every
packing there is; the reads of random tag tables against a byte-wise model of the memory. Seen to
bite: a packing that forgets the fill bytes, one that allows 20 items in a PDU of 240, and a cutting
that loses the first tag of a full reply.
"""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.compiling import CompiledGroup
from collectors.planning import Field
from collectors.s7.address import Address
from collectors.s7.packing import Limits, least, pack
from collectors.s7.reading import GroupReads, fewest_requests
from common.records import Plan

PATIENT = settings(deadline=None)
"""How long an example takes is the machine's business."""

PDUS = st.sampled_from([112, 240, 480, 960])
LIMITS = st.builds(Limits, PDUS, st.integers(1, 20))


def reply_bytes(lengths: list[int]) -> int:
    """Count the S7 message that carries these items, as the protocol describes it."""
    total = 12 + 2
    for position, length in enumerate(lengths):
        total += 4 + length
        if length % 2 and position < len(lengths) - 1:
            total += 1
    return total


def request_bytes(items: int) -> int:
    return 10 + 2 + 12 * items


@PATIENT
@given(LIMITS, st.data())
def test_every_piece_is_packed_once_and_no_limit_is_passed(
    limits: Limits, data: st.DataObject
) -> None:
    lengths = data.draw(st.lists(st.integers(1, limits.pdu_bytes - 18), max_size=60))

    packed = pack(lengths, limits)

    assert sorted(index for request in packed for index in request) == list(range(len(lengths)))
    for request in packed:
        assert 1 <= len(request) <= limits.items_max
        assert request_bytes(len(request)) <= limits.pdu_bytes
        assert reply_bytes([lengths[index] for index in request]) <= limits.pdu_bytes
    assert len(packed) >= least(lengths, limits), "the bound is one"


def fewest(lengths: list[int], limits: Limits) -> int:
    """Try every way to share out the pieces; an odd one comes last, wherever there is one."""

    def room(request: list[int]) -> bool:
        ordered = sorted(request, key=lambda length: length % 2)
        return (
            len(request) <= limits.items_max
            and request_bytes(len(request)) <= limits.pdu_bytes
            and reply_bytes(ordered) <= limits.pdu_bytes
        )

    best = len(lengths)

    def share(rest: list[int], requests: list[list[int]]) -> None:
        nonlocal best
        if len(requests) >= best and rest:
            return
        if not rest:
            best = min(best, len(requests))
            return
        for request in requests:
            if room([*request, rest[0]]):
                request.append(rest[0])
                share(rest[1:], requests)
                request.pop()
        share(rest[1:], [*requests, [rest[0]]])

    share(lengths, [])
    return best


@PATIENT
@given(st.builds(Limits, st.just(112), st.integers(1, 4)), st.data())
def test_of_few_pieces_no_other_packing_takes_fewer_requests(
    limits: Limits, data: st.DataObject
) -> None:
    lengths = data.draw(st.lists(st.integers(1, 94), max_size=7))

    assert len(pack(lengths, limits)) == fewest(lengths, limits)


def test_the_greedy_packing_is_bettered_where_that_can_be() -> None:
    """A reply of 108 has room for 94: 44 + 26 + 24 and 34 + 32 + 28 fill two.

    Largest first gives 44 + 34, 32 + 28 + 26 and 24: three.
    """
    costs = [44, 34, 32, 28, 26, 24]

    assert len(pack([cost - 4 for cost in costs], Limits(108))) == 2


ADDRESSES = st.lists(
    st.builds(
        lambda area, start, kind: Address(area, int(area == "DB"), start, 0, *kind),
        st.sampled_from(["DB", "M"]),
        st.integers(0, 900),
        st.sampled_from([("REAL", 0), ("BYTE", 0), ("DTL", 0), ("STRING", 30), ("STRING", 254)]),
    ),
    max_size=60,
)


@PATIENT
@given(LIMITS, st.integers(0, 64), ADDRESSES, st.sampled_from([True, False]))
def test_a_groups_requests_hold_every_tag_whole_and_keep_every_limit(
    limits: Limits,
    gap_max: int,
    addresses: list[Address],
    merge: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    group = CompiledGroup(Plan("s7", "p", "g", "p", 100, ()), tuple(addresses))

    planned = GroupReads(group, limits=limits, gap_max=gap_max, merge=merge).planned

    columns = [placed.column for read in planned.reads for placed in read.fields]
    assert sorted(columns) == list(range(len(addresses))), "every tag once"
    memory = bytes(index * 7 % 251 for index in range(2_000))
    answers = [[memory[i.start : i.start + i.length] for i in items] for items in planned.items]
    for items in planned.items:
        assert request_bytes(len(items)) <= limits.pdu_bytes
        assert reply_bytes([item.length for item in items]) <= limits.pdu_bytes
    for read, found in zip(planned.reads, planned.joined(answers), strict=True):
        assert found == memory[read.start : read.start + read.length]
        for placed in read.fields:
            address = addresses[placed.column]
            assert read.start + placed.offset == address.first_byte
            assert placed.offset + address.length <= read.length, "whole"


FIELDS = st.lists(
    st.builds(
        Field,
        st.just(0),
        st.just(("DB", 1)),
        st.integers(0, 2_000),
        st.integers(1, 12),
        st.none(),
    ),
    min_size=1,
    max_size=80,
)


@PATIENT
@given(FIELDS, st.integers(0, 40))
def test_no_gap_beyond_the_limit_is_read_along(fields: list[Field], gap_max: int) -> None:
    fields = [field._replace(column=column) for column, field in enumerate(fields)]

    for read in fewest_requests(fields, Limits(240), gap_max).reads:
        inside = sorted(
            (fields[placed.column].start, fields[placed.column].length) for placed in read.fields
        )
        end = inside[0][0] + inside[0][1]
        for start, length in inside:
            assert start - end <= gap_max
            end = max(end, start + length)
        assert all(a <= b for a, b in pairwise(inside))


def dense(count: int, area: tuple[str, int], start: int = 0) -> list[Field]:
    """Return `count` REALs without a gap."""
    return [Field(column, area, start + 4 * column, 4) for column in range(count)]


def test_hand_calculated_plants_take_the_requests_that_were_calculated() -> None:
    """Counted by hand: a reply of 240 holds 222 bytes of one item, of 480 it holds 462.

    300 dense REALs are 1,200 bytes: 55 whole ones fit 222 bytes, so six requests; 115 fit 462, so
    three. Twenty scattered REALs of 4 bytes are 20 items of 8 in a reply: one request of 252 bytes
    in a PDU of 480; 240 has room for 19 items. Three blocks of 300 bytes are 900 bytes: two
    replies of 466 hold 932 with four items, so two requests, one block cut between two tags.
    """
    scattered = [Field(column, ("DB", 1), 100 * column, 4) for column in range(20)]
    blocks = [
        field._replace(column=75 * db + field.column)
        for db in range(3)
        for field in dense(75, ("DB", db + 1))
    ]

    assert len(fewest_requests(dense(300, ("DB", 1)), Limits(240), 32).requests) == 6
    assert len(fewest_requests(dense(300, ("DB", 1)), Limits(480), 32).requests) == 3
    assert len(fewest_requests(scattered, Limits(480), 32).requests) == 1
    assert len(fewest_requests(scattered, Limits(240), 32).requests) == 2
    assert len(fewest_requests(blocks, Limits(480), 32).requests) == 2
