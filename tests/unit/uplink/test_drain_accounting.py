"""Goal: the position never covers a message that was neither taken nor set aside, and none is lost.

Method: hypothesis plays feeds, publishes, answers of every kind in any order and disconnects,
against a model that only remembers sets; single stories stand below. Restarts and the limit of
reading are in test_intake.py. What this cannot show: that the cursor on disk is what the drain says
(tests/uplink does).

Seen to bite: with a position that moves as soon as one record of its sequence is settled, and with
a place that does not tell the records of one sequence apart.
"""

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from uplink.contract import Verdict
from uplink.drain import PAUSE_MOST_S, STRIKES_MAX, TRIES_MAX, Drain, Item, Place

WINDOW = 5


@dataclass(frozen=True)
class Numbered:
    """A record as the drain sees it."""

    sequence: int

    @property
    def last_sequence(self) -> int:
        return self.sequence


class DrainModel(RuleBasedStateMachine):
    """The model: which messages exist, which were taken, which set aside, which are in flight."""

    def __init__(self) -> None:
        super().__init__()
        self.drain: Drain[Numbered] = Drain(0)
        self.now_s = 0.0
        self.ticket = 0
        self.sequence = 0
        self.sizes: dict[tuple[int, int], int] = {}
        """(sequence, rank) → messages; several records may share a sequence."""
        self.taken: set[Place] = set()
        self.aside: dict[Place, str] = {}
        self.told_aside: list[Place] = []
        self.flying: dict[int, Place] = {}
        self.published: dict[Place, int] = {}
        self.repeats_allowed: dict[Place, int] = {}
        self.strikes: dict[Place, int] = {}
        self.position = 0

    @rule(
        sequences=st.lists(
            st.lists(st.integers(0, 4), min_size=1, max_size=3), min_size=1, max_size=4
        ),
        hole=st.integers(0, 3),
    )
    def feed(self, sequences: list[list[int]], hole: int) -> None:
        """Sequences follow with holes; each has some records, of some messages or of none."""
        if not self.drain.hungry:
            return
        records = []
        for sizes in sequences:
            self.sequence += 1 + hole
            for rank, size in enumerate(sizes):
                self.sizes[self.sequence, rank] = size
                records.append((Numbered(self.sequence), size))
        self.drain.feed(records)

    @rule(width=st.integers(1, 5))
    def pass_over(self, width: int) -> None:
        """Nothing is there for a while."""
        if not self.drain.hungry:
            return
        self.sequence += width
        self.drain.pass_over(self.sequence)

    @rule(count=st.integers(1, WINDOW))
    def publish(self, count: int) -> None:
        for _ in range(count):
            if len(self.flying) >= WINDOW or (self.drain.one_at_a_time and self.flying):
                return
            item = self.drain.next(self.now_s)
            if item is None:
                return
            item.topic, item.payload = f"topic-{item.number}", b"x" * (1 + item.number)
            self.ticket += 1
            self.drain.published(item, self.ticket)
            assert item.place not in self.flying.values(), "nothing is in flight twice"
            assert item.place not in self.taken, "what was taken is not published again"
            assert item.place not in self.aside, "what was set aside is not published again"
            newer = any(n == item.number and (s, r) > item.place[:2] for s, r, n in self.taken)
            assert self.drain.superseded(item) == newer, "an old value is known to be old"
            self.flying[self.ticket] = item.place
            self.published[item.place] = self.published.get(item.place, 0) + 1

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), verdict=st.sampled_from(list(Verdict)))
    def answer(self, data: st.DataObject, verdict: Verdict) -> None:
        """Answers come in any order."""
        ticket = data.draw(st.sampled_from(sorted(self.flying)))
        place = self.flying.pop(ticket)
        aside = self.drain.answered(ticket, verdict, verdict.value, self.now_s)
        if verdict is Verdict.TAKEN:
            self.taken.add(place)
        elif aside is not None:
            assert aside.place == place
            assert verdict in (Verdict.NEVER, Verdict.RETRY)
            self.aside[place] = verdict.value
        else:
            assert verdict is not Verdict.NEVER, "a final no is not tried again"
            self._allow_repeat(place)

    @rule(ticket=st.integers(1_000_000, 1_000_003))
    def answer_to_nothing(self, ticket: int) -> None:
        """An unknown ticket changes nothing; the invariants below would see it."""
        assert self.drain.answered(ticket, Verdict.NEVER, "?", self.now_s) is None

    @rule(blamed=st.sampled_from(["", "", "packet too large"]), others=st.booleans())
    def disconnect(self, blamed: str, *, others: bool) -> None:
        flying = set(self.flying.values())
        culprit = self.drain.disconnected(blamed=blamed, others=others)
        if blamed and len(flying) == 1 and not others:
            (alone,) = flying
            self.strikes[alone] = self.strikes.get(alone, 0) + 1
        if culprit is not None:
            assert blamed, "nobody is set aside without blame"
            assert flying == {culprit.place}, "only what flew alone is known to be guilty"
            assert not others, "what shared the connection with another may be innocent"
            assert self.strikes[culprit.place] == STRIKES_MAX, "and not after the first time"
            self.aside[culprit.place] = blamed
            flying.discard(culprit.place)
        for place in flying:
            self._allow_repeat(place)
        self.flying.clear()

    @rule(elapsed_s=st.sampled_from([0.01, 1.0, PAUSE_MOST_S]))
    def time_passes(self, elapsed_s: float) -> None:
        self.now_s += elapsed_s

    @rule()
    def persist(self) -> None:
        position, aside = self.drain.settled()
        assert position >= self.position, "the position never moves back"
        self.position = position
        self.told_aside += [each.item.place for each in aside]

    @invariant()
    def the_position_covers_only_what_is_settled(self) -> None:
        """And all of it: it stands right before the first sequence that is not settled."""
        done = self.taken | self.aside.keys()
        open_sequences = [
            sequence
            for (sequence, rank), size in self.sizes.items()
            if any((sequence, rank, number) not in done for number in range(size))
        ]
        assert self.drain.position == min(open_sequences, default=self.sequence + 1) - 1

    @invariant()
    def what_is_set_aside_is_told_once_and_only_when_covered(self) -> None:
        assert len(set(self.told_aside)) == len(self.told_aside)
        expected = {place for place in self.aside if place[0] <= self.position}
        assert set(self.told_aside) == expected

    @invariant()
    def what_is_in_flight_is_weighed(self) -> None:
        flying = self.drain.in_flight.values()
        assert self.drain.in_flight_bytes == sum(len(item.payload) for item in flying)

    @invariant()
    def repeats_have_a_cause(self) -> None:
        for place, times in self.published.items():
            assert times <= 1 + self.repeats_allowed.get(place, 0)

    def teardown(self) -> None:
        """Liveness: with a far side that takes everything, everything fed is settled."""
        for _ in range(10 * (1 + sum(self.sizes.values()))):
            self.now_s += PAUSE_MOST_S
            item = self.drain.next(self.now_s)
            if item is not None:
                item.topic = "any"
                self.ticket += 1
                self.drain.published(item, self.ticket)
                self.flying[self.ticket] = item.place
            for ticket in list(self.flying):
                self.drain.answered(ticket, Verdict.TAKEN, "", self.now_s)
                self.flying.pop(ticket)
        assert self.drain.position == self.sequence, "nothing is forgotten"

    def _allow_repeat(self, place: Place) -> None:
        self.repeats_allowed[place] = self.repeats_allowed.get(place, 0) + 1


DrainModel.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestTheDrainAgainstItsModel = DrainModel.TestCase


def drain_of(*sizes: int) -> Drain[Numbered]:
    drain: Drain[Numbered] = Drain(0)
    drain.feed((Numbered(sequence), size) for sequence, size in enumerate(sizes, 1))
    return drain


def publish_all(drain: Drain[Numbered], now_s: float = 0.0) -> dict[int, Item[Numbered]]:
    """Publish everything there is; tickets count on from those in flight."""
    ticket = max(drain.in_flight, default=0)
    while (item := drain.next(now_s)) is not None:
        item.topic = f"topic-{item.number}"
        ticket += 1
        drain.published(item, ticket)
    return dict(drain.in_flight)


def test_a_record_counts_only_when_every_sample_of_it_is_acknowledged() -> None:
    drain = drain_of(3)
    publish_all(drain)

    drain.answered(3, Verdict.TAKEN, "", 0.0)
    drain.answered(1, Verdict.TAKEN, "", 0.0)

    assert drain.position == 0, "the second sample is still in flight"
    drain.answered(2, Verdict.TAKEN, "", 0.0)
    assert drain.position == 1


def test_a_sequence_counts_only_when_the_gap_that_follows_its_data_is_settled_too() -> None:
    drain: Drain[Numbered] = Drain(0)
    data, gap = Numbered(7), Numbered(7)
    drain.feed([(data, 2), (gap, 1)])
    items = publish_all(drain)
    assert [item.record for item in items.values()] == [data, data, gap], "the gap follows"

    drain.answered(1, Verdict.TAKEN, "", 0.0)
    drain.answered(2, Verdict.NEVER, "not authorized", 0.0)

    assert drain.settled() == (6, []), "nor is told what was set aside of that sequence"
    drain.answered(3, Verdict.TAKEN, "", 0.0)
    position, aside = drain.settled()
    assert (position, [each.item.place for each in aside]) == (7, [(7, 0, 1)])


def test_a_later_record_waits_for_the_earlier_one() -> None:
    drain = drain_of(1, 1)
    publish_all(drain)

    drain.answered(2, Verdict.TAKEN, "", 0.0)
    assert drain.position == 0

    drain.answered(1, Verdict.TAKEN, "", 0.0)
    assert drain.position == 2


def test_a_quota_is_waited_out_as_often_as_it_takes() -> None:
    drain = drain_of(1)
    now_s = 0.0
    for _ in range(4 * TRIES_MAX):
        (ticket,) = publish_all(drain, now_s)
        assert drain.answered(ticket, Verdict.LATER, "quota exceeded", now_s) is None
        assert drain.next(now_s) is None, "a pause follows"
        now_s += PAUSE_MOST_S

    (ticket,) = publish_all(drain, now_s)
    drain.answered(ticket, Verdict.TAKEN, "", now_s)
    assert drain.settled() == (1, [])


def test_an_error_without_a_reason_is_tried_five_times_and_then_set_aside() -> None:
    drain = drain_of(1)
    now_s = 0.0
    outcomes = []
    for _ in range(TRIES_MAX):
        (ticket,) = publish_all(drain, now_s)
        outcomes.append(drain.answered(ticket, Verdict.RETRY, "unspecified error", now_s))
        now_s += PAUSE_MOST_S

    assert [outcome is not None for outcome in outcomes] == [False] * (TRIES_MAX - 1) + [True]
    position, aside = drain.settled()
    assert (position, [each.reason for each in aside]) == (1, ["unspecified error"])


def test_a_quota_uses_up_no_try_of_an_error_without_a_reason() -> None:
    drain = drain_of(1)
    now_s = 0.0
    for verdict in [Verdict.LATER] * TRIES_MAX + [Verdict.RETRY] * (TRIES_MAX - 1):
        (ticket,) = publish_all(drain, now_s)
        assert drain.answered(ticket, verdict, "not now", now_s) is None
        now_s += PAUSE_MOST_S

    (ticket,) = publish_all(drain, now_s)
    drain.answered(ticket, Verdict.TAKEN, "", now_s)
    assert drain.settled() == (1, []), "it had one try left"


def test_a_value_that_was_refused_for_now_does_not_hide_a_newer_one() -> None:
    drain = drain_of(1, 1)
    publish_all(drain)
    drain.answered(1, Verdict.LATER, "quota exceeded", 0.0)
    drain.answered(2, Verdict.TAKEN, "", 0.0)

    item = drain.next(PAUSE_MOST_S)

    assert item is not None
    assert item.place == (1, 0, 0)
    assert drain.superseded(item), "so that it is not retained over the newer one"


def test_nothing_new_is_published_while_the_far_side_asks_for_a_pause() -> None:
    drain = drain_of(1, 1, 1)
    first = drain.next(0.0)
    assert first is not None
    drain.published(first, 1)
    second = drain.next(0.0)
    assert second is not None
    drain.published(second, 2)

    drain.answered(1, Verdict.LATER, "quota exceeded", 0.0)

    assert drain.next(PAUSE_MOST_S) is None, "the second is in flight, its outcome is not known"
    drain.answered(2, Verdict.TAKEN, "", 0.0)
    again = drain.next(PAUSE_MOST_S)
    assert again is first, "the refused one comes before anything new"


def test_after_a_disconnect_only_what_was_in_flight_comes_again_in_order() -> None:
    drain = drain_of(4)
    publish_all(drain)
    drain.answered(2, Verdict.TAKEN, "", 0.0)

    drain.disconnected()

    places = [item.place for item in publish_all(drain).values()]
    assert places == [(1, 0, 0), (1, 0, 2), (1, 0, 3)]


def test_the_message_that_breaks_connections_is_found_and_the_others_arrive() -> None:
    drain = drain_of(1, 1, 1)
    publish_all(drain)
    drain.disconnected(blamed="packet too large")
    taken = []
    while (item := drain.next(0.0)) is not None:
        assert drain.one_at_a_time or item.place == (3, 0, 0)
        drain.published(item, 1)
        if item.place == (2, 0, 0):
            culprit = drain.disconnected(blamed="packet too large")
            assert (culprit is item) == (item.strikes == STRIKES_MAX), "once may be chance"
        else:
            drain.answered(1, Verdict.TAKEN, "", 0.0)
            taken.append(item.place)

    assert taken == [(1, 0, 0), (3, 0, 0)]
    position, aside = drain.settled()
    assert (position, [each.item.place for each in aside]) == (3, [(2, 0, 0)])
    assert not drain.one_at_a_time


def test_a_message_is_not_blamed_for_what_was_in_flight_beside_it() -> None:
    drain = drain_of(1)
    for _ in range(2 * STRIKES_MAX):
        publish_all(drain)
        assert drain.disconnected(blamed="topic name invalid", others=True) is None
        assert drain.one_at_a_time, "from now on it stands alone, so that the next time counts"

    publish_all(drain)
    drain.answered(1, Verdict.TAKEN, "", 0.0)
    assert drain.settled() == (1, [])
