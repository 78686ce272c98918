"""Bytes to and from the far end of a line: TCP, TLS, UDP, a serial port.

A channel is opened once, closed once, never reopened. It holds what was received until the framing
takes it, and tells at once when the far end is gone.
"""

import asyncio
import contextlib
import os
import ssl
import termios
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, cast

import serial  # type: ignore[import-untyped]

from collectors.modbus.linesettings import LineSettings, tls_context
from collectors.resolving import resolved

RECEIVED_BYTES_MAX = 4_096
"""Waiting to be taken; the largest frame has 513. Who sends more does not answer requests."""
_READ_BYTES = 1_024


class LineLost(Exception):
    """The connection is over, or did not come about; the text completes "METER at PLACE …"."""


class Channel(ABC):
    """One open connection or port."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.bytes_received = 0
        """Since it was opened."""
        self._bytes_counted = 0
        self._news: asyncio.Future[None] | None = None
        self._lost: str | None = None

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send a whole request. Raises LineLost."""

    @abstractmethod
    def close(self) -> None:
        """Close it. Never waits."""

    async def more(self) -> None:
        """Wait for bytes beside those already received. Raises LineLost when none can come."""
        self.check()
        self._news = asyncio.get_running_loop().create_future()
        await self._news
        if not self.received:
            self.check()

    async def settle(self, quiet_s: float, most_s: float) -> None:
        """Drop what comes until nothing has come for `quiet_s`, or `most_s` is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                before = -1
                while before != self.bytes_received:
                    before = self.bytes_received
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(quiet_s):
                            await self.more()
        self.received.clear()

    def arrived(self, data: bytes) -> None:
        """Take what the far end sent."""
        self.received += data
        self.bytes_received += len(data)
        if len(self.received) > RECEIVED_BYTES_MAX:
            self.lost("sends without end")
            self.close()
        self._wake()

    def lost(self, reason: str) -> None:
        """Note that the far end is gone; the first reason is the one that counts."""
        if self._lost is None:
            self._lost = reason
        self._wake()

    def take_count(self) -> int:
        """Return how many bytes came since this was last asked."""
        fresh, self._bytes_counted = (
            self.bytes_received - self._bytes_counted,
            self.bytes_received,
        )
        return fresh

    def check(self) -> None:
        """Raise LineLost when it is known to be over."""
        if self._lost is not None:
            raise LineLost(self._lost)

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


class _Stream(Channel, asyncio.Protocol):
    """TCP and TLS."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.arrived(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost(f"closed the connection{f' ({exc})' if exc else ''}")

    def send(self, data: bytes) -> None:
        self.check()
        self._transport.write(data)

    def close(self) -> None:
        # Not close(): what a peer that does not read has not taken is of no use to anybody.
        self._transport.abort()

    def certificate(self) -> bytes | None:
        """Return what the far end showed in the TLS handshake."""
        found: ssl.SSLObject = self._transport.get_extra_info("ssl_object")
        return found.getpeercert(binary_form=True)


class _Datagrams(Channel, asyncio.DatagramProtocol):
    """UDP: a datagram is one frame, or it is nothing."""

    _transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        del addr  # The socket is connected: the kernel drops what others send.
        if len(data) >= _MBAP_BYTES and data[2:4] == b"\0\0":
            whole = int.from_bytes(data[4:6], "big") + _MBAP_LENGTH_AT == len(data)
            self.arrived(data if whole else b"")

    def error_received(self, exc: Exception) -> None:
        self.lost(f"is not reached ({exc})")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost(f"is not reached ({exc})")

    def send(self, data: bytes) -> None:
        self.check()
        self._transport.sendto(data)

    def close(self) -> None:
        self._transport.abort()


_MBAP_BYTES = 7
_MBAP_LENGTH_AT = 6


class _Port(Channel):
    """A serial port."""

    def __init__(self, line: LineSettings) -> None:
        super().__init__()
        self._serial = serial.Serial(
            line.serial,
            baudrate=line.baudrate,
            bytesize=line.bytesize,
            parity=line.parity,
            stopbits=line.stopbits,
            timeout=0,
            write_timeout=0,
            # A second master on the line, `tailrace read` for one, would mix up the replies.
            exclusive=True,
        )
        self._file: int = self._serial.fileno()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._file, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._gone(str(error))
            return
        if data:
            self.arrived(data)
        else:
            self._gone("no port any more")

    def _gone(self, reason: str) -> None:
        self._loop.remove_reader(self._file)
        self.lost(f"is unplugged ({reason})")

    def send(self, data: bytes) -> None:
        self.check()
        try:
            sent = os.write(self._file, data)
        except OSError as error:
            self._gone(str(error))
            raise LineLost(f"is unplugged ({error})") from error
        if sent != len(data):
            raise LineLost("does not take what is sent")

    def close(self) -> None:
        if self._serial.is_open:
            self._loop.remove_reader(self._file)
            self._serial.close()


async def open_channel(line: LineSettings, timeout_s: float) -> Channel:
    """Open a line's connection or port.

    Raises LineLost, and SourceUnavailable for a name that does not resolve.
    """
    if line.serial:
        return _open_port(line)
    address = await resolved(line.host)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            if line.transport == "udp":
                _, datagrams = await loop.create_datagram_endpoint(
                    _Datagrams, remote_addr=(address, line.port)
                )
                return datagrams
            if line.transport == "tls":
                return await _open_tls(line, address)
            _, stream = await loop.create_connection(_Stream, address, line.port)
            return stream
    except TimeoutError as error:
        raise LineLost(
            f"did not accept a connection within {timeout_s * 1000:.0f} ms; check its power, the "
            "network and the firewall"
        ) from error
    except ssl.SSLError as error:
        raise LineLost(f"cannot be trusted: {_untrusted(error)}") from error
    except OSError as error:
        raise LineLost(
            f"cannot be connected ({error}); check host, port and that the device has Modbus "
            f"{line.transport.upper()} enabled and a free connection"
        ) from error


async def _open_tls(line: LineSettings, address: str) -> Channel:
    # Made anew for each connection, so that a renewed certificate is taken up.
    _, stream = await asyncio.get_running_loop().create_connection(
        _Stream, address, line.port, ssl=tls_context(line), server_hostname=line.server_name
    )
    if line.server_cert_file:
        pinned = ssl.PEM_cert_to_DER_cert(first_certificate(line.server_cert_file))
        if stream.certificate() != pinned:
            stream.close()
            raise LineLost(
                f"cannot be trusted: its certificate is not the one in {line.server_cert_file}"
            )
    return stream


def first_certificate(path: Path) -> str:
    """Return the first certificate of a PEM file, without what stands around it."""
    text = path.read_text("ascii", "replace")
    begin = text.find(ssl.PEM_HEADER)
    return text[begin : text.find(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]


def _untrusted(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{error.verify_message}; check ca_file and server_name, or server_cert_file, and "
            "that its certificate has not expired"
        )
    return (
        f"{error.reason or error}; check that the port speaks TLS 1.2 or newer, and whether it "
        "wants cert_file and key_file"
    )


def _open_port(line: LineSettings) -> Channel:
    try:
        return _Port(line)
    except (OSError, ValueError, termios.error) as error:  # SerialException is an OSError.
        raise LineLost(
            f"cannot be opened ({error}); check that it is plugged in, that the collector's user "
            "may use it (group dialout), and that no other program has it open"
        ) from error
