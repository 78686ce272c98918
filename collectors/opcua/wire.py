"""Answers of a server → values, by our own reading of the standard's binary form (10000-6, 5.2).

asyncua's general parser costs 20 us for each changed value, and cuts times to the microsecond.
What most values are (a scalar with a status and times) is read here; everything else, arrays and
structures, is left to asyncua from the byte where it begins. Pure; what is cut short or makes no
sense raises one of client.py's ERRORS.

    DataValue   mask | variant? | status? | source time? | source ps? | server time? | server ps?
                (asyncua has the picoseconds behind both times)
    Variant     type, 0x80 array, 0x40 dimensions | value
    DateTime    100 ns since 1601-01-01 UTC
"""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import (
    nodeid_from_binary,
    struct_from_binary,
    variant_from_binary,
)
from asyncua.ua.uaerrors import UaError

ARRAY = 0x80
"""In `kind`: the value is a list."""
_DIMENSIONS = 0x40
_KIND = 0x3F
NOTHING = 0
"""In `kind`: there is no value (the standard's type Null)."""
STRING, DATE_TIME, BYTE_STRING, XML_ELEMENT = 12, 13, 15, 16
_DATA_VALUE, _VARIANT = 23, 24
_LEVELS_MAX = 100
"""Of values in each other, as 10000-6, 5.2.2.16, asks a decoder to take."""

_SCALARS = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f"}
_SCALARS |= {11: "d", DATE_TIME: "q"}
_HAS_VALUE = 0x01
_STATUS, _TIME, _PICOSECONDS = 0x02, 0x04, 0x10
_AFTER_VALUE = ((_STATUS, "I"), (_TIME, "q"), (_PICOSECONDS, "H"), (0x08, "q"), (0x20, "H"))
"""Bit of the mask → what it announces, in the order of the wire."""
_HEAD = struct.Struct("<IBB")
_U32, _I32, _I64 = struct.Struct("<I"), struct.Struct("<i"), struct.Struct("<q")
_UNIX_EPOCH_TICKS = 116_444_736_000_000_000
_MAX_TICKS = 2_650_467_743_990_000_000
"""9999-12-31T23:59:59: what is later means no end (10000-6, 5.2.2.5)."""
_INT64_MAX = 2**63 - 1
_DATA_CHANGE, _STATUS_CHANGE = 811, 820
_YEAR_1601 = datetime(1601, 1, 1, tzinfo=UTC)
_TICKS_PER_S = 10_000_000


class Sample(NamedTuple):
    """One DataValue."""

    value: Any
    kind: int
    """Number of the built-in type (10000-6, 5.1.2), with ARRAY."""
    status: int
    source_at_ns: int | None


class Publication(NamedTuple):
    """What one notification message says."""

    sequence: int
    has_data: bool
    """False: a keep-alive, whose sequence number is that of the next message."""
    changes: list[tuple[int, Sample]]
    """(Client handle, sample), as the server reports them."""
    ended: int | None
    """Status of a StatusChangeNotification."""


def instant_of(ticks: int, picoseconds: int = 0) -> int | None:
    """Return nanoseconds since the Unix epoch; None for no time, or none of a machine.

    The zero of OPC UA, the year 1601, means that there is no time. Picoseconds count in tens.
    """
    ns = (ticks - _UNIX_EPOCH_TICKS) * 100 + (min(picoseconds, 9_999) // 100)
    return ns if 0 < ns <= _INT64_MAX else None


def date_text(ticks: int) -> str:
    """Return a DateTime as ISO 8601, with as many digits as it has: none, six, or seven."""
    seconds, fraction = divmod(max(0, min(ticks, _MAX_TICKS)), _TICKS_PER_S)
    text = (_YEAR_1601 + timedelta(seconds=seconds)).isoformat().removesuffix("+00:00")
    if fraction:
        text += f".{fraction:07d}" if fraction % 10 else f".{fraction // 10:06d}"
    return text + "Z"


class _Rest(NamedTuple):
    """What follows the value of a DataValue, by its mask; places are -1 for what is not there."""

    code: str
    status_at: int
    time_at: int
    picoseconds_at: int


@cache
def _rest(mask: int) -> _Rest:
    bits = [bit for bit, _ in _AFTER_VALUE if mask & bit]
    code = "".join(part for bit, part in _AFTER_VALUE if mask & bit)
    places = {bit: place for place, bit in enumerate(bits)}
    return _Rest(code, *(places.get(bit, -1) for bit in (_STATUS, _TIME, _PICOSECONDS)))


@cache
def _form(code: str) -> struct.Struct:
    return struct.Struct("<" + code)


@cache
def _scalar_form(mask: int, kind: int) -> struct.Struct | None:
    """Return how a scalar and what follows it lie; None for what is not of a fixed length."""
    code = _SCALARS.get(kind)
    if code is None or not mask & _HAS_VALUE:
        return None
    return _form(code + _rest(mask).code)


def changes_in(data: bytes, at: int, end: int) -> list[tuple[int, Sample]]:
    """Return the items of a DataChangeNotification between `at` and `end`."""
    (count,) = _I32.unpack_from(data, at)
    at += _I32.size
    found: list[tuple[int, Sample]] = []
    for _ in range(count):
        handle, mask, kind = _HEAD.unpack_from(data, at)
        form = _scalar_form(mask, kind)
        if form is None:
            sample, at = sample_at(data, at + _U32.size)
        else:
            value, *rest = form.unpack_from(data, at + _HEAD.size)
            at += _HEAD.size + form.size
            if kind == DATE_TIME:
                value = date_text(value)
            sample = _sample(value, kind, mask, rest)
        found.append((handle, sample))
    (diagnostics,) = _I32.unpack_from(data, at)
    if diagnostics <= 0 and at + _I32.size != end:
        # A value of an encoding that asyncua reads past: all that follows would be nonsense.
        raise UaError(f"its values end {end - at} bytes before it does")
    return found


def sample_at(data: bytes, at: int) -> tuple[Sample, int]:
    """Return the DataValue that begins at `at`, and where it ends."""
    mask = data[at]
    at += 1
    value, kind = None, NOTHING
    if mask & _HAS_VALUE:
        value, kind, at = _variant(data, at)
    form = _form(_rest(mask).code)
    return _sample(value, kind, mask, form.unpack_from(data, at)), at + form.size


def _sample(value: Any, kind: int, mask: int, rest: Sequence[int]) -> Sample:
    _, status_at, time_at, picoseconds_at = _rest(mask)
    status = rest[status_at] if status_at >= 0 else 0
    if time_at < 0:
        return Sample(value, kind, status, None)
    picoseconds = rest[picoseconds_at] if picoseconds_at >= 0 else 0
    return Sample(value, kind, status, instant_of(rest[time_at], picoseconds))


def _variant(data: bytes, at: int) -> tuple[Any, int, int]:
    kind = data[at]
    code = _SCALARS.get(kind)
    if code is not None:
        form = _form(code)
        (value,) = form.unpack_from(data, at + 1)
        return (date_text(value) if kind == DATE_TIME else value), kind, at + 1 + form.size
    if kind in (STRING, BYTE_STRING, XML_ELEMENT):
        return _text(data, at + 1, kind)
    _refuse_hollow(data, at, 0)
    rest = Buffer(data, at)
    variant = variant_from_binary(rest)
    kind = int(variant.VariantType.value)
    is_array = isinstance(variant.Value, list) or bool(variant.is_array)
    return variant.Value, kind | (ARRAY if is_array else 0), rest.cur_pos


def _refuse_hollow(data: bytes, at: int, level: int) -> int:
    """Return where a Variant ends. Raises UaError for an array of more elements than bytes follow.

    asyncua makes as many as the array says. Elements of the type Null take no byte, so that eleven
    bytes would fill the memory of the process; Variants may lie in Variants, and in DataValues.
    """
    if level > _LEVELS_MAX:
        raise UaError(f"a value within more than {_LEVELS_MAX} others")
    encoding, first = data[at], at
    count, at = _elements(data, at + 1) if encoding & ARRAY else (1, at + 1)
    kind = encoding & _KIND
    if kind not in (_DATA_VALUE, _VARIANT):
        rest = Buffer(data, first)
        if level:
            variant_from_binary(rest)  # Only to know where it ends.
        return rest.cur_pos
    for _ in range(count):
        mask = _HAS_VALUE
        if kind == _DATA_VALUE:
            mask, at = data[at], at + 1
        if mask & _HAS_VALUE:
            at = _refuse_hollow(data, at, level + 1)
        if kind == _DATA_VALUE:
            at += _form(_rest(mask).code).size
    if encoding & _DIMENSIONS:
        dimensions, at = _elements(data, at)
        at += _I32.size * max(0, dimensions)
    return at


def _elements(data: bytes, at: int) -> tuple[int, int]:
    """Return how many elements an array has, and where they begin. Raises UaError for too many."""
    (count,) = _I32.unpack_from(data, at)
    at += _I32.size
    if count > len(data) - at:
        raise UaError(f"an array of {count} elements in {len(data) - at} bytes")
    return count, at


def _text(data: bytes, at: int, kind: int) -> tuple[Any, int, int]:
    (length,) = _I32.unpack_from(data, at)
    at += _I32.size
    if length < 0:
        return None, kind, at
    content = data[at : at + length]
    if len(content) != length:
        raise UaError(f"a text of {length} bytes is cut short after {len(content)}")
    text = content.decode("utf-8", "surrogateescape") if kind != BYTE_STRING else content
    return text, kind, at + length


def answered(buffer: Buffer) -> tuple[ua.ResponseHeader, bytes]:
    """Return the header of an answer, and the bytes behind it. Raises the server's own error."""
    nodeid_from_binary(buffer)
    header = struct_from_binary(ua.ResponseHeader, buffer)
    header.ServiceResult.check()
    return header, bytes(buffer)


def publication_in(body: bytes) -> tuple[int, Publication]:
    """Return the subscription's id and its message, from a PublishResponse behind its header."""
    (subscription,) = _U32.unpack_from(body, 0)
    (available,) = _I32.unpack_from(body, 4)
    at = 8 + 4 * max(0, available) + 1
    return subscription, message_in(body, at)


def message_in(body: bytes, at: int = 0) -> Publication:
    """Return the NotificationMessage that begins at `at`."""
    (sequence,) = _U32.unpack_from(body, at)
    (count,) = _I32.unpack_from(body, at + 12)
    at += 16
    changes: list[tuple[int, Sample]] = []
    ended = None
    for _ in range(max(0, count)):
        head = Buffer(body, at)
        kind = nodeid_from_binary(head)
        encoding = head.read(1)[0]
        (length,) = _I32.unpack_from(body, head.cur_pos)
        at = head.cur_pos + _I32.size
        if encoding != 1 or not 0 <= length <= len(body) - at:
            raise UaError(f"a notification of {length} bytes is cut short")
        end = at + length
        if kind.NamespaceIndex == 0 and kind.Identifier == _DATA_CHANGE:
            changes += changes_in(body, at, end)
        elif kind.NamespaceIndex == 0 and kind.Identifier == _STATUS_CHANGE:
            (ended,) = _U32.unpack_from(body, at)
        at = end
    return Publication(sequence, count > 0, changes, ended)


def samples_in(body: bytes, expected: int) -> list[Sample]:
    """Return the results of a ReadResponse behind its header. Raises UaError on another number."""
    (count,) = _I32.unpack_from(body, 0)
    if count != expected:
        raise UaError(f"{expected} values were asked for, {count} came")
    at, found = _I32.size, []
    for _ in range(count):
        sample, at = sample_at(body, at)
        found.append(sample)
    return found
