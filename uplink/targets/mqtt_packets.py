"""The two packets that carry the data, PUBLISH at QoS 1 and PUBACK, written and read in bulk.

paho spends 60 to 90 us of CPU per message on objects, locks and one TLS record each way; this pair
is what that cost is made of, so it is the part that the house does itself (OASIS MQTT 5.0, 3.3 and
3.4). CONNECT, CONNACK, PINGREQ, DISCONNECT, wills and keepalive stay with paho.

    PUBLISH  0x32 (+1 retain) · remaining length · topic u16+bytes · packet id u16 ·
             properties · payload
    PUBACK   0x40 · remaining length · packet id u16 [· reason code u8 [· properties]]

MQTT 3.1.1 has neither properties nor reason codes, and is otherwise the same.
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

ENVELOPE_BYTES_MAX = 5 + 2
"""What a PUBLISH adds at most to its topic with length, its properties and its payload."""
TEXT_BYTES_MAX = 65_535
"""OASIS MQTT 5.0, 1.5.4: of a topic, a content type, a key and a value."""


class ProtocolFault(ValueError):
    """The far side sent what MQTT 5 does not allow, or what nobody asked for."""


class Acknowledgement(NamedTuple):
    """One PUBACK."""

    packet_id: int
    code: int


def text_field(text: str) -> bytes:
    """Return a UTF-8 string with its length. Raises ValueError where MQTT does not allow it."""
    encoded = text.encode()  # UnicodeEncodeError is a ValueError.
    if len(encoded) > TEXT_BYTES_MAX or b"\0" in encoded:
        raise ValueError(f"a text of {len(encoded)} bytes, or with a NUL")
    return len(encoded).to_bytes(2, "big") + encoded


def listed_properties(
    content_type: str, headers: tuple[tuple[str, str], ...], expiry_s: int
) -> bytes:
    """Return the properties of a PUBLISH of MQTT 5, without their length (3.3.2.3).

    Raises ValueError for a text that MQTT does not allow.
    """
    parts = []
    if content_type:
        if _is_text(content_type):
            parts.append(b"\x01\x01")
        parts += (b"\x03", text_field(content_type))
    if expiry_s:
        parts.append(b"\x02" + expiry_s.to_bytes(4, "big"))
    for key, value in headers:
        parts += (b"\x26", text_field(key), text_field(value))
    return b"".join(parts)


def _is_text(content_type: str) -> bool:
    """Return whether the payload may be declared as UTF-8, which a broker may then check."""
    return content_type.startswith("text/") or "json" in content_type


def with_length(listed: bytes) -> bytes:
    """Return properties with their length in front."""
    return _remaining_length(len(listed)) + listed


def with_alias(listed: bytes, alias: int) -> bytes:
    """Return properties, and the topic alias among them, with their length in front."""
    return with_length(b"\x23" + alias.to_bytes(2, "big") + listed)


def publish_packet(
    topic: bytes, packet_id: int, properties: bytes, payload: bytes, *, retain: bool
) -> bytes:
    """Return a PUBLISH at QoS 1; topic and properties carry their length.

    Of MQTT 3.1.1 the properties are empty, without a length.
    """
    length = len(topic) + len(properties) + len(payload) + _PACKET_ID_BYTES
    return b"".join(
        (
            _HEADS[retain],
            _remaining_length(length),
            topic,
            packet_id.to_bytes(2, "big"),
            properties,
            payload,
        )
    )


def unanswered_packet(topic: bytes, properties: bytes, payload: bytes) -> bytes:
    """Return a PUBLISH at QoS 0, not retained."""
    length = len(topic) + len(properties) + len(payload)
    return b"".join((_HEAD_QOS0, _remaining_length(length), topic, properties, payload))


def publish_bytes(topic: bytes, properties: bytes, payload: bytes) -> int:
    """Return how long a PUBLISH at QoS 1 is as a whole, as Maximum Packet Size counts it."""
    length = len(topic) + len(properties) + len(payload) + _PACKET_ID_BYTES
    return 1 + len(_remaining_length(length)) + length


_HEAD_QOS0 = bytes([_PUBLISH])
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
        self.connack: int | None = None
        self.disconnect: int | None = None
        """The code of either as it came: paho drops a connection over one that it does not know."""
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
                # Of two bytes it means success (3.4.2.1); nearly all of them are.
                if length == _PACKET_ID_BYTES:
                    found.append(Acknowledgement(pending[start] << 8 | pending[start + 1], 0))
                else:
                    found.append(_acknowledgement(pending, start, length))
            else:
                self.for_paho += pending[at:stop]
                self._note(head, pending[start:stop])
            at = stop
        del pending[:at]
        return found

    def _note(self, head: int, body: bytearray) -> None:
        if head == _CONNACK and len(body) >= 2:  # noqa: PLR2004 - flags and code
            self.connack = body[1]
        elif head == _DISCONNECT:
            self.disconnect = body[0] if body else 0


def _acknowledgement(packet: bytearray, start: int, length: int) -> Acknowledgement:
    if length < _PACKET_ID_BYTES:
        raise ProtocolFault("a PUBACK without a packet id")
    packet_id = packet[start] << 8 | packet[start + 1]
    return Acknowledgement(packet_id, packet[start + 2])


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
