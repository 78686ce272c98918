"""Goal: the uplink reads no further than its claim, and never stands still because of it.

So no sample is both delivered and named by a gap, and a crash at any instant loses none.

Method: hypothesis plays a queue that grows, drops and thins behind the claim, an uplink that reads,
publishes, persists and crashes, and a far side that takes, refuses and hangs up. The queue is a
plain list with the promises of QueueReader; the far side is a set. What this cannot show: that the
real queue keeps those promises (tests/model does), or what a queue does that must drop inside the
claim because nothing else is left.

Seen to bite: reading without a limit; a limit that moves with the settled position instead of the
durable one; no passing over what is not there, or passing over more than that; a position that
covers a sequence of which the gap is not settled; a writer that acts on an old look at the cursor.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.queue.cursor import CLAIM_RECORDS
from uplink.contract import Manner, Parcel, Verdict
from uplink.drain import PAUSE_MOST_S, Drain, Item
from uplink.intake import AHEAD_RECORDS, Intake, Span, by_age

CLAIM, AHEAD = 12, 6
WINDOW = 5
READ_AT_ONCE = 3


@dataclass(frozen=True)
class Kept:
    """A record: its samples have numbers of their own."""

    sequence: int
    samples: tuple[int, ...]


@dataclass(frozen=True)
class Missing:
    """A gap."""

    sequence: int
    number: int
    samples: frozenset[int]


@dataclass
class Durable:
    """A cursor."""

    position: int = 0


def gaps_of(lost: set[int], last: int) -> list[Missing]:
    """Return what a region that ends at `last` leaves behind: two gaps, where there is enough."""
    third = {each for each in lost if each % 3 == 0}
    parts = [part for part in (third, lost - third) if part]
    return [Missing(last, number, frozenset(part)) for number, part in enumerate(parts)]


class PlainQueue:
    """What QueueReader promises, as a list."""

    def __init__(self, first: int) -> None:
        self.last = first - 1
        self.records: list[Any] = []

    def last_sequence(self) -> int:
        return self.last

    def read(self, *, after: int, records_max: int = 1_000, up_to: int | None = None) -> list[Any]:
        """Return whole sequences; a few more than asked for."""
        found = [
            each
            for each in self.records
            if each.sequence > after and (up_to is None or each.sequence <= up_to)
        ]
        few = found[: min(records_max, READ_AT_ONCE)]
        return [each for each in found if few and each.sequence <= few[-1].sequence]


class OneMessagePerSample:
    """A wording, as far as the intake asks it."""

    def messages_in(self, record: Kept | Missing) -> int:
        return 1 if isinstance(record, Missing) else len(record.samples)

    def parcels(self, records: Sequence[Kept | Missing], manner: Manner) -> Iterator[Parcel]:
        for record in records:
            yield Parcel((record,), self.messages_in(record), manner)  # type: ignore[arg-type]


def in_parcel(item: Item[Parcel]) -> Kept | Missing:
    """Return the record of a message."""
    (record,) = item.record.records
    return record  # type: ignore[return-value]


class UplinkModel(RuleBasedStateMachine):
    """A queue, one uplink on it, and what its far side has."""

    @initialize(first=st.sampled_from([1, 1, 3, 5 * CLAIM]))
    def begin(self, first: int) -> None:
        """A new target begins: what was delivered before it is not there."""
        self.queue = PlainQueue(first)
        self.cursor = Durable()
        self.samples = self.ticket = 0
        self.now_s = 0.0
        self.settled: set[tuple[Kept | Missing, int]] = set()
        """Taken by the far side, or durably set aside: (record, number of the message)."""
        self.aside: set[tuple[Kept | Missing, int]] = set()
        self.told: dict[tuple[int, int], Missing] = {}
        self.looked_at = 0
        self.start()

    def start(self) -> None:
        self.drain: Drain[Parcel] = Drain(self.cursor.position)
        self.intake = Intake(
            self.queue,
            self.drain,
            OneMessagePerSample(),
            lambda: Span(self.cursor.position),
            lambda records: by_age(records, 1_000),
            ahead_records=AHEAD,
        )
        self.flying: dict[int, Item[Parcel]] = {}

    @rule(sizes=st.lists(st.integers(0, 3), min_size=1, max_size=2 * CLAIM))
    def append(self, sizes: list[int]) -> None:
        for size in sizes:
            self.queue.last += 1
            samples = tuple(range(self.samples, self.samples + size))
            self.samples += size
            self.queue.records.append(Kept(self.queue.last, samples))

    @rule()
    def the_writer_looks(self) -> None:
        self.looked_at = self.cursor.position

    @rule(data=st.data(), keep=st.sampled_from(["nothing", "nothing", "every other"]))
    def the_writer_gives_up(self, data: st.DataObject, keep: str) -> None:
        """Drop or thin a region behind the claim, as of a look that is not quite fresh."""
        if self.cursor.position - self.looked_at > CLAIM - AHEAD:
            return  # Decided long ago: that is beyond what half a claim is good for.
        sequences = sorted(
            {r.sequence for r in self.queue.records if r.sequence > self.looked_at + CLAIM}
        )
        if not sequences:
            return
        first = data.draw(st.sampled_from(sequences), label="first")
        last = data.draw(st.sampled_from([s for s in sequences if s >= first]), label="last")
        before = [r for r in self.queue.records if r.sequence < first]
        region = [r for r in self.queue.records if first <= r.sequence <= last]
        after = [r for r in self.queue.records if r.sequence > last]
        stays, lost = [], set()
        for record in region:
            if isinstance(record, Missing):
                lost |= record.samples
                continue
            left = record.samples[::2] if keep == "every other" else ()
            lost |= set(record.samples) - set(left)
            if left:
                stays.append(replace(record, samples=left))
        self.queue.records = [*before, *stays, *gaps_of(lost, last), *after]

    @rule()
    def the_writer_trims(self) -> None:
        self.queue.records = [r for r in self.queue.records if r.sequence > self.cursor.position]

    @rule(count=st.integers(1, 3 * WINDOW))
    def fill(self, count: int) -> None:
        """As the runner does it."""
        for _ in range(count):
            if len(self.flying) >= WINDOW or (self.drain.one_at_a_time and self.flying):
                return
            item = self.drain.next(self.now_s)
            if item is not None:
                self.publish(item)
            elif not self.drain.hungry or self.used_up() or not self.intake.more():
                return

    def used_up(self) -> bool:
        if self.intake.must_wait:
            self.persist()
        if self.intake.must_wait:
            assert self.flying, "whoever waits, waits for something"
        return self.intake.must_wait

    def publish(self, item: Item[Parcel]) -> None:
        record = in_parcel(item)
        assert record.sequence <= self.cursor.position + AHEAD, "nothing beyond the claim"
        if isinstance(record, Missing):
            same = self.told.setdefault((record.sequence, record.number), record)
            assert same == record, "an identity stands for one content"
        item.topic = f"topic-{item.number}"
        self.ticket += 1
        self.flying[self.ticket] = item
        self.drain.published(item, self.ticket)

    @rule(data=st.data(), verdict=st.sampled_from([Verdict.TAKEN, *Verdict]))
    def answer(self, data: st.DataObject, verdict: Verdict) -> None:
        if not self.flying:
            return
        ticket = data.draw(st.sampled_from(sorted(self.flying)))
        item = self.flying.pop(ticket)
        self.drain.answered(ticket, verdict, verdict.value, self.now_s)
        if verdict is Verdict.TAKEN:
            self.settled.add((in_parcel(item), item.number))

    @rule(turns=st.integers(1, 6))
    def all_is_well_for_a_while(self, turns: int) -> None:
        for _ in range(turns):
            self.now_s += PAUSE_MOST_S
            self.fill(3 * WINDOW)
            self.take_all()
            self.persist()

    def take_all(self) -> None:
        for ticket, item in self.flying.items():
            self.settled.add((in_parcel(item), item.number))
            self.drain.answered(ticket, Verdict.TAKEN, "", self.now_s)
        self.flying.clear()

    @rule(blamed=st.sampled_from(["", "", "packet too large"]), data=st.data())
    def disconnect(self, blamed: str, data: st.DataObject) -> None:
        self.lose_answers(data)
        self.drain.disconnected(blamed=blamed)
        self.flying.clear()

    @rule(elapsed_s=st.sampled_from([1.0, PAUSE_MOST_S]))
    def time_passes(self, elapsed_s: float) -> None:
        self.now_s += elapsed_s

    @rule()
    def persist(self) -> None:
        position, aside = self.drain.settled()
        assert position >= self.cursor.position, "the position never moves back"
        self.aside |= {(in_parcel(each.item), each.item.number) for each in aside}
        self.cursor.position = position

    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """At any instant: all that is known is the cursor and what was set aside with it."""
        self.lose_answers(data)
        self.start()

    def lose_answers(self, data: st.DataObject) -> None:
        """Have the far side take some of what is in flight without being able to say so."""
        if self.flying:
            items = [(in_parcel(each), each.number) for each in self.flying.values()]
            self.settled |= set(data.draw(st.lists(st.sampled_from(items)), label="taken unseen"))

    @invariant()
    def the_durable_position_covers_only_what_is_settled(self) -> None:
        wording = OneMessagePerSample()
        for record in self.queue.records:
            if record.sequence <= self.cursor.position:
                messages = {(record, number) for number in range(wording.messages_in(record))}
                assert messages <= self.settled | self.aside

    @invariant()
    def no_sample_is_both_delivered_and_named_by_a_gap(self) -> None:
        delivered = {
            record.samples[number]
            for record, number in self.settled | self.aside
            if isinstance(record, Kept)
        }
        in_gaps: set[int] = set()
        for record in {*self.queue.records, *self.told.values()}:
            if isinstance(record, Missing):
                assert not in_gaps & record.samples, "nor is one named twice"
                in_gaps |= record.samples
        assert not delivered & in_gaps

    def teardown(self) -> None:
        """A far side that takes everything gets everything, however the claim stands."""
        if not hasattr(self, "queue"):
            return
        for _ in range(10 + 3 * (self.samples + len(self.queue.records))):
            self.now_s += PAUSE_MOST_S
            self.fill(WINDOW)
            self.take_all()
        self.persist()
        assert self.cursor.position == self.queue.last, "nothing is waited for in vain"
        told: set[int] = set()
        for record, number in self.settled | self.aside:
            told |= record.samples if isinstance(record, Missing) else {record.samples[number]}
        assert told == set(range(self.samples)), "each sample arrived or is named as missing"


UplinkModel.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestTheUplinkAgainstItsModel = UplinkModel.TestCase


def test_the_uplink_uses_a_part_of_what_the_writer_leaves_alone() -> None:
    assert 0 < AHEAD_RECORDS < CLAIM_RECORDS
