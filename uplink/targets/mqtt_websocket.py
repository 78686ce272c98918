"""MQTT in a WebSocket (OASIS MQTT 5.0, 6; RFC 6455): the upgrade, and frames around the bytes.

    TLS ──▶ GET /mqtt · Upgrade: websocket · subprotocol mqtt ──▶ 101 ──▶ binary frames both ways

No I/O here: the socket of mqtt_socket.py hands over what came and sends what is returned. Packets
need not align with frames, so that one frame carries everything that a flush sends. Brokers answer
with a frame for each acknowledgement: such short, whole frames are read here, because that is most
of what a WebSocket costs; wsproto judges everything else, always by whole frames.

    FIN 0x80 | opcode · length (126: u16 follows, 127: u64) · payload, unmasked from the server
"""

from http import HTTPStatus

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from common.errors import TargetUnavailable
from uplink.contract import TargetBusy, TargetRefused
from uplink.targets.mqtt_config import MqttConfig
from uplink.targets.mqtt_packets import ProtocolFault

SUBPROTOCOL = "mqtt"
"""MQTT 5.0, 6: the server must agree to it."""
FRAME_BYTES_MAX = 65_535
"""What fits a length of two bytes; some servers take no longer frame."""
HTTPS_PORT = 443
INBOUND_FRAME_BYTES_MAX = 1024**2
"""Some packets of INBOUND_BYTES_MAX, or very many acknowledgements."""
ANSWER_BYTES_MAX = 16 * 1024
"""Of the head of the answer to the upgrade."""
NORMAL_CLOSURE = 1_000

# RFC 6455, 5.2
_FIN, _OPCODE, _CONTROL, _MASKED = 0x80, 0x0F, 0x08, 0x80
_WHOLE_BINARY = 0x82
_LENGTH_U16 = 126

_UPGRADE_REFUSED = {
    401: "wants to know who asks: set websocket_token_file, or renew what is in it",
    403: "does not allow it to us; ask its operator, and see websocket_token_file",
    404: "has nothing there; correct websocket_path",
    407: "is a proxy that wants credentials; set proxy, proxy_user and proxy_password_file",
}
_BUSY = (429, 503)


class WebSocket:
    """One connection's framing, from the upgrade on."""

    def __init__(self, config: MqttConfig, token: str | None) -> None:
        """`token` is shown as `Authorization: Bearer …`."""
        self._config = config
        self._token = token
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._pending = bytearray()
        """What came and is no whole answer, or no whole frame, yet."""
        self._fragmented = False
        """True between the frames of one message."""
        self.replies = bytearray()
        """What must be sent without being asked for: pongs, the answer to a close."""
        self.farewell: str | None = None
        """What the server said when it closed, None while it has not."""

    @property
    def place(self) -> str:
        """`host:port/path`, for people."""
        return f"{self._config.place}{self._config.websocket_path}"

    def request(self) -> bytes:
        """Return the upgrade to send first."""
        config = self._config
        host = f"[{config.verified_name}]" if ":" in config.verified_name else config.verified_name
        if config.port != HTTPS_PORT:
            host = f"{host}:{config.port}"
        headers = []
        if self._token is not None:
            headers.append((b"Authorization", f"Bearer {self._token}".encode("ascii")))
        request = Request(
            host=host,
            target=config.websocket_path,
            subprotocols=[SUBPROTOCOL],
            extra_headers=headers,
        )
        try:
            return self._protocol.send(request)
        except LocalProtocolError as error:
            raise TargetRefused(
                f"the WebSocket request to {config.place} cannot be written ({error}); "
                "is there a line break in websocket_token_file?"
            ) from error

    def answered(self, data: bytes) -> bool:
        """Take bytes of the answer; return True when the WebSocket is open, False for more.

        Raises TargetUnavailable, TargetBusy or TargetRefused when it is not opened.
        """
        place = self.place
        if not data:
            raise TargetUnavailable(f"{place} closed the connection instead of opening a WebSocket")
        self._pending += data
        head, end, rest = self._pending.partition(b"\r\n\r\n")
        if not b"HTTP/".startswith(head[:5]) or len(head) > ANSWER_BYTES_MAX:
            raise self._no_websocket("it answers something else")
        if not end:
            return False
        self._pending = rest
        try:
            self._protocol.receive_data(bytes(head + end))
        except RemoteProtocolError as error:
            raise self._no_websocket(str(error)) from error
        for event in self._protocol.events():
            if isinstance(event, RejectConnection):
                raise _refused(place, event)
            if isinstance(event, AcceptConnection):
                if event.subprotocol != SUBPROTOCOL:
                    raise TargetRefused(
                        f"{place} opens a WebSocket, but not for MQTT (subprotocol mqtt); "
                        "correct websocket_path"
                    )
                return True
        return False

    def _no_websocket(self, why: str) -> TargetRefused:
        return TargetRefused(
            f"{self.place} does not speak WebSocket ({why}); are port and websocket_path right? "
            'A broker without WebSocket wants transport = "tcp"'
        )

    def framed(self, packets: bytes | bytearray) -> bytes:
        """Return the bytes in binary frames; nothing once the server has closed."""
        if self.farewell is not None:
            return b""
        return b"".join(
            self._protocol.send(BytesMessage(data=packets[at : at + FRAME_BYTES_MAX]))
            for at in range(0, len(packets), FRAME_BYTES_MAX)
        )

    def closing(self) -> bytes:
        """Return the close frame that follows MQTT's DISCONNECT; empty after the server's own."""
        if self.farewell is not None:
            return b""
        return self._protocol.send(CloseConnection(code=NORMAL_CLOSURE))

    def unframed(self, data: bytes) -> bytes:
        """Return what the frames carry; `replies` and `farewell` may have changed.

        Raises ProtocolFault: drop the connection.
        """
        pending = self._pending
        pending += data
        carried = bytearray()
        at, end = 0, len(pending)
        while end - at >= 2:  # noqa: PLR2004 - opcode and the first length byte
            head, length = pending[at], pending[at + 1]
            if head == _WHOLE_BINARY and length < _LENGTH_U16 and not self._fragmented:
                start, stop = at + 2, at + 2 + length
                if stop > end:
                    break
                carried += pending[start:stop]
            else:
                stop = at + _frame_bytes(pending, at)
                if stop > end:
                    break
                if head & _OPCODE < _CONTROL:
                    self._fragmented = not head & _FIN
                carried += self._judged(bytes(pending[at:stop]))
            at = stop
        del pending[:at]
        return bytes(carried)

    def _judged(self, frame: bytes) -> bytes:
        carried = bytearray()
        self._protocol.receive_data(frame)
        for event in self._protocol.events():
            if isinstance(event, BytesMessage):
                carried += event.data
            elif isinstance(event, Ping):
                self.replies += self._protocol.send(event.response())
            elif isinstance(event, CloseConnection):  # Also what wsproto says to no frame at all.
                self.farewell = f"{event.code}{f' {event.reason}' if event.reason else ''}"
                self.replies += self._protocol.send(event.response())
            elif isinstance(event, TextMessage):
                raise ProtocolFault("a WebSocket frame of text; MQTT's are binary")
        return bytes(carried)


def _frame_bytes(pending: bytearray, at: int) -> int:
    """Return how long the frame is as a whole, or more than has come while that is not known."""
    length, start = pending[at + 1] & ~_MASKED, 2
    if length >= _LENGTH_U16:
        start += 2 if length == _LENGTH_U16 else 8
        if at + start > len(pending):
            return start
        length = int.from_bytes(pending[at + 2 : at + start], "big")
    if length > INBOUND_FRAME_BYTES_MAX:
        raise ProtocolFault(
            f"a WebSocket frame of {length} bytes, {INBOUND_FRAME_BYTES_MAX} at most"
        )
    return start + length


def _refused(place: str, answer: RejectConnection) -> TargetUnavailable:
    status = answer.status_code
    named = f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)
    said = f"{place} refused the WebSocket ({named})"
    if status in _BUSY:
        return TargetBusy(f"{said}: it has too much to do")
    if status in _UPGRADE_REFUSED:
        return TargetRefused(f"{said}: it {_UPGRADE_REFUSED[status]}")
    if status // 100 == 3:  # noqa: PLR2004 - the class of redirections, RFC 9110, 15.4
        headers = {name.lower(): value for name, value in answer.headers}
        to = headers.get(b"location", b"?").decode("ascii", errors="replace")
        return TargetRefused(f"{said}: it points to {to}; correct host, port or websocket_path")
    if status // 100 == 5:  # noqa: PLR2004 - the class of its own errors, RFC 9110, 15.6
        return TargetUnavailable(f"{said}: it has a fault of its own")
    return TargetRefused(f"{said}: is it a broker's WebSocket? See port and websocket_path")
