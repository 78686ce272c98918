"""Reads → frames, and bytes → the reply to one of them. Pure; nothing but functions 1 to 4.

    PDU           function u8 · start u16 · count u16    →   function u8 · bytes u8 · data
                                                         or  function | 0x80 · exception u8
    TCP UDP TLS   transaction u16 · protocol u16 (0) · length u16 of the rest · unit u8 · PDU
    RTU           unit u8 · PDU · CRC-16 u16, little-endian
    ASCII         ':' · hexadecimal of (unit u8 · PDU · LRC u8) · CR LF

Sources: MODBUS Application Protocol Specification V1.1b3; MODBUS Messaging on TCP/IP
Implementation Guide V1.0b, 3.1.3; MODBUS over Serial Line V1.02, 2.5.

A reply on RTU or ASCII names its unit, but not the request that it answers. What is known of
requests that got no reply in time (`Awaited.owed`) tells their late replies apart, as far as their
lengths differ; link.py sees to it that they do.
"""

import struct
from typing import NamedTuple, Protocol

READ_FUNCTIONS = (1, 2, 3, 4)
BIT_FUNCTIONS = (1, 2)
REFUSED = 0x80
"""Added to the function in an exception reply."""

_BYTE_BITS = 8
_MBAP = struct.Struct(">HHHB")
_MBAP_COUNTED_FROM = 6
_LENGTHS = range(3, 255)
"""Unit, function, and an exception code or a byte count; a PDU has at most 253 bytes."""
_RTU_BESIDE_DATA = 5
_RTU_EXCEPTION_BYTES = 5
_ASCII_FRAME_BYTES_MAX = 513
_SHOWN_BYTES = 16


class Malformed(Exception):
    """What came is no reply to the read; the text says what it was."""


class OutOfStep(Malformed):
    """The same, and where the next frame begins is not known either: the connection is lost."""


class Query(NamedTuple):
    """One read."""

    unit: int
    function: int
    start: int
    """0-based, as on the wire."""
    quantity: int
    """Registers, or bits."""

    @property
    def data_bytes(self) -> int:
        """What a reply must carry."""
        if self.function in BIT_FUNCTIONS:
            return -(-self.quantity // _BYTE_BITS)
        return 2 * self.quantity

    @property
    def shape(self) -> tuple[int, int]:
        """What a reply shows of its request where it does not name it: function, data bytes."""
        return self.function, self.data_bytes

    @property
    def pdu(self) -> bytes:
        """The request, as every transport carries it. Raises ValueError for all but reads."""
        if self.function not in READ_FUNCTIONS:
            raise ValueError(f"function {self.function} is not a read; nothing else is ever sent")
        return struct.pack(">BHH", self.function, self.start, self.quantity)


class Awaited(NamedTuple):
    """The reply that is waited for."""

    query: Query
    transaction: int = 0
    owed: frozenset[tuple[int, int]] = frozenset()
    """Shapes of replies of the same unit that may still come, and are not waited for any more."""


class Framing(Protocol):
    """How one transport writes a request, and finds the reply in what it received."""

    ordered: bool
    """True where a reply does not name its request: they are told apart by order and shape."""

    def frame(self, awaited: Awaited) -> bytes:
        """Return the request as it is sent."""
        ...

    def take(self, received: bytearray, awaited: Awaited) -> bytes | None:
        """Cut the reply's PDU out of `received`; None when it is not whole yet.

        Whole replies to other requests are cut out as well, and dropped. Raises Malformed.
        """
        ...


class MbapFraming:
    """TCP, UDP and TLS: each reply carries the transaction number of its request."""

    ordered = False

    def frame(self, awaited: Awaited) -> bytes:
        """Return header and PDU."""
        pdu = awaited.query.pdu
        return _MBAP.pack(awaited.transaction, 0, len(pdu) + 1, awaited.query.unit) + pdu

    def take(self, received: bytearray, awaited: Awaited) -> bytes | None:
        """Return the PDU that carries the transaction; whatever carries another is dropped."""
        while len(received) >= _MBAP.size:
            transaction, protocol, length, unit = _MBAP.unpack_from(received)
            if protocol != 0 or length not in _LENGTHS:
                raise OutOfStep(_shown(received))
            end = _MBAP_COUNTED_FROM + length
            if len(received) < end:
                return None
            pdu = bytes(received[_MBAP.size : end])
            del received[:end]
            if transaction != awaited.transaction:
                continue
            if unit != awaited.query.unit:
                raise Malformed(f"unit {unit} when asked for unit {awaited.query.unit}")
            return pdu
        return None


class RtuFraming:
    """Serial lines, and serial frames over TCP: unit and CRC, no transaction number."""

    ordered = True

    def frame(self, awaited: Awaited) -> bytes:
        """Return unit, PDU and CRC."""
        body = bytes([awaited.query.unit]) + awaited.query.pdu
        return body + crc(body).to_bytes(2, "little")

    def take(self, received: bytearray, awaited: Awaited) -> bytes | None:
        """Return the PDU of the unit asked; late replies of others and owed ones are dropped."""
        while len(received) >= _LENGTHS.start:
            length = _rtu_length(received, awaited)
            if len(received) < length:
                return None
            frame = bytes(received[:length])
            if crc(frame[:-2]) != int.from_bytes(frame[-2:], "little"):
                raise Malformed(f"{_shown(frame)}, whose checksum is wrong")
            del received[:length]
            if (pdu := _asked_for(frame[:-2], awaited)) is not None:
                return _alone(pdu, received)
        return None


class AsciiFraming:
    """The same in printable characters, framed by ':' and CR LF."""

    ordered = True

    def frame(self, awaited: Awaited) -> bytes:
        """Return unit, PDU and LRC in hexadecimal."""
        body = bytes([awaited.query.unit]) + awaited.query.pdu
        return b":" + (body + bytes([lrc(body)])).hex().upper().encode() + b"\r\n"

    def take(self, received: bytearray, awaited: Awaited) -> bytes | None:
        """Return the PDU of the unit asked; late replies of others and owed ones are dropped."""
        while received:
            end = received.find(b"\r\n")
            length = end + 2 if end >= 0 else len(received)
            if received[0] != ord(":") or length > _ASCII_FRAME_BYTES_MAX:
                raise Malformed(_shown(received))
            if end < 0:
                return None
            line = bytes(received[1:end])
            body = _from_hexadecimal(line)
            if len(body) <= _LENGTHS.start or lrc(body[:-1]) != body[-1]:
                raise Malformed(f"{_shown(received)}, whose checksum is wrong")
            del received[:length]
            if (pdu := _asked_for(body[:-1], awaited)) is not None:
                return _alone(pdu, received)
        return None


def _rtu_length(received: bytearray, awaited: Awaited) -> int:
    """Return how long the frame at the beginning is, by its function and its byte count."""
    unit, function, data_bytes = received[:3]
    if function & ~REFUSED not in READ_FUNCTIONS:
        raise Malformed(_shown(received))
    if function & REFUSED:
        return _RTU_EXCEPTION_BYTES
    shape = (function, data_bytes)
    if unit == awaited.query.unit and shape not in {awaited.query.shape, *awaited.owed}:
        raise Malformed(_shown(received))
    return data_bytes + _RTU_BESIDE_DATA


def _asked_for(frame: bytes, awaited: Awaited) -> bytes | None:
    """Return the PDU of a checked frame; None for another unit's, and for an owed one."""
    unit, pdu = frame[0], frame[1:]
    if unit != awaited.query.unit:
        return None
    shape = (pdu[0], len(pdu) - 2)
    if shape != awaited.query.shape and shape in awaited.owed:
        return None
    return pdu


def _alone(pdu: bytes, rest: bytearray) -> bytes:
    if rest:
        raise Malformed(f"a whole reply and {_shown(rest)} behind it")
    return pdu


def _from_hexadecimal(line: bytes) -> bytes:
    try:
        # fromhex() alone would take blanks between the digits.
        return bytes.fromhex(line.decode("ascii")) if line.isalnum() else b""
    except ValueError:
        return b""


def _shown(received: bytes | bytearray) -> str:
    return f"bytes {received[:_SHOWN_BYTES].hex(' ')}"


def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        crc_value = value
        for _ in range(8):
            crc_value = crc_value >> 1 ^ (0xA001 if crc_value & 1 else 0)
        table.append(crc_value)
    return tuple(table)


_CRC = _crc_table()


def crc(data: bytes) -> int:
    """Return the CRC-16 of MODBUS over Serial Line V1.02, 6.2.2."""
    value = 0xFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value


def lrc(data: bytes) -> int:
    """Return the longitudinal check of MODBUS over Serial Line V1.02, 6.2.1."""
    return -sum(data) & 0xFF
