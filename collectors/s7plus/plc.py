"""The only door to s7commplus: connect, read, browse, close. There is none to write.

The library can write variables and load blocks, and means to start and stop the CPU. All of that
stays behind this class: nothing else in the house imports it, and no method here leads there. A
session over TLS begins with one message that sets something, the session's own version at the PLC
(SetMultiVariables on attribute 306 of the session); the tests let that pass, and nothing else.

It is impossible to trust just anybody: the library does so when it is given neither an authority
nor a fingerprint, so a `Trust` cannot be made without one of them, and a `Plc` not without a Trust.
"""

import logging
import socket
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree.ElementTree import ParseError

from s7commplus import Client
from s7commplus.connection import S7CommPlusConnection
from s7commplus.error import (
    S7CertificateError,
    S7ConnectionError,
    S7Error,
    S7ReturnValueError,
    S7TimeoutError,
    S7TlsHandshakeError,
)

from collectors.s7plus.reading import ITEMS_MAX, Place

LOST = (
    S7Error,
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
    struct.error,
    zlib.error,
    ParseError,
)
"""The library's own errors, the socket's, what its parsers raise on bytes that are no S7CommPlus,
and what it raises when its connection is shut down under it."""
UNUSABLE = (RuntimeError, ValueError, LookupError, struct.error)
"""What the library raises on an answer that refuses, mixes values up or holds an unknown type."""

_BYTES_ACKED_AT = 120
_BYTES_SENT_RECEIVED = struct.Struct("=QQ")
"""Linux, struct tcp_info: bytes that the peer has acknowledged, and bytes that it has sent."""
_TCP_INFO_BYTES = 192
_SEQUENCE_MASK = 0xFFFF


@dataclass(frozen=True, slots=True)
class Trust:
    """By what the PLC is known. One of both at least."""

    ca_file: str
    fingerprint: str

    def __post_init__(self) -> None:
        """Without either, the library would take any certificate."""
        if not (self.ca_file or self.fingerprint):
            raise ValueError("neither ca_file nor fingerprint: anybody could answer as the PLC")


@dataclass(frozen=True, slots=True)
class Refused:
    """The PLC answered, but gives nothing."""

    reason: str


class Symbol(NamedTuple):
    """One readable variable of the program."""

    name: str
    """As the library spells it, `Press.Zones[3]`."""
    place: Place
    plc_type: str


class Spent(NamedTuple):
    """What was asked since the last time somebody wanted to know."""

    requests: int
    bytes_sent: int
    bytes_received: int


class Plc:
    """One connection to one PLC; opened once, closed once. For one thread; every call blocks."""

    def __init__(self, trust: Trust) -> None:
        # What goes wrong is told once, in the collector's words.
        logging.getLogger("s7commplus").setLevel(logging.CRITICAL + 1)
        self._trust = trust
        self._client = Client()
        self._client.max_items_per_request = ITEMS_MAX
        self._counted: S7CommPlusConnection | None = None
        self._before = Spent(0, 0, 0)

    def connect(self, host: str, port: int) -> None:
        """Open a session in TLS with the PLC that is trusted, and with no other."""
        trust = self._trust
        self._client.connect(
            host,
            port,
            use_tls=True,
            tls_ca=trust.ca_file or None,
            tls_cert_fingerprint=trust.fingerprint or None,
            allow_legacy_key_fallback=False,
            legacy_session_key_refresh_interval=None,
        )
        if not self._client.tls_active:
            raise S7ConnectionError("the session is not encrypted")

    def read(self, places: Sequence[Place]) -> list[bytes | None] | Refused:
        """Return the bytes of each value, None for one that the PLC does not give.

        `Refused` when there is nothing to take from its answer. At most ITEMS_MAX places.
        """
        try:
            return self._client.read_symbolic_multi([(area, list(lids)) for area, *lids in places])
        except UNUSABLE as error:
            # None of these is an S7Error: the answer to this request was whole. The caller asks in
            # halves; one value that the library cannot take apart must not spoil its neighbours.
            return Refused(str(error))

    def browse(self) -> list[Symbol] | Refused:
        """Return every readable variable of the program, or why it cannot be known."""
        try:
            catalog = self._client.refresh_tag_catalog()
        except (S7ReturnValueError, *UNUSABLE) as error:
            return Refused(str(error))
        return [
            Symbol(tag.name, (tag.access_area, *tag.lids), tag.softdatatype.name) for tag in catalog
        ]

    def changed(self) -> bool:
        """Return whether the blocks are others than at the last browse (list, type information).

        False as well when the PLC does not say.
        """
        try:
            return self._client.refresh_caches_if_program_changed()
        except (S7ReturnValueError, *UNUSABLE):
            return False

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()

    def cut(self) -> None:
        """End the call that another thread is in, by shutting its socket down."""
        if sock := self._socket():
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def spent(self) -> Spent:
        """Return what was asked since the last call: requests, and bytes above TCP."""
        connection = self._client._connection  # noqa: SLF001 - the library counts, but shows no counter
        if connection is None or not self._client.connected:
            return Spent(0, 0, 0)  # A connection that is given up begins to count at 0 again.
        if connection is not self._counted:
            self._counted, self._before = connection, Spent(0, 0, 0)
        before = self._before
        requests = connection._sequence_number  # noqa: SLF001 - one for each request
        sent, received = before[1:]
        if sock := self._socket():
            with suppress(OSError):
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
                if len(info) >= _BYTES_ACKED_AT + _BYTES_SENT_RECEIVED.size:
                    sent, received = _BYTES_SENT_RECEIVED.unpack_from(info, _BYTES_ACKED_AT)
        self._before = Spent(requests, sent, received)
        asked = (requests - before.requests) & _SEQUENCE_MASK
        return Spent(
            asked, max(0, sent - before.bytes_sent), max(0, received - before.bytes_received)
        )

    def _socket(self) -> socket.socket | None:
        connection = self._client._connection  # noqa: SLF001 - the only way to end a blocked call
        return connection._iso_conn.socket if connection else None  # noqa: SLF001 - as above


def words(error: Exception, *, trust: Trust, limit_ms: int) -> str:
    """Return an error of LOST as a sentence that an engineer can act on."""
    text = str(error) or type(error).__name__
    if isinstance(error, TimeoutError | S7TimeoutError):
        return f"gave no answer within {limit_ms} ms"
    if isinstance(error, S7CertificateError):
        if trust.fingerprint and "pinned" in text:
            return (
                f"shows another certificate than the one that is trusted ({text}); if the PLC was "
                "given a new one, export it from TIA Portal and write its fingerprint"
            )
        return (
            f"shows a certificate that is not trusted ({text}); check ca_file, and that the "
            "certificate names the host as it is written here"
        )
    if isinstance(error, S7TlsHandshakeError):
        return (
            f"does not speak TLS ({text}); in TIA Portal permit only secure PG/PC and HMI "
            "communication (needs firmware and project that have it)"
        )
    if "refused" in text:
        return "refused the connection; is this the PLC, and is its port right?"
    return text
