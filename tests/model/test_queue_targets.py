"""Goal: each target is told what it has not had, once, and one that is dead does not cost the rest.

Method: the real queue with a small capacity, scans of about 1 kB, and cursors that stand where the
story says: also beyond what the target has left for later (islands). Limits of a target are set as
the normalizer sets them. test_queue_bounds_model.py mixes all of this; here each promise has its
own killer.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from common.block import Layout, Part
from common.queue import (
    BacklogLimit,
    Bounds,
    Island,
    QueueReader,
    QueueWriter,
    Settled,
)
from common.queue.cutoff import CUT_NUMBER
from common.queue.verifying import verify
from common.records import Column, GapRecord, Plan, Record, ValueType
from uplink.slicing import SlicingReader

WIDTH = 120
COLUMNS = tuple(Column(f"t{i}", f"Acme/t{i}", f"a{i}", "T", ValueType.INT64) for i in range(WIDTH))
PLAN = Plan("simulated", "press", "fast", "Press", 100, COLUMNS)
NOISE = np.random.default_rng(1)
KIB = 1024
CLAIM = 10
LIMIT = {"dead": BacklogLimit(bytes_max=40 * KIB)}


class House:
    """A queue, and targets of which the story says how far they have come."""

    def __init__(self, path: Path, settled: dict[str, Settled], capacity_kib: int) -> None:
        self.path = path
        self.settled = settled
        self.capacity_bytes = capacity_kib * KIB
        self.scans = 0
        self.limits: dict[str, BacklogLimit] = {}
        self.open()

    def open(self) -> None:
        queue = QueueWriter.create(self.path, Bounds(capacity_bytes=self.capacity_bytes))
        queue.claim_records = CLAIM
        queue.keep_blocks = 0
        queue.cursors = lambda: self.settled
        queue.limits = self.limits
        self.queue = queue

    def fill(self, scans: int) -> None:
        for _ in range(scans):
            array = NOISE.integers(0, 2**62, WIDTH)
            at_ns = self.scans * 1_000_000_000
            self.scans += 1
            part = Part(Layout(PLAN), at_ns, {ValueType.INT64: array}, WIDTH)
            self.queue.append([part], plans=[PLAN])

    def maintain(self) -> None:
        """Look as the normalizer does, and do all that is due."""
        self.queue.look(self.settled)
        self.queue.clock._offset_s += 2  # noqa: SLF001 - the next look at backlogs is due
        while self.queue.maintain():
            pass
        assert verify(self.queue).sound

    def serve_the_good_one(self) -> None:
        self.settled["good"] = settled(self.scans)
        self.maintain()

    @property
    def lost(self) -> dict[str, int]:
        return {k: each.samples for k, each in self.queue.ledger().total.lost.items()}

    def reader(self, target: str) -> QueueReader:
        queue = self.queue
        return QueueReader(queue._environment, queue._databases, self.path, target)  # noqa: SLF001 - LMDB opens a file once in a process

    def told(
        self,
        target: str,
        after: int,
        up_to: int | None = None,
        reader: QueueReader | SlicingReader | None = None,
    ) -> "Told":
        """What a target reads, as its uplink does: page by page."""
        reader = reader or self.reader(target)
        found = Told()
        while page := reader.read(after=after, records_max=7, up_to=up_to):
            for record in page:
                found.add(record)
            after = page[-1].sequence
        return found


class Told:
    """Records as a target reads them."""

    def __init__(self) -> None:
        self.whole: list[int] = []
        self.missing: Counter[str] = Counter()
        self.gaps: list[GapRecord] = []

    def add(self, record: Record | GapRecord) -> None:
        if isinstance(record, GapRecord):
            self.gaps.append(record)
            self.missing[record.gap.cause] += record.gap.samples
        else:
            assert len(record.values) == WIDTH
            self.whole.append(record.sequence)

    @property
    def scans(self) -> int:
        """How many arrived or are named."""
        return len(self.whole) + self.missing.total() // WIDTH


@contextmanager
def house(
    path: Path, settled: dict[str, Settled], *, scans: int, capacity_kib: int = 200
) -> Iterator[House]:
    """Give a queue with so many scans, of which 200 KiB hold some 120."""
    found = House(path / "queue", settled, capacity_kib)
    found.fill(scans)
    yield found
    found.queue.close()


@contextmanager
def house_with_a_dead_target(path: Path) -> Iterator[House]:
    """Give a queue of which one target has everything, and one was cut off."""
    with house(path, {"good": settled(0), "dead": settled(0)}, scans=80) as found:
        found.queue.limits = found.limits = LIMIT
        found.serve_the_good_one()
        yield found


def settled(position: int, *islands: tuple[int, int]) -> Settled:
    return Settled(position, tuple(Island(*each) for each in islands))


def test_no_gap_names_what_a_target_has_in_an_island(tmp_path: Path) -> None:
    """Seen to bite: without edges one gap reaches over the island, and stands where none reads."""
    places = {"live": settled(20, (61, 70)), "late": settled(0)}
    with house(tmp_path, places, scans=300) as found:
        assert found.told("live", 20, up_to=60).scans == 40
        assert found.told("live", 70).scans == 230, "what is named stands beyond the island"
        assert found.told("late", 0).scans == 300
        assert found.told("live", 20).missing["queue-full"], "it was full"
        assert found.queue.room.forced == 0


def test_what_follows_the_last_island_is_claimed_too(tmp_path: Path) -> None:
    """Seen to bite: without, what the second lane has in hand is dropped and arrives as well."""
    with house(tmp_path, {"live": settled(0, (51, 50))}, scans=300) as found:
        whole = found.told("live", 50).whole

        assert whole[:CLAIM] == list(range(51, 51 + CLAIM)), "also of an island that is empty"
        assert whole[CLAIM] > 150


def test_a_block_of_which_a_target_has_a_part_is_left_alone(tmp_path: Path) -> None:
    """Seen to bite: dropped, its gap stands within the island and names what had arrived."""
    with house(tmp_path, {"live": settled(0)}, scans=30) as found:
        parts = [
            Part(Layout(PLAN), i, {ValueType.INT64: NOISE.integers(0, 2**62, WIDTH)}, WIDTH)
            for i in range(40)
        ]
        found.queue.append(parts, plans=[PLAN])
        found.settled = {"live": settled(0, (61, 70))}
        found.fill(200)

        assert found.told("live", 0, up_to=60).scans == 60
        assert found.told("live", 30, up_to=60).whole == list(range(31, 61))
        assert found.told("live", 70).scans == 200


def test_what_every_target_has_is_removed_wherever_it_stands(tmp_path: Path) -> None:
    """Seen to bite: no empty block in its place."""
    places = {"a": settled(20, (41, 60)), "b": settled(0, (31, 70))}
    with house(tmp_path, places, scans=80) as found:
        found.maintain()

        assert found.queue.ledger().total.delivered == 20 * WIDTH
        assert found.lost == {}
        assert found.told("a", 20, up_to=40).whole == list(range(21, 41))
        assert found.told("a", 20).whole == [*range(21, 41), *range(61, 81)], "a hole is passed"
        ends = {held.first: held.last for held in found.queue.held_from(0)}
        assert 40 in ends.values()
        assert ends[41] == 60


def test_nobody_loses_what_every_target_has(tmp_path: Path) -> None:
    """Seen to bite: dropped by a person, it is booked as lost."""
    with house(tmp_path, {"a": settled(0, (11, 20))}, scans=40) as found:
        found.queue.drop(40)

        assert found.lost == {"dropped-by-operator": 30 * WIDTH}
        assert found.told("a", 0, up_to=10).scans == 10
        assert found.told("a", 20).scans == 20


def test_a_full_queue_removes_before_it_gives_up(tmp_path: Path) -> None:
    with house(tmp_path, {"a": settled(10)}, scans=80) as found:
        found.settled = {"a": settled(10, (31, 80))}
        found.queue.look(found.settled)
        found.fill(80)

        assert found.lost == {}
        assert found.told("a", 10).whole == [*range(11, 31), *range(81, 161)]


def test_no_block_is_merged_over_an_edge(tmp_path: Path) -> None:
    """Seen to bite: merged, the block can be neither removed nor given up for long."""
    with house(tmp_path, {"a": settled(0, (41, 80))}, scans=90, capacity_kib=900) as found:
        while found.queue.compaction.step(found.queue.last_sequence()):
            pass
        ends = [held.last for held in found.queue.held_from(0)]

        assert {40, 80} <= set(ends)
        assert len(ends) < 90, "merged were the others"


def test_a_target_beyond_its_limit_is_cut_off_and_costs_the_others_nothing(tmp_path: Path) -> None:
    """Seen to bite: what others have is booked as lost; the claim is cut as well."""
    with house(tmp_path, {"good": settled(0), "dead": settled(0)}, scans=0) as found:
        found.queue.limits = found.limits = LIMIT
        for _ in range(30):
            found.fill(20)
            found.serve_the_good_one()
        dead = found.told("dead", 0)

        assert found.lost == {}, "nobody else lost anything"
        assert found.queue.used_bytes < 60 * KIB
        assert dead.whole[:CLAIM] == list(range(1, CLAIM + 1)), "its claim"
        assert dead.scans == 600
        assert list(dead.missing) == ["target-cut-off"]
        assert [gap.number for gap in dead.gaps] == [CUT_NUMBER], "one, and nobody else's"
        assert found.told("good", 0).missing == {}, "it is no business of the others"


def test_what_stays_for_others_is_not_read_by_the_one_that_was_cut_off(tmp_path: Path) -> None:
    """Not in slices of a large block either, as an uplink reads it.

    Seen to bite: an uplink that opens large blocks itself tells what its gap has named.
    """
    places = {"good": settled(0), "dead": settled(0)}
    with house(tmp_path, places, scans=0, capacity_kib=4_096) as found:
        found.queue.limits = found.limits = LIMIT
        found.fill(300)
        found.maintain()
        (span,) = found.queue.cuts["dead"].spans
        longest = max(held.last - held.first for held in found.queue.held_from(0))
        assert longest > CLAIM, "blocks were joined"

        sliced = found.told("dead", 0, reader=SlicingReader(found.reader("dead")))
        whole = found.told("dead", 0)

        assert not {*range(span.first, span.last + 1)} & {*sliced.whole}
        assert (sliced.whole, sliced.missing) == (whole.whole, whole.missing)
        assert found.told("good", 0, reader=SlicingReader(found.reader("good"))).scans == 300


def test_what_no_target_has_had_is_lost(tmp_path: Path) -> None:
    """Seen to bite: booked as delivered because nobody waits for it any more."""
    with house(tmp_path, {"dead": settled(0)}, scans=0) as found:
        found.queue.limits = found.limits = LIMIT
        for _ in range(10):
            found.fill(20)
            found.maintain()
        dead = found.told("dead", 0)

        assert found.lost == dead.missing
        assert dead.scans == 200
        assert found.queue.ledger().total.delivered == 0


def test_a_cut_survives_a_restart_and_is_told_once(tmp_path: Path) -> None:
    with house_with_a_dead_target(tmp_path) as found:
        found.queue.close()
        found.open()
        first = found.told("dead", 0, up_to=70)
        (gap,) = first.gaps
        found.settled["dead"] = settled(gap.sequence)  # It was told, and is away again.
        for _ in range(10):
            found.fill(10)
            found.serve_the_good_one()
        then = found.told("dead", gap.sequence)

        assert first.scans == 70
        assert then.scans == 180 - gap.sequence
        assert found.queue.cuts["dead"].times == 2, "two outages"
        assert found.lost == {}


def test_a_span_that_the_claim_has_reached_does_not_grow(tmp_path: Path) -> None:
    """Seen to bite: it grows, and the target that was told of it is told of it again."""
    with house_with_a_dead_target(tmp_path) as found:
        (span,) = found.queue.cuts["dead"].spans
        found.settled["dead"] = settled(span.first - 1)  # It may be telling of it now.
        found.fill(60)
        found.serve_the_good_one()

        assert found.queue.cuts["dead"].spans[0] == span
        assert found.told("dead", span.first - 1).scans == 140 - span.first + 1


def test_what_a_target_has_in_an_island_is_not_lost_to_it(tmp_path: Path) -> None:
    places = {"dead": settled(0, (31, 60)), "good": settled(0)}
    with house(tmp_path, places, scans=85) as found:
        found.queue.limits = found.limits = {"dead": BacklogLimit(bytes_max=20 * KIB)}
        found.maintain()

        before, behind = found.told("dead", 0, up_to=30), found.told("dead", 60)
        assert (before.scans, behind.scans) == (30, 25)
        missing = before.missing.total() + behind.missing.total()
        assert found.queue.cuts["dead"].samples == missing > 0


def test_age_is_counted_by_the_queues_own_clock(tmp_path: Path) -> None:
    with house(tmp_path, {"good": settled(0), "dead": settled(0)}, scans=0) as found:
        found.queue.limits = found.limits = {"dead": BacklogLimit(age_max_s=3600)}
        for _ in range(16):
            found.fill(5)
            found.queue.clock._offset_s += 600  # noqa: SLF001 - nobody waits an hour
            found.serve_the_good_one()
        dead = found.told("dead", 0)

        assert dead.scans == 80
        assert dead.whole[:CLAIM] == list(range(1, CLAIM + 1))
        assert 20 * WIDTH <= dead.missing["target-cut-off"] <= 45 * WIDTH
        assert found.lost == {}


def test_gaps_that_stood_among_what_was_cut_keep_their_cause(tmp_path: Path) -> None:
    """Seen to bite: without them the target is never told what the full queue gave up."""
    with house(tmp_path, {"dead": settled(0)}, scans=200) as found:
        found.queue.limits = found.limits = LIMIT
        found.maintain()
        dead = found.told("dead", 0)

        assert dead.scans == 200
        assert set(dead.missing) == {"queue-full", "target-cut-off"}
        assert found.lost == dead.missing


@pytest.mark.parametrize("limits", [{}, {"other": BacklogLimit(bytes_max=1)}])
def test_without_a_limit_nobody_is_cut_off(tmp_path: Path, limits: dict[str, BacklogLimit]) -> None:
    with house(tmp_path, {"a": settled(0)}, scans=60) as found:
        found.queue.limits = found.limits = limits
        found.maintain()

        assert found.queue.cuts == {}
        assert found.told("a", 0).whole == list(range(1, 61))


def test_a_cursor_that_stands_within_a_cut_is_told_at_its_end(tmp_path: Path) -> None:
    """An uplink moves its cursor over a hole before it comes to what stands behind it."""
    with house_with_a_dead_target(tmp_path) as found:
        (span,) = found.queue.cuts["dead"].spans

        assert found.told("dead", span.first - 1, up_to=span.last - 1).scans == 0
        told = found.told("dead", span.first, up_to=span.last)
        assert [gap.sequence for gap in told.gaps] == [span.last]
