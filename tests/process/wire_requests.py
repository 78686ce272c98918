"""Bytes that a collector sent → the requests in them, by name. Pure; knows no library's parser.

Modbus TCP   "function 3"         detail: first register or bit, count
S7           "ReadVar"            detail: items
OPC UA       "CreateSession"      detail: nothing; a service that is encrypted is "encrypted"

What cannot be understood is a request as well, called "unknown": a judge must not look away.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from asyncua.ua.object_ids import ObjectIdNames


class Request(NamedTuple):
    """One request as it stood on the wire."""

    name: str
    detail: tuple[int, ...] = ()


UNKNOWN = "unknown"

READS = {
    "modbus": {"function 1", "function 2", "function 3", "function 4"},
    "s7": {
        "connect",
        "disconnect",
        "setup communication",
        "ReadVar",
        "user data 4/1",  # a part of the system state list
        "user data 7/1",  # the clock
    },
    "opcua": {
        *("Hello", "OpenSecureChannel", "CloseSecureChannel", "GetEndpoints", "FindServers"),
        *("CreateSession", "ActivateSession", "CloseSession", "Read", "Browse", "BrowseNext"),
        *("TranslateBrowsePathsToNodeIds", "RegisterNodes", "UnregisterNodes", "HistoryRead"),
        *("CreateSubscription", "ModifySubscription", "DeleteSubscriptions", "Publish"),
        *("Republish", "TransferSubscriptions", "SetPublishingMode", "CreateMonitoredItems"),
        *("ModifyMonitoredItems", "SetMonitoringMode", "SetTriggering", "DeleteMonitoredItems"),
    },
}
"""What only reads, by protocol. OPC UA: what changes nothing but the session's own."""


_JOBS = {0x04: "ReadVar", 0x05: "WriteVar", 0xF0: "setup communication"}
_COTP = {0xE0: "connect", 0x80: "disconnect"}
_OPCUA_MESSAGES = {b"HEL": "Hello", b"OPN": "OpenSecureChannel", b"CLO": "CloseSecureChannel"}


class ModbusRequests:
    """MBAP: transaction u16, protocol u16 (0), length u16 of what follows, unit u8, function u8."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Request]:
        """Yield each request that is whole by now."""
        self._buffer += data
        while len(self._buffer) >= 6:
            _, protocol, length = struct.unpack_from(">HHH", self._buffer)
            frame, rest = self._buffer[: 6 + length], self._buffer[6 + length :]
            if protocol != 0 or length < 2:
                yield Request(UNKNOWN)
                self._buffer = b""
                return
            if len(frame) < 6 + length:
                return
            self._buffer = rest
            words = len(frame[8:12]) // 2
            yield Request(f"function {frame[7]}", struct.unpack_from(f">{words}H", frame, 8))


class S7Requests:
    """TPKT: 3, 0, length u16 of the whole. COTP: length u8, kind u8, last u8. Then S7 from 0x32."""

    def __init__(self) -> None:
        self._buffer = b""
        self._parts = b""

    def feed(self, data: bytes) -> Iterator[Request]:
        """Yield each request that is whole by now."""
        self._buffer += data
        while len(self._buffer) >= 4:
            version, _, length = struct.unpack_from(">BBH", self._buffer)
            if version != 3 or length < 7:
                yield Request(UNKNOWN)
                self._buffer = b""
                return
            if len(self._buffer) < length:
                return
            frame, self._buffer = self._buffer[4:length], self._buffer[length:]
            if frame[1] != 0xF0:
                yield Request(_COTP.get(frame[1], UNKNOWN))
                continue
            self._parts += frame[3:]
            if frame[2] & 0x80:
                message, self._parts = self._parts, b""
                yield self._request(message)

    def _request(self, message: bytes) -> Request:
        if len(message) < 12 or message[0] != 0x32:
            return Request(UNKNOWN)
        kind, function = message[1], message[10]
        if kind == 1:
            name = _JOBS.get(function, f"function 0x{function:02X}")
            return Request(name, (message[11],) if function in (0x04, 0x05) else ())
        if kind == 7 and len(message) > 16:
            return Request(f"user data {message[15] & 0x0F}/{message[16]}")
        return Request(f"message of kind {kind}")


class OpcuaRequests:
    """Three letters, chunk u8 (F last, C more, A aborted), size u32 of the whole; little-endian."""

    _NO_SECURITY = b"http://opcfoundation.org/UA/SecurityPolicy#None"
    _BODY_AT = 24
    """Of an unencrypted MSG: channel u32, token u32, sequence u32, request u32 behind the head."""

    def __init__(self) -> None:
        self._buffer = b""
        self._encrypted = False
        self._begun: set[int] = set()
        """Requests of which a first chunk has been seen; only that one names the service."""

    def feed(self, data: bytes) -> Iterator[Request]:
        """Yield each request as soon as its first chunk is whole."""
        self._buffer += data
        while len(self._buffer) >= 8:
            size = int.from_bytes(self._buffer[4:8], "little")
            if size < 8:
                yield Request(UNKNOWN)
                self._buffer = b""
                return
            if len(self._buffer) < size:
                return
            message, self._buffer = self._buffer[:size], self._buffer[size:]
            if message[:3] == b"MSG":
                yield from self._service(message)
            else:
                self._encrypted |= message[:3] == b"OPN" and self._NO_SECURITY not in message
                yield Request(_OPCUA_MESSAGES.get(message[:3], UNKNOWN))

    def _service(self, message: bytes) -> Iterator[Request]:
        if self._encrypted:
            yield Request("encrypted")
            return
        if len(message) < self._BODY_AT + 4:
            yield Request(UNKNOWN)
            return
        request = int.from_bytes(message[20:24], "little")
        first = request not in self._begun
        (self._begun.add if message[3:4] == b"C" else self._begun.discard)(request)
        if first:
            yield Request(self._name(message[self._BODY_AT :]))

    def _name(self, body: bytes) -> str:
        """Return the name of the service by the node id at the front of its body."""
        layout = {0: "<xB", 1: "<xxH", 2: "<xxxI"}.get(body[0])
        if layout is None or len(body) < struct.calcsize(layout):
            return UNKNOWN
        (number,) = struct.unpack_from(layout, body)
        name = ObjectIdNames.get(number, f"service {number}")
        return name.removesuffix("Request_Encoding_DefaultBinary")


DECODERS = {"modbus": ModbusRequests, "s7": S7Requests, "opcua": OpcuaRequests}
