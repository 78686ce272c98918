"""MQTT 5 or 3.1.1 over TLS 1.3: the modules named mqtt… are the only ones that know paho.

One client object per connection, no thread of paho's own and nothing queued inside it: it opens,
pings and closes; the data packets are mqtt_packets'. No session is kept at the broker, unless it
shall wait with our will (`session_expiry_s`): nothing of ours ever stands in one.
What the broker announces in its CONNACK is obeyed: Receive Maximum, Maximum Packet Size, Maximum
QoS, Retain Available, Server Keep Alive, Topic Alias Maximum, Assigned Client Identifier.
"""

import dataclasses
import ssl
from collections.abc import Callable, Sequence

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from common.log import get_log
from uplink.contract import Foreseen, Message, TargetRefused
from uplink.expiry import Outlook, foreseen_of, peer_validity
from uplink.files import secret_in
from uplink.renewal import Renewal
from uplink.settings import TargetSettings
from uplink.status import offline_message
from uplink.surroundings import Surroundings
from uplink.targets.mqtt_config import MqttConfig, mqtt_config, proxy_of, server_of, shard_id
from uplink.targets.mqtt_connection import WAITING_SLICE_S, MqttConnection
from uplink.targets.mqtt_endings import Endings
from uplink.targets.mqtt_events import Events, new_properties
from uplink.targets.mqtt_opening import DeafClient, Opening, OpeningFiles
from uplink.targets.mqtt_reasons import TargetRedirected
from uplink.targets.mqtt_shards import ShardedConnection, connect_all
from uplink.targets.mqtt_socket import GatheringContext, GatheringSocket
from uplink.targets.mqtt_websocket import WebSocket
from uplink.tls import NAMES_TIMEOUT_S, configure, weakness
from uplink.tunnel import tunnel

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

    def stale(self) -> bool:
        """Return whether renewed files lie ready; the old ones serve until then."""
        stale = [each.stale() for each in self._targets]  # Each looks at the disk for itself.
        return any(stale)

    def foreseen(self) -> list[Foreseen]:
        """Return which certificates end soon, and which new files cannot be used."""
        return self._targets[0].foreseen()

    @property
    def certificate_expires_ms(self) -> int | None:
        """When our own certificate ends."""
        return self._targets[0].certificate_expires_ms


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
        self._opening: Opening | None = None
        self._endings = Endings(
            shard_id(settings, shard) or "(chosen by the broker)",
            plenty=self._config.in_flight_max,
            reasons=self._config.mqtt_version == "5",
            follows=self._config.redirects == "follow",
        )
        self._home = settings
        """As configured; `_settings` is where a broker has sent us, or the same."""
        self._sent_by = ""
        self._outlook = Outlook(settings)
        self._renewal = Renewal(settings, self._load_files)

    @property
    def address(self) -> str:
        """`host:port`."""
        return self._config.place

    def connect(self, waiting: Callable[[], None]) -> "MqttConnection":
        """Open a connection. Raises TargetUnavailable or TargetRefused."""
        try:
            connection = self._connect(waiting)
        except TargetRefused as error:
            self._renewal.refused(str(error))
            raise
        self._renewal.accepted()
        return connection

    def _connect(self, waiting: Callable[[], None]) -> "MqttConnection":
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
        files = self._renewal.current()
        files.context.peer_name = self._config.verified_name
        client, events = self._client(files)
        tls_socket = self._open(client, files.context, waiting)
        self._outlook.peer = peer_validity(tls_socket.getpeercert())
        if self._subscriptions:
            tls_socket.admit_publications()
        sent = f"{self._sent_by} sent us to {self.address}" if self._sent_by else None
        notes = tuple(filter(None, (weakness(tls_socket.version()), sent)))
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

    def stale(self) -> bool:
        """Return whether renewed files lie ready; the old ones serve until then."""
        return self._renewal.stale()

    def foreseen(self) -> list[Foreseen]:
        """Return which certificates end soon, and which new files cannot be used."""
        return foreseen_of(self._settings, self._outlook, self._renewal.complaint)

    @property
    def certificate_expires_ms(self) -> int | None:
        """When our own certificate ends."""
        return self._outlook.certificate_expires_ms

    def _load_files(self) -> OpeningFiles:
        context = GatheringContext(ssl.PROTOCOL_TLS_CLIENT)
        configure(context, self._settings)
        if self._config.transport == "websocket":
            token = secret_in(self._settings, "websocket_token_file")
            context.new_websocket = lambda: WebSocket(self._config, token)
        if proxy := proxy_of(self._settings):
            context.tunnel = lambda connection: tunnel(
                connection, proxy, self._config.host, self._config.port
            )
        return OpeningFiles(context, secret_in(self._settings, "password_file"))

    def _client(self, files: OpeningFiles) -> tuple[Client, Events]:
        config = self._config
        five = config.mqtt_version == "5"
        client = DeafClient(
            CallbackAPIVersion.VERSION2,
            client_id=shard_id(self._settings, self._shard),
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.tls_set_context(files.context)
        client.connect_timeout = config.connect_timeout_s
        if config.user:
            client.username_pw_set(config.user, files.password)
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
        self._opening = opening = Opening(client, context, self._settings)
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

    def _await(self, opening: Opening, until_s: float, waiting: Callable[[], None]) -> None:
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
