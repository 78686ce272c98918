"""Goal: a reply is taken only when all of it is what was asked for; else it is refused as a whole.

Method: replies built byte by byte from random memory, then changed at random places, cut, and
prolonged. Whatever comes out without an error must be the true bytes, or a refusal whose code
stands in the reply. What cannot be seen: a changed byte of the data itself, for S7 has no checksum.
Seen to bite: a parser that does not check the transport size, one that ignores what is left over,
and one that takes the number of items from the reply.
"""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.s7.pdu import (
    Item,
    NotS7,
    memory_of,
    negotiated_pdu_bytes,
    read_request,
    reference_of,
    setup_request,
)
from collectors.s7.refusals import Refused

PATIENT = settings(deadline=None)
"""How long an example takes is the machine's business."""

CODES = [0x01, 0x03, 0x05, 0x06, 0x07, 0x0A]


def reply_to(reference: int, answers: list[bytes | int]) -> bytes:
    """Build a reply as a PLC does: bytes of an item, or its code."""
    data = b""
    for position, answer in enumerate(answers):
        if isinstance(answer, int):
            data += bytes([answer, 0, 0, 0])
            continue
        data += struct.pack(">BBH", 0xFF, 4, len(answer) * 8) + answer
        if len(answer) % 2 and position < len(answers) - 1:
            data += b"\0"
    head = struct.pack(">BBHHHHH", 0x32, 3, 0, reference, 2, len(data), 0)
    return head + bytes([4, len(answers)]) + data


ANSWERS = st.lists(
    st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from(CODES)), min_size=1, max_size=20
)


def items_for(answers: list[bytes | int]) -> list[Item]:
    return [Item("DB", 1, 0, len(a) if isinstance(a, bytes) else 4) for a in answers]


@PATIENT
@given(ANSWERS)
def test_a_true_reply_is_taken_item_by_item(answers: list[bytes | int]) -> None:
    found = memory_of(reply_to(7, answers), items_for(answers))

    assert found == [Refused(each) if isinstance(each, int) else each for each in answers]


@PATIENT
@given(ANSWERS, st.data())
def test_a_changed_reply_is_refused_or_gives_no_wrong_item(
    answers: list[bytes | int], data: st.DataObject
) -> None:
    true = reply_to(7, answers)
    places = payload_places(answers)
    position = data.draw(st.sampled_from([at for at in range(len(true)) if at not in places]))
    changed = bytearray(true)
    changed[position] ^= data.draw(st.integers(1, 255))

    try:
        found = memory_of(bytes(changed), items_for(answers))
    except NotS7:
        return
    for answer, each in zip(answers, found, strict=True):
        assert each == answer or isinstance(each, Refused), "true, or no value at all"


def payload_places(answers: list[bytes | int]) -> set[int]:
    """Return where in the reply the values themselves stand."""
    places: set[int] = set()
    at = 14
    for answer in answers:
        at += 4
        if isinstance(answer, bytes):
            places |= set(range(at, at + len(answer)))
            at += len(answer) + len(answer) % 2
    return places


@PATIENT
@given(ANSWERS, st.data())
def test_a_cut_or_prolonged_reply_is_refused(
    answers: list[bytes | int], data: st.DataObject
) -> None:
    true = reply_to(7, answers)
    cut = true[: data.draw(st.integers(0, len(true) - 1))]
    more = true + data.draw(st.binary(min_size=1, max_size=20))

    for lie in (cut, more):
        with pytest.raises(NotS7):
            memory_of(lie, items_for(answers))


@PATIENT
@given(st.binary(max_size=60), st.integers(1, 3))
def test_random_bytes_are_never_memory(noise: bytes, items: int) -> None:
    asked = [Item("DB", 1, 0, 2)] * items
    with pytest.raises(NotS7):
        memory_of(noise, asked)
    with pytest.raises(NotS7):
        memory_of(b"\x32\x03" + noise, asked)


def test_the_fill_byte_behind_the_last_item_may_stand_or_not() -> None:
    reply = bytearray(reply_to(1, [b"\x01"])) + b"\0"
    reply[9] += 1

    assert memory_of(bytes(reply), [Item("DB", 1, 0, 1)]) == [b"\x01"]


def test_timers_come_in_bytes_of_an_octet_string() -> None:
    data = struct.pack(">BBH", 0xFF, 9, 2) + b"\x12\x34"
    reply = struct.pack(">BBHHHHH", 0x32, 3, 0, 1, 2, len(data), 0) + b"\x04\x01" + data

    assert memory_of(reply, [Item("T", 0, 10, 2)]) == [b"\x12\x34"]


def test_requests_are_the_bytes_that_the_protocol_describes() -> None:
    """Taken apart by hand, as Wireshark shows them."""
    items = [Item("DB", 40, 12, 4), Item("T", 0, 10, 4), Item("M", 0, 3, 1)]

    request = read_request(0x0102, items)

    assert request.hex(" ") == (
        "32 01 00 00 01 02 00 26 00 00 04 03 "
        "12 0a 10 02 00 04 00 28 84 00 00 60 "
        "12 0a 10 1d 00 02 00 00 1d 00 00 05 "
        "12 0a 10 02 00 01 00 00 83 00 00 18"
    )
    assert reference_of(request) == 0x0102
    assert setup_request(1, 480).hex(" ") == "32 01 00 00 00 01 00 08 00 00 f0 00 00 01 00 01 01 e0"


@pytest.mark.parametrize(
    ("granted", "kept"), [(240, 240), (480, 480), (960, 480), (65_535, 480), (64, 64)]
)
def test_both_sides_keep_the_smaller_pdu(granted: int, kept: int) -> None:
    reply = struct.pack(">BBHHHHHBBHHH", 0x32, 3, 0, 1, 8, 0, 0, 0xF0, 0, 1, 1, granted)

    assert negotiated_pdu_bytes(reply, 480) == kept


@pytest.mark.parametrize("granted", [0, 1, 63])
def test_a_pdu_that_holds_nothing_is_refused(granted: int) -> None:
    reply = struct.pack(">BBHHHHHBBHHH", 0x32, 3, 0, 1, 8, 0, 0, 0xF0, 0, 1, 1, granted)

    with pytest.raises(NotS7, match="holds nothing"):
        negotiated_pdu_bytes(reply, 480)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (0x8104, "function not available (error 0x8104)"),
        (0x8304, "no resources available (error 0x8304)"),
        (0x8500, "larger than the PDU (error 0x8500)"),
        (0x8702, "access error"),
    ],
)
def test_an_error_of_the_header_is_of_all_items(error: int, words: str) -> None:
    reply = struct.pack(">BBHHHHH", 0x32, 2, 0, 1, 0, 0, error)

    found = memory_of(reply, [Item("DB", 1, 0, 2)] * 2)

    assert found == [Refused(error, whole_request=True)] * 2
    assert words in str(found[0])


def changed(place: int, byte: int) -> bytes:
    """Return the true reply to two words, with one byte changed."""
    reply = bytearray(reply_to(1, [b"\x01\x02", b"\x03\x04"]))
    reply[place] = byte
    return bytes(reply)


LIES = [
    ("a request", changed(1, 1), "no answer"),
    ("user data", changed(1, 7), "no answer"),
    ("another function", changed(12, 0x05), "another function"),
    ("fewer items", changed(13, 1), "not of 2 items"),
    ("more items", changed(13, 3), "not of 2 items"),
    ("a transport size that is none of a byte", changed(15, 3), "transport size 3"),
    ("a length in the other unit", changed(17, 2), "transport size 4"),
    ("bits in bytes", reply_to(1, [b"\x01\x02", 5])[:15] + b"\3\0\2\1\2\5\0\0\0", "size 3"),
    ("a longer item", changed(17, 0x18), "transport size 4"),
    ("a length beyond the message", changed(16, 0xFF), "transport size 4"),
    ("more data than items", None, "where its items have"),
]


@pytest.mark.parametrize(
    ("reply", "words"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES]
)
def test_each_lie_of_a_reply_is_seen(reply: bytes | None, words: str) -> None:
    if reply is None:
        true = reply_to(1, [b"\x01\x02", b"\x03\x04", b"\x05\x06"])
        reply = true[:13] + b"\x02" + true[14:]
    asked = [Item("DB", 1, 0, 2)] * 2

    with pytest.raises(NotS7, match=words):
        memory_of(reply, asked)


@pytest.mark.parametrize("message", [b"", b"\x32\x03\x00", changed(0, 0x72)])
def test_what_does_not_begin_as_s7_answers_nothing(message: bytes) -> None:
    with pytest.raises(NotS7, match="begin"):
        reference_of(message)
