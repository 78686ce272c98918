"""The way to a far side through a proxy: HTTP CONNECT and SOCKS5, each with user and password.

    HTTP     CONNECT host:port ──▶ 200 (RFC 9110, 9.3.6), Proxy-Authorization: Basic (RFC 7617)
    SOCKS5   methods ──▶ [user and password (RFC 1929) ──▶] CONNECT name:port ──▶ 0 (RFC 1928)

The proxy resolves the far side's name: the gateway need not be able to. Everything that follows is
TLS to the far side itself, so a proxy can refuse or cut a connection and never read it. Not a byte
is read beyond the proxy's answer.
"""

import base64
import ipaddress
import socket
from typing import NamedTuple
from urllib.parse import urlsplit

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from uplink.contract import TargetBusy, TargetRefused

HTTP, SOCKS5 = "http", "socks5"
PORTS = {HTTP: 8080, SOCKS5: 1080}
"""Where nothing else is written."""
ANSWER_BYTES_MAX = 16 * 1024
"""Of the head of an HTTP answer."""
LAST_WAIT_S = 0.01
CREDENTIAL_BYTES_MAX = 255
"""RFC 1929, 2: one byte of length."""

_VERSION, _NO_LOGIN, _LOGIN, _NO_METHOD = 0x05, 0x00, 0x02, 0xFF
_LOGIN_VERSION, _CONNECT = 0x01, 0x01
_IPV4, _NAME, _IPV6 = 0x01, 0x03, 0x04
_ADDRESS_BYTES = {_IPV4: 4, _IPV6: 16}
_PORT_BYTES = 2

_SOCKS_REFUSED = {
    0x02: "its rules do not allow it; ask its operator to open the way to this broker",
    0x07: "it does not do CONNECT; is it the right kind of proxy?",
    0x08: "it cannot use such an address; give the broker's name instead, or the other way round",
}
_SOCKS_FAILED = {
    0x01: "it failed in general",
    0x03: "the network is unreachable from there",
    0x04: "the host is unreachable from there, or its name unknown",
    0x05: "nothing listens there",
    0x06: "the time to live ran out on the way",
}
_HTTP_REFUSED = {
    403: "its rules do not allow it; ask its operator to open the way to this broker",
    404: "it does not do CONNECT; is it a proxy at all?",
    405: "it does not do CONNECT; is it a proxy at all?",
}


class Proxy(NamedTuple):
    """One proxy and what it is shown."""

    scheme: str
    host: str
    port: int
    user: str
    password: str

    @property
    def place(self) -> str:
        """`the proxy host:port`, for people."""
        return f"the proxy {self.host}:{self.port}"


def parsed_proxy(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of `http://host:port` or `socks5://host:port`.

    Raises ValueError, which says what would be right, and never repeats a password.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("proxy must not hold user or password: use proxy_user, and a file")
    port = parts.port  # Raises ValueError when it is none.
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError('proxy must be "http://host:port" or "socks5://host:port"')
    return parts.scheme, parts.hostname, port or PORTS[parts.scheme]


def tunnel(connection: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy at the other end of `connection` connect us to host and port.

    Takes as long as the connection's timeout at most. Raises TargetUnavailable, TargetBusy or
    TargetRefused, each naming the proxy; the connection is of no use then.
    """
    talk = _Talk(connection, proxy)
    try:
        if proxy.scheme == HTTP:
            _connect_by_http(talk, proxy, host, port)
        else:
            _connect_by_socks(talk, proxy, host, port)
    except TimeoutError as error:
        raise TargetUnavailable(
            f"{proxy.place} did not connect us to {host}:{port} within {talk.timeout_s:g} s"
        ) from error
    except OSError as error:
        raise TargetUnavailable(
            f"{proxy.place} cut the connection ({error.strerror or error})"
        ) from error


class _Talk:
    """Reads and writes exactly, all of it within one timeout."""

    def __init__(self, connection: socket.socket, proxy: Proxy) -> None:
        self._connection = connection
        self._proxy = proxy
        self.timeout_s = connection.gettimeout() or 0.0
        self._until_s = monotonic_s() + self.timeout_s

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._connection.settimeout(max(LAST_WAIT_S, self._until_s - monotonic_s()))
            part = self._connection.recv(size - len(data))
            if not part:
                raise TargetUnavailable(f"{self._proxy.place} closed the connection without a word")
            data += part
        return data


def _connect_by_http(talk: _Talk, proxy: Proxy, host: str, port: int) -> None:
    to = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {to} HTTP/1.1", f"Host: {to}"]
    if proxy.user:
        login = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode("ascii")
        lines.append(f"Proxy-Authorization: Basic {login}")
    talk.send("\r\n".join([*lines, "", ""]).encode("ascii"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        # Byte by byte: what follows the head is the far side's, and for TLS alone.
        head += talk.receive(1)
        if not b"HTTP/".startswith(head[:5]) or len(head) > ANSWER_BYTES_MAX:
            raise TargetRefused(f"{proxy.place} does not speak HTTP; is it a SOCKS proxy?")
    status, _, phrase = head.split(b"\r\n")[0].partition(b" ")[2].partition(b" ")
    _judge_http(proxy, to, status.decode("ascii", "replace"), phrase.decode("ascii", "replace"))


def _judge_http(proxy: Proxy, to: str, status: str, phrase: str) -> None:
    code = int(status) if status.isdecimal() else 0
    if code // 100 == 2:  # noqa: PLR2004 - the class of success, RFC 9110, 15.3
        return
    said = f"{proxy.place} did not connect us to {to} ({f'{status} {phrase}'.strip()})"
    if code == 407:  # noqa: PLR2004 - RFC 9110, 15.5.8
        shown = f"does not accept proxy_user {proxy.user}" if proxy.user else "wants credentials"
        raise TargetRefused(f"{said}: it {shown}; see proxy_user and proxy_password_file")
    if code in _HTTP_REFUSED:
        raise TargetRefused(f"{said}: {_HTTP_REFUSED[code]}")
    if code // 100 == 3:  # noqa: PLR2004 - the class of redirections, RFC 9110, 15.4
        raise TargetRefused(f"{said}: it wants a person to log in first (a captive portal?)")
    if code in (429, 503):
        raise TargetBusy(f"{said}: it has too much to do")
    if code // 100 == 5:  # noqa: PLR2004 - the class of its own errors, RFC 9110, 15.6
        raise TargetUnavailable(f"{said}: it cannot reach the broker; are host and port right?")
    raise TargetRefused(f"{said}; ask its operator why")


def _connect_by_socks(talk: _Talk, proxy: Proxy, host: str, port: int) -> None:
    methods = bytes([_NO_LOGIN, _LOGIN] if proxy.user else [_NO_LOGIN])
    talk.send(bytes([_VERSION, len(methods)]) + methods)
    version, method = talk.receive(2)
    if version != _VERSION:
        raise TargetRefused(f"{proxy.place} does not speak SOCKS5; is it an HTTP proxy?")
    if method == _LOGIN and proxy.user:
        _log_in(talk, proxy)
    elif method != _NO_LOGIN:
        raise TargetRefused(
            f"{proxy.place} wants credentials"
            + (" of another kind than user and password" if proxy.user else "; set proxy_user")
        )
    talk.send(bytes([_VERSION, _CONNECT, 0]) + _address(host) + port.to_bytes(2, "big"))
    version, reply, _, kind = talk.receive(4)
    if version != _VERSION:
        raise TargetRefused(f"{proxy.place} broke off in the middle of SOCKS5")
    if reply:
        said = f"{proxy.place} did not connect us to {host}:{port} (SOCKS reply {reply})"
        if reply in _SOCKS_REFUSED:
            raise TargetRefused(f"{said}: {_SOCKS_REFUSED[reply]}")
        raise TargetUnavailable(f"{said}: {_SOCKS_FAILED.get(reply, 'it does not say why')}")
    size = _ADDRESS_BYTES[kind] if kind in _ADDRESS_BYTES else talk.receive(1)[0]
    talk.receive(size + _PORT_BYTES)


def _log_in(talk: _Talk, proxy: Proxy) -> None:
    user, password = proxy.user.encode(), proxy.password.encode()
    if max(len(user), len(password)) > CREDENTIAL_BYTES_MAX:
        raise TargetRefused(f"{proxy.place} takes {CREDENTIAL_BYTES_MAX} bytes of password at most")
    talk.send(bytes([_LOGIN_VERSION, len(user)]) + user + bytes([len(password)]) + password)
    _, status = talk.receive(2)
    if status:
        raise TargetRefused(
            f"{proxy.place} does not accept proxy_user {proxy.user}; "
            "see proxy_user and proxy_password_file"
        )


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes([_NAME, len(name)]) + name
    return bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed  # noqa: PLR2004 - IP version 4
