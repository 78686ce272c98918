"""The two packets that carry the data, PUBLISH at QoS 1 and PUBACK, written and read in bulk.

paho spends 60 to 90 us of CPU per message on objects, locks and one TLS record each way; this pair
is what that cost is made of, so it is the part that the house does itself (OASIS MQTT 5.0, 3.3 and
3.4). CONNECT, CONNACK, PINGREQ, DISCONNECT, wills and keepalive stay with paho.

    PUBLISH  0x32 (+1 retain) · remaining length · topic u16+bytes · packet id u16 ·
             properties · payload
    PUBACK   0x40 · remaining length · packet id u16 [· reason code u8 [· properties]]
"""

from typing import NamedTuple

_PUBLISH_QOS1 = 0x32
_RETAIN = 0x01
_TYPE = 0xF0
_CONNACK = 0x20
_PUBLISH = 0x30
_PUBACK = 0x40
_PINGRESP = 0xD0
_DISCONNECT = 0xE0
_AUTH = 0xF0
_PACKET_ID_BYTES = 2
_SUBACK = 0x90
_FOR_PAHO = (_CONNACK, _PINGRESP, _DISCONNECT, _AUTH)

REMAINING_LENGTH_MAX = 268_435_455
"""OASIS MQTT 5.0, 1.5.5: four bytes of seven bits."""
INBOUND_BYTES_MAX = 65_536
"""Nothing that a broker may send to a client without subscriptions comes near it."""

JSON_PROPERTIES = b"\x15\x01\x01\x03\x00\x10application/json"
"""21 bytes: payload format indicator (0x01) 1, UTF-8; content type (0x03) application/json."""

ENVELOPE_BYTES_MAX = 5 + 2 + 2 + len(JSON_PROPERTIES)
"""What a PUBLISH adds to its topic and payload at most."""


class ProtocolFault(ValueError):
    """The far side sent what MQTT 5 does not allow, or what nobody asked for."""


class Acknowledgement(NamedTuple):
    """One PUBACK."""

    packet_id: int
    code: int


def publish_packet(topic: bytes, packet_id: int, payload: bytes, *, retain: bool) -> bytes:
    """Return a PUBLISH at QoS 1 with JSON_PROPERTIES."""
    length = len(topic) + len(payload) + 4 + len(JSON_PROPERTIES)
    return b"".join(
        (
            _HEADS[retain],
            _remaining_length(length),
            len(topic).to_bytes(2, "big"),
            topic,
            packet_id.to_bytes(2, "big"),
            JSON_PROPERTIES,
            payload,
        )
    )


def unanswered_packet(topic: bytes, payload: bytes, content_type: str) -> bytes:
    """Return a PUBLISH at QoS 0, not retained."""
    properties = b"\x00"
    if content_type:
        kind = content_type.encode()
        listed = b"\x01\x01\x03" + len(kind).to_bytes(2, "big") + kind
        properties = _remaining_length(len(listed)) + listed
    length = 2 + len(topic) + len(properties) + len(payload)
    return b"".join(
        (
            bytes((_PUBLISH,)),
            _remaining_length(length),
            len(topic).to_bytes(2, "big"),
            topic,
            properties,
            payload,
        )
    )


def publish_bytes(topic: bytes, payload: bytes) -> int:
    """Return how long that PUBLISH is as a whole, as Maximum Packet Size counts it."""
    length = len(topic) + len(payload) + 4 + len(JSON_PROPERTIES)
    return 1 + len(_remaining_length(length)) + length


_HEADS = (bytes([_PUBLISH_QOS1]), bytes([_PUBLISH_QOS1 | _RETAIN]))


def _remaining_length(length: int) -> bytes:
    if length < 0x80:  # noqa: PLR2004 - seven bits
        return bytes((length,))
    if length < 0x4000:  # noqa: PLR2004 - fourteen bits
        return bytes((length & 0x7F | 0x80, length >> 7))
    if length > REMAINING_LENGTH_MAX:
        raise ValueError(f"a packet of {length} bytes is more than MQTT can carry")
    digits = bytearray()
    while length >= 0x80:  # noqa: PLR2004 - seven bits
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    digits.append(length)
    return bytes(digits)


class Inbound:
    """Splits what the broker sends: PUBACKs are read here, control packets are kept for paho."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self.for_paho = bytearray()
        """Whole packets, in order; whoever reads them removes them."""
        self._admitted: tuple[int, ...] = _FOR_PAHO

    def admit_publications(self) -> None:
        """Keep for paho what follows from a subscription, too."""
        self._admitted = (*_FOR_PAHO, _SUBACK, _PUBLISH)

    def feed(self, data: bytes) -> list[Acknowledgement]:
        """Take bytes as they come and return the acknowledgements completed by them.

        Raises ProtocolFault: drop the connection.
        """
        pending = self._pending
        pending += data
        found: list[Acknowledgement] = []
        at, end = 0, len(pending)
        while end - at >= 2:  # noqa: PLR2004 - type and the first length byte
            head, length, start = pending[at], pending[at + 1], at + 2
            if length & 0x80:
                measured = _long_length(pending, at + 1)
                if measured is None:
                    break
                length, start = measured
            if head != _PUBACK and head & _TYPE not in self._admitted:
                raise ProtocolFault(_unasked(head))
            if length > INBOUND_BYTES_MAX:
                raise ProtocolFault(f"a packet of {length} bytes, {INBOUND_BYTES_MAX} at most")
            stop = start + length
            if stop > end:
                break
            if head == _PUBACK:
                found.append(_acknowledgement(pending, start, length))
            else:
                self.for_paho += pending[at:stop]
            at = stop
        del pending[:at]
        return found


def _acknowledgement(packet: bytearray, start: int, length: int) -> Acknowledgement:
    if length < _PACKET_ID_BYTES:
        raise ProtocolFault("a PUBACK without a packet id")
    packet_id = packet[start] << 8 | packet[start + 1]
    # A PUBACK of two bytes means success (3.4.2.1).
    return Acknowledgement(packet_id, packet[start + 2] if length > _PACKET_ID_BYTES else 0)


def _long_length(packet: bytearray, at: int) -> tuple[int, int] | None:
    """Return (remaining length, place after it), None when it is not complete yet."""
    length = 0
    for count in range(4):
        if at + count >= len(packet):
            return None
        digit = packet[at + count]
        length |= (digit & 0x7F) << (7 * count)
        if not digit & 0x80:
            return length, at + count + 1
    raise ProtocolFault("a remaining length of more than four bytes")


def _unasked(head: int) -> str:
    if head & _TYPE == _PUBLISH:
        return "a PUBLISH, although nothing is subscribed"
    return f"a packet of type 0x{head:02X}, which answers nothing that was sent"
