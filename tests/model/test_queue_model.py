"""Goal: the queue is a list that forgets only what every target has, or what it says it forgot.

Method: random appends, reads, trims, restarts and full disks against a plain list.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from common.block import Layout, Part
from common.queue import Bounds, Cursor, QueueWriter, Tally
from common.queue.writer import KEEP_BLOCKS
from common.records import Column, Gap, GapRecord, Plan, Position, Record, ValueType

PLANS = [
    Plan(
        "simulated",
        device,
        "fast",
        device,
        100,
        tuple(
            Column(f"t{i}", f"Acme/{device}/t{i}", f"a{i}", "T", ValueType.INT64) for i in range(3)
        ),
    )
    for device in ("press", "robot")
]
LAYOUTS = [Layout(plan) for plan in PLANS]


class QueueMachine(RuleBasedStateMachine):
    """A queue of ample capacity: nothing may be missing but what was trimmed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="tailrace-model-"))
        self.queue = QueueWriter.create(self.folder / "queue", Bounds(capacity_bytes=64 * 1024**2))
        self.epoch = self.queue.epoch
        self.written: list[tuple[int, object]] = []
        self.trimmed = 0
        self.positions: dict[str, Position] = {}

    @rule(
        rows=st.lists(
            st.tuples(st.integers(0, 1), st.integers(-(2**63), 2**63 - 1)), min_size=0, max_size=30
        ),
        gap=st.booleans(),
    )
    def append(self, rows: list[tuple[int, int]], gap: bool) -> None:  # noqa: FBT001 - drawn
        parts: list[Part | Gap] = []
        expected: list[object] = []
        for which, value in rows:
            array = np.array([value, 1, 2], np.int64)
            parts.append(Part(LAYOUTS[which], value & 0xFFFF, {ValueType.INT64: array}, 3))
            expected.append((PLANS[which].device, value))
        if gap:
            parts.append(Gap("press", "fast", "outbox-full", 1, 2, 3, 4))
            expected.append("gap")
        position = Position(1, len(self.written) + len(parts))
        last = self.queue.append(
            parts,
            plans=PLANS,
            positions={"modbus": position},
            tallies={"press/fast": Tally(1, 2, 3, position.sequence)},
        )
        first = len(self.written) + 1
        self.written += list(enumerate(expected, first))
        self.positions = {"modbus": position}
        assert last == len(self.written), "sequences have no holes"

    @rule()
    def restart(self) -> None:
        self.queue.close()
        self.queue = QueueWriter.create(self.folder / "queue", Bounds(capacity_bytes=64 * 1024**2))
        assert self.queue.epoch == self.epoch, "the epoch lives as long as the queue"
        assert self.queue.positions == self.positions, "committed together with the records"

    @rule(part=st.floats(0, 1))
    def trim(self, part: float) -> None:
        up_to = int(len(self.written) * part)
        self.queue.trim(up_to)
        self.trimmed = max(self.trimmed, up_to)

    @rule(part=st.floats(0, 1), most=st.integers(1, 50))
    def read_in_pages(self, part: float, most: int) -> None:
        after = max(int(len(self.written) * part), self.trimmed)
        found: list[tuple[int, object]] = []
        position = after
        while page := self.queue.read(after=position, records_max=most):
            assert page[0].sequence > position
            found += [shown(record) for record in page]
            position = page[-1].sequence
        assert found == self.written[after:], "everything after a sequence, in order, once"

    @invariant()
    def the_last_sequence_is_the_number_written(self) -> None:
        assert self.queue.last_sequence() == len(self.written)

    @precondition(lambda self: self.written)
    @invariant()
    def the_newest_is_always_there(self) -> None:
        newest = self.queue.read(after=len(self.written) - 1)
        assert [shown(record) for record in newest] == self.written[-1:]

    def teardown(self) -> None:
        self.queue.close()
        shutil.rmtree(self.folder)


def shown(record: Record | GapRecord) -> tuple[int, object]:
    if isinstance(record, GapRecord):
        return record.sequence, "gap"
    return record.sequence, (record.plan.device, record.values[0])


TestQueueModel = QueueMachine.TestCase
TestQueueModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def filled(path: Path, commits: int, capacity_bytes: int) -> QueueWriter:
    queue = QueueWriter.create(path, Bounds(capacity_bytes=capacity_bytes))
    noise = np.random.default_rng(1)
    for i in range(commits):
        array = noise.integers(0, 2**62, 3)
        parts = [Part(LAYOUTS[0], i, {ValueType.INT64: array}, 3) for _ in range(50)]
        queue.append(parts, plans=PLANS)
    return queue


def test_a_full_queue_drops_the_oldest_and_every_loss_is_a_gap_record(tmp_path: Path) -> None:
    queue = filled(tmp_path / "queue", commits=400, capacity_bytes=64 * 1024)

    records = []
    position = 0
    while page := queue.read(after=position):
        records += page
        position = page[-1].sequence
    kept = [record for record in records if isinstance(record, Record)]
    gaps = [record.gap for record in records if isinstance(record, GapRecord)]

    assert queue.summary().bytes <= 2 * 64 * 1024, "bounded"
    assert len(kept) < 400 * 50, "something had to go"
    assert {gap.cause for gap in gaps} == {"queue-full"}
    dropped = sum(gap.scans for gap in gaps)
    assert len(kept) + dropped == 400 * 50, "kept and dropped are all there was, to the scan"
    assert sum(gap.samples for gap in gaps) == dropped * 3
    assert kept[-1].sequence > kept[0].sequence >= 1
    queue.close()


def test_the_newest_blocks_stay_for_those_who_look_on(tmp_path: Path) -> None:
    queue = filled(tmp_path / "queue", commits=KEEP_BLOCKS + 40, capacity_bytes=64 * 1024**2)

    while queue.trim(queue.last_sequence()):
        pass

    assert queue.summary().blocks == KEEP_BLOCKS
    queue.close()


def test_a_cursor_starts_over_when_the_queue_was_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "cursors").mkdir()
    cursor = Cursor.open(tmp_path, "uns", epoch=1)
    cursor.advance(17)
    cursor.close()

    again = Cursor.open(tmp_path, "uns", epoch=1)
    assert again.position == 17, "durable"
    again.close()
    other = Cursor.open(tmp_path, "uns", epoch=2)
    assert other.position == 0, "sequences of another queue say nothing here"
    other.close()
