"""Goal: whatever a bounded queue gives up, each target is told of every sample exactly once.

As data, or in the count of a gap.

Method: a Hypothesis state machine over the real queue in a real LMDB file, against a plain list of
everything that was ever entered. Two targets drain at their own pace, as an uplink does: by pages,
never beyond their claim, losing what they had in hand when they are killed; and newer records
before older ones, whenever a second lane is opened at the end of the queue. The capacity, the
policy, the age, limits of the targets, compaction, damage-free restarts and a person's drop
come in any order. At the end everything is drained, and per target and group

    samples entered = samples received + samples named in gaps

with every received sample equal to what was entered, received once. The ledger must balance after
every step, and may book as delivered only what a target has had. Seen to bite: joining gaps inside
of a claim, dropping what a target was reading, a frontier that moves past a claim, thinning that
forgets an emptied record, regions that reach over an edge, no claim behind the last island; and in
most runs a target that reads a cut span as if nothing had been there.
"""

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.block import Layout, Part
from common.queue import BacklogLimit, Bounds, Island, QueueReader, QueueWriter, Settled, WhenFull
from common.queue.verifying import verify
from common.records import Column, Gap, GapRecord, LossClass, Plan, Record, ValueType

CLASSES = [LossClass.NORMAL, LossClass.KEEP, LossClass.FIRST_TO_GO, LossClass.NORMAL]
CLAIM = 8
WIDTH = 200
"""Columns of each class: blocks must be large enough for a small capacity to matter."""


def plan(device: str, classes: list[LossClass]) -> Plan:
    columns = tuple(
        Column(
            f"t{i}", f"Acme/{device}/t{i}", f"a{i}", "T", ValueType.INT64,
            loss_class=classes[i % len(classes)],
        )
        for i in range(WIDTH)
    )  # fmt: skip
    return Plan("simulated", device, "fast", device, 100, columns)


PLANS = [plan("press", CLASSES), plan("robot", [LossClass.NORMAL]), plan("meter", CLASSES[:2])]
LAYOUTS = [Layout(each) for each in PLANS]


class Lane:
    """What one lane of an uplink has read and its far side has not acknowledged."""

    def __init__(self) -> None:
        self.in_hand: list[Record | GapRecord] = []
        self.newest = (0, -1)


class Target:
    """A far side, and the uplink that drains to it."""

    def __init__(self) -> None:
        self.position = 0
        self.islands: list[Island] = []
        self.samples: dict[str, int] = defaultdict(int)
        self.missing: dict[str, int] = defaultdict(int)
        self.had: set[tuple[int, int]] = set()
        """(sequence, column) of every sample."""
        self.lanes = [Lane(), Lane()]
        """The one that completes, and the one that is at the end of the queue, if it is open."""

    @property
    def settled(self) -> Settled:
        return Settled(self.position, tuple(self.islands))

    def at(self, lane: int) -> int:
        """Up to where a lane has come."""
        return self.islands[-1].last if lane else self.position

    def limit(self, lane: int) -> int:
        """Up to where a lane may read."""
        limit = self.at(lane) + CLAIM
        return limit if lane or not self.islands else min(limit, self.islands[0].first - 1)

    def move(self, to: int, lane: int) -> None:
        """Settle up to a sequence; who meets an island is where that ends."""
        if lane:
            self.islands[-1] = Island(self.islands[-1].first, to)
            return
        self.position = to
        while self.islands and self.islands[0].first == self.position + 1:
            last = self.islands.pop(0).last
            self.position = max(self.position, last)
            if not self.islands:  # It is one lane again, and goes on where the other one was.
                self.lanes = [self.lanes[1], Lane()]

    def take(self, record: Record | GapRecord, lane: Lane) -> None:
        place = (record.sequence, record.number if isinstance(record, GapRecord) else -1)
        assert place > lane.newest or isinstance(record, Record), "in order, once"
        lane.newest = place
        if isinstance(record, GapRecord):
            self.missing[record.gap.device] += record.gap.samples
            return
        self.samples[record.plan.device] += len(record.values)
        for column in record.indexes or range(WIDTH):
            assert (record.sequence, column) not in self.had, "once"
            self.had.add((record.sequence, column))


class BoundedQueue(RuleBasedStateMachine):
    """One queue, two targets, and everything that may happen to them."""

    @initialize(
        when_full=st.sampled_from(list(WhenFull)),
        capacity_kib=st.sampled_from([96, 160, 320]),
        limits=st.lists(
            st.sampled_from(
                [None, BacklogLimit(bytes_max=40 * 1024), BacklogLimit(age_max_s=1800)]
            ),
            min_size=2,
            max_size=2,
        ),
    )
    def begin(
        self, when_full: WhenFull, capacity_kib: int, limits: list[BacklogLimit | None]
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tailrace-model-"))
        self.bounds = Bounds(
            capacity_bytes=capacity_kib * 1024, when_full=when_full,
            thin_fine_s=5, thin_coarse_s=20, age_max_s=3600,
        )  # fmt: skip
        self.entered: dict[str, int] = defaultdict(int)
        self.values: dict[tuple[int, int], int] = {}
        self.targets = [Target(), Target()]
        self.noise = np.random.default_rng(1)
        self.at_ns = self.forced = 0
        self.limits = {str(i): each for i, each in enumerate(limits) if each is not None}
        self.open()
        for i in range(12):
            self.append([i % 3, (i + 1) % 3, 0, 1], WIDTH)

    def open(self) -> None:
        self.queue = QueueWriter.create(self.folder / "queue", self.bounds)
        self.queue.claim_records = CLAIM
        self.queue.keep_blocks = 4
        self.queue.cursors = self.settled
        self.queue.limits = self.limits
        self.readers = [
            QueueReader(self.queue._environment, self.queue._databases, self.queue._path, str(i))  # noqa: SLF001 - LMDB opens a file once in a process
            for i in range(2)
        ]

    def settled(self) -> dict[str, Settled]:
        return {str(i): target.settled for i, target in enumerate(self.targets)}

    @rule(
        times=st.integers(1, 6),
        which=st.lists(st.integers(0, 2), min_size=1, max_size=12),
        part=st.sampled_from([1, 3, WIDTH // 2, WIDTH, WIDTH]),
    )
    def commits(self, times: int, which: list[int], part: int) -> None:
        for _ in range(times):
            self.append(which, part)

    def append(self, which: list[int], part: int) -> None:
        if self.queue.full:
            return
        parts: list[Part | Gap] = []
        first = self.queue.last_sequence() + 1
        for offset, number in enumerate(which):
            self.at_ns += 1_000_000_000
            columns = np.sort(self.noise.choice(WIDTH, part, replace=False)).astype(np.uint16)
            array = self.noise.integers(-(2**62), 2**62, part)
            indexes = None if part == WIDTH else columns
            parts.append(
                Part(LAYOUTS[number], self.at_ns, {ValueType.INT64: array}, part, indexes=indexes)
            )
            self.entered[PLANS[number].device] += part
            for column, value in zip(columns.tolist(), array.tolist(), strict=True):
                self.values[first + offset, column] = value
        self.queue.append(parts, plans=PLANS)

    @rule(number=st.integers(0, 1), pages=st.integers(1, 4), lane=st.sampled_from([0, 1]))
    def uplink_reads(self, number: int, pages: int, lane: int) -> None:
        """Take into memory what comes next; it is under way from now on, whatever is dropped."""
        target = self.targets[number]
        if lane and not target.islands:
            return
        in_hand = target.lanes[lane].in_hand
        for _ in range(pages):
            after = in_hand[-1].sequence if in_hand else target.at(lane)
            up_to = target.limit(lane)
            if after < up_to:
                in_hand += self.readers[number].read(after=after, records_max=7, up_to=up_to)

    @rule(number=st.integers(0, 1), back=st.integers(0, 9))
    def uplink_opens_a_lane_near_the_end(self, number: int, back: int) -> None:
        """As one does that comes back after long; from the cursor alone it knows what it had."""
        target = self.targets[number]
        first = self.queue.last_sequence() + 1 - back
        in_hand = target.lanes[0].in_hand
        if len(target.islands) == 3 or (in_hand and in_hand[-1].sequence >= first):
            return
        if target.at(bool(target.islands)) < first - 1:
            target.islands.append(Island(first, first - 1))
            target.lanes[1] = Lane()

    @rule(number=st.integers(0, 1), lane=st.sampled_from([0, 1]))
    def far_side_acknowledges(self, number: int, lane: int) -> None:
        target = self.targets[number]
        if lane and not target.islands:
            return
        self.settle(target, target.lanes[lane].in_hand, lane)
        self.pass_over_a_hole(number, lane)

    @rule(number=st.integers(0, 1), pages=st.integers(1, 12), lane=st.sampled_from([0, 1, 1]))
    def all_is_well_for_a_while(self, number: int, pages: int, lane: int) -> None:
        for _ in range(pages):
            self.uplink_reads(number, 1, lane)
            self.far_side_acknowledges(number, lane)

    @rule(number=st.integers(0, 1))
    def uplink_is_killed(self, number: int) -> None:
        for lane in self.targets[number].lanes:
            lane.in_hand = []

    def pass_over_a_hole(self, number: int, lane: int) -> bool:
        """Move over sequences of which nothing is left, as far as the claim goes."""
        target = self.targets[number]
        if lane and not target.islands:
            return False
        at, up_to = target.at(lane), min(target.limit(lane), self.queue.last_sequence())
        empty = at < up_to and not self.readers[number].read(after=at, records_max=1, up_to=up_to)
        if empty and not target.lanes[lane].in_hand:
            target.move(up_to, lane)
        return empty

    def settle(self, target: Target, records: list[Record | GapRecord], lane: int) -> None:
        records, hand = list(records), target.lanes[lane]
        hand.in_hand = []
        for record in records:
            if isinstance(record, Record):
                columns = record.indexes or range(WIDTH)
                for column, value in zip(columns, record.values, strict=True):
                    assert self.values[record.sequence, column] == value, "as it was entered"
            target.take(record, hand)
        if records:
            target.move(records[-1].sequence, lane)

    @rule(slices=st.integers(1, 6))
    def maintain(self, slices: int) -> None:
        self.queue.look(self.settled())
        self.queue.clock._offset_s += 2  # noqa: SLF001 - the next look at backlogs is due
        for _ in range(slices):
            self.queue.maintain()

    @rule()
    def restart(self) -> None:
        self.forced += self.queue.room.forced
        self.queue.close()
        self.open()

    @rule()
    def killed(self) -> None:
        """What a SIGKILL leaves: the file, and the note that somebody had it open."""
        self.forced += self.queue.room.forced
        self.queue._environment.close()  # noqa: SLF001 - without the farewell
        (self.folder / "queue" / "in-use").unlink()  # Inspected in test_queue_faults.py; slow.
        self.open()

    @rule(minutes=st.integers(1, 40))
    def time_passes(self, minutes: int) -> None:
        self.queue.clock._offset_s += 60 * minutes  # noqa: SLF001 - nobody waits an hour
        self.queue.append([])

    @rule(share=st.floats(0, 0.7))
    def somebody_drops(self, share: float) -> None:
        """The console insists that normalizer and uplinks are stopped."""
        for number in range(2):
            self.uplink_is_killed(number)
        self.queue.drop(int(self.queue.last_sequence() * share))

    @invariant()
    def the_ledger_balances(self) -> None:
        accounts, queued = self.queue.books()
        for key, account in accounts.items():
            assert account.unexplained == 0, key
            assert account.queued == queued.get(key, 0), key
            assert account.entered == self.entered[key.partition("/")[0]], key

    def teardown(self) -> None:
        if not hasattr(self, "queue"):
            return
        assert verify(self.queue).sound
        self.forced += self.queue.room.forced
        for number, target in enumerate(self.targets):
            for lane in (1, 0):
                self.drain(number, lane)
            assert target.settled == Settled(self.queue.last_sequence()), "nothing is left over"
            for device, samples in self.entered.items():
                told = target.samples[device] + target.missing[device]
                assert told == samples or (told > samples and self.forced), (
                    f"{device}: every sample once, as data or in a gap"
                )
        self.queue.keep_blocks = 0
        self.queue.look(self.settled())
        while self.queue.maintain():
            pass
        total = self.queue.ledger().total
        had = self.targets[0].had | self.targets[1].had
        assert total.delivered <= len(had), "only what somebody has had"
        assert total.queued == 0, "and nothing is kept for nobody"
        self.queue.close()
        shutil.rmtree(self.folder)

    def drain(self, number: int, lane: int) -> None:
        target = self.targets[number]
        if lane and not target.islands:
            return
        self.settle(target, target.lanes[lane].in_hand, lane)
        while not lane or target.islands:
            up_to = min(target.limit(lane), self.queue.last_sequence())
            at = target.at(lane)
            if at >= up_to:
                return
            page = self.readers[number].read(after=at, records_max=50, up_to=up_to)
            if page:
                self.settle(target, page, lane)
            else:
                assert self.pass_over_a_hole(number, lane)


TestBoundedQueue = BoundedQueue.TestCase
TestBoundedQueue.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
