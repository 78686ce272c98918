"""A subscription to a broker as a consumer has it: MQTT 5, TLS 1.3, QoS 1. The only one with paho.

paho opens the connection and subscribes. What comes then is read in bulk and acknowledged here,
because paho needs several calls of the TLS library for each message: measured, 52 µs of CPU each
with paho and nothing done with them; here 8 µs, all of `tailrace verify`'s judging included.

Promise
    Nothing that the broker keeps for this session is lost between `open` and `close`: the session
    survives a lost connection, and a message is acknowledged only after `receive` has returned it.
    `session_lost` says when a broker had forgotten it.
"""

import select
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from common.clock import monotonic_s
from common.errors import TailraceError

KEEPALIVE_S = 30
OPEN_TIMEOUT_S = 15.0
SESSION_EXPIRY_S = 3_600
READ_BYTES = 256 * 1024
PACKET_BYTES_MAX = 16 * 1024**2
RECEIVE_MAXIMUM = 1_000
FAILURE = 0x80


class BrokerUnavailable(TailraceError):
    """It cannot be reached, or the connection was lost."""


class BrokerRefused(TailraceError):
    """It answered, and somebody has to change something."""


class Received(NamedTuple):
    """One message."""

    topic: str
    payload: bytes
    retain: bool
    """As it was published."""


@dataclass(frozen=True)
class Address:
    """Where the broker is, and who asks."""

    host: str
    port: int
    ca_file: Path | None = None
    """None: the authorities of the operating system."""
    cert_file: Path | None = None
    key_file: Path | None = None
    user: str = ""
    password_file: Path | None = None
    server_name: str = ""
    """The name that the certificate must carry, where it is not `host`."""

    def __str__(self) -> str:
        """`host:port`."""
        return f"{self.host}:{self.port}"


class _Context(ssl.SSLContext):
    """Asks for another name than the host's where it has one; paho knows only the host."""

    peer_name = ""

    def wrap_socket(self, sock: Any, *args: Any, **options: Any) -> ssl.SSLSocket:
        options["server_hostname"] = self.peer_name
        try:
            return super().wrap_socket(sock, *args, **options)
        except OSError:
            sock.close()
            raise


class Subscription:
    """One client of one broker, for as long as it is open. Used by one thread."""

    def __init__(
        self, address: Address, client_id: str, filters: Sequence[tuple[str, bool]]
    ) -> None:
        """`filters` are topic filters, each with whether retained messages shall come at first."""
        self._address = address
        self._client_id = client_id
        self._filters = filters
        self._client: Client | None = None
        self._socket: Any = None
        self._inbound = bytearray()
        self._outbound = bytearray()
        self._early: list[Received] = []
        self._ping_at_s = self._heard_at_s = 0.0
        self._opened_before = False
        self.session_lost = False

    def open(self) -> None:
        """Connect and subscribe. Raises BrokerUnavailable, BrokerRefused."""
        self._inbound.clear()
        self._outbound.clear()
        self._client = client = self._new_client()
        answers: dict[str, Any] = {}
        client.on_connect = lambda _c, _u, flags, code, _p: answers.update(
            connected=code, resumed=flags.session_present
        )
        client.on_subscribe = lambda _c, _u, _m, codes, _p: answers.update(subscribed=codes)
        client.on_message = lambda _c, _u, message: self._early.append(_received(message))
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        try:
            client.connect(
                self._address.host,
                self._address.port,
                keepalive=KEEPALIVE_S,
                clean_start=not self._opened_before,
                properties=properties,
            )
        except (OSError, ValueError) as error:
            raise BrokerUnavailable(f"{self._address} cannot be reached: {error}") from error
        code = self._await(client, answers, "connected")
        if code >= FAILURE:
            raise BrokerRefused(f"{self._address} refused the connection: {_named(code)}")
        self.session_lost |= self._opened_before and not answers["resumed"]
        client.subscribe([(name, _options(retained=retained)) for name, retained in self._filters])
        for (name, _), each in zip(
            self._filters, self._await(client, answers, "subscribed"), strict=False
        ):
            if each.value >= FAILURE:
                text = (
                    f"{self._address} refused to let us subscribe to {name}: {_named(each.value)}"
                )
                raise BrokerRefused(f"{text}; allow it for this client")
        self._opened_before = True
        self._socket = client.socket()
        self._ping_at_s = monotonic_s() + KEEPALIVE_S / 2
        self._heard_at_s = monotonic_s()

    def receive(self, wait_s: float) -> Iterator[Received]:
        """Yield what has come, waiting up to `wait_s` for something.

        Raises BrokerUnavailable when the connection is lost; `open` again. What was yielded is
        acknowledged by the next call.
        """
        early, self._early = self._early, []
        yield from early
        self._send()
        if not early:
            self._wait(wait_s)
        ended = self._read()
        for head, body in self._packets():
            kind = head & 0xF0
            if kind == 0x30:  # noqa: PLR2004 - MQTT 5, 2.1.2: PUBLISH
                yield self._published(head, body)
            elif kind == 0xE0:  # noqa: PLR2004 - DISCONNECT
                reason = _named(body[0]) if body else "without a reason"
                raise BrokerUnavailable(f"{self._address} disconnected us: {reason}")
        if ended:
            raise BrokerUnavailable(f"{self._address} closed the connection")
        self._keep_alive()

    def close(self) -> None:
        """Say goodbye and have the broker forget the session."""
        if self._client is None:
            return
        if self._socket is not None:
            properties = _properties(PacketTypes.DISCONNECT)
            properties.SessionExpiryInterval = 0
            self._send_all()
            self._client.disconnect(properties=properties)
            self._client.loop_write()
        self._drop()

    def reopen(self) -> None:
        """Connect again after a loss, with the same session. Raises as `open`."""
        self._drop()
        self.open()

    def _drop(self) -> None:
        opened = self._client.socket() if self._client else None
        if opened is not None:
            opened.close()
        self._client = self._socket = None

    def _new_client(self) -> Client:
        address = self._address
        context = _Context(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.peer_name = address.server_name or address.host
        try:
            if address.ca_file is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(address.ca_file)
            if address.cert_file is not None:
                context.load_cert_chain(address.cert_file, address.key_file)
            file = address.password_file
            password = None if file is None else file.read_text().rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise BrokerRefused(f"a file cannot be used: {error}") from error
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        client.tls_set_context(context)
        client.connect_timeout = OPEN_TIMEOUT_S
        if address.user:
            client.username_pw_set(address.user, password)
        return client

    def _await(self, client: Client, answers: dict[str, Any], what: str) -> Any:
        until_s = monotonic_s() + OPEN_TIMEOUT_S
        while what not in answers:
            done = client.loop(0.1)
            if what not in answers and (
                done != MQTTErrorCode.MQTT_ERR_SUCCESS or monotonic_s() > until_s
            ):
                raise BrokerUnavailable(
                    f"{self._address} took the TLS connection and did not answer MQTT ({done.name})"
                )
        found = answers.pop(what)
        return found.value if isinstance(found, ReasonCode) else found

    def _wait(self, wait_s: float) -> None:
        if not self._socket.pending():
            poll = select.poll()
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._outbound else 0))
            poll.poll(wait_s * 1_000)

    def _read(self) -> bool:
        """Take in what has come; return whether the connection ended."""
        try:
            while True:
                some = self._socket.recv(READ_BYTES)
                if not some:
                    return True
                self._inbound += some
                self._heard_at_s = monotonic_s()
                if len(self._inbound) >= READ_BYTES:
                    return False
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            raise BrokerUnavailable(f"{self._address} was lost: {error}") from error

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        """Yield (first byte, body) of every whole packet that has come."""
        inbound, at = bytes(self._inbound), 0
        try:
            while (found := _frame(inbound, at)) is not None:
                first, end = found
                if end - at > PACKET_BYTES_MAX:
                    raise BrokerUnavailable(f"{self._address} sent a packet of {end - at} bytes")
                if end > len(inbound):
                    return
                head, at = inbound[at], end
                yield head, inbound[first:end]
        finally:
            del self._inbound[:at]

    def _published(self, head: int, body: bytes) -> Received:
        length = int.from_bytes(body[:2], "big")
        at = 2 + length
        if head & 0x06:
            self._outbound += b"\x40\x02" + body[at : at + 2]
            at += 2
        found = _frame(body, at - 1)  # Properties: a length in the form of a packet's.
        if found is None:
            raise BrokerUnavailable(f"{self._address} sent a PUBLISH that is cut short")
        return Received(
            body[2 : 2 + length].decode(errors="replace"), body[found[1] :], bool(head & 1)
        )

    def _send(self) -> None:
        """Send what waits, as far as the connection takes it."""
        try:
            while self._outbound:
                del self._outbound[: self._socket.send(bytes(self._outbound[:READ_BYTES]))]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except OSError as error:
            raise BrokerUnavailable(f"{self._address} was lost: {error}") from error

    def _send_all(self) -> None:
        until_s = monotonic_s() + 1.0
        try:
            while self._outbound and monotonic_s() < until_s:
                self._send()
        except BrokerUnavailable:
            return  # It is being closed: what was not acknowledged, nobody waits for.

    def _keep_alive(self) -> None:
        now_s = monotonic_s()
        if now_s > self._heard_at_s + 1.5 * KEEPALIVE_S:
            raise BrokerUnavailable(f"{self._address} is silent")
        if now_s >= self._ping_at_s:
            self._ping_at_s = now_s + KEEPALIVE_S / 2
            self._outbound += b"\xc0\x00"


def _frame(packets: bytes, at: int) -> tuple[int, int] | None:
    """Return where the body of the packet at `at` begins and ends, None when that is not known."""
    length = shift = 0
    for place in range(at + 1, min(at + 5, len(packets))):
        digit = packets[place]
        length |= (digit & 0x7F) << shift
        shift += 7
        if digit < 0x80:  # noqa: PLR2004 - MQTT 5, 1.5.5: the last digit of a length
            return place + 1, place + 1 + length
    if len(packets) - at > 4:  # noqa: PLR2004 - a length has four digits
        raise BrokerUnavailable("the broker sent a packet without an end to its length")
    return None


def _options(*, retained: bool) -> SubscribeOptions:
    handling = (
        SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
        if retained
        else SubscribeOptions.RETAIN_DO_NOT_SEND
    )
    return SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=handling)


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call] # paho leaves it untyped


def _received(message: MQTTMessage) -> Received:
    return Received(message.topic, bytes(message.payload), message.retain)


def _named(code: int) -> str:
    try:
        return f"{ReasonCode(PacketTypes.DISCONNECT, identifier=code)} ({code:#04x})"
    except KeyError:
        return f"{code:#04x}"
