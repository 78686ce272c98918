"""From the queue into the drain, never further than the cursor's claim.

A queue that must drop something leaves alone what a target claims: the CLAIM_RECORDS sequences
after its cursor. So whoever reads no further delivers nothing that a gap names as lost as well.
"""

from common.queue import Cursor, QueueReader
from common.queue.cursor import CLAIM_RECORDS
from common.records import GapRecord, Record
from uplink.contract import Wording
from uplink.drain import Drain

RECORDS_MAX = 64
"""Read from the queue at once; blocks come whole, so some may be more."""
AHEAD_RECORDS = CLAIM_RECORDS // 2
"""Of the claim, what is used. The rest is for the moment in which the queue has looked at the
cursor and not yet committed what it drops behind the claim, while the cursor moves on."""


class Intake:
    """Feeds one drain. The cursor belongs to the caller, who moves it durably."""

    def __init__(
        self,
        reader: QueueReader,
        cursor: Cursor,
        drain: Drain[Record | GapRecord],
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
        self._drain.feed((record, self._wording.messages_in(record)) for record in records)
        if not records:
            self._drain.pass_over(self._end_of_nothing(after, last))
        return True

    def _end_of_nothing(self, after: int, last: int) -> int:
        """Return how far there is nothing to read, and never will be.

        What was dropped, or delivered before this target began, is not there; the gap that tells
        it may stand behind the limit. Waiting for the limit to move would be waiting for ever.
        Gaps only ever move towards newer sequences, so nothing appears here later. The record
        found is looked at for its sequence alone.
        """
        following = self._reader.read(after=after, records_max=1)
        return following[0].sequence - 1 if following else last
