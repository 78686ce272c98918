"""What makes a line: a transport and the place where it leads. No foreign library.

Devices whose line is the same share one connection; the settings are what they share it by.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Transport = Literal["tcp", "udp", "tls", "rtu", "ascii", "rtu-over-tcp", "ascii-over-tcp"]
Parity = Literal["N", "E", "O"]
StopBits = Literal[1, 2]
ByteSize = Literal[7, 8]

TCP_PORT = 502
TLS_PORT = 802
"""MODBUS/TCP Security Protocol Specification V2.1, 5.2."""

SERIAL = ("rtu", "ascii")
"""Transports of a serial port; all others have a host."""


@dataclass(frozen=True, slots=True)
class LineSettings:
    """One line. Equal settings are one line."""

    transport: Transport
    host: str = ""
    port: int = 0
    serial: str = ""
    baudrate: int = 0
    parity: Parity = "N"
    stopbits: StopBits = 1
    bytesize: ByteSize = 8
    server_name: str = ""
    ca_file: Path | None = None
    server_cert_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    only_for: str = ""
    """The device that does not share it; empty where it is shared."""

    @property
    def place(self) -> str:
        """Where the line leads, for people."""
        return self.serial or f"{self.host}:{self.port}"

    @property
    def identity(self) -> tuple[str, str]:
        """What can only be one line: devices that say different things of it contradict."""
        socket = "udp " if self.transport == "udp" else ""
        return socket + self.place, self.only_for

    @property
    def character_s(self) -> float:
        """How long one character takes on a serial line; 0 where there is none."""
        if not self.serial:
            return 0.0
        bits = 1 + self.bytesize + (self.parity != "N") + self.stopbits
        return bits / self.baudrate


def tls_context(line: LineSettings) -> ssl.SSLContext:
    """Return the context for a connection: TLS 1.2 or newer, the server's certificate checked.

    Either its name and its authority (`ca_file`), or that it is the one certificate in
    `server_cert_file`. Raises OSError (ssl.SSLError is one) for a file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if line.server_cert_file:
        # A device's own certificate often has no name to check. It is its own authority here,
        # and nothing else is; transports.py compares it byte by byte as well.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(line.server_cert_file or line.ca_file)
    if line.cert_file:
        context.load_cert_chain(line.cert_file, line.key_file, password="")
    return context
