"""Goal: our own reading of the standard's binary form says what asyncua's says, or refuses.

Method: hypothesis makes values; asyncua encodes them and both decode. Bytes cut short, changed, or
made up must give values or one of the errors that end a session, never anything else.
"""

import math
import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from asyncua.ua.uaerrors import UaError
from hypothesis import given
from hypothesis import strategies as st

from collectors.opcua.address import TYPES, parse_address, resolve_tag
from collectors.opcua.client import ERRORS
from collectors.opcua.decode import scalar_of
from collectors.opcua.items import Item, Target
from collectors.opcua.ledger import Ledger
from collectors.opcua.notification import notified
from collectors.opcua.structures import Definitions
from collectors.opcua.wire import Sample, date_text, instant_of, message_in, sample_at, samples_in
from common.records import Column, Plan, Quality, ValueType, quality_name
from common.statuscodes import STATUS_NAMES

Kind = ua.VariantType
INTEGERS = {
    Kind.SByte: (-(2**7), 2**7 - 1),
    Kind.Byte: (0, 2**8 - 1),
    Kind.Int16: (-(2**15), 2**15 - 1),
    Kind.UInt16: (0, 2**16 - 1),
    Kind.Int32: (-(2**31), 2**31 - 1),
    Kind.UInt32: (0, 2**32 - 1),
    Kind.Int64: (-(2**63), 2**63 - 1),
    Kind.UInt64: (0, 2**64 - 1),
}
instants = st.datetimes(datetime(1601, 1, 2), datetime(9999, 12, 30)).map(  # noqa: DTZ001 - made UTC below
    lambda at: at.replace(tzinfo=UTC)
)
scalars = st.one_of(
    st.booleans().map(lambda value: ua.Variant(value, Kind.Boolean)),
    *(
        st.integers(least, most).map(lambda value, kind=kind: ua.Variant(value, kind))  # type: ignore[misc]
        for kind, (least, most) in INTEGERS.items()
    ),
    st.floats(width=32).map(lambda value: ua.Variant(value, Kind.Float)),
    st.floats().map(lambda value: ua.Variant(value, Kind.Double)),
    st.text(max_size=40).map(lambda value: ua.Variant(value, Kind.String)),
    st.binary(max_size=40).map(lambda value: ua.Variant(value, Kind.ByteString)),
    st.uuids().map(lambda value: ua.Variant(value, Kind.Guid)),
    instants.map(lambda value: ua.Variant(value, Kind.DateTime)),
    st.text(max_size=9).map(lambda text: ua.Variant(ua.LocalizedText(text), Kind.LocalizedText)),
    st.lists(st.floats(), max_size=9).map(
        lambda each: ua.Variant(each, Kind.Double, is_array=True)
    ),
    st.just(ua.Variant(ua.Range(Low=1.0, High=2.0), Kind.ExtensionObject)),
    st.just(ua.Variant()),
)
data_values = st.builds(
    ua.DataValue,
    Value=scalars,
    StatusCode=st.none()
    | st.integers(0, 2**32 - 1).map(lambda code: ua.StatusCode(ua.UInt32(code))),
    SourceTimestamp=st.none() | instants,
    ServerTimestamp=st.none() | instants,
)
"""Without picoseconds: asyncua writes them behind both times, against the standard."""


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def assert_same(sample: Sample, value: ua.DataValue) -> None:
    assert value.Value is not None
    expected = value.Value.Value
    if value.Value.VariantType == Kind.DateTime:
        text = expected.isoformat().replace("+00:00", "Z")
        assert sample.value == text, "a scalar DateTime is its text"
    else:
        assert same(sample.value, expected)
    assert sample.status == (value.StatusCode.value if value.StatusCode else 0)
    at = value.SourceTimestamp
    ticks = (
        None
        if at is None
        else (at - datetime(1601, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10
    )
    assert sample.source_at_ns == (None if ticks is None else instant_of(ticks))


def message(items: list[ua.DataValue]) -> bytes:
    changes = ua.DataChangeNotification(
        [ua.MonitoredItemNotification(n, item) for n, item in enumerate(items)]
    )
    return struct_to_binary(ua.NotificationMessage(7, datetime.now(UTC), [changes]))


@given(st.lists(data_values, max_size=8))
def test_a_publication_says_what_was_put_into_it(values: list[ua.DataValue]) -> None:
    publication = message_in(message(values))

    assert (publication.sequence, publication.has_data, publication.ended) == (7, True, None)
    assert [handle for handle, _ in publication.changes] == list(range(len(values)))
    for (_, sample), value in zip(publication.changes, values, strict=True):
        assert_same(sample, value)


@given(data_values)
def test_a_value_that_was_read_is_what_was_put_into_it(value: ua.DataValue) -> None:
    body = struct_to_binary(value)

    sample, end = sample_at(body, 0)

    assert end == len(body), "to the byte"
    assert_same(sample, value)


@given(st.lists(data_values, min_size=1, max_size=4), st.data())
def test_a_publication_cut_short_or_changed_is_refused_or_still_of_known_types(
    values: list[ua.DataValue], data: st.DataObject
) -> None:
    spoilt = bytearray(message(values))
    if data.draw(st.booleans()):
        del spoilt[data.draw(st.integers(0, len(spoilt) - 1)) :]
    for _ in range(data.draw(st.integers(1, 3))):
        if spoilt:
            spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))

    with suppress(*ERRORS):
        for _, sample in message_in(bytes(spoilt)).changes:
            assert 0 <= sample.status < 2**32
            assert sample.source_at_ns is None or 0 < sample.source_at_ns < 2**63


@given(st.binary(max_size=200), st.integers(0, 3))
def test_bytes_made_up_are_refused_or_values(body: bytes, count: int) -> None:
    for decode in (lambda: message_in(body), lambda: samples_in(body, count)):
        with suppress(*ERRORS):
            decode()


HOLLOW = bytes.fromhex("80a7000031")
"""A Variant: an array of 822 million elements of the type Null, which take no byte."""


@pytest.mark.parametrize(
    "variant",
    [
        HOLLOW,
        b"\x98\1\0\0\0" + HOLLOW,
        b"\x98\2\0\0\0" + b"\x06\1\0\0\0" + HOLLOW,
        b"\x97\1\0\0\0\1" + HOLLOW,
        b"\x98\1\0\0\0" * 200,
    ],
)
def test_an_array_of_nothing_fills_no_memory(variant: bytes) -> None:
    """Found by tests/soak/fuzz_decoders.py. Seen to bite: without the check memory runs out."""
    body = struct.pack("<i", 1) + b"\1" + variant + bytes(8)

    with pytest.raises(UaError, match=r"an array of|within more than"):
        samples_in(body, 1)


def test_a_message_with_more_than_its_values_is_refused() -> None:
    """So does an ExtensionObject in XML end, which asyncua's parser leaves half read."""
    body = bytearray(message([ua.DataValue(ua.Variant(1.0, Kind.Double))]))
    at = body.index(b"\x0b")
    body[at] = 0x0A  # A Float, of half the length: four bytes are left over.

    refused = False
    try:
        message_in(bytes(body))
    except ERRORS:
        refused = True

    assert refused


def test_times_keep_their_100_nanoseconds() -> None:
    """Asyncua's parser cuts them to the microsecond."""
    ticks = 134_168_400_001_234_567
    body = b"\x05" + b"\x06" + (5).to_bytes(4, "little") + ticks.to_bytes(8, "little")

    sample, _ = sample_at(body, 0)

    assert sample.source_at_ns == (ticks - 116_444_736_000_000_000) * 100
    assert sample.source_at_ns % 1_000 == 700
    assert date_text(ticks).endswith(".1234567Z")
    assert instant_of(ticks, 9_999) == sample.source_at_ns + 99, "tens of picoseconds"
    assert instant_of(0) is None, "1601 means no time"


def test_picoseconds_follow_their_time_as_the_standard_has_it() -> None:
    """10000-6, 5.2.2.17. asyncua takes the source's picoseconds from behind the server's time."""
    ticks = 134_168_400_001_234_567
    body = b"\x3d\x0b" + struct.pack("<dqHqH", 1.5, ticks, 5_000, 1, 2)

    sample, end = sample_at(body, 0)

    assert end == len(body)
    assert (sample.value, sample.source_at_ns) == (1.5, instant_of(ticks, 5_000))
    assert instant_of(ticks, 5_000) == (instant_of(ticks) or 0) + 50


def in_variant(value: Any) -> ua.Variant:
    return ua.Variant(value, Kind.Variant)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.uuids(),
    lambda inner: st.lists(inner, max_size=3) | inner.filter(bool).map(in_variant),
    max_leaves=5,
)


@given(
    plain,
    st.integers(0, 255),
    st.sampled_from(list(ValueType)),
    st.lists(st.integers(0, 3) | st.sampled_from(["Low", "Text"]), max_size=3),
    st.sampled_from(["", "1", "0,1"]),
)
def test_whatever_a_sample_holds_a_column_gets_a_value_of_its_type_or_a_bad_one(
    value: Any, kind: int, value_type: ValueType, path: list[int | str], index_range: str
) -> None:
    address = parse_address("ns=2;s=A", "Double")._replace(index_range=index_range)
    item = Item(address, (Target(0, tuple(path), value_type),), False, 0.0)  # noqa: FBT003 - a NamedTuple's
    column = Column("A", "R/A", "a", "Double", value_type)
    plan = Plan("opcua", "d", "g", "d", 1_000, (column,))
    [found] = notified(
        plan, [item], [(0, Sample(value, kind | 0x40, 0, None))], Ledger(), Definitions()
    )

    if found.value is None:
        assert found.quality >= Quality.BAD
    else:
        assert scalar_of(found.value, value_type) is not None
        assert found.quality < Quality.BAD


@given(st.text(max_size=60), st.sampled_from(sorted(TYPES)) | st.text(max_size=12))
def test_an_address_is_understood_or_answered_in_words(address: str, type_text: str) -> None:
    with suppress(ValueError):
        resolve_tag(address, type_text)


names = st.text(st.characters(codec="utf-8", exclude_characters=";"), min_size=1, max_size=20)


@given(
    names.filter(lambda name: name == name.strip()),
    st.integers(0, 65_535),
    st.none() | st.integers(0, 999),
    st.lists(st.from_regex(r"[A-Za-z]\w{0,8}", fullmatch=True), max_size=3),
)
def test_a_canonical_address_means_the_same_address(
    name: str, namespace: int, index: int | None, field: list[str]
) -> None:
    written = f"ns={namespace};s={name}"
    written += f";index={index}" if index is not None else ""
    written += f";field={'/'.join(field)}" if field else ""

    address = parse_address(written, "Double")

    assert parse_address(str(address), "Double") == address
    assert (address.identifier, address.path) == (name, tuple(field))


def test_the_names_of_status_codes_are_the_standards() -> None:
    theirs = {
        code >> 16: name
        for name, code in vars(ua.StatusCodes).items()
        if name[0].isupper() and isinstance(code, int)
    }

    assert theirs == STATUS_NAMES
    assert len(theirs) > 250
    assert quality_name(0x80350000) == "BadAttributeIdInvalid"
    assert quality_name(0x80350480) == "BadAttributeIdInvalid", "the lower half is not the name's"
    assert quality_name(0x8FFF0000) == "0x8FFF0000", "a number where there is no name"


def test_the_names_that_the_house_uses_are_the_standards() -> None:
    for name, code in vars(Quality).items():
        # What has no upper half is a mark beside a code, and no code of its own.
        if name.isupper() and not 0 < code < 0x10000:
            words = "".join(part.capitalize() for part in name.split("_"))
            assert quality_name(code) == words
