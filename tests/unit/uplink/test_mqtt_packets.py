"""Goal: the two packets that the house writes and reads itself are exactly MQTT 5's.

Method: what we write is read by paho's own decoder, and what we read is cut at every possible
place. The reason codes are tried one by one.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from uplink.contract import MessageBlamed, TargetRefused, Verdict
from uplink.targets.mqtt_packets import (
    ENVELOPE_BYTES_MAX,
    INBOUND_BYTES_MAX,
    JSON_PROPERTIES,
    Acknowledgement,
    Inbound,
    ProtocolFault,
    publish_bytes,
    publish_packet,
)
from uplink.targets.mqtt_reasons import NAMES, disconnected, refused_connection, verdict_of

CONNACK = b"\x20\x03\x00\x00\x00"
PINGRESP = b"\xd0\x00"


def test_the_fixed_properties_are_those_paho_would_write() -> None:
    properties = Properties(PacketTypes.PUBLISH)
    properties.PayloadFormatIndicator = 1
    properties.ContentType = "application/json"

    assert properties.pack() == JSON_PROPERTIES


@given(
    topic=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
    packet_id=st.integers(1, 65_535),
    payload=st.one_of(
        st.binary(max_size=300),
        st.sampled_from([0x7F, 0x80, 0x3FFF, 0x4000, 0x1F_FFFF, 0x20_0000]).map(bytes),
    ),
    retain=st.booleans(),
)
def test_paho_reads_what_we_write(
    *, topic: str, packet_id: int, payload: bytes, retain: bool
) -> None:
    packet = publish_packet(topic.encode(), packet_id, payload, retain=retain)

    start = 1
    while packet[start] & 0x80:
        start += 1
    body = packet[start + 1 :]
    length = sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(packet[1 : start + 1]))
    assert length == len(body), "the remaining length is right"
    read = _packet.decode_publish(packet[0], body, MQTTProtocolVersion.MQTTv5)
    assert (read.topic, read.mid, read.payload) == (topic.encode(), packet_id, payload)
    assert (read.qos, bool(packet[0] & 1), read.dup) == (1, retain, False)
    assert read.properties.ContentType == "application/json"
    assert publish_bytes(topic.encode(), payload) == len(packet)
    assert len(packet) <= len(topic.encode()) + len(payload) + ENVELOPE_BYTES_MAX


def test_a_packet_that_mqtt_cannot_carry_is_an_error() -> None:
    with pytest.raises(ValueError, match="more than MQTT can carry"):
        publish_packet(b"t", 1, bytes(268_435_456), retain=False)


@given(
    answers=st.lists(st.tuples(st.integers(1, 65_535), st.sampled_from([0, 0x10, 0x80, 0x97]))),
    cuts=st.lists(st.integers(0, 400), max_size=20),
)
def test_acknowledgements_are_read_however_the_bytes_are_cut(
    answers: list[tuple[int, int]], cuts: list[int]
) -> None:
    stream = CONNACK
    for packet_id, code in answers:
        body = packet_id.to_bytes(2, "big") + (bytes([code]) if code else b"")
        if code == 0x97:
            body += b"\x00"  # An empty set of properties may follow.
        stream += b"\x40" + bytes([len(body)]) + body + PINGRESP
    inbound = Inbound()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    found: list[Acknowledgement] = []
    for first, last in pairwise(edges):
        found += inbound.feed(stream[first:last])

    assert found == answers, "every acknowledgement, in order, with its code"
    assert bytes(inbound.for_paho) == CONNACK + PINGRESP * len(answers), "the rest is paho's"


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"\x30\x05\x00\x01t\x00x", "PUBLISH, although nothing is subscribed"),
        (b"\x40\x01\x00", "without a packet id"),
        (b"\x90\x03\x00\x01\x00", "answers nothing"),
        (b"\x20\xff\xff\xff\xff\x01", "more than four bytes"),
        (b"\xe0\xff\xff\x7f", f"{INBOUND_BYTES_MAX} at most"),
        (b"HTTP/1.1 200 OK\r\n", "answers nothing"),
    ],
)
def test_what_a_broker_may_not_send_ends_the_connection(sent: bytes, says: str) -> None:
    with pytest.raises(ProtocolFault, match=says):
        Inbound().feed(sent)


@pytest.mark.parametrize("code", range(256))
def test_no_failure_counts_as_delivered(code: int) -> None:
    taken = verdict_of(code) is Verdict.TAKEN

    assert taken == (code < 0x80), "0x10, no matching subscribers, is a success; 0x80 and up is not"


def test_refusals_that_a_person_must_cure_are_told_from_those_that_pass() -> None:
    patient = {
        code for code in NAMES if isinstance(refused_connection("b", code, ""), TargetRefused)
    }

    assert {0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C} <= patient
    assert not {0x88, 0x89, 0x97, 0x9F} & patient, "a busy broker is tried again soon"
    assert isinstance(disconnected("b", 0x8E, ""), TargetRefused), "two clients with one id"
    assert isinstance(disconnected("b", 0x95, ""), MessageBlamed)
    assert "client_id" in str(disconnected("b", 0x8E, ""))
