"""One open MQTT connection: what is in flight, what was answered, why it ended."""

import select
from collections.abc import Callable, Sequence

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from uplink.contract import Answer, Message, Verdict
from uplink.settings import TargetSettings
from uplink.targets.mqtt_config import NO_REASONS, limits_of, mqtt_config, rates_of
from uplink.targets.mqtt_encoder import PublishEncoder
from uplink.targets.mqtt_endings import Ending, Endings
from uplink.targets.mqtt_events import Events, Received, said
from uplink.targets.mqtt_pacing import pace_of
from uplink.targets.mqtt_packets import (
    ENVELOPE_BYTES_MAX,
    REMAINING_LENGTH_MAX,
    Acknowledgement,
    ProtocolFault,
)
from uplink.targets.mqtt_reasons import (
    FAILURE,
    QOS_NOT_SUPPORTED,
    RETAIN_NOT_SUPPORTED,
    disconnected,
    named,
    reason_of,
    refused_connection,
    refused_subscription,
    verdict_of,
)
from uplink.targets.mqtt_socket import OUTGOING_BYTES_MAX, GatheringSocket
from uplink.tls import explained

WAITING_SLICE_S = 0.1
MISC_INTERVAL_S = 0.5
"""Between looks at keepalive and overdue acknowledgements."""
GOODBYE_S = 1.0
PACKET_IDS = 65_535
PAYLOAD_MAX = REMAINING_LENGTH_MAX
USUAL_TOPIC_BYTES = 512
USUAL_PROPERTIES_BYTES = 64
NO_RETAIN_NOTE = "the broker keeps no retained messages: late subscribers see nothing"
DISCONNECT_WITH_WILL = ReasonCode(PacketTypes.DISCONNECT, identifier=0x04)


class MqttConnection:
    """One open connection. Every method may be called by one thread only."""

    def __init__(
        self,
        client: Client,
        events: Events,
        tls_socket: GatheringSocket,
        settings: TargetSettings,
        *,
        endings: Endings,
        notes: tuple[str, ...] = (),
    ) -> None:
        """`endings` remembers the connections before this one, and learns how this one ends."""
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
        self._says_reasons = self._config.mqtt_version == "5"
        self._encoder = PublishEncoder(properties=self._says_reasons)
        self._limits = limits_of(self._config)
        self._pace = pace_of(*rates_of(self._config))
        self._misc_at_s = 0.0
        self._endings = endings
        self._welcome_at_s: float | None = None
        self._taken = 0
        self._notes = notes
        self._doom: TargetUnavailable | None = None

    @property
    def room(self) -> int:
        """How many more messages may be published before answers must come."""
        if self._socket.unsent > OUTGOING_BYTES_MAX:
            return 0
        room = max(0, self._window - len(self._published_at_s))
        return room if self._pace is None else min(room, self._pace.room)

    @property
    def pause_s(self) -> float:
        """How long the pace leaves no room; 0 when it does."""
        return 0.0 if self._pace is None else self._pace.wait_s

    def expect(self, poll: "select.poll") -> None:
        """Register for what the next exchange waits for."""
        writing = select.POLLOUT if self._socket.unsent else 0
        poll.register(self._socket, select.POLLIN | writing)

    @property
    def notes(self) -> tuple[str, ...]:
        """What this broker cannot do, and what it did lately."""
        if self._welcome_at_s is None:
            return self._notes
        past = self._endings.note(monotonic_s() - self._welcome_at_s)
        return (*self._notes, past) if past else self._notes

    def wait_for_welcome(self, waiting: Callable[[], None]) -> None:
        """Wait for the CONNACK and obey it."""
        timeout_s = self._config.connect_timeout_s
        until_s = monotonic_s() + timeout_s
        while self._events.welcome is None:
            try:
                self.exchange(WAITING_SLICE_S)
            except TargetUnavailable:
                code = reason_of(self._socket.connack or 0, self._config.mqtt_version)
                if self._events.welcome is None and code >= FAILURE:
                    raise refused_connection(self._place, code, "") from None
                if self._events.welcome is None:
                    raise  # Otherwise the CONNACK says why.
            waiting()
            if monotonic_s() > until_s:
                raise TargetUnavailable(
                    f"{self._place} took the TLS connection but did not answer MQTT's CONNECT "
                    f"within {timeout_s:g} s"
                )
        code, properties = self._events.welcome
        if code == RETAIN_NOT_SUPPORTED and self._endings.retain:
            self._endings.retain = False
            raise TargetUnavailable(f"{self._place} keeps no retained messages; asking without")
        if code >= FAILURE:
            raise refused_connection(self._place, code, *said(properties))
        if getattr(properties, "MaximumQoS", 1) < 1:
            raise refused_connection(self._place, QOS_NOT_SUPPORTED, "")
        self._obey(properties)
        self._welcome_at_s = monotonic_s()
        if self._doom is not None:  # It came together with the welcome.
            self._doom = self._judged(self._doom)

    def _obey(self, properties: Properties) -> None:
        """Take over what the broker announces; without properties, as in MQTT 3.1.1, nothing."""
        config, endings = self._config, self._endings
        # 0 is not allowed by the protocol (3.2.2.3.3); 1 still makes progress.
        receive_maximum = max(1, getattr(properties, "ReceiveMaximum", PACKET_IDS))
        self._window = min(self._window, receive_maximum)
        self._packet_bytes_max = min(
            getattr(properties, "MaximumPacketSize", REMAINING_LENGTH_MAX), REMAINING_LENGTH_MAX
        )
        aliases_max = min(config.topic_aliases_max, getattr(properties, "TopicAliasMaximum", 0))
        self._encoder = PublishEncoder(
            properties=self._says_reasons,
            packet_bytes_max=self._packet_bytes_max,
            broker=config.broker,
            aliases_max=aliases_max if endings.aliases else 0,
        )
        self._retain = endings.retain and bool(getattr(properties, "RetainAvailable", 1))
        assigned = getattr(properties, "AssignedClientIdentifier", "")
        notes = (
            "" if self._retain else NO_RETAIN_NOTE,
            "" if self._says_reasons else NO_REASONS,
            f"the broker calls us {assigned}" if assigned else "",
        )
        self._notes += tuple(filter(None, notes))

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
                raise refused_subscription(self._place, topic, code)

    def received(self) -> list[Received]:
        """Return, once each, the messages that came by the last exchange, oldest first."""
        found = list(self._events.received)
        self._events.received.clear()
        return found

    @property
    def payload_bytes_max(self) -> int:
        """What a payload may have with a topic of usual length."""
        beside = ENVELOPE_BYTES_MAX + USUAL_TOPIC_BYTES + USUAL_PROPERTIES_BYTES
        most = self._packet_bytes_max - beside
        return max(1, min(most, self._limits.payload_bytes_max or most))

    def rejection(self, message: Message) -> str | None:
        """Return why the broker, or MQTT itself, would never take the message."""
        return self._encoder.rejection(message)

    def publish(self, message: Message) -> int:
        """Gather one PUBLISH; the next exchange sends it."""
        packet_id = self._packet_id % PACKET_IDS + 1
        while packet_id in self._published_at_s:
            packet_id = packet_id % PACKET_IDS + 1
        self._packet_id = packet_id
        retain = message.retain and self._retain
        if retain and len(message.payload) > (self._limits.retained_bytes_max or PAYLOAD_MAX):
            retain = False  # Better delivered and not kept than not delivered.
        packet = self._encoder.packet(message, packet_id, retain=retain)
        self._socket.gather(packet)
        if self._pace is not None:
            self._pace.published(len(packet))
        self._published_at_s[packet_id] = monotonic_s()
        return packet_id

    def say(self, message: Message) -> None:
        """Gather one PUBLISH at QoS 0, which is never answered; the next exchange sends it."""
        packet = self._encoder.unanswered_packet(message)
        self._socket.gather(packet)
        if self._pace is not None:
            self._pace.published(len(packet))

    def exchange(self, wait_s: float) -> list[Answer]:
        """Send, wait, read. Raises TargetUnavailable when the connection is lost.

        Answers that came with the loss are returned first; the next call raises.
        """
        if self._doom is not None:
            raise self._doom
        if self._client.want_write():
            self._client.loop_write()
        if self._pace is not None and (pause_s := self._pace.wait_s):
            wait_s = min(wait_s, pause_s)
        self._wait(wait_s, writing=not self._socket.flush())
        answers = self._answers(self._socket.acknowledgements())
        while self._socket.for_paho and self._client.socket() is not None:
            self._client.loop_read()
        reason = self._reason_to_end()
        if reason is not None:
            self._doom = self._judged(reason)
            self.drop()
            if not answers:
                raise self._doom
        return answers

    def _answers(self, acknowledgements: list[Acknowledgement]) -> list[Answer]:
        """Return what they mean for messages in flight; any other is for nothing."""
        forget, encoder = self._published_at_s.pop, self._encoder
        answers = []
        for packet_id, code in acknowledgements:
            if forget(packet_id, None) is None:
                continue
            if code < FAILURE:
                self._taken += 1
                answers.append(Answer(packet_id, Verdict.TAKEN, ""))
            else:
                answers.append(Answer(packet_id, verdict_of(code), named(code)))
            if encoder.introducing:
                encoder.answered(packet_id, taken=code < FAILURE)
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
            code, properties = self._events.farewell
            return disconnected(self._place, code, *said(properties))
        if self._socket.disconnect is not None:
            return disconnected(self._place, self._socket.disconnect, "")
        failure = self._socket.failure
        if isinstance(failure, ProtocolFault):
            return TargetUnavailable(f"{self._place} broke the MQTT protocol: it sent {failure}")
        if failure is not None:
            return explained(failure, self._settings)
        if self._socket.ended:
            farewell = f" (WebSocket: {self._socket.farewell})" if self._socket.farewell else ""
            return TargetUnavailable(f"{self._place} closed the connection{farewell}")
        return self._overdue()

    def _judged(self, error: TargetUnavailable) -> TargetUnavailable:
        """Return what the end means after those before it; before the welcome just itself."""
        if self._welcome_at_s is None:
            return error
        code = self._socket.disconnect
        return self._endings.judged(
            Ending(
                error,
                code=code,
                closed=code is None and self._socket.failure is None and self._socket.ended,
                lasted_s=monotonic_s() - self._welcome_at_s,
                taken=self._taken,
                in_flight=len(self._published_at_s),
            )
        )

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
