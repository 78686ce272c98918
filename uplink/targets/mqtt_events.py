"""What paho calls back about one connection, kept until it is judged outside of the callbacks."""

from collections import deque
from typing import NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

RECEIVED_MAX = 1_000
"""Messages kept until they are asked for; then the oldest goes."""


def new_properties(packet_type: int) -> Properties:
    """Return the empty properties of one type of packet."""
    return Properties(packet_type)  # type: ignore[no-untyped-call]  # paho leaves it untyped


class Received(NamedTuple):
    """One message that the broker sent to us, of what we subscribed to."""

    topic: str
    payload: bytes
    retained: bool


class Events:
    """Of one connection."""

    def __init__(self) -> None:
        self.welcome: tuple[int, Properties] | None = None
        self.farewell: tuple[int, Properties] | None = None
        self.subscribed: list[int] | None = None
        """The reason code of each subscription, once the broker has answered."""
        self.received: deque[Received] = deque(maxlen=RECEIVED_MAX)

    def on_connect(
        self,
        _client: Client,
        _data: object,
        _flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        """CONNACK, whatever its code."""
        self.welcome = (code.value, properties or new_properties(PacketTypes.CONNACK))

    def on_disconnect(
        self,
        _client: Client,
        _data: object,
        flags: DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        """DISCONNECT from the broker; paho also calls it, even twice, when the socket is lost."""
        if flags.is_disconnect_packet_from_server and self.farewell is None:
            self.farewell = (code.value, properties or new_properties(PacketTypes.DISCONNECT))

    def on_subscribe(
        self, _client: Client, _data: object, _mid: int, codes: list[ReasonCode], _more: object
    ) -> None:
        """SUBACK."""
        self.subscribed = [code.value for code in codes]

    def on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        """PUBLISH from the broker."""
        self.received.append(Received(message.topic, bytes(message.payload), message.retain))

    def on_socket_register_write(self, *_: object) -> None:
        """Nothing to do: every exchange writes."""


def said(properties: Properties) -> tuple[str, str]:
    """Return the broker's own words, and the other server that it names; empty where it did not."""
    reason, reference = (
        str(getattr(properties, name, "")) for name in ("ReasonString", "ServerReference")
    )
    return reason, reference
