"""Messages as PUBLISH packets of one connection: what never changes is encoded once.

A plant has thousands of topics and a handful of sets of properties; both are kept as they go over
the wire, so that a message costs two look-ups and one join.

Topic aliases
    A broker that announces a Topic Alias Maximum lets us say a number for a topic. The first topics
    to be published get one. A number is used only after the broker has taken the message that
    introduced it: what a broker remembers of a message that it refuses is not said anywhere.

Limits
    TOPICS_MAX topics and PROPERTIES_MAX sets of properties; then that memory starts over. The
    aliases of a connection stay, they are part of what the broker remembers.
"""

from typing import Literal

from common.naming import BROKER_PROFILES, BrokerLimits, BrokerProfile, beyond
from uplink.contract import Message
from uplink.targets.mqtt_packets import (
    ENVELOPE_BYTES_MAX,
    REMAINING_LENGTH_MAX,
    listed_properties,
    publish_bytes,
    publish_packet,
    text_field,
    unanswered_packet,
    with_alias,
    with_length,
)

TOPICS_MAX = 100_000
PROPERTIES_MAX = 1_000
ALIAS_BYTES = 4
"""What an alias adds to the properties, their length included."""

_NO_TOPIC = b"\0\0"
_Said = tuple[object, ...]
"""`message[3:]`, what its properties say: headers, content type, expiry."""


class TopicBeyond(ValueError):
    """MQTT allows the topic, this kind of broker does not."""


class PublishEncoder:
    """The PUBLISH packets of one connection."""

    def __init__(
        self,
        *,
        properties: bool,
        packet_bytes_max: int = REMAINING_LENGTH_MAX,
        broker: BrokerProfile | Literal[""] = "",
        aliases_max: int = 0,
    ) -> None:
        """`properties` is false for MQTT 3.1.1, which has none.

        `broker` is what kind of broker it is, for limits that it does not announce.
        """
        self._says = properties
        self._packet_bytes_max = packet_bytes_max
        self._broker = broker
        limits = BROKER_PROFILES[broker] if broker else BrokerLimits("")
        self._payload_bytes_max = limits.payload_bytes_max or REMAINING_LENGTH_MAX
        self._topics: dict[str, bytes] = {}
        self._properties: dict[_Said, tuple[bytes, bytes]] = {}
        self._aliases_max = aliases_max
        self._aliases: dict[bytes, int] = {}
        """Topic → its number, which the broker knows."""
        self._introduced: dict[int, tuple[bytes, int]] = {}
        """Packet id → topic and number that it introduces, while it is not answered."""
        self._without: set[bytes] = set()
        """Topics that get no number (now): being introduced, or refused."""
        self._free = list(range(aliases_max, 0, -1))

    @property
    def introducing(self) -> bool:
        """True while the answer to a message matters to an alias."""
        return bool(self._introduced)

    def rejection(self, message: Message) -> str | None:
        """Return why the broker, or MQTT itself, would never take the message."""
        try:
            topic = self._topics.get(message.topic) or self._learned(message.topic)
        except TopicBeyond as error:
            return f"topic name invalid: {error}"
        except ValueError:
            return "topic name invalid: empty, too long, not UTF-8, or with + # NUL"
        try:
            properties, _ = self._properties.get(message[3:]) or self._encoded(message)
        except (ValueError, OverflowError) as error:
            return f"content type, headers or expiry invalid: {error}"
        payload = message.payload
        if len(payload) > self._payload_bytes_max:
            limit = f"{self._broker} takes {self._payload_bytes_max}"
            return f"payload too large: {len(payload)} bytes, {limit}"
        limit_bytes = self._packet_bytes_max
        if len(topic) + len(properties) + len(payload) + ENVELOPE_BYTES_MAX > limit_bytes:
            size = publish_bytes(topic, properties, payload)
            if size > limit_bytes:
                return f"packet too large: {size} bytes, the broker takes {limit_bytes}"
        return None

    def packet(self, message: Message, packet_id: int, *, retain: bool) -> bytes:
        """Return a PUBLISH at QoS 1 of a message that was not rejected."""
        topic = self._topics.get(message.topic) or self._learned(message.topic)
        properties, listed = self._properties.get(message[3:]) or self._encoded(message)
        if self._aliases_max:
            topic, properties = self._abbreviated(topic, properties, listed, message, packet_id)
        return publish_packet(topic, packet_id, properties, message.payload, retain=retain)

    def unanswered_packet(self, message: Message) -> bytes:
        """Return a PUBLISH at QoS 0."""
        topic = self._topics.get(message.topic) or self._learned(message.topic)
        properties, _ = self._properties.get(message[3:]) or self._encoded(message)
        return unanswered_packet(topic, properties, message.payload)

    def answered(self, packet_id: int, *, taken: bool) -> None:
        """Note the answer to a message, while `introducing`."""
        topic, number = self._introduced.pop(packet_id, (b"", 0))
        if not number:
            return
        if taken:
            self._without.discard(topic)
            self._aliases[topic] = number
        else:
            self._free.append(number)  # Given to another topic, with its name, it is another's.

    def _abbreviated(
        self, topic: bytes, properties: bytes, listed: bytes, message: Message, packet_id: int
    ) -> tuple[bytes, bytes]:
        """Return topic and properties with an alias, where the topic has one or gets one now."""
        number = self._aliases.get(topic)
        if number is not None:
            return _NO_TOPIC, with_alias(listed, number)
        if not self._free or topic in self._without:
            return topic, properties
        length = len(topic) + len(properties) + len(message.payload) + ALIAS_BYTES
        if length + ENVELOPE_BYTES_MAX > self._packet_bytes_max:
            return topic, properties
        number = self._free.pop()
        self._without.add(topic)
        self._introduced[packet_id] = topic, number
        return topic, with_alias(listed, number)

    def _learned(self, text: str) -> bytes:
        """Return a topic as it goes over the wire, and remember it.

        Raises ValueError where MQTT does not allow it.
        """
        topic = text_field(text)
        if not text or "+" in text or "#" in text:
            raise ValueError(text)
        if self._broker and (why := beyond(self._broker, text)):
            raise TopicBeyond(why)
        if len(self._topics) >= TOPICS_MAX:
            self._topics.clear()
        self._topics[text] = topic
        return topic

    def _encoded(self, message: Message) -> tuple[bytes, bytes]:
        """Return the properties with and without their length, and remember them."""
        found = b"", b""
        if self._says:
            listed = listed_properties(message.content_type, message.headers, message.expiry_s)
            found = with_length(listed), listed
        if len(self._properties) >= PROPERTIES_MAX:
            self._properties.clear()
        self._properties[message[3:]] = found
        return found
