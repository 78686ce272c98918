"""S7's own messages: set-up of the connection, and ReadVar with several items. Pure.

    job        32 01 0000 reference parameters data | function …
    answer     32 03 0000 reference parameters data error-class error-code | function … | data

    ReadVar    04 count, then for each item 12 0A 10 size elements block area address(3)
               size 02 bytes, 1D timers, 1C counters; the address is a bit's, or an element's number
    its reply  04 count, then for each item code transport-size length bytes [fill byte]
               code FF: given; else no bytes. Transport size 4, 5: length in bits; 9: in bytes

A reply is taken only when everything in it is what the request asks for: reference, function,
number of items, and of each item code, transport size and length. Otherwise it is NotS7, and
whoever sent it is not to be trusted with the next request either. No function here can write.

Sources: Wireshark's s7comm dissector; Snap7's s7_types.h.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from collectors.s7.address import COUNTED_AREAS
from collectors.s7.refusals import Refused

PDU_BYTES_MIN = 64
"""No S7 negotiates less; 112 is the smallest known."""
GIVEN = 0xFF
_PROTOCOL, _JOB, _ACK, _ACK_DATA = 0x32, 1, 2, 3
_READ, _SETUP = 0x04, 0xF0
_SETUP_BYTES = 8
_HEADER = struct.Struct(">BBHHHHBB")
_AREAS = {"PI": 0x80, "I": 0x81, "Q": 0x82, "M": 0x83, "DB": 0x84, "C": 0x1C, "T": 0x1D}
_BYTES = 0x02
_IN_BITS = (4, 5)
_IN_BYTES = (9,)


class NotS7(ValueError):
    """A message that no S7 sends in answer to what it was asked."""


class Item(NamedTuple):
    """A piece of memory to ask for."""

    area: str
    db: int
    start: int
    """First byte; of timers and counters twice the number of the first."""
    length: int
    """Bytes."""

    def __str__(self) -> str:
        """Return it in the protocol's own terms."""
        if self.area in COUNTED_AREAS:
            return f"{self.area}{self.start // 2}, {self.length // 2} of them"
        name = f"DB{self.db}" if self.area == "DB" else self.area
        return f"{name}, byte {self.start}, {self.length} bytes"


def _job(reference: int, parameters: bytes) -> bytes:
    return struct.pack(">BBHHHH", _PROTOCOL, _JOB, 0, reference, len(parameters), 0) + parameters


def setup_request(reference: int, pdu_bytes: int) -> bytes:
    """Return the question for a PDU length, one job at a time."""
    return _job(reference, struct.pack(">BBHHH", _SETUP, 0, 1, 1, pdu_bytes))


def read_request(reference: int, items: Sequence[Item]) -> bytes:
    """Return the question for all items at once."""
    return _job(reference, bytes([_READ, len(items)]) + b"".join(map(_item, items)))


def _item(item: Item) -> bytes:
    area = _AREAS[item.area]
    element_bytes = COUNTED_AREAS.get(item.area)
    if element_bytes:
        size, count, address = area, item.length // element_bytes, item.start // element_bytes
    else:
        size, count, address = _BYTES, item.length, item.start * 8
    spec = struct.pack(">BBBBHHB", 0x12, 10, 0x10, size, count, item.db, area)
    return spec + address.to_bytes(3, "big")


def reference_of(message: bytes) -> int:
    """Return which request a message answers. Raises NotS7."""
    if len(message) < 10 or message[0] != _PROTOCOL:  # noqa: PLR2004 - the shortest header
        raise NotS7("it does not begin as S7 does")
    return int.from_bytes(message[4:6], "big")


def _answer(message: bytes, function: int) -> tuple[bytes, bytes] | Refused:
    """Return parameters and data of an answer, or the error of its header."""
    if len(message) < _HEADER.size:
        raise NotS7("its header is cut off")
    _, kind, _, _, parameters, data, error_class, error_code = _HEADER.unpack_from(message)
    if kind not in (_ACK, _ACK_DATA):
        raise NotS7(f"message type {kind} is no answer")
    if len(message) != _HEADER.size + parameters + data:
        raise NotS7(f"{len(message)} bytes, where its header says otherwise")
    if error_class or error_code:
        return Refused(error_class << 8 | error_code, whole_request=True)
    body = message[_HEADER.size :]
    if kind != _ACK_DATA or not parameters or body[0] != function:
        raise NotS7("it answers another function")
    return body[:parameters], body[parameters:]


def negotiated_pdu_bytes(reply: bytes, asked: int) -> int | Refused:
    """Return the PDU length that both sides keep: what the PLC says, at most what was asked.

    Raises NotS7 for a length that no S7 has.
    """
    answer = _answer(reply, _SETUP)
    if isinstance(answer, Refused):
        return answer
    parameters, data = answer
    if len(parameters) != _SETUP_BYTES or data:
        raise NotS7("its set-up is not 8 bytes")
    pdu_bytes = int.from_bytes(parameters[6:8], "big")
    if pdu_bytes < PDU_BYTES_MIN:
        raise NotS7(f"a PDU of {pdu_bytes} bytes holds nothing")
    return min(pdu_bytes, asked)


def memory_of(reply: bytes, items: Sequence[Item]) -> list[bytes | Refused]:
    """Return what each item holds, or why it is refused. Raises NotS7."""
    answer = _answer(reply, _READ)
    if isinstance(answer, Refused):
        return [answer] * len(items)
    parameters, data = answer
    if parameters != bytes([_READ, len(items)]):
        raise NotS7(f"it is not of {len(items)} items")
    found: list[bytes | Refused] = []
    offset = 0
    for item in items:
        if found and isinstance(found[-1], bytes):
            offset += len(found[-1]) % 2  # The fill byte behind what is not the last.
        memory = _item_of(data, offset, item)
        found.append(memory)
        offset += 4 + (len(memory) if isinstance(memory, bytes) else 0)
    last = found[-1] if found else b""
    fill = len(last) % 2 if isinstance(last, bytes) else 0
    # Some devices append the fill byte to the last item as well.
    if len(data) not in (offset, offset + fill):
        raise NotS7(f"{len(data)} bytes of data, where its items have {offset}")
    return found


def _item_of(data: bytes, offset: int, item: Item) -> bytes | Refused:
    if len(data) < offset + 4:
        raise NotS7("an item is missing")
    code, transport = data[offset], data[offset + 1]
    declared = int.from_bytes(data[offset + 2 : offset + 4], "big")
    if code != GIVEN:
        return Refused(code)  # Four bytes, whatever length they declare.
    expected = item.length * 8 if transport in _IN_BITS else item.length
    if transport not in (*_IN_BITS, *_IN_BYTES) or declared != expected:
        raise NotS7(f"{declared} of transport size {transport}, where {expected} were asked for")
    memory = data[offset + 4 : offset + 4 + item.length]
    if len(memory) != item.length:
        raise NotS7("an item is cut off")
    return memory
