"""Messages that the far side will never take: on their way to the dead-letter store, and in it.

A letter is stored with the move of the cursor that covers it, in one commit. Until then it waits
here, bounded by `congested`. When the store is nearly full nothing more is published: a letter
that has no place would be a loss.
"""

from collections.abc import Sequence

from common.clock import monotonic_s, now_ns
from common.log import get_log
from common.queue import Cursor, DeadLetter
from common.queue.cursor import SET_ASIDE_MAX, Island
from uplink.contract import Parcel, Wording
from uplink.drain import Item, SetAside, Settled
from uplink.report import Report
from uplink.settings import IN_FLIGHT_MAX

WAITING_MAX = 2 * IN_FLIGHT_MAX
WAITING_BYTES_MAX = 8 * 1024**2
"""Of letters that the cursor does not cover yet."""
LOOK_INTERVAL_S = 1.0
"""Between looks into the store, which an operator may have emptied."""
LOGGED_TOPICS_MAX = 20
"""Topics named in the log when their messages are set aside; the store has them all."""

log = get_log(__name__)


class Letters:
    """One target's dead letters; the cursor belongs to the caller."""

    def __init__(self, cursor: Cursor, wording: Wording, report: Report) -> None:
        self._cursor = cursor
        self._wording = wording
        self._report = report
        self._waiting = 0
        self._waiting_bytes = 0
        self._look_at_s = 0.0
        self._last_reason = ""
        self._told_topics: set[str] = set()
        self.full = False
        """True while the store has no room for what one window may bring."""

    @property
    def congested(self) -> bool:
        """True when so many letters wait for the cursor that nothing new should be published."""
        return self._waiting >= WAITING_MAX or self._waiting_bytes >= WAITING_BYTES_MAX

    def add(self, item: Item[Parcel], reason: str) -> None:
        """Account for a message that was set aside in the drain."""
        self._waiting += 1
        self._waiting_bytes += len(item.payload)
        self._report.set_aside += 1
        self._last_reason = reason
        self.tell_once(item.topic, reason)

    def store(self, settled: Settled[Parcel], islands: Sequence[Island] = ()) -> None:
        """Make the position, its islands and the letters that they cover durable, in one commit."""
        position, aside = settled
        letters = [self._letter(each) for each in aside]
        self._cursor.advance(position, letters, islands=islands)
        self._report.acked_sequence = position
        self._covered(aside)

    def forget(self, aside: Sequence[SetAside[Parcel]]) -> None:
        """Drop letters that wait: their messages are published again."""
        self._covered(aside)

    def _covered(self, aside: Sequence[SetAside[Parcel]]) -> None:
        self._waiting -= len(aside)
        self._waiting_bytes -= sum(len(each.item.payload) for each in aside)
        if aside:
            self.look()

    def look_when_due(self) -> None:
        """Look into the store when a second has passed since the last time."""
        if monotonic_s() >= self._look_at_s:
            self.look()

    def look(self) -> None:
        """Read from the store how many letters there are, and whether it has room for more."""
        self._look_at_s = monotonic_s() + LOOK_INTERVAL_S
        count = self._cursor.set_aside_count
        self._report.set_aside = count + self._waiting
        ends_at = SET_ASIDE_MAX - WAITING_MAX - 2 * IN_FLIGHT_MAX
        full = count > ends_at or not self._cursor.room_for_letters
        if full == self.full:
            return
        self.full = full
        if full:
            log.warning("delivery stops", target=self._report.target, reason=self.complaint())
        else:
            log.info("delivery goes on: there is room again", target=self._report.target)

    def complaint(self) -> str:
        """Return what a person reads while the store is full."""
        last = f", the last one: {self._last_reason}" if self._last_reason else ""
        return (
            f"the store of refused messages is full ({self._report.set_aside} set aside{last}); "
            "correct the broker's permissions or limits, then see them with 'tailrace set-aside "
            "list' and drop them with 'tailrace set-aside drop'"
        )

    def tell_once(self, topic: str, reason: str) -> None:
        """Log the first message of a topic that is set aside."""
        if topic in self._told_topics or len(self._told_topics) >= LOGGED_TOPICS_MAX:
            return
        self._told_topics.add(topic)
        log.warning(
            "messages set aside", target=self._report.target, topic=topic or "-", reason=reason
        )
        if len(self._told_topics) == LOGGED_TOPICS_MAX:
            log.warning("further topics are set aside without a line each; see the store")

    def _letter(self, each: SetAside[Parcel]) -> DeadLetter:
        item = each.item
        index = self._wording.index(item.record, item.number)
        return DeadLetter(
            item.record.sequence, index, item.topic, item.payload, each.reason, now_ns()
        )
