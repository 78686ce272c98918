"""One open MQTT connection: what is in flight, what was answered, why it ended."""

import select
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from uplink.contract import Answer, Message, TargetRefused
from uplink.settings import TargetSettings
from uplink.targets.mqtt_config import mqtt_config
from uplink.targets.mqtt_packets import (
    ENVELOPE_BYTES_MAX,
    REMAINING_LENGTH_MAX,
    ProtocolFault,
    publish_bytes,
    publish_packet,
    unanswered_packet,
)
from uplink.targets.mqtt_reasons import (
    FAILURE,
    QOS_NOT_SUPPORTED,
    RETAIN_NOT_SUPPORTED,
    disconnected,
    named,
    refused_connection,
    verdict_of,
)
from uplink.targets.mqtt_socket import OUTGOING_BYTES_MAX, GatheringSocket
from uplink.tls import explained

WAITING_SLICE_S = 0.1
MISC_INTERVAL_S = 0.5
"""Between looks at keepalive and overdue acknowledgements."""
GOODBYE_S = 1.0
PACKET_IDS = 65_535
TOPIC_BYTES_MAX = 65_535
USUAL_TOPIC_BYTES = 512
TOPICS_MAX = 100_000
"""Remembered; then the memory starts over."""
DISCONNECT_WITH_WILL = ReasonCode(PacketTypes.DISCONNECT, identifier=0x04)
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


class RetainRefused(TargetUnavailable):
    """The broker refuses a retained will; the next connection asks for none."""


class Events:
    """What paho called back; kept, and judged outside of its callbacks."""

    def __init__(self) -> None:
        self.welcome: tuple[int, Properties] | None = None
        self.farewell: tuple[int, str] | None = None
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
            self.farewell = (code.value, str(getattr(properties, "ReasonString", "")))

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


class MqttConnection:
    """One open connection. Every method may be called by one thread only."""

    def __init__(
        self,
        client: Client,
        events: Events,
        tls_socket: GatheringSocket,
        settings: TargetSettings,
    ) -> None:
        self._client = client
        self._events = events
        self._socket = tls_socket
        self._settings = settings
        self._config = mqtt_config(settings)
        self._place = self._config.place
        self._poll = select.poll()
        self._poll.register(tls_socket, select.POLLIN)
        self._writing = False
        self._packet_id = 0
        self._published_at_s: dict[int, float] = {}
        self._window = self._config.in_flight_max
        self._packet_bytes_max = REMAINING_LENGTH_MAX
        self._retain = True
        self._topics: dict[str, bytes] = {}
        """Topics that are allowed, encoded once instead of once per sample."""
        self._misc_at_s = 0.0
        self._notes: list[str] = []
        self._doom: TargetUnavailable | None = None

    @property
    def room(self) -> int:
        """How many more messages may be published before answers must come."""
        if self._socket.unsent > OUTGOING_BYTES_MAX:
            return 0
        return max(0, self._window - len(self._published_at_s))

    @property
    def notes(self) -> tuple[str, ...]:
        """What this broker cannot do."""
        return tuple(self._notes)

    def wait_for_welcome(self, waiting: Callable[[], None], *, retain: bool) -> None:
        """Wait for the CONNACK and obey it."""
        timeout_s = self._config.connect_timeout_s
        until_s = monotonic_s() + timeout_s
        while self._events.welcome is None:
            try:
                self.exchange(WAITING_SLICE_S)
            except TargetUnavailable:
                if self._events.welcome is None:
                    raise  # Otherwise the CONNACK says why.
            waiting()
            if monotonic_s() > until_s:
                raise TargetUnavailable(
                    f"{self._place} took the TLS connection but did not answer MQTT's CONNECT "
                    f"within {timeout_s:g} s"
                )
        code, properties = self._events.welcome
        if code == RETAIN_NOT_SUPPORTED and retain:
            raise RetainRefused(f"{self._place} keeps no retained messages; asking without")
        if code >= FAILURE:
            more = str(getattr(properties, "ReasonString", ""))
            raise refused_connection(self._place, code, more)
        if getattr(properties, "MaximumQoS", 1) < 1:
            raise refused_connection(self._place, QOS_NOT_SUPPORTED, "")
        # 0 is not allowed by the protocol (3.2.2.3.3); 1 still makes progress.
        receive_maximum = max(1, getattr(properties, "ReceiveMaximum", PACKET_IDS))
        self._window = min(self._window, receive_maximum)
        self._packet_bytes_max = min(
            getattr(properties, "MaximumPacketSize", REMAINING_LENGTH_MAX), REMAINING_LENGTH_MAX
        )
        self._retain = retain and bool(getattr(properties, "RetainAvailable", 1))
        if not self._retain:
            self._notes.append(
                "the broker keeps no retained messages: late subscribers see nothing"
            )

    def subscribe(self, filters: Sequence[str], waiting: Callable[[], None]) -> None:
        """Subscribe at QoS 1 and wait for the broker's answer. Nothing may be in flight yet.

        Raises TargetUnavailable, or TargetRefused when one is refused.
        """
        if not filters:
            return
        self._client.subscribe([(each, 1) for each in filters])
        until_s = monotonic_s() + self._config.connect_timeout_s
        while self._events.subscribed is None:
            self.exchange(WAITING_SLICE_S)
            waiting()
            if monotonic_s() > until_s:
                raise TargetUnavailable(f"{self._place} did not answer our subscription")
        for topic, code in zip(filters, self._events.subscribed, strict=False):
            if code >= FAILURE:
                text = f"{self._place} refused to let us subscribe to {topic}: {named(code)}"
                raise TargetRefused(f"{text}; allow it for this client")

    def received(self) -> list[Received]:
        """Return, once each, the messages that came by the last exchange, oldest first."""
        found = list(self._events.received)
        self._events.received.clear()
        return found

    @property
    def payload_bytes_max(self) -> int:
        """What a payload may have with a topic of usual length."""
        return max(1, self._packet_bytes_max - ENVELOPE_BYTES_MAX - USUAL_TOPIC_BYTES)

    def rejection(self, message: Message) -> str | None:
        """Return why the broker, or MQTT itself, would never take the message."""
        topic = self._topics.get(message.topic) or self._learned(message.topic)
        if not topic:
            return "topic name invalid: empty, too long, not UTF-8, or with + # NUL"
        limit_bytes = self._packet_bytes_max
        if len(topic) + len(message.payload) + ENVELOPE_BYTES_MAX > limit_bytes:
            size = publish_bytes(topic, message.payload)
            if size > limit_bytes:
                return f"packet too large: {size} bytes, the broker takes {limit_bytes}"
        return None

    def publish(self, message: Message) -> int:
        """Gather one PUBLISH; the next exchange sends it."""
        packet_id = self._packet_id % PACKET_IDS + 1
        while packet_id in self._published_at_s:
            packet_id = packet_id % PACKET_IDS + 1
        self._packet_id = packet_id
        topic = self._topics.get(message.topic) or self._learned(message.topic)
        retain = message.retain and self._retain
        self._socket.gather(publish_packet(topic, packet_id, message.payload, retain=retain))
        self._published_at_s[packet_id] = monotonic_s()
        return packet_id

    def say(self, message: Message) -> None:
        """Gather one PUBLISH at QoS 0, which is never answered; the next exchange sends it."""
        topic = self._topics.get(message.topic) or self._learned(message.topic)
        self._socket.gather(unanswered_packet(topic, message.payload, message.content_type))

    def _learned(self, text: str) -> bytes:
        """Return a topic as bytes and remember it; empty when MQTT does not allow it."""
        try:
            topic = text.encode()
        except UnicodeEncodeError:
            return b""
        if len(topic) > TOPIC_BYTES_MAX or any(mark in topic for mark in b"+#\0"):
            return b""
        if len(self._topics) >= TOPICS_MAX:
            self._topics.clear()
        self._topics[text] = topic
        return topic

    def exchange(self, wait_s: float) -> list[Answer]:
        """Send, wait, read. Raises TargetUnavailable when the connection is lost.

        Answers that came with the loss are returned first; the next call raises.
        """
        if self._doom is not None:
            raise self._doom
        if self._client.want_write():
            self._client.loop_write()
        self._wait(wait_s, writing=not self._socket.flush())
        acknowledgements = self._socket.acknowledgements()
        while self._socket.for_paho and self._client.socket() is not None:
            self._client.loop_read()
        self._doom = self._reason_to_end()
        answers = [
            Answer(packet_id, verdict_of(code), named(code) if code >= FAILURE else "")
            for packet_id, code in acknowledgements
            if self._published_at_s.pop(packet_id, None) is not None
        ]
        if self._doom is not None:
            self.drop()
            if not answers:
                raise self._doom
        return answers

    def close(self, *, with_will: bool = False) -> None:
        """Send DISCONNECT, so that the broker does not publish our will; or does all the same."""
        until_s = monotonic_s() + GOODBYE_S
        while self._doom is None and not self._socket.flush() and monotonic_s() < until_s:
            self._wait(WAITING_SLICE_S, writing=True)
        self._socket.direct = True
        reason = DISCONNECT_WITH_WILL if with_will else None
        if self._doom is None and self._client.disconnect(reason) == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._client.loop_write()
        self.drop()

    def drop(self) -> None:
        """Close without a goodbye."""
        self._socket.close()

    def _wait(self, wait_s: float, *, writing: bool) -> None:
        if writing != self._writing:
            self._writing = writing
            events = select.POLLIN | select.POLLOUT if writing else select.POLLIN
            self._poll.modify(self._socket, events)
        self._poll.poll(max(0.0, wait_s) * 1_000)

    def _reason_to_end(self) -> TargetUnavailable | None:
        """Return why the connection is lost or must be dropped, None while it serves."""
        if self._events.farewell is not None:
            code, more = self._events.farewell
            return disconnected(self._place, code, more)
        failure = self._socket.failure
        if isinstance(failure, ProtocolFault):
            return TargetUnavailable(f"{self._place} broke the MQTT protocol: it sent {failure}")
        if failure is not None:
            return explained(failure, self._settings)
        if self._socket.ended:
            return TargetUnavailable(f"{self._place} closed the connection")
        return self._overdue()

    def _overdue(self) -> TargetUnavailable | None:
        """Return why the broker is too silent, None while it is not."""
        now_s = monotonic_s()
        if now_s < self._misc_at_s:
            return None
        self._misc_at_s = now_s + MISC_INTERVAL_S
        limit_s = self._config.reply_timeout_s
        if now_s - next(iter(self._published_at_s.values()), now_s) > limit_s:
            return TargetUnavailable(
                f"{self._place} did not acknowledge a message within {limit_s:g} s"
            )
        self._client.loop_misc()  # Pings; closes the socket when a ping went unanswered.
        if self._client.socket() is None:
            silent_s = self._config.keepalive_s
            return TargetUnavailable(f"{self._place} was silent for more than {silent_s} s")
        return None
