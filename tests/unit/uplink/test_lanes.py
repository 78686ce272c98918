"""Goal: two lanes lose nothing, keep their order, and leave the newest value of a topic retained.

Method: hypothesis plays a queue that grows, drops behind the claims and is trimmed, an uplink that
connects, jumps, fills, persists and crashes, and a far side that takes, refuses and hangs up. The
queue and what follows it are plain lists with the promises of QueueReader and Following; the far
side is a set and a table of retained messages. What this cannot show: that the real queue leaves
the claims alone (tests/model does), and a writer that decided to drop what the live lane has just
jumped to.

Seen to bite: a look at the queue between two slices of a snapshot; no snapshot after a restart; a
backfill lane that reads past its hole, or leaves it one sequence early; a live lane that counts its
claim from the position; history that is retained; an island up to what was read instead of settled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from test_intake import Missing, PlainQueue, gaps_of

from common.queue.cursor import Island
from uplink.contract import Manner, Parcel, Verdict
from uplink.drain import PAUSE_MOST_S, Item
from uplink.lag import LATE_S
from uplink.lanes import QUIET_MOST_S, Lanes, Limits, Lull

CLAIM, AHEAD = 12, 6
WINDOW = 5
SKIP_MIN = 4
ISLANDS = 3
TAGS = 4
FOR_EVER = float("inf")


@dataclass(frozen=True)
class Kept:
    """A record: (number, tag) of each sample, the numbers counted over all."""

    sequence: int
    samples: tuple[tuple[int, int], ...]


Entry = Kept | Missing


@dataclass
class Durable:
    """A cursor."""

    position: int = 0
    islands: tuple[Island, ...] = ()

    def covers(self, sequence: int) -> bool:
        """Return whether a sequence is said to be settled."""
        return sequence <= self.position or any(a <= sequence <= b for a, b in self.islands)


class PlainFollowing:
    """What Following and Newest promise, as a table."""

    def __init__(self, queue: PlainQueue, after: int) -> None:
        self.queue = queue
        self.followed = after
        self.held: dict[int, Kept] = {}
        self.newest = self

    def note(self, records: Sequence[Entry], *, after: int) -> None:
        if after > self.followed or not records:
            return
        for record in records:
            self._take_in(record)
        self.followed = max(self.followed, records[-1].sequence)

    def follow(self, sequences: float) -> bool:
        end = min(self.queue.last, self.followed + int(sequences))
        for record in self.queue.records:
            if self.followed < record.sequence <= end:
                self._take_in(record)
        self.followed = end
        return end < self.queue.last

    def _take_in(self, record: Entry) -> None:
        for number, tag in record.samples if isinstance(record, Kept) else ():
            if tag not in self.held or self.held[tag].sequence <= record.sequence:
                self.held[tag] = Kept(record.sequence, ((number, tag),))

    def records(self, *, after: int, up_to: int) -> list[Kept]:
        found = [each for each in self.held.values() if after < each.sequence <= up_to]
        return sorted(found, key=lambda each: each.sequence)


class OneMessagePerSample:
    """A wording, as far as the lanes ask it."""

    def parcels(self, records: Sequence[Entry], manner: Manner) -> Iterator[Parcel]:
        for record in records:
            messages = 1 if isinstance(record, Missing) else len(record.samples)
            yield Parcel((record,), messages, manner)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sent:
    """A message on its way."""

    ticket: int
    topic: str
    record: Entry
    number: int
    retain: bool
    turn: bool
    """False for what is told once more, out of its turn."""


class TwoLanes(RuleBasedStateMachine):
    """A queue, one uplink on it, and what its far side has."""

    @initialize(first=st.sampled_from([1, 1, 3, 5 * CLAIM]))
    def begin(self, first: int) -> None:
        self.queue = PlainQueue(first)
        self.cursor = Durable()
        self.samples = self.ticket = 0
        self.now_s = 1.0
        self.came: set[int] = set()
        """Samples that the far side has, those that gaps have named to it among them."""
        self.in_turn: set[int] = set()
        """Samples that came in their turn, from either lane, and are to come no more."""
        self.aside: set[int] = set()
        self.named: set[int] = set()
        self.retained: dict[str, int] = {}
        self.newest_taken: dict[str, int] = {}
        self.spoilt: set[str] = set()
        """Topics of which a message was set aside, or lost after it was told."""
        self.looked_at = self.cursor
        self.start()

    def start(self) -> None:
        """As a process does."""
        self.following = PlainFollowing(self.queue, self.cursor.position)
        self.lanes = Lanes(
            self.queue,  # type: ignore[arg-type]
            self.cursor,
            OneMessagePerSample(),  # type: ignore[arg-type]
            self.following,  # type: ignore[arg-type]
            Limits(AHEAD, SKIP_MIN, ISLANDS, slice_records=1, hold_most_s=FOR_EVER),
        )
        self.connected = False
        self.on_the_way: list[Sent] = []
        self.answers: dict[int, Verdict] = {}
        self.items: dict[int, Item[Parcel]] = {}
        self.handed: set[Item[Parcel]] = set()
        self.told: dict[tuple[str, str], int] = {}

    @rule(
        records=st.lists(
            st.lists(st.integers(0, TAGS - 1), max_size=3, unique=True),
            min_size=1,
            max_size=2 * CLAIM,
        )
    )
    def append(self, records: list[list[int]]) -> None:
        for tags in records:
            self.queue.last += 1
            numbers = range(self.samples, self.samples + len(tags))
            self.samples += len(tags)
            self.queue.records.append(Kept(self.queue.last, tuple(zip(numbers, tags, strict=True))))

    @rule(data=st.data(), keep=st.sampled_from(["nothing", "nothing", "every other"]))
    def the_writer_gives_up(self, data: st.DataObject, keep: str) -> None:
        """Drop or thin a region behind the claims, that crosses no edge of an island."""
        claims = [self.cursor.position, *[last for _, last in self.cursor.islands[-1:]]]
        edges = {edge for a, b in self.cursor.islands for edge in (a - 1, b)}
        sequences = sorted(
            {
                r.sequence
                for r in self.queue.records
                if not self.cursor.covers(r.sequence)
                and not any(claim < r.sequence <= claim + CLAIM for claim in claims)
            }
        )
        if not sequences:
            return
        first = data.draw(st.sampled_from(sequences), label="first")
        ends = [
            s
            for s in sequences
            if s >= first
            and not any(first <= edge < s for edge in edges)
            and not any(first <= claim + 1 <= s for claim in claims)
        ]
        last = data.draw(st.sampled_from(ends), label="last")
        before = [r for r in self.queue.records if r.sequence < first]
        region = [r for r in self.queue.records if first <= r.sequence <= last]
        after = [r for r in self.queue.records if r.sequence > last]
        stays, lost = [], set()
        for record in region:
            if isinstance(record, Missing):
                lost |= record.samples
                continue
            left = record.samples[::2] if keep == "every other" else ()
            for number, tag in set(record.samples) - set(left):
                lost.add(number)
                if number in self.came:  # Told by a snapshot: after a kill nobody knows of it.
                    self.spoilt.add(f"tag-{tag}")
            if left:
                stays.append(replace(record, samples=left))
        self.queue.records = [*before, *stays, *gaps_of(lost, last), *after]

    @rule()
    def the_writer_trims(self) -> None:
        self.queue.records = [r for r in self.queue.records if r.sequence > self.cursor.position]

    @rule()
    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.lanes.connected(10_000, self.now_s)
            self.persist()

    @rule(sequences=st.integers(1, 2 * CLAIM))
    def follow(self, sequences: int) -> None:
        self.lanes.look(self.now_s)
        self.lanes.follow(self.now_s, sequences)

    @rule()
    def look(self) -> None:
        """As the window does it: a jump is made durable before anything is read behind it."""
        if self.connected:
            before = self.lanes.live.drain.read_after
            self.lanes.jump_when_late(self.now_s)
            if self.lanes.live.drain.read_after != before:
                self.persist()

    @rule(count=st.integers(1, 3 * WINDOW), backlog_first=st.booleans())
    def fill(self, count: int, *, backlog_first: bool) -> None:
        """Both lanes, in any order: the share of each is not what is tested here."""
        self.connect()
        lanes = ["live", "backfill"]
        for name in reversed(lanes) if backlog_first else lanes:
            for _ in range(count):
                if len(self.items) >= WINDOW or (self.lanes.one_at_a_time and self.items):
                    return
                item = self.pull(name)
                if isinstance(item, Lull):
                    break
                self.publish(name, item)

    def pull(self, name: str) -> Item[Parcel] | Lull:
        pull = self.lanes.pull_live if name == "live" else self.lanes.pull_backfill
        found = pull(self.now_s)
        while found is Lull.CLAIMED and not self.lanes.durable:
            self.persist()
            found = pull(self.now_s)
        if found is Lull.CLAIMED:
            assert self.lanes.in_flight, "whoever waits, waits for something"
        return found

    def publish(self, name: str, item: Item[Parcel]) -> None:
        lane = self.lanes.live if name == "live" else self.lanes.backlog
        assert lane is not None
        (record,) = item.record.records
        assert isinstance(record, Kept | Missing)
        manner = item.record.manner
        assert manner.historical == (name == "backfill") == (not manner.retained)
        live_end = self.cursor.islands[-1].last if self.cursor.islands else self.cursor.position
        turn = name == "backfill" or record.sequence > live_end
        if name == "backfill":
            assert self.cursor.position < record.sequence <= self.cursor.position + AHEAD
            assert not self.cursor.covers(record.sequence), "what is on an island is settled"
            assert record.sequence < self.cursor.islands[-1].first, "what is live is told as that"
        elif turn:
            assert record.sequence <= live_end + AHEAD, "nothing beyond the claim"
        tag = record.samples[item.number][1] if isinstance(record, Kept) else 0
        item.topic = f"tag-{tag}" if isinstance(record, Kept) else "gap"
        if item not in self.handed and isinstance(record, Kept):
            self.handed.add(item)
            before = self.told.get((name, item.topic), 0)
            assert before <= record.sequence, "in each lane a topic goes by sequence"
            self.told[name, item.topic] = record.sequence
        retain = manner.retained and isinstance(record, Kept) and not lane.drain.superseded(item)
        self.ticket += 1
        self.items[self.ticket] = item
        sent = Sent(self.ticket, item.topic, record, item.number, retain, turn)
        self.on_the_way.append(sent)
        lane.drain.published(item, self.ticket)

    @rule(verdicts=st.lists(st.sampled_from([*[Verdict.TAKEN] * 4, *Verdict]), min_size=1))
    def arrive(self, verdicts: list[Verdict]) -> None:
        """What is sent arrives in order; what becomes of it is known to the far side alone."""
        for verdict in verdicts:
            if not self.on_the_way:
                return
            sent = self.on_the_way.pop(0)
            self.answers[sent.ticket] = verdict
            if verdict is Verdict.TAKEN:
                self.take(sent)

    def take(self, sent: Sent) -> None:
        record = sent.record
        if isinstance(record, Missing):
            self.came |= record.samples
            self.named |= record.samples
            return
        number, _ = record.samples[sent.number]
        self.came.add(number)
        if sent.turn:
            self.in_turn.add(number)
        if sent.retain:
            self.retained[sent.topic] = record.sequence
        newest = self.newest_taken.get(sent.topic, 0)
        self.newest_taken[sent.topic] = max(newest, record.sequence)

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        if self.answers:
            ticket = data.draw(st.sampled_from(sorted(self.answers)))
            self.heard(ticket, self.answers.pop(ticket))

    def heard(self, ticket: int, verdict: Verdict) -> None:
        item = self.items.pop(ticket)
        drain = self.lanes.drain_of(ticket)
        if drain is not None:
            drain.answered(ticket, verdict, verdict.value, self.now_s)
            if verdict in (Verdict.NEVER, Verdict.RETRY):
                self.spoilt.add(item.topic)

    @rule(blamed=st.sampled_from(["", "", "packet too large"]))
    def disconnect(self, blamed: str) -> None:
        flying = self.lanes.in_flight
        for drain in self.lanes.drains:
            culprit = drain.disconnected(blamed=blamed, others=len(drain.in_flight) < flying)
            if culprit is not None:
                self.spoilt.add(culprit.topic)
        self.gone()

    def gone(self) -> None:
        self.connected = False
        self.items.clear()
        self.on_the_way.clear()
        self.answers.clear()

    @rule(elapsed_s=st.sampled_from([0.3, LATE_S, QUIET_MOST_S, PAUSE_MOST_S]))
    def time_passes(self, elapsed_s: float) -> None:
        self.now_s += elapsed_s
        self.lanes.look(self.now_s)

    @rule()
    def persist(self) -> None:
        position, aside = self.lanes.settled()
        assert position >= self.cursor.position, "the position never moves back"
        for each in aside:
            (record,) = each.item.record.records
            assert isinstance(record, Kept | Missing)
            gap = isinstance(record, Missing)
            self.aside |= record.samples if gap else {record.samples[each.item.number][0]}
        islands = self.lanes.islands
        assert len(islands) <= ISLANDS
        edges = [position, *[edge for a, b in islands for edge in (a - 1, b)]]
        assert edges == sorted(edges), "islands stand in order, behind the position"
        assert all(a < b for a, b in zip(edges[::2], edges[1::2], strict=False)), "and apart"
        self.cursor.position, self.cursor.islands = position, islands
        assert self.lanes.durable
        self.forget_what_no_claim_protects()

    def forget_what_no_claim_protects(self) -> None:
        """What the live lane told and then jumped away from, and islands that were forgotten."""
        live_first = self.cursor.islands[-1].first if self.cursor.islands else 0
        for record in self.queue.records:
            claimed = record.sequence <= self.cursor.position + CLAIM
            open_ = record.sequence < live_first and not self.cursor.covers(record.sequence)
            if open_ and not claimed and isinstance(record, Kept):
                self.in_turn -= {number for number, _ in record.samples}

    @rule()
    def crash(self) -> None:
        """At any instant: all that is known is the cursor."""
        self.start()

    @rule(turns=st.integers(1, 4))
    def all_is_well_for_a_while(self, turns: int) -> None:
        for _ in range(turns):
            self.now_s += PAUSE_MOST_S
            self.connect()
            self.lanes.follow(self.now_s, 5 * CLAIM)
            self.look()
            self.fill(3 * WINDOW, backlog_first=False)
            self.arrive([Verdict.TAKEN] * len(self.on_the_way))
            for ticket in list(self.answers):
                self.heard(ticket, self.answers.pop(ticket))
            self.persist()

    @invariant()
    def what_is_durable_is_settled(self) -> None:
        for record in self.queue.records:
            if self.cursor.covers(record.sequence):
                gap = isinstance(record, Missing)
                samples = record.samples if gap else {number for number, _ in record.samples}
                assert samples <= self.came | self.aside

    @invariant()
    def no_sample_comes_in_its_turn_and_is_named_by_a_gap(self) -> None:
        gaps = [r.samples for r in self.queue.records if isinstance(r, Missing)]
        assert not self.in_turn & self.named.union(*gaps)

    def teardown(self) -> None:
        """A far side that takes everything gets everything, and has the newest values."""
        if not hasattr(self, "queue"):
            return
        for _ in range(20 + 3 * (self.samples + len(self.queue.records))):
            self.all_is_well_for_a_while(1)
            if self.cursor == Durable(self.queue.last):
                break
        assert self.cursor == Durable(self.queue.last), "nothing is waited for in vain"
        assert self.came | self.aside == set(range(self.samples)), "each arrived or is named"
        for topic, sequence in self.newest_taken.items():
            if topic not in self.spoilt:
                assert self.retained[topic] == sequence, "the newest is the retained one"


TwoLanes.TestCase.settings = settings(max_examples=500, stateful_step_count=60, deadline=None)
TestTwoLanesAgainstTheirModel = TwoLanes.TestCase


class Jumped:
    """Two lanes on a queue of 8 records, tag after tag, of which the live lane has told none."""

    def __init__(self) -> None:
        self.queue, cursor = PlainQueue(1), Durable()
        self.following = PlainFollowing(self.queue, 0)
        self.lanes = Lanes(
            self.queue,
            cursor,
            OneMessagePerSample(),  # type: ignore[arg-type]
            self.following,  # type: ignore[arg-type]
            Limits(AHEAD, SKIP_MIN, ISLANDS, slice_records=1),
        )
        for _ in range(8):
            self.append()
        self.cursor = cursor
        self.ticket = 0
        self.connect()

    def connect(self) -> None:
        self.lanes.connected(10_000, 0.0)
        self.cursor.islands = self.lanes.islands

    def append(self) -> None:
        self.queue.last += 1
        last = self.queue.last
        self.queue.records.append(Kept(last, ((last, last % TAGS),)))

    def live(self, *, most: int = 100) -> list[int]:
        """Return the sequences that the live lane tells now; they are in flight."""
        found = []
        while len(found) < most and not isinstance(item := self.lanes.pull_live(0.0), Lull):
            found.append(item.record.sequence)
            self.ticket += 1
            item.topic = str(item.record.sequence % TAGS)
            self.lanes.live.drain.published(item, self.ticket)
        return found

    def take(self) -> None:
        """Have the far side take everything."""
        for ticket in list(self.lanes.live.drain.in_flight):
            self.lanes.live.drain.answered(ticket, Verdict.TAKEN, "", 0.0)


def test_new_values_wait_until_the_whole_snapshot_is_told() -> None:
    """In slices of one record; a newer value of a tag must not come before its older one.

    Seen to bite: with a look at the queue between two slices.
    """
    it = Jumped()
    it.following.follow(100)
    first = it.live(most=1)
    it.append()

    assert first + it.live() == [5, 6, 7, 8, 9]


def test_new_values_do_not_wait_until_the_queue_is_followed_and_are_not_told_once_more() -> None:
    """Seen to bite: a snapshot that did not look at what the live lane had told."""
    it = Jumped()
    it.append()
    assert it.live() == [9], "of tag 1, which stands at 5 too"
    it.following.follow(8)
    assert it.live() == [], "what the live lane has told is not known yet"

    it.following.follow(1)

    assert it.live() == [6, 7, 8], "without tag 1"


def test_the_backlog_waits_until_the_newest_value_of_every_tag_is_taken() -> None:
    """Seen to bite: with a backlog that begins at once."""
    it = Jumped()
    assert it.lanes.pull_backfill(0.0) is Lull.DRY, "the queue is not followed so far"
    it.following.follow(100)
    assert it.live() == [5, 6, 7, 8]
    assert it.lanes.pull_backfill(0.0) is Lull.DRY, "they are in flight"

    it.take()

    item = it.lanes.pull_backfill(0.0)
    assert not isinstance(item, Lull)
    assert item.record.sequence == 1


def test_the_live_lane_settles_nothing_by_what_it_tells_once_more() -> None:
    """Seen to bite: with a position that fell to before the first of them."""
    it = Jumped()
    it.following.follow(100)
    it.live()

    assert it.lanes.islands == (Island(9, 8),)
    it.take()
    assert it.lanes.islands == (Island(9, 8),)


def test_where_there_is_no_room_for_another_island_the_smallest_is_forgotten() -> None:
    """And the live lane jumps all the same. Seen to bite: with islands without a limit."""
    it = Jumped()
    for width in (3, 1, 4, 5):
        for _ in range(width):
            it.append()
        it.live()
        it.take()
        for _ in range(SKIP_MIN + 1):
            it.append()
        it.connect()

    widths = [last - first + 1 for first, last in it.lanes.islands]
    assert widths == [4, 5, 0], "the last one is where the live lane goes on"
    assert it.lanes.islands[-1].first == it.queue.last + 1


def test_while_a_message_is_suspected_the_live_lane_does_not_jump() -> None:
    """Or what it had done would be forgotten with every connection that it ends.

    Seen to bite: with a jump on every connection.
    """
    it = Jumped()
    it.append()
    assert it.live() == [9]
    it.lanes.live.drain.disconnected(blamed="packet too large", others=True)
    for _ in range(SKIP_MIN + 1):
        it.append()

    it.connect()

    assert it.live() == [9, 10, 11, 12, 13, 14], "in order, the suspect first"
