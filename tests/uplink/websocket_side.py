"""The broker's side of a WebSocket: wsproto's server, between TLS and a scripted broker."""

import ssl
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    Request,
)

SUBPROTOCOL = "mqtt"


class WebSocketSide:
    """Carries MQTT bytes in frames as awkward as the standard allows: split, with pings between."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        """Take the upgrade."""
        self._connection = connection
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._carried = bytearray()
        self._ended = False
        self.request: Request | None = None
        self.frames: list[int] = []
        """The size of each data frame, or part of one, as it came."""
        self.pongs = 0
        self.closed = False
        self.closed_with: int | None = None
        self._upgrade()

    def _upgrade(self) -> None:
        while self.request is None:
            self._read()
        self._send(AcceptConnection(subprotocol=SUBPROTOCOL))

    def _send(self, event: Event) -> None:
        self._connection.sendall(self._protocol.send(event))

    def _read(self) -> None:
        data = self._connection.recv(65_536)
        if not data:
            self._ended = True
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events():
            if isinstance(event, Request):
                self.request = event
            elif isinstance(event, BytesMessage):
                self.frames.append(len(event.data))
                self._carried += event.data
            elif isinstance(event, Pong):
                self.pongs += 1
            elif isinstance(event, CloseConnection):
                self.closed_with = event.code
                self._ended = True

    def recv(self, buflen: int, /) -> bytes:
        """Return up to `buflen` bytes of MQTT, b"" at the end."""
        while not self._carried and not self._ended:
            self._read()
        data = bytes(self._carried[:buflen])
        del self._carried[:buflen]
        return data

    def sendall(self, data: bytes, /) -> None:
        """Send one packet as two fragments of a message with a ping in between."""
        self._send(BytesMessage(data=data[:1], message_finished=False))
        self._send(Ping(payload=b"are you there?"))
        self._send(BytesMessage(data=data[1:]))

    def settimeout(self, value: float | None, /) -> None:
        """Set the timeout of reading."""
        self._connection.settimeout(value)

    def close(self, code: int, reason: str) -> None:
        """Close the WebSocket, with a reason."""
        self.closed = True
        self._send(CloseConnection(code=code, reason=reason))


def rejection(status: int, headers: list[tuple[bytes, bytes]] | None = None) -> Any:
    """Return what dresses a connection in a refusal of the upgrade."""

    def reject(connection: ssl.SSLSocket) -> ssl.SSLSocket:
        protocol = WSConnection(ConnectionType.SERVER)
        protocol.receive_data(connection.recv(65_536))
        list(protocol.events())
        answer = RejectConnection(status_code=status, headers=headers or [])
        connection.sendall(protocol.send(answer))
        return connection

    return reject
