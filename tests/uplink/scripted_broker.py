"""A broker of one's own over TLS 1.3 that does what a test tells it, and remembers what it got.

It speaks just enough MQTT 5 to be wrong on purpose: reason codes, silence, limits, rudeness. What
it is told to do is a function of what it received; what arrives is decoded by paho's decoder.
"""

import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, Self

from paho.mqtt import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from demo.pki import Pki

IDLE_S = 0.2
HANG_UP = b""
"""As an answer: close the connection."""


@dataclass(frozen=True)
class Published:
    """One PUBLISH as it arrived."""

    connection: int
    """The first connection is 1."""
    number: int
    """Counted over all connections, from 1; status messages are not counted and have 0."""
    packet_id: int
    topic: str
    payload: dict[str, Any]
    retain: bool
    properties: Properties
    """Empty in MQTT 3.1.1."""
    sent_topic: str
    """As it was sent: empty where an alias stood for it."""

    @property
    def place(self) -> tuple[int, int]:
        """(sequence, index) of the sample."""
        _, _, sequence, index = self.payload["id"].split(":")
        return int(sequence), int(index)


Answers = Callable[[Published], list[bytes]]
"""What to send for one PUBLISH."""


def puback(packet_id: int, code: int = 0) -> bytes:
    """Return a PUBACK; the short form when it is a success."""
    body = packet_id.to_bytes(2, "big") + (bytes([code]) if code else b"")
    return b"\x40" + bytes([len(body)]) + body


def disconnect(code: int, **more: str) -> bytes:
    """Return a DISCONNECT with a reason; `more` are properties as paho names them."""
    properties = Properties(PacketTypes.DISCONNECT)
    for name, value in more.items():
        setattr(properties, name, value)
    body = bytes([code]) + bytes(properties.pack())
    return b"\xe0" + bytes([len(body)]) + body


def connack_311(code: int = 0) -> bytes:
    """Return a CONNACK of MQTT 3.1.1."""
    return bytes([0x20, 2, 0, code])


def connack(code: int = 0, **limits: int | str) -> bytes:
    """Return a CONNACK; `limits` are properties as paho names them."""
    properties = Properties(PacketTypes.CONNACK)
    for name, value in limits.items():
        setattr(properties, name, value)
    body = bytes([0, code]) + bytes(properties.pack())
    return b"\x20" + bytes([len(body)]) + body


def take(message: Published) -> list[bytes]:
    """Acknowledge."""
    return [puback(message.packet_id)]


class Stream(Protocol):
    """What carries MQTT: a TLS connection, or something on top of one."""

    def recv(self, buflen: int, /) -> bytes: ...

    def sendall(self, data: bytes, /) -> None: ...

    def settimeout(self, value: float | None, /) -> None: ...


class ScriptedBroker:
    """Listens on 127.0.0.1 and serves one connection at a time, in a thread of its own."""

    def __init__(
        self,
        pki: Pki,
        answers: Answers = take,
        *,
        welcome: Callable[[int], bytes | None] = lambda _connection: connack(),
        idle: Callable[[], list[bytes]] | None = None,
        dress: Callable[[ssl.SSLSocket], Stream] = lambda connection: connection,
        suback: int = 0,
        alpn: str = "",
    ) -> None:
        """`welcome` gives the CONNACK of the n-th connection, None for silence.

        `suback` is the code with which every subscription is answered. With `alpn` only a client
        that asks for this protocol in its TLS handshake is served.

        `idle` is asked what to send when nothing has come for IDLE_S. `dress` puts something
        between TLS and MQTT.
        """
        self._dress = dress
        self._idle = idle
        self._answers = answers
        self._welcome = welcome
        self._suback = suback
        self._alpn = alpn
        self._version = MQTTProtocolVersion.MQTTv5
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        """To be changed before it is entered."""
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_cert_chain(pki.server.cert_file, pki.server.key_file)
        if alpn:
            self.context.set_alpn_protocols([alpn])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="scripted broker")
        self.port = int(self._listener.getsockname()[1])
        self.connects: list[bytes] = []
        """Every CONNECT packet."""
        self.messages: list[Published] = []
        self._aliases: dict[tuple[int, int], str] = {}
        """(connection, alias) → topic."""
        self.goodbyes = 0
        self.alpn: str | None = None
        """The protocol that the last TLS handshake agreed upon."""
        self.pings = 0
        self._leaving = False
        self._count = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._connection is not None:
            with suppress(OSError):  # Gone already.
                self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    @property
    def samples(self) -> list[Published]:
        """Every message that carries a sample, in order of arrival."""
        return [each for each in list(self.messages) if each.number]

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self.context.wrap_socket(raw, server_side=True) as connection:
                    self._connection = connection
                    self.alpn = connection.selected_alpn_protocol()
                    self._talk(self._dress(connection))
            except OSError:
                raw.close()  # The client left in its own way; that is its right.

    def _talk(self, connection: Stream) -> None:
        connection.settimeout(IDLE_S if self._idle else None)
        if self._alpn and connection.selected_alpn_protocol() != self._alpn:
            return
        while (packet := self._next(connection)) is not None:
            head, body = packet
            kind = head & 0xF0
            if kind == 0x10:
                self.connects.append(body)
                self._version = MQTTProtocolVersion(body[6])
                welcome = self._welcome(len(self.connects))
                if welcome is not None:
                    connection.sendall(welcome)
            elif kind == 0x30:
                for answer in self._answers(self._remember(head, body)):
                    if answer == HANG_UP:
                        return
                    connection.sendall(answer)
            elif kind in (0x80, 0xC0):
                connection.sendall(self._reply(kind, body))
            elif kind == 0xE0:
                self.goodbyes += 1
                return

    def _reply(self, kind: int, body: bytes) -> bytes:
        """Return a SUBACK or a PINGRESP."""
        if kind == 0xC0:
            self.pings += 1
            return b"\xd0\x00"
        answer = body[:2] + b"\0" + bytes([self._suback])
        return b"\x90" + bytes([len(answer)]) + answer

    def _next(self, connection: Stream) -> tuple[int, bytes] | None:
        while True:
            try:
                packet = _read_packet(connection)
            except TimeoutError:
                for answer in self._idle() if self._idle else []:
                    connection.sendall(answer)
                continue
            # A TLS socket that was shut down gives what is left as it came, encrypted.
            return None if self._leaving else packet

    def _remember(self, head: int, body: bytes) -> Published:
        read = _packet.decode_publish(head, body, self._version)
        payload = json.loads(read.payload)
        number = 0
        if "id" in payload:
            self._count += 1
            number = self._count
        properties = read.properties or Properties(PacketTypes.PUBLISH)
        alias = getattr(properties, "TopicAlias", 0)
        if alias and read.topic:
            self._aliases[len(self.connects), alias] = read.topic.decode()
        topic = read.topic.decode() or self._aliases[len(self.connects), alias]
        message = Published(
            connection=len(self.connects),
            number=number,
            packet_id=read.mid,
            topic=topic,
            payload=payload,
            retain=bool(head & 1),
            properties=properties,
            sent_topic=read.topic.decode(),
        )
        self.messages.append(message)
        return message


def _read_packet(connection: Stream) -> tuple[int, bytes] | None:
    """Return (first byte, body) of the next packet, None at the end of the connection."""
    head = connection.recv(1)
    if not head:
        return None
    length, shift = 0, 0
    while True:
        part = connection.recv(1)
        if not part:
            return None
        digit = part[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            break
    body = b""
    while len(body) < length:
        part = connection.recv(length - len(body))
        if not part:
            return None
        body += part
    return head[0], body
