"""Questions beside memory: the PLC's clock, and its data blocks with their sizes. They only read.

The library builds and reads these messages (user data, S7's second kind of service). S7-300 and
S7-400 answer them; S7-1200 and S7-1500 answer with an error, or not at all.
"""

import struct
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from snap7.error import S7Error
from snap7.s7protocol import S7Protocol, S7UserDataGroup, S7UserDataSubfunction

_DB = 0x41
_LIST = (S7UserDataGroup.BLOCK_INFO, S7UserDataSubfunction.LIST_BLOCKS_OF_TYPE)
_INFO = (S7UserDataGroup.BLOCK_INFO, S7UserDataSubfunction.BLOCK_INFO)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a PLC's clock has no zone
CLOCK_STEP_NS = 1_000_000
"""The clock is told in milliseconds."""
_RAISED = (S7Error, struct.error, ValueError, LookupError)
"""The library's own errors, and what its parser raises on bytes that are no S7."""

T = TypeVar("T")
_Response = dict[str, Any]


class NotAnswered(Exception):
    """The PLC refuses the question, or answers what cannot be understood."""


def _numbered(request: bytes, reference: int) -> bytes:
    """Give the library's request a reference of ours."""
    return request[:4] + reference.to_bytes(2, "big") + request[6:]


def _answer(reply: bytes, group: int, subfunction: int, parse: Callable[[_Response], T]) -> T:
    """Return what `parse` makes of a reply to this question. Raises NotAnswered."""
    protocol = S7Protocol()
    try:
        response = protocol.parse_response(reply)
        protocol.check_userdata_response(response, group, subfunction)
        return parse(response)
    except _RAISED as error:
        raise NotAnswered(str(error)) from error


def clock_request(reference: int) -> bytes:
    """Return the question for the PLC's date and time."""
    return _numbered(S7Protocol().build_get_clock_request(), reference)


def clock_ns(reply: bytes) -> int:
    """Return the PLC's time in ns since 1970, taken for UTC. Raises NotAnswered."""
    parse = S7Protocol().parse_get_clock_response
    moment = _answer(reply, S7UserDataGroup.TIME, S7UserDataSubfunction.GET_CLOCK, parse)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def blocks_request(reference: int) -> bytes:
    """Return the question for the numbers of all data blocks."""
    return _numbered(S7Protocol().build_list_blocks_of_type_request(_DB), reference)


def blocks_follow_up(reference: int, sequence: int) -> bytes:
    """Return the question for the rest of a list that is longer than a reply."""
    request = S7Protocol().build_userdata_followup_request(*_LIST, sequence)
    return _numbered(request, reference)


def blocks_of(reply: bytes) -> tuple[bytes, int | None]:
    """Return a part of the list, and the sequence to ask on with, None at its end."""

    def parse(response: _Response) -> tuple[bytes, int | None]:
        parameters = response["parameters"]
        more = parameters["sequence_number"] if parameters["last_data_unit"] else None
        return bytes(response["data"]["data"]), more

    return _answer(reply, *_LIST, parse)


def block_numbers(listed: bytes) -> list[int]:
    """Return the numbers in a whole list. Raises NotAnswered."""
    if len(listed) % 4:
        raise NotAnswered(f"a list of {len(listed)} bytes, where each block has 4")
    return sorted({int.from_bytes(listed[at : at + 2], "big") for at in range(0, len(listed), 4)})


def size_request(reference: int, db: int) -> bytes:
    """Return the question for one data block's size."""
    return _numbered(S7Protocol().build_get_block_info_request(_DB, db), reference)


def size_bytes(reply: bytes) -> int:
    """Return how many bytes of data a block has. Raises NotAnswered."""
    told = _answer(reply, *_INFO, S7Protocol().parse_get_block_info_response)
    return int(told["mc7_size"])
