"""From the queue into a drain, never further than the cursor's claim.

A queue that must drop something leaves alone what a target claims: the CLAIM_RECORDS sequences
after what it has durably settled. So whoever reads no further delivers nothing that a gap names as
lost as well.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from common.clock import now_ns
from common.queue.cursor import CLAIM_RECORDS
from common.records import GapRecord, Record
from uplink.contract import Manner, Parcel, Wording
from uplink.drain import Drain

RECORDS_MAX = 64
"""Read from the queue at once; blocks come whole, so some may be more."""
AHEAD_RECORDS = CLAIM_RECORDS // 2
"""Of the claim, what is used. The rest is for the moment in which the queue has looked at the
cursor and not yet committed what it drops behind the claim, while the cursor moves on."""

HISTORICAL_AGE_S = 10
HISTORICAL_AGE_NS = HISTORICAL_AGE_S * 1_000_000_000
"""By the gateway's clock since the reading; a device's wrong clock makes nothing historical."""

Told = tuple[Manner, Sequence[Record | GapRecord]]
"""Records that follow each other, and how they are told."""
Telling = Callable[[Sequence[Record | GapRecord]], Iterable[Told]]


class Reader(Protocol):
    """What is asked of the queue; `QueueReader` says what it promises."""

    def last_sequence(self) -> int:
        """Return the newest sequence ever given."""
        ...

    def read(
        self, *, after: int, records_max: int = 1_000, up_to: int | None = None
    ) -> list[Record | GapRecord]:
        """Return the records after a sequence, in order."""
        ...


class Span(NamedTuple):
    """How far an intake may read at this moment."""

    durable: int
    """What the cursor durably covers, with all before it."""
    last: int | None = None
    """Where what is to be read ends; None: at the end of the queue."""


class Intake:
    """Feeds one drain. The cursor belongs to the caller, who moves it durably."""

    def __init__(
        self,
        reader: Reader,
        drain: Drain[Parcel],
        wording: Wording,
        span: Callable[[], Span],
        telling: Telling,
        *,
        ahead_records: int = AHEAD_RECORDS,
    ) -> None:
        self._reader = reader
        self._drain = drain
        self._wording = wording
        self._span = span
        self._telling = telling
        self._ahead_records = ahead_records

    @property
    def must_wait(self) -> bool:
        """True when the cursor must be moved before more may be read."""
        return self._drain.read_after >= self._span().durable + self._ahead_records

    def more(self) -> bool:
        """Feed the drain; return False when there is nothing new, or `must_wait`."""
        span = self._span()
        after = self._drain.read_after
        last = self._reader.last_sequence()
        if span.last is not None:
            last = min(last, span.last)
        if last <= after or self.must_wait:
            return False
        limit = min(last, span.durable + self._ahead_records)
        records = self._reader.read(after=after, records_max=RECORDS_MAX, up_to=limit)
        self.tell(records)
        if not records:
            self._drain.pass_over(self._end_of_nothing(after, last))
        return True

    def tell(self, records: Sequence[Record | GapRecord]) -> None:
        """Feed records that were read."""
        told = self._telling(records)
        parcels = (each for manner, some in told for each in self._wording.parcels(some, manner))
        self._drain.feed((parcel, parcel.messages) for parcel in parcels)

    def _end_of_nothing(self, after: int, last: int) -> int:
        """Return how far, at most to `last`, there is nothing to read, and never will be.

        What was dropped, or delivered before this target began, is not there; the gap that tells
        it may stand behind the limit. Waiting for the limit to move would be waiting for ever.
        Gaps only ever move towards newer sequences, so nothing appears here later. The record
        found is looked at for its sequence alone.
        """
        following = self._reader.read(after=after, records_max=1)
        return min(following[0].sequence - 1, last) if following else last


def by_age(records: Sequence[Record | GapRecord], payload_bytes_max: int) -> Iterator[Told]:
    """Tell in order: as history what was read long ago, and everything retained.

    The drain is in order, so the last message of a topic is its newest value, and a tag that has
    not changed since the outage keeps the right one.
    """
    before_ns = now_ns() - HISTORICAL_AGE_NS
    for historical, some in groupby(records, lambda each: _read_before(each, before_ns)):
        yield Manner(historical, retained=True, payload_bytes_max=payload_bytes_max), [*some]


def _read_before(record: Record | GapRecord, at_ns: int) -> bool:
    return isinstance(record, Record) and record.read_at_ns < at_ns
