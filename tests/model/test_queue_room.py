"""Goal: each rule by which a full queue gives something up, one story per rule.

Method: the real queue with a small capacity and cursors that stand where the story says. The state
machine of test_queue_bounds_model.py mixes all of this; here each promise has its own killer.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from common.block import Layout, Part
from common.queue import Bounds, QueueReader, QueueWriter, Settled, WhenFull
from common.queue.state import Stage
from common.records import Column, GapRecord, LossClass, Plan, Record, ValueType

WIDTH = 120
COLUMNS = tuple(
    Column(
        f"t{i}", f"Acme/t{i}", f"a{i}", "T", ValueType.INT64,
        loss_class=[LossClass.NORMAL, LossClass.KEEP, LossClass.FIRST_TO_GO][i % 3],
    )
    for i in range(WIDTH)
)  # fmt: skip
CLASSED = Plan("simulated", "press", "fast", "Press", 100, COLUMNS)
PLAIN = msgspec.structs.replace(
    CLASSED, columns=tuple(msgspec.structs.replace(c, loss_class=LossClass.NORMAL) for c in COLUMNS)
)
NOISE = np.random.default_rng(1)
SECOND_NS = 1_000_000_000


def filled(
    path: Path, cursors: list[int], scans: int, plan: Plan = PLAIN, **bounds: Any
) -> QueueWriter:
    """Fill a queue of 100 KiB with scans of noise, one each second, about 1 kB each."""
    limits = Bounds(capacity_bytes=100 * 1024, **bounds)
    queue = QueueWriter.create(path / "queue", limits)
    queue.claim_records = 10
    queue.cursors = lambda: {str(i): Settled(at) for i, at in enumerate(cursors)}
    for i in range(scans):
        queue.append([scan(plan, i)], plans=[plan])
    return queue


def scan(plan: Plan, i: int) -> Part:
    width = len(plan.columns)
    array = NOISE.integers(0, 2**62, width)
    return Part(Layout(plan), i * SECOND_NS, {ValueType.INT64: array}, width)


def told(queue: QueueReader, after: int) -> tuple[list[int], int]:
    """Return what a target is told: (sequences of whole scans, samples named in gaps)."""
    records = queue.read(after=after, records_max=10**6)
    whole = [r.sequence for r in records if isinstance(r, Record) and len(r.values) == WIDTH]
    return whole, sum(r.gap.samples for r in records if isinstance(r, GapRecord))


def test_what_a_target_may_be_delivering_is_left_alone(tmp_path: Path) -> None:
    """Seen to bite: without claims, what the uplink has in hand is dropped and arrives as well."""
    queue = filled(tmp_path, cursors=[20], scans=300)

    whole, missing = told(queue, after=20)

    assert whole[:10] == list(range(21, 31)), "the claim"
    assert whole[10] > 100, "and behind it the oldest had to go"
    assert len(whole) * WIDTH + missing == 280 * WIDTH, "exactly"
    assert queue.room.forced == 0
    queue.close()


def test_what_every_target_has_is_never_counted_as_lost(tmp_path: Path) -> None:
    """The normalizer looks at cursors once a second; making room must not trust that look.

    Seen to bite: taking the oldest blocks, whoever has had them.
    """
    cursors = [0]
    queue = filled(tmp_path, cursors, scans=60)
    cursors[0] = 50
    assert queue.delivered == 0, "not told yet"
    for i in range(60, 100):
        queue.append([scan(PLAIN, i)], plans=[PLAIN])

    lost = queue.ledger().total.lost
    whole, missing = told(queue, after=50)
    assert len(whole) * WIDTH + missing == 50 * WIDTH
    assert sum(loss.samples for loss in lost.values()) == missing
    queue.close()


def test_gaps_on_both_sides_of_a_cursor_stay_apart(tmp_path: Path) -> None:
    """Seen to bite: joined, they tell a target again what it had been told, or had been given."""
    cursors = [0, 0]
    queue = filled(tmp_path, cursors, scans=40)
    queue.drop(20)
    cursors[1] = 20
    queue.drop(40)

    assert told(queue, after=20) == ([], 20 * WIDTH), "who had the first half"
    assert told(queue, after=0) == ([], 40 * WIDTH), "who had nothing"
    queue.close()


def test_the_front_of_a_queue_that_is_full_for_long_stays_one_block(tmp_path: Path) -> None:
    queue = filled(tmp_path, cursors=[0], scans=2_000)

    gone = [held for held in queue.held_from(0) if held.stage == Stage.GONE]
    assert len(gone) == 1, "gaps are joined, not piled up"
    whole, missing = told(queue, after=0)
    assert len(whole) * WIDTH + missing == 2_000 * WIDTH
    queue.close()


def test_first_to_go_goes_first_and_keep_stays_longest(tmp_path: Path) -> None:
    queue = filled(tmp_path, cursors=[0], scans=110, plan=CLASSED)

    records = [r for r in queue.read(after=10, records_max=10**6) if isinstance(r, Record)]
    present = dict.fromkeys(LossClass, 0)
    for record in records:
        for index in record.indexes if record.indexes is not None else range(WIDTH):
            present[COLUMNS[index].loss_class] += 1
    assert present[LossClass.KEEP] == 100 * WIDTH // 3, "all of it, from every scan"
    assert present[LossClass.FIRST_TO_GO] < present[LossClass.NORMAL] < present[LossClass.KEEP]
    assert queue.ledger().total.unexplained == 0
    queue.close()


def test_thinning_keeps_the_whole_span_and_only_then_drops(tmp_path: Path) -> None:
    narrow = msgspec.structs.replace(PLAIN, columns=COLUMNS[:1])
    queue = filled(
        tmp_path, cursors=[0], scans=3_000, plan=narrow,
        when_full=WhenFull.THIN, thin_fine_s=50, thin_coarse_s=200,
    )  # fmt: skip

    records = [r for r in queue.read(after=0, records_max=10**6) if isinstance(r, Record)]
    lost = queue.ledger().total.lost
    assert set(lost) == {"thinned"}, "nothing had to be dropped"
    kept = [0] * 16
    for record in records:
        kept[record.read_at_ns // SECOND_NS // 200] += 1
    assert min(kept[:15]) >= 2, "something is left of every time"
    assert max(kept[1:8]) <= 16, "the oldest: first, last, least, greatest of each fine bucket"
    assert kept[13:15] == [200, 200], "the newest keeps every sample"
    queue.close()


def test_stop_reading_gives_nothing_up(tmp_path: Path) -> None:
    queue = filled(tmp_path, cursors=[0], scans=130, when_full=WhenFull.STOP_READING)

    assert queue.full
    assert told(queue, after=0) == (list(range(1, 131)), 0)
    queue.trim(20)
    queue.keep_blocks = 0
    queue.trim(100)
    assert not queue.full, "it reads on once there is room"
    queue.close()


def test_claims_that_fill_the_queue_alone_are_the_last_to_go(tmp_path: Path) -> None:
    queue = filled(tmp_path, cursors=[0], scans=50)
    queue.claim_records = 10_000
    for i in range(50, 200):
        queue.append([scan(PLAIN, i)], plans=[PLAIN])

    assert queue.used_bytes <= 120 * 1024, "bounded all the same"
    assert queue.room.forced > 0
    whole, missing = told(queue, after=0)
    assert len(whole) * WIDTH + missing == 200 * WIDTH
    queue.close()
