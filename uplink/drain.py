"""What is in flight, what was answered, and how far everything is settled. No network, no clock.

Promise
    `position` is the highest sequence of which this is known: every message of every record up to
    it was taken by the far side or is in `set_aside`. Records may share a sequence (a gap follows
    the data that kept a part of its samples), so it waits for all of them. It never decreases.
    No message is forgotten: each is waiting, in flight, refused for now, or settled.
    After a disconnect exactly the messages in flight are published again, so that repeats per
    disconnect never exceed the window.

Order
    Messages are handed out in the order fed: by sequence, and within one sequence as the queue
    has them. One that was refused for now is handed out again only when nothing else is in
    flight, before anything new; by then a newer message of its topic may have been taken, and
    `superseded` says so, so that it is not retained over the newer one. Records that stand before
    the position may be fed too, to be told once more: they settle nothing.

Limits
    Memory: the records fed (the caller feeds only when `hungry`), and one entry per topic.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from common.backoff import jittered_delays_s
from uplink.contract import Verdict

TRIES_MAX = 5
"""Of one message that fails without a reason (MQTT 0x80, 0x83), before it is set aside."""
STRIKES_MAX = 2
"""Connections that one message must have ended while nothing else was in flight, before it is set
aside: once may be chance, and a message that was blamed wrongly never arrives."""
PAUSE_FIRST_S = 0.5
PAUSE_MOST_S = 60.0
"""Between tries of messages that the far side does not take for now."""


class Sequenced(Protocol):
    """Anything with a position in the queue."""

    @property
    def sequence(self) -> int:
        """Its position in the queue; of what is not told once more, never smaller than the last."""
        ...

    @property
    def last_sequence(self) -> int:
        """The last position that it covers."""
        ...


R = TypeVar("R", bound=Sequenced)


class Place(NamedTuple):
    """Where a message belongs in the order."""

    sequence: int
    rank: int
    """Of its record among those of one sequence, from 0."""
    number: int
    """Of the message in its record."""


NOWHERE = Place(0, 0, 0)
"""Before every message; sequences begin at 1."""


class _Unsettled(Generic[R]):
    """One record that was fed, until every message of it is settled."""

    __slots__ = ("rank", "record", "remaining", "set_aside", "total")

    def __init__(self, record: R, rank: int, total: int) -> None:
        self.record = record
        self.rank = rank
        self.total = total
        self.remaining = total
        self.set_aside: list[SetAside[R]] = []


class Item(Generic[R]):
    """One message of one record on its way."""

    __slots__ = (
        *("number", "payload", "place", "put_off", "record", "strikes", "topic", "tries"),
        "unsettled",
    )

    def __init__(self, unsettled: _Unsettled[R], number: int) -> None:
        self.unsettled = unsettled
        self.record = unsettled.record
        self.number = number
        self.place = Place(unsettled.record.sequence, unsettled.rank, number)
        """Where it belongs in the order."""
        self.tries = 0
        """Failures without a reason; a far side that says `later` costs none."""
        self.put_off = False
        """True once it was refused for now."""
        self.strikes = 0
        """Connections that it ended alone."""
        self.topic = ""
        self.payload = b""
        """As last published; kept for the dead-letter store."""


class SetAside(NamedTuple, Generic[R]):
    """One message that the far side will never take, and why."""

    item: Item[R]
    reason: str


class Settled(NamedTuple, Generic[R]):
    """How far everything is settled, and what was set aside since the last time it was asked."""

    position: int
    set_aside: list[SetAside[R]]


class Drain(Generic[R]):
    """The accounting of one target, across connections."""

    def __init__(self, position: int) -> None:
        self.position = position
        self.read_after = position
        """Everything up to this sequence was fed, or is not there."""
        self.in_flight: dict[int, Item[R]] = {}
        self.in_flight_bytes = 0
        """Payload of what is in flight."""
        self._unsettled: deque[_Unsettled[R]] = deque()
        self._fresh: deque[tuple[int, Iterator[Item[R]]]] = deque()
        """(sequence, messages not handed out yet) of each record."""
        self._again: deque[Item[R]] = deque()
        self._refused: list[Item[R]] = []
        self._resume_at_s = 0.0
        self._pauses_s = jittered_delays_s(PAUSE_FIRST_S, PAUSE_MOST_S)
        self._newest: dict[str, Place] = {}
        self._settled_aside: list[SetAside[R]] = []
        self._suspects = 0
        self.fed = 0
        """Records fed, ever."""
        self.finished = 0
        """Of those, the ones that are settled with all that were fed before them."""

    @property
    def handed_out(self) -> int:
        """The last sequence of which nothing waits to be handed out for the first time."""
        return self._fresh[0][0] - 1 if self._fresh else self.read_after

    @property
    def put_off(self) -> bool:
        """True while a message that was refused for now waits for its next try."""
        return bool(self._refused) or any(item.put_off for item in self._again)

    @property
    def hungry(self) -> bool:
        """True when everything that was fed has been handed out at least once."""
        return not self._fresh and not self._again and not self._refused

    @property
    def one_at_a_time(self) -> bool:
        """True while one of the messages to repeat is suspected of breaking connections."""
        return self._suspects > 0

    def feed(self, records: Iterable[tuple[R, int]]) -> None:
        """Take (record, number of messages) in the queue's order, all of a sequence together."""
        rank, at = 0, None
        for record, total in records:
            rank = rank + 1 if record.sequence == at else 0
            at = record.last_sequence
            unsettled = _Unsettled(record, rank, total)
            self._unsettled.append(unsettled)
            self._fresh.append((record.sequence, _items(unsettled)))
            self.fed += 1
        if at is not None:
            self.pass_over(at)

    def pass_over(self, sequence: int) -> None:
        """Note that up to a sequence there is nothing more than what was fed."""
        self.read_after = max(sequence, self.read_after)
        self._advance()

    def jump(self, first: int) -> list[SetAside[R]]:
        """Forget everything that is not settled and go on at a sequence, beyond the position.

        What lies between is somebody else's now, who publishes it again. Answers to what is in
        flight change nothing any more. Returns what was set aside and is forgotten with it.
        """
        forgotten = self._settled_aside
        for unsettled in self._unsettled:
            forgotten += unsettled.set_aside
        self._settled_aside = []
        self._unsettled.clear()
        self._fresh.clear()
        self._again.clear()
        self._refused.clear()
        self.in_flight.clear()
        self.in_flight_bytes = self._suspects = 0
        self.finished = self.fed
        self.position = self.read_after = first - 1
        return forgotten

    def next(self, now_s: float) -> Item[R] | None:
        """Return the message to publish now, None when there is none or a pause lasts.

        The caller hands it back by `published`, `put_back` or `set_aside`.
        """
        if self._refused:
            if self.in_flight or now_s < self._resume_at_s:
                return None
            self._again.extendleft(sorted(self._refused, key=_place, reverse=True))
            self._refused = []
        if self._again:
            return self._again.popleft()
        while self._fresh:
            item = next(self._fresh[0][1], None)
            if item is not None:
                return item
            self._fresh.popleft()
        return None

    def superseded(self, item: Item[R]) -> bool:
        """True when a newer message of the item's topic was taken already."""
        return self._newest.get(item.topic, NOWHERE) > item.place

    def published(self, item: Item[R], ticket: int) -> None:
        """Account for a message that is on its way under `ticket`."""
        self.in_flight[ticket] = item
        self.in_flight_bytes += len(item.payload)

    def set_aside(self, item: Item[R], reason: str) -> None:
        """Settle a message that will never be taken."""
        item.unsettled.set_aside.append(SetAside(item, reason))
        self._settle(item)

    def answered(self, ticket: int, verdict: Verdict, reason: str, now_s: float) -> Item[R] | None:
        """Account for an answer. Return the message that it set aside, None otherwise.

        Answers may come in any order; an unknown or repeated ticket changes nothing.
        """
        item = self.in_flight.pop(ticket, None)
        if item is None:
            return None
        self.in_flight_bytes -= len(item.payload)
        if verdict is Verdict.TAKEN:
            if item.put_off:  # It works again: the next pause is a short one.
                self._pauses_s = jittered_delays_s(PAUSE_FIRST_S, PAUSE_MOST_S)
            if not self.superseded(item):
                self._newest[item.topic] = item.place
            self._settle(item)
            return None
        item.tries += verdict is Verdict.RETRY
        if verdict is Verdict.NEVER or item.tries >= TRIES_MAX:
            self.set_aside(item, reason)
            return item
        item.put_off = True
        if not self._refused:
            self._resume_at_s = now_s + next(self._pauses_s)
        self._refused.append(item)
        return None

    def disconnected(self, *, blamed: str = "", others: bool = False) -> Item[R] | None:
        """Take back everything in flight, to be published again in order.

        `blamed` is the far side's reason when it cut the connection because of a message, `others`
        is true when messages were in flight that are not the drain's. Which message it was, the
        far side does not say: all of them are repeated one at a time, and the one that was alone
        in flight STRIKES_MAX times is set aside and returned.
        """
        flying = sorted(self.in_flight.values(), key=_place)
        self.in_flight.clear()
        self.in_flight_bytes = 0
        culprit = None
        if blamed and len(flying) == 1 and not others:
            flying[0].strikes += 1
            if flying[0].strikes >= STRIKES_MAX:
                culprit = flying.pop()
                self.set_aside(culprit, blamed)
        if blamed:
            self._suspects = max(self._suspects, len(flying))
        self._again = deque(sorted((*flying, *self._refused, *self._again), key=_place))
        self._refused = []
        return culprit

    def settled(self) -> Settled[R]:
        """Return the position and what was set aside up to it, once each."""
        position = self.position
        aside = [a for a in self._settled_aside if a.item.record.last_sequence <= position]
        del self._settled_aside[: len(aside)]  # They are in the order in which they were fed.
        return Settled(position, aside)

    def _settle(self, item: Item[R]) -> None:
        item.unsettled.remaining -= 1
        if self._suspects:
            self._suspects -= 1
        if not item.unsettled.remaining:
            self._advance()

    def _advance(self) -> None:
        while self._unsettled and not self._unsettled[0].remaining:
            self._settled_aside += self._unsettled.popleft().set_aside
            self.finished += 1
        # Not the sequence of the last one settled: another of the same sequence may follow it.
        reached = self._unsettled[0].record.sequence - 1 if self._unsettled else self.read_after
        self.position = max(self.position, reached)  # What is told once more stands before it.


def _items(unsettled: _Unsettled[R]) -> Iterator[Item[R]]:
    return (Item(unsettled, number) for number in range(unsettled.total))


def _place(item: Item[R]) -> Place:
    return item.place
