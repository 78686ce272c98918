"""The newest value of every tag, told in front of the live lane after it has jumped.

Without it a tag that changed for the last time days ago would come at its turn in the backlog. A
sample of the snapshot comes again there, with the same identity.
"""

from collections import deque
from collections.abc import Sequence

from common.queue.cursor import Island
from common.records import Record
from uplink.contract import Parcel
from uplink.drain import Drain
from uplink.following import Following

SLICE_RECORDS = 64
"""Fed at once."""
HOLD_MOST_S = 60.0
"""For which the backlog waits until every value is taken: one may be refused for now, for long."""


class Snapshot:
    """One snapshot on its way: of what stands after `after` up to `up_to`, islands left out."""

    def __init__(self, after: int = 0, up_to: int = 0, islands: Sequence[Island] = ()) -> None:
        self._after = after
        self._up_to = up_to
        self._islands = tuple(islands)
        self._records: deque[Record] | None = None
        self._fed = 0
        """What the drain had been fed with the last of it."""
        self._hold_until_s = 0.0
        self.wanted = up_to > after
        """True while some of it is not fed."""

    def take(self, following: Following, read_after: int, records_max: int) -> list[Record]:
        """Return what is to be fed now; nothing until the queue is followed as far as needed.

        That is as far as the live lane has read: what it has told is newer than anything here.
        """
        if self._records is None:
            if following.followed < max(self._up_to, read_after):
                return []
            found = following.newest.records(after=self._after, up_to=self._up_to)
            self._records = deque(record for record in found if not self._on_island(record))
        return [self._records.popleft() for _ in range(min(records_max, len(self._records)))]

    def fed(self, drain: Drain[Parcel], hold_until_s: float) -> None:
        """Note that the drain was fed with what was taken, and how long to wait for it."""
        if self._records is not None:
            self.wanted = bool(self._records)
            self._fed = drain.fed
            self._hold_until_s = hold_until_s

    def begin_again(self) -> None:
        """Tell it once more, from its beginning."""
        self._records = None
        self.wanted = self._up_to > self._after

    def handed_out(self, drain: Drain[Parcel]) -> bool:
        """Return whether all of it was handed out at least once."""
        return not self.wanted and drain.handed_out >= self._up_to

    def over(self, drain: Drain[Parcel], now_s: float) -> bool:
        """Return whether all of it is settled, or has been waited for long enough."""
        if not self.handed_out(drain):
            return False
        return drain.finished >= self._fed or now_s >= self._hold_until_s

    def _on_island(self, record: Record) -> bool:
        return any(first <= record.sequence <= last for first, last in self._islands)
