"""What goes out first: the account of one target's queue in one lane, or in two.

    ordered      one lane, everything by sequence
    live-first   settled ──▶ │ hole ··· hole │ island ▶ … newest
                   backfill ─▶                  live ─▶

The live lane reads at the end of the queue. Where it is far behind, it jumps there; what it skipped
is a hole, which the backfill lane drains behind it, oldest first. What is settled beyond the
position is an island. Both are durable in the cursor, a jump before anything is read behind it.

Promise
    Position and islands cover only what is settled. In each lane, the messages of a topic go out
    by sequence. Killed at any instant, both lanes go on where the cursor says.

Limits
    ISLANDS_MAX islands. Where there is no room for another, the smallest is forgotten: its records
    are told again, with the same identities; the live lane never waits for that.
"""

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from common.queue.cursor import ISLANDS_MAX, Island
from common.records import GapRecord, Record
from uplink.contract import Manner, Parcel, Wording
from uplink.drain import Drain, Item, SetAside, Settled
from uplink.following import Following
from uplink.intake import (
    AHEAD_RECORDS,
    RECORDS_MAX,
    Intake,
    Reader,
    Span,
    Telling,
    Told,
    by_age,
)
from uplink.lag import Lag
from uplink.snapshot import HOLD_MOST_S, SLICE_RECORDS, Snapshot

PAYLOAD_BYTES_MAX = 100 * 1024
Records = Sequence[Record | GapRecord]

QUIET_MOST_S = 2.0
"""For the answers to what the live lane has in flight, before it jumps: what is not answered by
then is told once more by the backfill lane."""


class Limits(NamedTuple):
    """How far, how many, how long; smaller ones are for tests."""

    ahead_records: int = AHEAD_RECORDS
    skip_min: int = RECORDS_MAX
    """The live lane does not jump over fewer sequences."""
    islands_max: int = ISLANDS_MAX
    slice_records: int = SLICE_RECORDS
    """Of the snapshot, fed at once."""
    hold_most_s: float = HOLD_MOST_S
    """For which the backlog waits for a value of the snapshot that is refused for now."""


USUAL = Limits()


class Lull(enum.Enum):
    """Why a lane hands out nothing now."""

    DRY = "dry"
    """Nothing is there."""
    PAUSED = "paused"
    """The far side asked for a pause, or for one message at a time."""
    CLAIMED = "claimed"
    """The cursor must be moved before more may be read."""


class Durable(Protocol):
    """What a cursor has durably."""

    position: int
    islands: tuple[Island, ...]


class Lane:
    """One drain and what feeds it."""

    def __init__(self, drain: Drain[Parcel], intake: Intake) -> None:
        self.drain = drain
        self.intake = intake

    def pull(self, now_s: float) -> Item[Parcel] | Lull:
        """Return the message to publish now, or why there is none."""
        while True:
            item = self.drain.next(now_s)
            if item is not None:
                return item
            if not self.drain.hungry:
                return Lull.PAUSED
            if not self.intake.more():
                return Lull.CLAIMED if self.intake.must_wait else Lull.DRY


class Lanes:
    """One target's way through the queue."""

    def __init__(
        self,
        reader: Reader,
        cursor: Durable,
        wording: Wording,
        following: Following | None,
        limits: Limits = USUAL,
    ) -> None:
        """`following` is None for a drain in order. What the cursor has as islands, it forgets."""
        self._reader = reader
        self._cursor = cursor
        self._wording = wording
        self._following = following
        self._limits = limits
        self._payload_bytes_max = PAYLOAD_BYTES_MAX
        islands = [] if following is None else list(cursor.islands)
        last = islands.pop() if islands else None
        self._islands = islands
        """Settled before the live lane's own."""
        self._live_first = last.first if last else 0
        """Where the live lane's island begins; of no meaning while there is no backlog."""
        self.live = self._live_lane(last.last if last else cursor.position)
        self.drains = [self.live.drain]
        """The drain of each lane, live first; made anew with `backlog`, and asked per message."""
        self._backlog: Lane | None = None
        self.backlog = self._backfill_lane(cursor.position) if last else None
        # Whether it was all told before this process began, nobody knows.
        self._snapshot = Snapshot(cursor.position, last.first - 1 if last else 0, islands)
        self._lag = Lag()
        self._quiet_until_s: float | None = None
        self._aside: list[SetAside[Parcel]] = []
        """Set aside by a backfill lane that is done."""

    @property
    def backlog(self) -> Lane | None:
        """The backfill lane; None while nothing is left for it."""
        return self._backlog

    @backlog.setter
    def backlog(self, lane: Lane | None) -> None:
        self._backlog = lane
        self.drains = [each.drain for each in (self.live, lane) if each is not None]

    @property
    def in_flight(self) -> int:
        """Messages in flight, of all lanes."""
        return sum(len(drain.in_flight) for drain in self.drains)

    @property
    def in_flight_bytes(self) -> int:
        """Payload of what is in flight."""
        return sum(drain.in_flight_bytes for drain in self.drains)

    @property
    def one_at_a_time(self) -> bool:
        """True while a message of any lane is suspected of breaking connections."""
        return any(drain.one_at_a_time for drain in self.drains)

    @property
    def position(self) -> int:
        """Everything up to it is settled."""
        self._pass_on()
        return (self.backlog or self.live).drain.position

    @property
    def islands(self) -> tuple[Island, ...]:
        """What is settled beyond."""
        self._pass_on()
        return () if self.backlog is None else (*self._islands, self._live_island)

    @property
    def durable(self) -> bool:
        """True when the cursor has all of it."""
        return (self.position, self.islands) == (self._cursor.position, self._cursor.islands)

    @property
    def waiting(self) -> int:
        """How many sequences of the queue are not settled."""
        islands = sum(island.last - island.first + 1 for island in self.islands)
        return max(0, self._reader.last_sequence() - self.position - islands)

    @property
    def backlog_waiting(self) -> int:
        """How many of them are the backfill lane's."""
        if self.backlog is None:
            return 0
        between = sum(island.last - island.first + 1 for island in self._islands)
        return max(0, self._live_first - 1 - self.position - between)

    def settled(self) -> Settled[Parcel]:
        """Return the position, and what was set aside, in any lane, and is covered now."""
        position = self.position
        aside = self._aside + [each for drain in self.drains for each in drain.settled().set_aside]
        self._aside = []
        return Settled(position, aside)

    def connected(self, payload_bytes_max: int, now_s: float) -> list[SetAside[Parcel]]:
        """Begin on a new connection. Return what was set aside and has to be forgotten."""
        forgotten: list[SetAside[Parcel]] = []
        limit = min(PAYLOAD_BYTES_MAX, payload_bytes_max)
        if limit < self._payload_bytes_max and not self.one_at_a_time:
            forgotten += self._begin_again()  # What was worded for larger messages.
        self._payload_bytes_max = limit
        last = self.look(now_s)
        drain = self.live.drain
        if (
            self._following is not None
            and not self.one_at_a_time
            and last - drain.handed_out > self._limits.skip_min
        ):
            forgotten += self._jump(last)
        return forgotten

    def look(self, now_s: float) -> int:
        """Note how far the queue is, which the lag is measured by; return its last sequence."""
        last = self._reader.last_sequence()
        self._lag.note(now_s, last)
        return last

    def follow(self, now_s: float, budget_s: float) -> bool:
        """Follow the queue for about so long, where nothing reads it; return whether more is there.

        The live lane notes what it reads; this is for what it skips, or cannot tell now.
        """
        if self._following is None:
            return False
        if self._lag.due(now_s):
            self.look(now_s)
        return self._following.followed < self._lag.last and self._following.follow(budget_s)

    def jump_when_late(self, now_s: float) -> list[SetAside[Parcel]]:
        """Let the live lane jump when it is late. Return what has to be forgotten.

        The caller makes position and islands durable at once when `islands` has changed.
        """
        drain = self.live.drain
        if self._following is None or not (self._lag.due(now_s) or self._quiet_until_s):
            return []
        last = self.look(now_s)
        late = self._lag.late(now_s, drain.handed_out, self._limits.skip_min)
        if not late or drain.one_at_a_time or drain.put_off or not self._snapshot.handed_out(drain):
            self._quiet_until_s = None
            return []
        if self._quiet_until_s is None:
            self._quiet_until_s = now_s + QUIET_MOST_S
        if drain.in_flight and now_s < self._quiet_until_s:
            return []
        return self._jump(last)

    def pull_live(self, now_s: float) -> Item[Parcel] | Lull:
        """Return the live lane's next message, or why there is none."""
        drain = self.live.drain
        if self._quiet_until_s is not None:
            return Lull.DRY  # It is about to jump.
        while self._following is not None and self._snapshot.wanted:
            item = drain.next(now_s)
            if item is not None:
                return item
            if not drain.hungry:
                return Lull.PAUSED
            limits = self._limits
            records = self._snapshot.take(self._following, drain.read_after, limits.slice_records)
            self.live.intake.tell(records)
            self._snapshot.fed(drain, now_s + limits.hold_most_s)
            if not records:
                break  # The queue is not followed so far yet: what is new goes first.
        return self.live.pull(now_s)

    def pull_backfill(self, now_s: float) -> Item[Parcel] | Lull:
        """Return the backfill lane's next message, or why there is none.

        Nothing before the newest value of each tag is told: after a kill, the snapshot tells only
        what the position does not cover.
        """
        self._pass_on()
        if self.backlog is None:
            return Lull.DRY
        if not self.backlog.drain.one_at_a_time and not self._snapshot.over(self.live.drain, now_s):
            return Lull.DRY
        return self.backlog.pull(now_s)

    def drain_of(self, ticket: int) -> Drain[Parcel] | None:
        """Return the drain that has a ticket in flight, None when none has."""
        return next((drain for drain in self.drains if ticket in drain.in_flight), None)

    def _jump(self, last: int) -> list[SetAside[Parcel]]:
        """Go on behind `last`; what is skipped becomes a hole."""
        live = self.live.drain
        if self.backlog is None:
            self.backlog = self._backfill_lane(live.position)
        elif self._live_island.last >= self._live_island.first:
            self._islands.append(self._live_island)
            if len(self._islands) >= self._limits.islands_max:
                self._islands.remove(min(self._islands, key=_width))
        self._live_first = last + 1
        self._quiet_until_s = None
        self._snapshot = Snapshot(self.position, last, self._islands)
        return live.jump(last + 1)

    def _begin_again(self) -> list[SetAside[Parcel]]:
        """Read anew what is not settled, to be worded anew."""
        forgotten = []
        for drain in self.drains:
            forgotten += drain.jump(drain.position + 1)
        self._snapshot.begin_again()
        return forgotten

    def _pass_on(self) -> None:
        """Have the backfill lane go on behind the island that follows its hole, once it is done."""
        while self.backlog is not None and self.backlog.drain.position >= self._hole_last:
            drain = self.backlog.drain
            if self._islands:
                drain.pass_over(self._islands.pop(0).last)
            else:
                self._aside += drain.settled().set_aside
                self.backlog = None

    @property
    def _hole_last(self) -> int:
        """Where the hole that the backfill lane drains ends."""
        return (self._islands[0].first if self._islands else self._live_first) - 1

    @property
    def _live_island(self) -> Island:
        return Island(self._live_first, self.live.drain.position)

    def _live_lane(self, position: int) -> Lane:
        telling = self._told_in_order if self._following is None else self._told_as_current
        return self._lane(position, self._live_span, telling)

    def _backfill_lane(self, position: int) -> Lane:
        return self._lane(position, self._backfill_span, self._told_as_history)

    def _lane(self, position: int, span: Callable[[], Span], telling: Telling) -> Lane:
        drain: Drain[Parcel] = Drain(position)
        intake = Intake(
            self._reader,
            drain,
            self._wording,
            span,
            telling,
            ahead_records=self._limits.ahead_records,
        )
        return Lane(drain, intake)

    def _live_span(self) -> Span:
        islands = self._cursor.islands if self._following is not None else ()
        return Span(islands[-1].last if islands else self._cursor.position)

    def _backfill_span(self) -> Span:
        return Span(self._cursor.position, self._hole_last)

    def _told_in_order(self, records: Records) -> Iterable[Told]:
        return by_age(records, self._payload_bytes_max)

    def _told_as_current(self, records: Records) -> Iterable[Told]:
        if self._following is not None:
            self._following.note(records, after=self.live.drain.read_after)
        return [(self._manner(historical=False), records)]

    def _manner(self, *, historical: bool) -> Manner:
        """Only current values are retained, so the newest of a topic always is."""
        return Manner(historical, not historical, self._payload_bytes_max)

    def _told_as_history(self, records: Records) -> Iterable[Told]:
        return [(self._manner(historical=True), records)]


def _width(island: Island) -> int:
    return island.last - island.first
