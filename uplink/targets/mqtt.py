"""MQTT 5 over TLS: the modules named mqtt… are the only ones that know paho.

One client object per connection, clean start, no session at the broker, no thread of paho's own
and nothing queued inside it: it opens, pings and closes; the data packets are mqtt_packets'.
What the broker announces in its CONNACK is obeyed: Receive Maximum, Maximum Packet Size, Maximum
QoS, Retain Available, Server Keep Alive.
"""

import ssl
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from uplink.contract import Foreseen, Message, TargetRefused
from uplink.expiry import Outlook, foreseen_of, peer_validity
from uplink.files import secret_in
from uplink.renewal import Renewal
from uplink.settings import TargetSettings
from uplink.status import offline_message
from uplink.surroundings import Surroundings
from uplink.targets.mqtt_config import client_id, mqtt_config, proxy_of
from uplink.targets.mqtt_connection import (
    WAITING_SLICE_S,
    Events,
    MqttConnection,
    RetainRefused,
    new_properties,
)
from uplink.targets.mqtt_packets import INBOUND_BYTES_MAX
from uplink.targets.mqtt_socket import GatheringContext, GatheringSocket
from uplink.targets.mqtt_websocket import WebSocket
from uplink.tls import NAMES_TIMEOUT_S, configure, explained, weakness
from uplink.tunnel import tunnel


def build_target(settings: TargetSettings, surroundings: Surroundings) -> "MqttTarget":
    """Return the far side of one [targets.NAME] with kind = "mqtt"."""
    return MqttTarget(settings, lambda: offline_message(surroundings.identity.edge))


class MqttTarget:
    """One broker."""

    def __init__(
        self,
        settings: TargetSettings,
        last_words: Callable[[], Message],
        subscriptions: Sequence[str] = (),
    ) -> None:
        """`last_words` is asked before each CONNECT what the broker shall say when we die.

        `subscriptions` are subscribed at QoS 1 before a connection is given out; without any, a
        broker that sends a PUBLISH is disconnected.
        """
        self._settings = settings
        self._config = mqtt_config(settings)
        self._last_words = last_words
        self._subscriptions = subscriptions
        self._opening: _Opening | None = None
        self._retain = True
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
        files = self._renewal.current()
        client, events = self._client(files)
        tls_socket = self._open(client, files.context, waiting)
        self._outlook.peer = peer_validity(tls_socket.getpeercert())
        if self._subscriptions:
            tls_socket.admit_publications()
        connection = MqttConnection(client, events, tls_socket, self._settings)
        connection.remark(weakness(tls_socket.version()))
        welcome = False
        try:
            connection.wait_for_welcome(waiting, retain=self._retain)
            connection.subscribe(self._subscriptions, waiting)
            welcome = True
        except RetainRefused as error:
            self._retain = False
            raise TargetUnavailable(str(error)) from error
        finally:
            if not welcome:
                connection.drop()
        return connection

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

    def _load_files(self) -> "_Files":
        context = GatheringContext(ssl.PROTOCOL_TLS_CLIENT)
        configure(context, self._settings)
        context.peer_name = self._config.verified_name
        if self._config.transport == "websocket":
            token = secret_in(self._settings, "websocket_token_file")
            context.new_websocket = lambda: WebSocket(self._config, token)
        if proxy := proxy_of(self._settings):
            way = proxy, self._config.host, self._config.port
            context.tunnel = lambda connection: tunnel(connection, *way)
        return _Files(context, secret_in(self._settings, "password_file"))

    def _client(self, files: "_Files") -> tuple[Client, Events]:
        config = self._config
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id(self._settings),
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.tls_set_context(files.context)
        client.connect_timeout = config.connect_timeout_s
        if config.user:
            client.username_pw_set(config.user, files.password)
        will = self._last_words()
        properties = new_properties(PacketTypes.WILLMESSAGE)
        if will.content_type:
            properties.PayloadFormatIndicator = 1
            properties.ContentType = will.content_type
        retain = will.retain and self._retain
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
        # Five waits in a row, each bounded by the timeout: name, connection, proxy, handshake,
        # WebSocket. Then, for a certificate with a wrong name, three of them once more.
        until_s = monotonic_s() + 5 * config.connect_timeout_s + 3 * NAMES_TIMEOUT_S
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


class _Client(Client):
    """paho's, deaf to the environment: a variable mqtt_proxy would lead it elsewhere."""

    def _get_proxy(self) -> None:
        return None


class _Files(NamedTuple):
    """What one connection is made with, read from the files of the target together."""

    context: GatheringContext
    password: str | None


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
        self._context.begin()
        properties = new_properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0
        properties.MaximumPacketSize = INBOUND_BYTES_MAX
        try:
            self._client.connect(
                *config.first_hop,
                keepalive=config.keepalive_s,
                clean_start=True,
                properties=properties,
            )
        except TargetUnavailable as error:
            self.error = error
        except (OSError, ValueError) as error:  # UnicodeError of a host name is a ValueError.
            at_proxy = bool(config.proxy) and not self._context.reached
            self.error = explained(error, self._settings, at_proxy=at_proxy)
            self.error.__cause__ = error
        finally:
            self.done.set()
        opened = self._context.wrapped
        if opened is not None and (self.abandoned or self.error is not None):
            opened.close()
