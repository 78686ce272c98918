"""Goal: bdSeq and seq are what a host checks them to be, whatever happens in between.

Method: a state machine of connects, kills, births and messages; the number of the births and deaths
lives in a real cursor, opened anew after each kill.

Seen to bite: bdSeq kept only when the process ends; 256 reached before it begins again; seq not
begun anew by a birth.
"""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from common.queue import Bounds, Cursor, QueueWriter
from uplink.sparkplug.numbers import NOTE, BirthDeath, Sequence


class Numbers(RuleBasedStateMachine):
    """One gateway over many lives."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        queue = QueueWriter.create(Path(self.folder.name) / "queue", Bounds(capacity_bytes=2**24))
        queue.close()
        self.cursor = self.opened()
        self.deaths = BirthDeath(self.cursor)
        self.sequence = Sequence()
        self.connects = 0
        self.seqs: list[int] = []

    def opened(self) -> Cursor:
        return Cursor.open(Path(self.folder.name) / "queue", "uns", epoch=1)

    @rule()
    def connect(self) -> None:
        assert self.deaths.next() == self.connects % 256
        self.connects += 1

    @rule()
    def many_connects(self) -> None:
        for _ in range(100):
            self.connect()

    @rule()
    def killed(self) -> None:
        self.cursor.close()
        self.cursor = self.opened()
        self.deaths = BirthDeath(self.cursor)

    @rule()
    def birth(self) -> None:
        self.seqs = [self.sequence.begin()]
        assert self.seqs == [0]
        if self.connects:
            assert self.deaths.current in (0, (self.connects - 1) % 256)

    @rule()
    def messages(self) -> None:
        if not self.seqs:
            return
        for _ in range(150):
            self.seqs.append(self.sequence.next())
            assert self.seqs[-1] == (self.seqs[-2] + 1) % 256

    def teardown(self) -> None:
        self.cursor.close()
        self.folder.cleanup()


Numbers.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestNumbers = Numbers.TestCase


def test_a_damaged_note_begins_anew_and_ends_nothing(tmp_path: Path) -> None:
    QueueWriter.create(tmp_path / "queue", Bounds(capacity_bytes=2**24)).close()
    cursor = Cursor.open(tmp_path / "queue", "uns", epoch=1)
    cursor.keep_note(NOTE, b"")

    assert BirthDeath(cursor).next() == 0
    cursor.close()
