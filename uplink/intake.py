"""From the queue into the drain, never further than the cursor's claim.

A queue that must drop something leaves alone what a target claims: the CLAIM_RECORDS sequences
after its cursor. So whoever reads no further delivers nothing that a gap names as lost as well.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from common.clock import now_ns
from common.queue import Cursor, QueueReader
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
PAYLOAD_BYTES_MAX = 100 * 1024


class Intake:
    """Feeds one drain. The cursor belongs to the caller, who moves it durably."""

    def __init__(
        self,
        reader: QueueReader,
        cursor: Cursor,
        drain: Drain[Parcel],
        wording: Wording,
        *,
        ahead_records: int = AHEAD_RECORDS,
    ) -> None:
        self._reader = reader
        self._cursor = cursor
        self._drain = drain
        self._wording = wording
        self._ahead_records = ahead_records

    @property
    def _limit(self) -> int:
        """The last sequence that may be read; as far as the cursor is durable, not settled."""
        return self._cursor.position + self._ahead_records

    @property
    def must_wait(self) -> bool:
        """True when the cursor must be moved before more may be read."""
        return self._drain.read_after >= self._limit

    def more(self) -> bool:
        """Feed the drain; return False when there is nothing new, or `must_wait`."""
        after = self._drain.read_after
        last = self._reader.last_sequence()
        if last <= after or self.must_wait:
            return False
        records = self._reader.read(after=after, records_max=RECORDS_MAX, up_to=self._limit)
        self._drain.feed((parcel, parcel.messages) for parcel in self._parcels(records))
        if not records:
            self._drain.pass_over(self._end_of_nothing(after, last))
        return True

    def _parcels(self, records: Sequence[Record | GapRecord]) -> Iterator[Parcel]:
        """Yield the records, worded as history when they waited.

        Retained even then: the drain is in order, so the last message of a topic is its newest
        value, and a tag that has not changed since the outage keeps the right one.
        """
        before_ns = now_ns() - HISTORICAL_AGE_NS
        for historical, some in groupby(records, lambda each: _read_before(each, before_ns)):
            manner = Manner(historical, retained=True, payload_bytes_max=PAYLOAD_BYTES_MAX)
            yield from self._wording.parcels(list(some), manner)

    def _end_of_nothing(self, after: int, last: int) -> int:
        """Return how far there is nothing to read, and never will be.

        What was dropped, or delivered before this target began, is not there; the gap that tells
        it may stand behind the limit. Waiting for the limit to move would be waiting for ever.
        Gaps only ever move towards newer sequences, so nothing appears here later. The record
        found is looked at for its sequence alone.
        """
        following = self._reader.read(after=after, records_max=1)
        return following[0].sequence - 1 if following else last


def _read_before(record: Record | GapRecord, at_ns: int) -> bool:
    return isinstance(record, Record) and record.read_at_ns < at_ns
