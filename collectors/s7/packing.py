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
OPEN_MAX = 32
"""Requests that are looked at for room for a piece: thousands of tags are planned in a moment."""
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


class Load(NamedTuple):
    """What a request holds so far: all that decides what else it has room for."""

    cost: int = 0
    """Bytes of the reply, with every fill byte."""
    items: int = 0
    odd: bool = False
    """One of the pieces has an odd number of bytes: asked for last, it needs no fill byte."""

    def with_piece(self, length: int) -> "Load":
        """Return the load with one more piece."""
        return Load(self.cost + _cost(length), self.items + 1, self.odd or length % 2 == 1)

    def fits(self, limits: Limits) -> bool:
        """Return whether request and reply keep the limits."""
        reply_bytes = REPLY_BYTES + self.cost - self.odd
        return self.items <= limits.items and reply_bytes <= limits.pdu_bytes


def _cost(length: int) -> int:
    return REPLY_ITEM_BYTES + length + length % 2


def least(lengths: Sequence[int], limits: Limits) -> int:
    """Return how many requests it takes at the very least."""
    room = limits.pdu_bytes - REPLY_BYTES + 1  # One fill byte is saved in each.
    by_bytes = -(-sum(map(_cost, lengths)) // room)
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
    packed = _first_fit(ordered, lengths, limits)
    fewest = least(lengths, limits) if len(lengths) <= SEARCH_PIECES_MAX else len(packed)
    for wanted in range(fewest, len(packed)):
        if found := _Search(ordered, lengths, limits, wanted).found:
            packed = found
            break
    return [_arranged(request, lengths) for request in packed]


def _arranged(request: list[int], lengths: Sequence[int]) -> list[int]:
    """Order a request's pieces as they came, an odd one at the end."""
    by_index = sorted(request)
    last_odd = next((index for index in reversed(by_index) if lengths[index] % 2), by_index[-1])
    return [index for index in by_index if index != last_odd] + [last_odd]


def _first_fit(ordered: list[int], lengths: Sequence[int], limits: Limits) -> list[list[int]]:
    requests: list[list[int]] = []
    room: dict[int, Load] = {}
    """Requests with room left, the oldest first."""
    for index in ordered:
        loads = ((number, load.with_piece(lengths[index])) for number, load in room.items())
        fitting = next((each for each in loads if each[1].fits(limits)), None)
        number, load = fitting or (len(requests), Load().with_piece(lengths[index]))
        if fitting is None:
            requests.append([])
        requests[number].append(index)
        room[number] = load
        full = load.items >= limits.items or not load.with_piece(1).fits(limits)
        if full or len(room) > OPEN_MAX:
            del room[number if full else next(iter(room))]
    return requests


class _Search:
    """Looks for a packing into at most `wanted` requests, for a bounded number of steps."""

    def __init__(
        self, ordered: list[int], lengths: Sequence[int], limits: Limits, wanted: int
    ) -> None:
        self._ordered = ordered
        self._lengths = lengths
        self._limits = limits
        self._steps = 0
        self._requests: list[list[int]] = [[] for _ in range(wanted)]
        self._loads = [Load()] * wanted
        complete = self._place(0)
        self.found = [each for each in self._requests if each] if complete else None

    def _place(self, position: int) -> bool:
        if position == len(self._ordered):
            return True
        index = self._ordered[position]
        # Requests that are equally loaded are one choice.
        for load in dict.fromkeys(self._loads):
            self._steps += 1
            if self._steps > SEARCH_STEPS_MAX:
                return False
            grown = load.with_piece(self._lengths[index])
            if not grown.fits(self._limits):
                continue
            number = self._loads.index(load)
            self._loads[number] = grown
            self._requests[number].append(index)
            if self._place(position + 1):
                return True
            self._requests[number].pop()
            self._loads[number] = load
        return False
