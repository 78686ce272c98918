"""Goal: what is written by field number is what Sparkplug's own schema reads; nothing breaks us.

Method: Eclipse Tahu's generated decoder reads it back; its descriptor is compared with our numbers
field by field. Commands are read from what Tahu encodes, and from bytes of chance.

Seen to bite: TIMESTAMP and ALIAS swapped; negative numbers not masked to 64 bits; PropertyValue's
STRING_VALUE given the number 15, which a metric's has; the bound of a length left out.
"""

import contextlib
import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tahutils.tahu import sparkplug_b_pb2 as tahu

from uplink.sparkplug.wire import (
    FIELDS_MAX,
    HISTORICAL,
    NULL,
    Command,
    DataType,
    MetricField,
    PayloadField,
    PropertySetField,
    PropertyValueField,
    WireFault,
    bytes_field,
    commands_in,
    metric,
    number_field,
    payload,
    properties_field,
    text_field,
    value_field,
)

MESSAGES: list[tuple[type[enum.IntEnum], Any]] = [
    (PayloadField, tahu.Payload),
    (MetricField, tahu.Payload.Metric),
    (PropertySetField, tahu.Payload.PropertySet),
    (PropertyValueField, tahu.Payload.PropertyValue),
]


@pytest.mark.parametrize(("ours", "theirs"), MESSAGES, ids=lambda each: each.__name__)
def test_every_field_has_the_number_and_the_form_of_the_schema(
    ours: type[enum.IntEnum], theirs: Any
) -> None:
    numbers = {field.name: field.number for field in theirs.DESCRIPTOR.fields}

    assert {each.name.lower(): each.value for each in ours}.items() <= numbers.items()


def test_every_datatype_has_the_number_of_the_schema() -> None:
    theirs = {name.upper(): number for name, number in tahu.DataType.items()}

    assert {each.name: each.value for each in DataType}.items() <= theirs.items()


def read(content: bytes) -> Any:
    return tahu.Payload.FromString(payload(metric(content), at_ms=1, seq=None)).metrics[0]


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_signed_integer_is_two_s_complement_in_an_unsigned_field(value: int) -> None:
    assert read(value_field(DataType.INT64, value)).long_value == value % 2**64


@given(st.integers(0, 2**64 - 1))
def test_an_unsigned_integer_is_itself(value: int) -> None:
    assert read(value_field(DataType.UINT64, value)).long_value == value


@given(st.floats(allow_nan=False))
def test_a_double_is_exact(value: float) -> None:
    assert read(value_field(DataType.DOUBLE, value)).double_value == value


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_text_is_itself(value: str) -> None:
    assert read(value_field(DataType.STRING, value)).string_value == value


@given(st.binary())
def test_bytes_are_themselves(value: bytes) -> None:
    assert read(value_field(DataType.BYTES, value)).bytes_value == value


def test_a_truth_value_is_told_even_when_it_is_false() -> None:
    found = [read(value_field(DataType.BOOLEAN, value)) for value in (True, False)]

    assert [each.WhichOneof("value") for each in found] == ["boolean_value"] * 2
    assert [each.boolean_value for each in found] == [True, False]


def test_a_text_that_utf_8_cannot_carry_is_told_as_well_as_it_can_be() -> None:
    assert read(value_field(DataType.STRING, "half \ud800")).string_value == "half ?"


def test_null_and_history_are_flags_of_the_metric() -> None:
    found = read(text_field(MetricField.NAME, "T") + HISTORICAL + NULL)

    assert found.is_historical
    assert found.is_null
    assert found.WhichOneof("value") is None


def test_properties_are_two_parallel_lists_and_each_has_its_type() -> None:
    found = read(
        properties_field(
            {
                "Quality": (DataType.INT32, 500),
                "engUnit": (DataType.STRING, "°C"),
                "engLow": (DataType.DOUBLE, -50.5),
                "readOnly": (DataType.BOOLEAN, True),
            }
        )
    ).properties

    assert list(found.keys) == ["Quality", "engUnit", "engLow", "readOnly"]
    assert [each.type for each in found.values] == [3, 12, 10, 11]
    assert found.values[0].int_value == 500
    assert found.values[1].string_value == "°C"
    assert found.values[2].double_value == -50.5
    assert found.values[3].boolean_value


@given(st.integers(0, 2**63), st.integers(0, 255) | st.none())
def test_a_payload_has_its_time_and_a_seq_where_it_may(at_ms: int, seq: int | None) -> None:
    found = tahu.Payload.FromString(payload(metric(NULL) * 3, at_ms=at_ms, seq=seq))

    assert found.timestamp == at_ms
    assert len(found.metrics) == 3
    assert found.HasField("seq") == (seq is not None)
    assert found.seq == (seq or 0)


def ncmd(*commands: tuple[str, bool]) -> bytes:
    said = tahu.Payload(timestamp=17)
    for name, value in commands:
        said.metrics.add(name=name, alias=3, timestamp=5, datatype=11, boolean_value=value)
    content: bytes = said.SerializeToString()
    return content


def test_a_command_is_read_from_what_another_has_written() -> None:
    content = ncmd(("Node Control/Rebirth", True), ("Node Control/Reboot", False))

    assert commands_in(content) == [
        Command("Node Control/Rebirth", true=True),
        Command("Node Control/Reboot", true=False),
    ]


def test_a_command_with_a_number_is_not_true() -> None:
    said = tahu.Payload()
    said.metrics.add(name="Node Control/Rebirth", datatype=3, int_value=1)

    assert commands_in(said.SerializeToString()) == [Command("Node Control/Rebirth", true=False)]


@given(st.binary(max_size=200))
def test_a_command_of_chance_bytes_is_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(WireFault):
        commands_in(content)


@given(st.data())
def test_a_damaged_command_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(ncmd(("Node Control/Rebirth", True)))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireFault):
        commands_in(bytes(content))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x12\x05ab", "in the middle of a field"),
        (b"\x08", "in the middle of a number"),
        (b"\x08" + b"\xff" * 10, "more than ten bytes"),
        (b"\x0b", "wire type 3"),
        (number_field(PayloadField.SEQ, 1) * (FIELDS_MAX + 1), "more than 10000 fields"),
        (bytes_field(PayloadField.METRICS, b"\x08\x01"), "a name that is not text"),
    ],
)
def test_a_malformed_command_says_why(content: bytes, why: str) -> None:
    with pytest.raises(WireFault, match=why):
        commands_in(content)
