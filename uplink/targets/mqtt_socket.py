"""A TLS socket that gathers what is written and sorts what is read.

paho writes one TLS record per packet and reads three times per PUBACK. This socket is handed to
paho by way of its SSL context (`SSLContext.sslsocket_class` is public), collects packets until
`flush`, and gives paho only what `Inbound` keeps for it. Everything is non-blocking after the
handshake; used by one thread.
"""

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from uplink.targets.mqtt_packets import Acknowledgement, Inbound, ProtocolFault
from uplink.targets.mqtt_websocket import WebSocket

OUTGOING_BYTES_MAX = 256 * 1024
"""Gathered before a flush is due; one packet more may exceed it."""
READ_BYTES = 16 * 1024
"""One TLS record, RFC 8446, 5.1."""
READS_MAX = 256
"""Per turn, so that a broker that never stops talking cannot hold us."""
LAST_WAIT_S = 0.01
"""For the rest of an answer when its time is up."""


class GatheringSocket(ssl.SSLSocket):
    """One connection; `prepare` makes it ready after the handshake began."""

    _outgoing: bytearray
    """For the wire, in the order of sending."""
    _packets: bytearray
    """What the next flush sends; the same as _outgoing unless there are frames around it."""
    _websocket: WebSocket | None
    _inbound: Inbound
    ended: bool
    """True when the broker closed the connection."""
    failure: OSError | ProtocolFault | None
    """What reading or writing failed with. Reading is the better witness: a TLS alert or a
    DISCONNECT may wait there when a write fails."""
    direct: bool
    """True: `send` goes to the wire at once. For the last packet, which paho follows by close."""

    def prepare(self, websocket: WebSocket | None) -> None:
        """Begin with empty buffers, and without Nagle: an acknowledgement must not wait."""
        self._outgoing = bytearray()
        self._packets = bytearray() if websocket else self._outgoing
        self._websocket = websocket
        self._inbound = Inbound()
        self.ended = False
        self.failure = None
        self.direct = False
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def admit_publications(self) -> None:
        """Give paho what the broker publishes: we have subscribed to it."""
        self._inbound.admit_publications()

    @property
    def unsent(self) -> int:
        """Bytes gathered and not yet taken by the operating system."""
        return len(self._outgoing) + (len(self._packets) if self._websocket else 0)

    @property
    def for_paho(self) -> bool:
        """True when paho has something to read, or an end to notice."""
        return bool(self._inbound.for_paho) or self.ended

    @property
    def connack(self) -> int | None:
        """The code of the CONNACK, None before it came."""
        return self._inbound.connack

    @property
    def disconnect(self) -> int | None:
        """The code of the broker's DISCONNECT, None when it sent none."""
        return self._inbound.disconnect

    def gather(self, packet: bytes) -> None:
        """Add a whole packet to what the next flush sends."""
        self._packets += packet

    def flush(self) -> bool:
        """Send as much as the operating system takes now; return True when nothing is left.

        A lost connection is kept in `failure`.
        """
        if self._websocket is not None and self._packets:
            self._outgoing += self._websocket.framed(self._packets)
            self._packets.clear()
        while self._outgoing and self.failure is None:
            try:
                # The buffer only grows between attempts, as OpenSSL demands of a repeated write.
                sent = super().send(self._outgoing)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                return False
            except OSError as error:
                self.failure = error
                break
            del self._outgoing[:sent]
        return True

    def acknowledgements(self) -> list[Acknowledgement]:
        """Read everything that has arrived and return the PUBACKs in it.

        A lost connection, or one that must be dropped, is kept in `failure`.
        """
        found: list[Acknowledgement] = []
        for _ in range(READS_MAX):
            try:
                data = super().recv(READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                break
            except OSError as error:
                self.failure = error
                return found
            if not data:
                self.ended = True
                return found
            try:
                found += self._inbound.feed(self._unframed(data))
            except ProtocolFault as fault:
                self.failure = fault
                return found
        # Without it, a broker that writes its acknowledgements one by one under Nagle waits 40 ms
        # for our delayed ACK between them. The kernel forgets the option after a while.
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return found

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - ssl's signature
        """Shake hands, and open the WebSocket where there is one. Raises TargetUnavailable, too."""
        super().do_handshake(block)
        if self._websocket is not None:
            self._open(self._websocket)

    def _open(self, websocket: WebSocket) -> None:
        timeout_s = self.gettimeout() or 0.0
        until_s = monotonic_s() + timeout_s
        request = websocket.request()
        try:
            while request:
                request = request[super().send(request) :]
            while not websocket.answered(super().recv(READ_BYTES)):
                self.settimeout(max(LAST_WAIT_S, until_s - monotonic_s()))
        except TimeoutError as error:
            raise TargetUnavailable(
                f"{websocket.place} did not answer the request for a WebSocket within "
                f"{timeout_s:g} s"
            ) from error

    def _unframed(self, data: bytes) -> bytes:
        """Return what the broker said within the frames, and answer what they demand."""
        websocket = self._websocket
        if websocket is None:
            return data
        carried = websocket.unframed(data)
        self._outgoing += websocket.replies
        websocket.replies.clear()
        if websocket.farewell is not None:
            self.ended = True
            with suppress(OSError):  # A courtesy: the close is answered where that is possible.
                super().send(self._outgoing)
        return carried

    @property
    def farewell(self) -> str:
        """What a WebSocket was closed with; empty when nothing was said."""
        return (self._websocket and self._websocket.farewell) or ""

    def send(self, data: Any, flags: int = 0) -> int:  # noqa: ARG002 - socket's signature
        """Gather; what paho writes is always one whole packet, or the rest of one."""
        if self.direct and self._websocket is not None:
            super().send(self._websocket.framed(data) + self._websocket.closing())
            return len(data)
        if self.direct:
            return super().send(data)
        if len(self._packets) > OUTGOING_BYTES_MAX:
            raise ssl.SSLWantWriteError
        self._packets += data
        return len(data)

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:  # noqa: ARG002 - socket's signature
        """Return what `Inbound` kept for paho; b"" at the end of the connection."""
        kept = self._inbound.for_paho
        if not kept:
            if self.ended:
                return b""
            raise ssl.SSLWantReadError
        data = bytes(kept[:buflen])
        del kept[:buflen]
        return data


class GatheringContext(ssl.SSLContext):
    """A client context whose sockets gather, and that verifies one given name."""

    sslsocket_class = GatheringSocket
    new_websocket: Callable[[], WebSocket] | None = None
    """Makes the frames of each connection, where MQTT is carried in a WebSocket."""
    tunnel: Callable[[socket.socket], None] | None = None
    """Has the proxy that was connected to go on to the broker. Raises TargetUnavailable."""
    reached = False
    """True once the first hop, proxy or broker, was connected to."""
    peer_name: str
    """The name to verify; paho would pass the host that it connects to."""
    wrapped: GatheringSocket | None = None
    """The last socket made; paho leaves it open when the handshake fails."""

    def begin(self) -> None:
        """Forget the last connection: the files it was made with may serve again."""
        self.wrapped = None
        self.reached = False

    def wrap_socket(self, sock: socket.socket, *args: Any, **options: Any) -> GatheringSocket:
        """Wrap for `peer_name`, whatever name the caller passes; behind a proxy, have it open."""
        self.reached = True
        if self.tunnel is not None:
            try:
                self.tunnel(sock)
            except TargetUnavailable:
                sock.close()
                raise
        options["server_hostname"] = self.peer_name
        wrapped = super().wrap_socket(sock, *args, **options)
        if not isinstance(wrapped, GatheringSocket):
            raise TypeError("the context was given another socket class")
        self.wrapped = wrapped
        wrapped.prepare(self.new_websocket() if self.new_websocket else None)
        return wrapped
