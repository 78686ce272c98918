"""MQTT 5 or 3.1.1 over TLS 1.3: the modules named mqtt… are the only ones that know paho.

One client object per connection, no thread of paho's own and nothing queued inside it: it opens,
pings and closes; the data packets are mqtt_packets'. No session is kept at the broker, unless it
shall wait with our will (`session_expiry_s`): nothing of ours ever stands in one.
What the broker announces in its CONNACK is obeyed: Receive Maximum, Maximum Packet Size, Maximum
QoS, Retain Available, Server Keep Alive, Topic Alias Maximum, Assigned Client Identifier.
"""

import dataclasses
import ssl
import threading
from collections.abc import Callable, Sequence

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from common.log import get_log
from uplink.contract import Message, TargetRefused
from uplink.settings import TargetSettings
from uplink.status import offline_message
from uplink.surroundings import Surroundings
from uplink.targets.mqtt_config import (
    MqttConfig,
    mqtt_config,
    server_of,
    shard_id,
    usual_alpn,
)
from uplink.targets.mqtt_connection import WAITING_SLICE_S, MqttConnection
from uplink.targets.mqtt_endings import Endings
from uplink.targets.mqtt_events import Events, new_properties
from uplink.targets.mqtt_packets import INBOUND_BYTES_MAX
from uplink.targets.mqtt_reasons import TargetRedirected
from uplink.targets.mqtt_shards import ShardedConnection, connect_all
from uplink.targets.mqtt_socket import GatheringContext, GatheringSocket
from uplink.tls import NAMES_TIMEOUT_S, configure, explained

HOPS_MAX = 3
"""Servers that may send us on, one after the other."""

log = get_log(__name__)


def build_target(
    settings: TargetSettings, surroundings: Surroundings
) -> "MqttTarget | ShardedTarget":
    """Return the far side of one [targets.NAME] with kind = "mqtt"."""

    def last_words() -> Message:
        return offline_message(surroundings.identity.edge)

    if mqtt_config(settings).connections > 1:
        return ShardedTarget(settings, last_words)
    return MqttTarget(settings, last_words)


class ShardedTarget:
    """One broker over several connections."""

    def __init__(self, settings: TargetSettings, last_words: Callable[[], Message]) -> None:
        """`last_words` are the first connection's; the others die without."""
        shards = range(1, mqtt_config(settings).connections + 1)
        self._targets = [
            MqttTarget(settings, last_words if shard == 1 else None, shard=shard)
            for shard in shards
        ]
        self._last_words = last_words

    @property
    def address(self) -> str:
        """`host:port`."""
        return self._targets[0].address

    def connect(self, waiting: Callable[[], None]) -> ShardedConnection:
        """Open all connections. Raises TargetUnavailable or TargetRefused."""
        connects = [each.connect for each in self._targets]
        return connect_all(connects, self._last_words().topic, waiting)


class MqttTarget:
    """One broker."""

    def __init__(
        self,
        settings: TargetSettings,
        last_words: Callable[[], Message] | None,
        subscriptions: Sequence[str] = (),
        *,
        shard: int = 1,
    ) -> None:
        """`last_words` is asked before each CONNECT what the broker shall say when we die.

        `subscriptions` are subscribed at QoS 1 before a connection is given out; without any, a
        broker that sends a PUBLISH is disconnected.
        """
        self._settings = settings
        self._config = mqtt_config(settings)
        self._shard = shard
        self._last_words = last_words
        self._subscriptions = subscriptions
        self._opening: _Opening | None = None
        self._endings = Endings(
            shard_id(settings, shard) or "(chosen by the broker)",
            plenty=self._config.in_flight_max,
            reasons=self._config.mqtt_version == "5",
            follows=self._config.redirects == "follow",
        )
        self._home = settings
        """As configured; `_settings` is where a broker has sent us, or the same."""
        self._sent_by = ""

    @property
    def address(self) -> str:
        """`host:port`."""
        return self._config.place

    def connect(self, waiting: Callable[[], None]) -> "MqttConnection":
        """Open a connection. Raises TargetUnavailable or TargetRefused."""
        if elsewhere := self._endings.elsewhere:
            self._endings.elsewhere = ""
            self._go(elsewhere)
        for _ in range(HOPS_MAX + 1):
            try:
                return self._connect_here(waiting)
            except TargetRedirected as error:
                if self._config.redirects == "refuse" or not self._go(error.reference):
                    self._go_home()
                    raise
            except TargetUnavailable:
                self._go_home()
                raise
        self._go_home()
        raise TargetRefused(
            f"{self.address} sends us from server to server, more than {HOPS_MAX} times; "
            "correct host, or ask who runs them"
        )

    def _connect_here(self, waiting: Callable[[], None]) -> "MqttConnection":
        context = GatheringContext(ssl.PROTOCOL_TLS_CLIENT)
        configure(context, self._settings)
        context.peer_name = self._config.verified_name
        if names := usual_alpn(self._config):
            context.set_alpn_protocols(list(names))
        client, events = self._client(context)
        tls_socket = self._open(client, context, waiting)
        if self._subscriptions:
            tls_socket.admit_publications()
        notes = (f"{self._sent_by} sent us to {self.address}",) if self._sent_by else ()
        connection = MqttConnection(
            client, events, tls_socket, self._settings, endings=self._endings, notes=notes
        )
        welcome = False
        try:
            connection.wait_for_welcome(waiting)
            connection.subscribe(self._subscriptions, waiting)
            welcome = True
        finally:
            if not welcome:
                connection.drop()
        return connection

    def _go(self, reference: str) -> bool:
        """Point at the server that a broker named; return False when that is no address.

        Everything is checked there as at home, and its certificate must carry its own name.
        """
        found = server_of(reference)
        if found is None:
            return False
        host, port = found
        self._sent_by = self.address
        self._config = msgspec.structs.replace(
            self._config, host=host, port=port or self._config.port, server_name=""
        )
        self._settings = dataclasses.replace(self._settings, config=self._config)
        log.warning("broker sends us elsewhere", target=self._settings.name, to=self.address)
        return True

    def _go_home(self) -> None:
        self._settings, self._config, self._sent_by = self._home, mqtt_config(self._home), ""

    def _client(self, context: GatheringContext) -> tuple[Client, Events]:
        config = self._config
        five = config.mqtt_version == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=shard_id(self._settings, self._shard),
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.tls_set_context(context)
        client.connect_timeout = config.connect_timeout_s
        if config.user:
            client.username_pw_set(config.user, self._password())
        if self._last_words is not None:
            will = self._last_words()
            retain = will.retain and self._endings.retain
            properties = _will_properties(will, config) if five else None
            client.will_set(will.topic, will.payload, qos=1, retain=retain, properties=properties)
        events = Events()
        client.on_connect = events.on_connect
        client.on_disconnect = events.on_disconnect
        client.on_subscribe = events.on_subscribe
        client.on_message = events.on_message
        # Set, so that paho leaves writing to us instead of writing inside each call.
        client.on_socket_register_write = events.on_socket_register_write
        return client, events

    def _password(self) -> str | None:
        file = self._settings.password_file
        if file is None:
            return None
        try:
            return file.read_text().rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise TargetRefused(f"password_file {file} cannot be read: {error}") from error

    def _open(
        self, client: Client, context: GatheringContext, waiting: Callable[[], None]
    ) -> GatheringSocket:
        """Resolve, connect and shake hands in a thread of its own.

        The system's name resolution cannot be interrupted, not even by a signal, and may take
        half a minute; neither stopping nor the health file waits for it.
        """
        config = self._config
        # Three waits in a row, each bounded by the timeout: name, connection, handshake. Then, for
        # a certificate with a wrong name, connection and handshake once more.
        until_s = monotonic_s() + 3 * config.connect_timeout_s + 2 * NAMES_TIMEOUT_S
        if self._opening is not None:
            # The last attempt may still hang in the resolver: never start a second one beside it.
            self._await(self._opening, until_s, waiting)
        self._opening = opening = _Opening(client, context, self._settings)
        opening.start()
        try:
            self._await(opening, until_s, waiting)
        finally:
            opening.abandoned = not opening.done.is_set()
        self._opening = None
        if opening.error is not None:
            raise opening.error
        found = client.socket()
        if not isinstance(found, GatheringSocket):
            raise TargetUnavailable(f"{self.address} was lost as soon as it was reached")
        return found

    def _await(self, opening: "_Opening", until_s: float, waiting: Callable[[], None]) -> None:
        while not opening.done.wait(WAITING_SLICE_S):
            waiting()
            if monotonic_s() > until_s:
                raise TargetUnavailable(
                    f"{self.address} could not be reached: the name server does not answer, or "
                    "the network drops packets"
                )


def _will_properties(will: Message, config: MqttConfig) -> Properties:
    properties = new_properties(PacketTypes.WILLMESSAGE)
    if will.content_type:
        properties.PayloadFormatIndicator = 1
        properties.ContentType = will.content_type
    if config.will_delay_s:
        properties.WillDelayInterval = config.will_delay_s
    return properties


class _Opening(threading.Thread):
    """One attempt to open a connection; the client belongs to it until `done` is set."""

    def __init__(self, client: Client, context: GatheringContext, settings: TargetSettings) -> None:
        super().__init__(name="opening", daemon=True)
        self._client = client
        self._context = context
        self._settings = settings
        self.done = threading.Event()
        self.abandoned = False
        self.error: TargetUnavailable | None = None

    def run(self) -> None:
        config = mqtt_config(self._settings)
        try:
            if config.mqtt_version != "5":
                self._client.connect(config.host, config.port, keepalive=config.keepalive_s)
                return
            properties = new_properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = config.session_expiry_s
            properties.MaximumPacketSize = INBOUND_BYTES_MAX
            self._client.connect(
                config.host,
                config.port,
                keepalive=config.keepalive_s,
                # A session that is begun anew ends the old one, and publishes its will at once.
                clean_start=not config.session_expiry_s,
                properties=properties,
            )
        except (OSError, ValueError) as error:  # UnicodeError of a host name is a ValueError.
            self.error = explained(error, self._settings)
            self.error.__cause__ = error
        finally:
            self.done.set()
        opened = self._context.wrapped
        if opened is not None and (self.abandoned or self.error is not None):
            opened.close()
