"""Two small proxies: what talks to a client before a relay passes it on to the broker's port."""

import base64
import socket
from dataclasses import dataclass, field

BROKER = "uns.example.com"
"""The only name that they know; the machine that runs the tests does not."""
USER, PASSWORD = "gateway", "a proxy's secret: ü"


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data


@dataclass
class HttpProxy:
    """Does CONNECT, in answers split where a careless reader stumbles."""

    to_port: int
    login: bool = True
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n"
    asked: list[str] = field(default_factory=list)

    def __call__(self, client: socket.socket) -> int | None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += receive(client, 1)
        request, *lines = head.decode().split("\r\n")
        self.asked.append(request)
        headers = dict(line.split(": ", 1) for line in lines if line)
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.login and headers.get("Proxy-Authorization", "").split(" ")[-1] != login:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n")
            client.sendall(b"Proxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
            return None
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(self.answer)
        client.sendall(b"Via: 1.1 proxy\r\n")
        client.sendall(b"\r\n")
        if b" 200 " not in self.answer or not request.startswith(f"CONNECT {BROKER}:"):
            return None
        return self.to_port


@dataclass
class SocksProxy:
    """Does CONNECT of SOCKS5 to names."""

    to_port: int
    login: bool = True
    reply: int = 0
    asked: list[str] = field(default_factory=list)

    def __call__(self, client: socket.socket) -> int | None:
        version, count = receive(client, 2)
        methods = receive(client, count)
        assert version == 5
        if self.login and not self._log_in(client, methods):
            return None
        if not self.login:
            client.sendall(b"\x05\x00")
        head = receive(client, 4)
        assert head == b"\x05\x01\x00\x03", "CONNECT, to a name"
        name = receive(client, receive(client, 1)[0]).decode()
        port = int.from_bytes(receive(client, 2), "big")
        self.asked.append(f"{name}:{port}")
        client.sendall(bytes([5, self.reply, 0, 3, 4]) + b"here\x00\x00")
        return self.to_port if self.reply == 0 and name == BROKER else None

    def _log_in(self, client: socket.socket, methods: bytes) -> bool:
        if 2 not in methods:
            client.sendall(b"\x05\xff")
            return False
        client.sendall(b"\x05\x02")
        assert receive(client, 1) == b"\x01"
        user, password = (receive(client, receive(client, 1)[0]) for _ in range(2))
        right = (user.decode(), password.decode()) == (USER, PASSWORD)
        client.sendall(b"\x01\x00" if right else b"\x01\x01")
        return right
