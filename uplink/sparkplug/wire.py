"""The wire form of Sparkplug B, Protocol Buffers proto2, written and read by field number.

    Payload   timestamp 1 · metrics 2 (repeated Metric) · seq 3
    Metric    name 1 · alias 2 · timestamp 3 · datatype 4 · is_historical 5 · is_null 7 ·
              properties 9 · one value: int 10, long 11, float 12, double 13, boolean 14, string 15,
              bytes 16
    PropertySet    keys 1 (repeated) · values 2 (repeated, parallel to the keys)
    PropertyValue  type 1 · is_null 2 · int 3 · long 4 · float 5 · double 6 · boolean 7 · string 8

Signed integers stand in unsigned fields as two's complement (Sparkplug 3.0, 6.4.17). The numbers
are from the specification's text; a test compares them with an independent implementation's.

Limits
    A command that is read: FIELDS_MAX fields; longer ones are refused, as is what is malformed.
"""

import enum
import struct
from collections.abc import Iterator
from typing import NamedTuple

_U64 = 0xFFFF_FFFF_FFFF_FFFF
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10
FIELDS_MAX = 10_000


class PayloadField(enum.IntEnum):
    """Field numbers of Payload."""

    TIMESTAMP = 1
    METRICS = 2
    SEQ = 3


class MetricField(enum.IntEnum):
    """Field numbers of Metric."""

    NAME = 1
    ALIAS = 2
    TIMESTAMP = 3
    DATATYPE = 4
    IS_HISTORICAL = 5
    IS_NULL = 7
    PROPERTIES = 9
    INT_VALUE = 10
    LONG_VALUE = 11
    FLOAT_VALUE = 12
    DOUBLE_VALUE = 13
    BOOLEAN_VALUE = 14
    STRING_VALUE = 15
    BYTES_VALUE = 16


class PropertySetField(enum.IntEnum):
    """Field numbers of PropertySet."""

    KEYS = 1
    VALUES = 2


class PropertyValueField(enum.IntEnum):
    """Field numbers of PropertyValue."""

    TYPE = 1
    INT_VALUE = 3
    LONG_VALUE = 4
    DOUBLE_VALUE = 6
    BOOLEAN_VALUE = 7
    STRING_VALUE = 8


class DataType(enum.IntEnum):
    """The datatypes that this house publishes (6.4.17)."""

    INT32 = 3
    INT64 = 4
    UINT64 = 8
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    BYTES = 17


class WireFault(ValueError):
    """The bytes are not a Sparkplug B payload."""


def varint(number: int) -> bytes:
    """Return an integer of 64 bits; a negative one as two's complement."""
    number &= _U64
    if number < 0x80:  # noqa: PLR2004 - seven bits
        return bytes((number,))
    digits = bytearray()
    while number >= 0x80:  # noqa: PLR2004 - seven bits
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def number_field(field: int, number: int) -> bytes:
    """Return a field with an integer or a truth value."""
    return _tag(field, _VARINT) + varint(number)


def double_field(field: int, number: float) -> bytes:
    """Return a field with a double."""
    return _tag(field, _FIXED64) + struct.pack("<d", number)


def bytes_field(field: int, content: bytes) -> bytes:
    """Return a field with bytes, text in UTF-8 or an embedded message."""
    return _tag(field, _BYTES) + varint(len(content)) + content


def text_field(field: int, text: str) -> bytes:
    """Return a field with text; what UTF-8 cannot carry becomes a question mark."""
    return bytes_field(field, text.encode("utf-8", "replace"))


METRIC_TAG = _tag(PayloadField.METRICS, _BYTES)
TIMESTAMP_TAG = _tag(MetricField.TIMESTAMP, _VARINT)
DOUBLE_TAG = _tag(MetricField.DOUBLE_VALUE, _FIXED64)
HISTORICAL = number_field(MetricField.IS_HISTORICAL, 1)
NULL = number_field(MetricField.IS_NULL, 1)
_LONG_TAG = _tag(MetricField.LONG_VALUE, _VARINT)
_TRUTHS = tuple(number_field(MetricField.BOOLEAN_VALUE, each) for each in (0, 1))


def value_field(datatype: DataType, value: object) -> bytes:
    """Return the value of a metric, converted where its tag had another type once.

    Raises ValueError, TypeError or OverflowError when it cannot be.
    """
    match datatype:
        case DataType.DOUBLE:
            return DOUBLE_TAG + struct.pack("<d", float(value))  # type: ignore[arg-type]  # the same
        case DataType.INT64 | DataType.UINT64:
            return _LONG_TAG + varint(int(value))  # type: ignore[call-overload]  # raises it
        case DataType.BOOLEAN:
            return _TRUTHS[bool(value)]
        case DataType.STRING:
            return text_field(MetricField.STRING_VALUE, str(value))
        case DataType.BYTES:
            content = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
            return bytes_field(MetricField.BYTES_VALUE, content)
    raise TypeError(f"no metric has the datatype {datatype!r}")


def property_value(datatype: DataType, value: float | str) -> bytes:
    """Return a PropertyValue without its envelope."""
    kind = number_field(PropertyValueField.TYPE, datatype)
    match datatype:
        case DataType.INT32:
            return kind + number_field(PropertyValueField.INT_VALUE, int(value))
        case DataType.DOUBLE:
            return kind + double_field(PropertyValueField.DOUBLE_VALUE, float(value))
        case DataType.BOOLEAN:
            return kind + number_field(PropertyValueField.BOOLEAN_VALUE, bool(value))
        case DataType.STRING:
            return kind + text_field(PropertyValueField.STRING_VALUE, str(value))
    raise TypeError(f"no property has the datatype {datatype!r}")


def properties_field(properties: dict[str, tuple[DataType, float | str]]) -> bytes:
    """Return the field of a metric with its properties; nothing when there are none."""
    if not properties:
        return b""
    keys = b"".join(text_field(PropertySetField.KEYS, key) for key in properties)
    values = b"".join(
        bytes_field(PropertySetField.VALUES, property_value(*each)) for each in properties.values()
    )
    return bytes_field(MetricField.PROPERTIES, keys + values)


def metric(content: bytes) -> bytes:
    """Return one metric as it stands in a payload."""
    return METRIC_TAG + varint(len(content)) + content


def payload(metrics: bytes, *, at_ms: int, seq: int | None) -> bytes:
    """Return a whole payload; `seq` None: without, as NDEATH must be."""
    head = number_field(PayloadField.TIMESTAMP, at_ms)
    tail = b"" if seq is None else number_field(PayloadField.SEQ, seq)
    return b"".join((head, metrics, tail))


class Command(NamedTuple):
    """One metric of an NCMD."""

    name: str
    true: bool
    """Whether its value is the truth value true."""


def commands_in(content: bytes) -> list[Command]:
    """Return what an NCMD asks for. Raises WireFault."""
    found = []
    for field, value in _fields(content):
        if field == PayloadField.METRICS and isinstance(value, bytes):
            parts = dict(_fields(value))
            name = parts.get(MetricField.NAME, b"")
            if not isinstance(name, bytes):
                raise WireFault("a name that is not text")
            true = parts.get(MetricField.BOOLEAN_VALUE) == 1
            found.append(Command(name.decode("utf-8", "replace"), true))
    return found


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) of a message; groups do not occur."""
    at = count = 0
    while at < len(content):
        count += 1
        if count > FIELDS_MAX:
            raise WireFault(f"more than {FIELDS_MAX} fields")
        key, at = _read_varint(content, at)
        field, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            number, at = _read_varint(content, at)
            yield field, number
            continue
        if wire_type == _BYTES:
            length, at = _read_varint(content, at)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise WireFault(f"wire type {wire_type}")
        if length > len(content) - at:
            raise WireFault("it ends in the middle of a field")
        yield field, content[at : at + length]
        at += length


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    number = 0
    for count in range(_VARINT_BYTES_MAX):
        if at + count >= len(content):
            raise WireFault("it ends in the middle of a number")
        digit = content[at + count]
        number |= (digit & 0x7F) << (7 * count)
        if not digit & 0x80:
            return number & _U64, at + count + 1
    raise WireFault("a number of more than ten bytes")
