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

from uplink.contract import Message, MessageBlamed, TargetRefused, Verdict
from uplink.targets.mqtt_encoder import PROPERTIES_MAX, PublishEncoder
from uplink.targets.mqtt_packets import (
    INBOUND_BYTES_MAX,
    Acknowledgement,
    Inbound,
    ProtocolFault,
    publish_packet,
)
from uplink.targets.mqtt_reasons import NAMES, disconnected, refused_connection, verdict_of

CONNACK = b"\x20\x03\x00\x00\x00"
PINGRESP = b"\xd0\x00"


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
TOPIC = TEXT.map(lambda text: text.replace("+", "").replace("#", "")).filter(bool)


def decoded(
    packet: bytes, version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5
) -> tuple[int, _packet.PublishPacket]:
    """Return the first byte of a PUBLISH, and the packet as paho reads it."""
    start = 1
    while packet[start] & 0x80:
        start += 1
    body = packet[start + 1 :]
    length = sum((byte & 0x7F) << (7 * i) for i, byte in enumerate(packet[1 : start + 1]))
    assert length == len(body), "the remaining length is right"
    return packet[0], _packet.decode_publish(packet[0], body, version)


@given(
    message=st.builds(
        Message,
        topic=TOPIC,
        payload=st.one_of(
            st.binary(max_size=300),
            st.sampled_from([0x7F, 0x80, 0x3FFF, 0x4000, 0x1F_FFFF, 0x20_0000]).map(bytes),
        ),
        retain=st.booleans(),
        headers=st.lists(st.tuples(TEXT, TEXT), max_size=5).map(tuple),
        content_type=st.sampled_from(["", "application/json", "text/plain", "application/x-bin"]),
        expiry_s=st.sampled_from([0, 1, 60, 4_294_967_295]),
    ),
    packet_id=st.integers(1, 65_535),
)
def test_paho_reads_what_we_write(message: Message, packet_id: int) -> None:
    """Seen to bite: an expiry of three bytes; headers without their identifier."""
    encoder = PublishEncoder(properties=True)

    assert encoder.rejection(message) is None
    packet = encoder.packet(message, packet_id, retain=message.retain)
    head, read = decoded(packet)
    assert (read.topic, read.mid, read.payload) == (
        *(message.topic.encode(), packet_id, message.payload),
    )
    assert (read.qos, bool(head & 1), read.dup) == (1, message.retain, False)
    properties = read.properties
    assert getattr(properties, "ContentType", "") == message.content_type
    text = message.content_type in ("application/json", "text/plain")
    assert getattr(properties, "PayloadFormatIndicator", 0) == text
    assert tuple(getattr(properties, "UserProperty", [])) == message.headers
    assert getattr(properties, "MessageExpiryInterval", 0) == message.expiry_s
    exact = PublishEncoder(properties=True, packet_bytes_max=len(packet))
    assert exact.rejection(message) is None, "the limit itself is allowed"
    below = PublishEncoder(properties=True, packet_bytes_max=len(packet) - 1)
    assert f"packet too large: {len(packet)} bytes" in str(below.rejection(message))


@given(topic=TOPIC, payload=st.binary(max_size=300), content_type=st.sampled_from(["", "a/json"]))
def test_paho_reads_what_is_said_without_an_answer(
    topic: str, payload: bytes, content_type: str
) -> None:
    message = Message(topic, payload, retain=True, content_type=content_type)

    head, read = decoded(PublishEncoder(properties=True).unanswered_packet(message))

    assert (read.topic, read.payload) == (topic.encode(), payload)
    assert head == 0x30, "QoS 0, not retained"
    assert getattr(read.properties, "ContentType", "") == content_type


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0b", "a\ud800", "a" * 65_536])
def test_a_topic_that_mqtt_does_not_allow_is_rejected(topic: str) -> None:
    encoder = PublishEncoder(properties=True)

    assert "topic name invalid" in str(encoder.rejection(Message(topic, b"", retain=False)))


@pytest.mark.parametrize("number", range(0x20, 0x30))
def test_a_topic_whose_length_reads_like_a_wildcard_is_none(number: int) -> None:
    encoder = PublishEncoder(properties=True)

    assert encoder.rejection(Message("t" * number, b"", retain=False)) is None


@pytest.mark.parametrize("text", ["\0", "\ud800", "x" * 65_536])
def test_a_header_that_mqtt_does_not_allow_is_rejected_not_a_crash(text: str) -> None:
    encoder = PublishEncoder(properties=True)
    plain = Message("t", b"", retain=False)

    for headers in (((text, ""),), (("key", text),)):
        assert "headers" in str(encoder.rejection(plain._replace(headers=headers)))
    assert "content type" in str(encoder.rejection(plain._replace(content_type=text)))
    assert "expiry" in str(encoder.rejection(plain._replace(expiry_s=2**32)))


def test_the_memory_of_topics_and_properties_is_bounded() -> None:
    encoder = PublishEncoder(properties=True)

    for number in range(3 * PROPERTIES_MAX):
        headers = (("id", str(number)),)
        message = Message("t", b"", retain=False, headers=headers)
        _, read = decoded(encoder.packet(message, 1, retain=False))
        assert tuple(read.properties.UserProperty) == headers, "never another message's"
    assert len(encoder._properties) <= PROPERTIES_MAX  # noqa: SLF001 - what a caller never sees


def test_a_packet_that_mqtt_cannot_carry_is_an_error() -> None:
    with pytest.raises(ValueError, match="more than MQTT can carry"):
        publish_packet(b"\0\1t", 1, b"\0", bytes(268_435_456), retain=False)


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
    assert isinstance(disconnected("b", 0x95, ""), MessageBlamed)
