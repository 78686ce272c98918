"""Goal: what test_intake.py shows against a plain list holds on the real queue.

Method: an LMDB queue and cursor in one process; small claims; what is fed is taken at once.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_intake import Kept, PlainQueue

from common.block import Layout, Part
from common.queue import Cursor, QueueWriter, Settled
from common.queue.ledger import QUEUE_FULL, THINNED
from common.queue.state import Stage
from common.records import Column, GapRecord, Plan, ValueType
from uplink.contract import Verdict
from uplink.drain import Drain
from uplink.intake import Intake, Span, by_age
from uplink.payloads.uns import UnsWording
from uplink.surroundings import Identity

CLAIM, AHEAD = 8, 4
COMMITS, RECORDS_PER_COMMIT, TAGS = 100, 2, 3
LAST = COMMITS * RECORDS_PER_COMMIT
COLUMNS = tuple(Column(f"T{i}", f"a/T{i}", "DB1", "REAL", ValueType.FLOAT64) for i in range(TAGS))
PLAN = Plan("s7", "press", "process", "Press", 1_000, COLUMNS)


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[QueueWriter]:
    writer = QueueWriter.create(tmp_path / "queue")
    writer.claim_records = CLAIM
    layout = Layout(PLAN)
    for commit in range(COMMITS):
        parts = [
            Part(layout, commit * 10**9, {ValueType.FLOAT64: np.full(TAGS, float(commit))}, TAGS)
            for _ in range(RECORDS_PER_COMMIT)
        ]
        writer.append(parts, plans=[PLAN])
    yield writer
    writer.close()


class Uplink:
    """One that takes everything at once, and remembers it."""

    def __init__(self, queue: QueueWriter, folder: Path) -> None:
        self.cursor = Cursor.open(folder, "uns", epoch=queue.epoch)
        self.drain: Drain = Drain(self.cursor.position)
        wording = UnsWording(Identity("g1", queue.epoch, "a", "a/_edge/g1"))
        self.intake = Intake(
            queue,
            self.drain,
            wording,
            lambda: Span(self.cursor.position),
            lambda records: by_age(records, 1_000),
            ahead_records=AHEAD,
        )
        queue.cursors = lambda: {"uns": Settled(self.cursor.position)}
        self.told: Counter[str] = Counter()
        """Samples that arrived, and samples that gaps name, by cause."""
        self.places: list[tuple[int, int]] = []
        """(sequence, 0 for data, 1 + number for a gap) in the order of publishing."""

    def turn(self) -> bool:
        """Feed and take once; return False when there is nothing more."""
        if self.intake.must_wait:
            self.cursor.advance(self.drain.settled().position)
        more = self.intake.more()
        while (item := self.drain.next(0.0)) is not None:
            self.drain.published(item, 1)
            self.drain.answered(1, Verdict.TAKEN, "", 0.0)
            (record,) = item.record.records
            gap = isinstance(record, GapRecord)
            self.places.append((record.sequence, 1 + record.number if gap else 0))
            if gap:
                self.told[record.gap.cause] += record.gap.samples
            else:
                self.told["arrived"] += 1
        return more


@pytest.mark.parametrize(("stage", "cause"), [(Stage.GONE, QUEUE_FULL), (Stage.COARSE, THINNED)])
def test_what_was_given_up_behind_the_claim_is_passed_over_and_told_once(
    queue: QueueWriter, tmp_path: Path, stage: Stage, cause: str
) -> None:
    """The gap stands at the end of a hole that is many claims wide.

    Seen to bite: an uplink that waits for records within its claim waits for ever.
    """
    uplink = Uplink(queue, tmp_path)
    uplink.turn()
    while queue.room.reduce(stage, cause, up_to=LAST - CLAIM):
        pass

    while uplink.turn():
        assert uplink.drain.read_after <= LAST

    assert uplink.drain.position == LAST
    assert uplink.places == sorted(uplink.places), "a gap follows the data of its sequence"
    shared = {s for s, gap in uplink.places if gap} & {s for s, gap in uplink.places if not gap}
    assert bool(shared) == (cause == THINNED), "and there was such data, where some was kept"
    assert uplink.told["arrived"] + uplink.told[cause] == LAST * TAGS, "to the sample"
    assert uplink.told[cause] > (LAST - 3 * CLAIM) * TAGS * 3 / 4, "most of it was given up"
    uplink.cursor.close()


def test_the_plain_list_reads_as_the_queue_does(queue: QueueWriter) -> None:
    """Both give whole sequences in order, none after `up_to`; how many at once is their own."""
    plain = PlainQueue(1)
    plain.last = queue.last_sequence()
    plain.records = [Kept(sequence, (0,)) for sequence in range(1, LAST + 1)]

    for after in range(0, LAST + 1, 7):
        for up_to in (None, after, after + 1, after + 5, LAST + 9):
            found = [
                [each.sequence for each in reader.read(after=after, records_max=3, up_to=up_to)]
                for reader in (queue, plain)
            ]
            common = min(map(len, found))
            assert found[0][:common] == found[1][:common]
            assert bool(found[0]) == bool(found[1])
            assert all(after < each <= (up_to or LAST) for one in found for each in one)
