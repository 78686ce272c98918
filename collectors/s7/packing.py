"""Pieces of memory → the fewest requests. Pure.

One ReadVar request carries up to 20 items, and request and reply must each fit the negotiated PDU:

    request  10 header + 2 parameter + 12 for each item
    reply    12 header + 2 parameter + for each item 4 + its bytes, and a fill byte behind an odd
             number of bytes, except behind the last item

So a request costs the PLC one turn whether it asks for one piece or for twenty.
"""

from collections.abc import Sequence
from typing import NamedTuple

ITEMS_MAX = 20
"""Of one request; what every S7 takes."""
REQUEST_BYTES = 12
REQUEST_ITEM_BYTES = 12
REPLY_BYTES = 14
REPLY_ITEM_BYTES = 4
SEARCH_PIECES_MAX = 24
"""More pieces are packed greedily: what a search could save is a small share of their requests."""
SEARCH_STEPS_MAX = 5_000
"""Of a search for a better packing than the greedy one; a plan is made once for a connection."""


class Limits(NamedTuple):
    """What one request and its reply may hold."""

    pdu_bytes: int
    """As negotiated."""
    items_max: int = ITEMS_MAX

    @property
    def items(self) -> int:
        """Items that the PDU has room to ask for."""
        return max(1, min(self.items_max, (self.pdu_bytes - REQUEST_BYTES) // REQUEST_ITEM_BYTES))

    @property
    def piece_bytes(self) -> int:
        """The largest piece that a reply has room for."""
        return max(1, self.pdu_bytes - REPLY_BYTES - REPLY_ITEM_BYTES)


def _cost(length: int) -> int:
    return REPLY_ITEM_BYTES + length + length % 2


def _room(limits: Limits) -> int:
    """Return what the items of a reply may cost; the last needs no fill byte, so one more."""
    return limits.pdu_bytes - REPLY_BYTES


def fits(lengths: Sequence[int], limits: Limits) -> bool:
    """Return whether pieces of these lengths fit one request and its reply, in this order."""
    if not lengths or len(lengths) > limits.items:
        return False
    reply = sum(map(_cost, lengths)) - lengths[-1] % 2
    return reply <= _room(limits)


def least(lengths: Sequence[int], limits: Limits) -> int:
    """Return how many requests it takes at the very least."""
    fill = 1  # At most one fill byte is saved in each.
    by_bytes = -(-sum(map(_cost, lengths)) // (_room(limits) + fill))
    return max(by_bytes, -(-len(lengths) // limits.items))


def pack(lengths: Sequence[int], limits: Limits) -> list[list[int]]:
    """Return the requests as indexes into `lengths`: every piece once and whole.

    First the largest piece, each into the first request with room; if that is more than the bare
    minimum, a bounded search looks for fewer. An odd piece goes last, where it needs no fill byte.
    Raises ValueError when a piece is larger than a reply.
    """
    if lengths and not 1 <= min(lengths) <= max(lengths) <= limits.piece_bytes:
        raise ValueError(f"a piece has 1 to {limits.piece_bytes} bytes, found {max(lengths)}")
    ordered = sorted(range(len(lengths)), key=lambda index: -_cost(lengths[index]))
    greedy = _first_fit(ordered, lengths, limits)
    fewest = least(lengths, limits) if len(lengths) <= SEARCH_PIECES_MAX else len(greedy)
    for wanted in range(fewest, len(greedy)):
        if found := _Search(ordered, lengths, limits, wanted).found:
            return [_arranged(each, lengths) for each in found]
    return [_arranged(each, lengths) for each in greedy]


def _arranged(request: list[int], lengths: Sequence[int]) -> list[int]:
    """Order a request's pieces as they came, an odd one at the end."""
    by_index = sorted(request)
    odd = [index for index in by_index if lengths[index] % 2]
    if not odd:
        return by_index
    return [index for index in by_index if index != odd[-1]] + [odd[-1]]


def _with(request: list[int], index: int, lengths: Sequence[int], limits: Limits) -> bool:
    return fits([lengths[each] for each in _arranged([*request, index], lengths)], limits)


def _first_fit(ordered: list[int], lengths: Sequence[int], limits: Limits) -> list[list[int]]:
    requests: list[list[int]] = []
    for index in ordered:
        for request in requests:
            if _with(request, index, lengths, limits):
                request.append(index)
                break
        else:
            requests.append([index])
    return requests


class _Search:
    """Looks for a packing into exactly `wanted` requests, for a bounded number of steps."""

    def __init__(
        self, ordered: list[int], lengths: Sequence[int], limits: Limits, wanted: int
    ) -> None:
        self._ordered = ordered
        self._lengths = lengths
        self._limits = limits
        self._steps = 0
        self._requests: list[list[int]] = [[] for _ in range(wanted)]
        self.found = self._requests if self._place(0) else None

    def _place(self, position: int) -> bool:
        if position == len(self._ordered):
            return True
        index, tried = self._ordered[position], set()
        for request in self._requests:
            self._steps += 1
            if self._steps > SEARCH_STEPS_MAX:
                return False
            state = tuple(sorted(self._lengths[each] for each in request))
            if state in tried or not self._fits(request, index):
                continue
            tried.add(state)  # Requests that hold the same sizes are one choice.
            request.append(index)
            if self._place(position + 1):
                return True
            request.pop()
        return False

    def _fits(self, request: list[int], index: int) -> bool:
        return _with(request, index, self._lengths, self._limits)
