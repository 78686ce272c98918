"""MQTT in a WebSocket (OASIS MQTT 5.0, 6; RFC 6455): the upgrade, and frames around the bytes.

    TLS ──▶ GET /mqtt · Upgrade: websocket · subprotocol mqtt ──▶ 101 ──▶ binary frames both ways

No I/O here: the socket of mqtt_socket.py hands over what came and sends what is returned. Packets
need not align with frames, so that one frame carries everything that a flush sends.
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
NORMAL_CLOSURE = 1_000

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
        try:
            self._protocol.receive_data(data)
        except RemoteProtocolError as error:
            raise TargetRefused(
                f"{place} does not speak WebSocket ({error}); are port and websocket_path right? "
                'A broker without WebSocket wants transport = "tcp"'
            ) from error
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
        carried = bytearray()
        try:
            self._protocol.receive_data(data)
            for event in self._protocol.events():
                if isinstance(event, BytesMessage):
                    carried += event.data
                elif isinstance(event, Ping):
                    self.replies += self._protocol.send(event.response())
                elif isinstance(event, CloseConnection):
                    self.farewell = f"{event.code}{f' {event.reason}' if event.reason else ''}"
                    self.replies += self._protocol.send(event.response())
                elif isinstance(event, TextMessage):
                    raise ProtocolFault("a WebSocket frame of text; MQTT's are binary")
        except RemoteProtocolError as error:
            raise ProtocolFault(f"what is no WebSocket frame ({error})") from error
        return bytes(carried)


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
