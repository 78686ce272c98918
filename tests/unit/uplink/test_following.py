"""Goal: what is followed as arrays is what is noted record by record, and nothing is passed over.

Method: a real queue with records of several plans, types and widths, followed block by block and
compared with the newest of every record read one by one.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from common.block import NO_SOURCE_TIME, Layout, Part
from common.queue import Bounds, QueueWriter, Settled
from common.queue.ledger import THINNED
from common.queue.state import Stage
from common.records import Column, Gap, GapRecord, Plan, Quality, Record, ValueType
from uplink.following import Following
from uplink.newest import Newest
from uplink.slicing import SlicingReader

TYPES = (
    ValueType.FLOAT64,
    ValueType.INT64,
    ValueType.UINT64,
    ValueType.BOOL,
    ValueType.STRING,
    ValueType.BYTES,
)
COMMITS, PER_COMMIT = 40, 5


def plan_of(device: str) -> Plan:
    """Return a plan with two columns of every type."""
    columns = tuple(
        Column(f"T{i}", f"a/{device}/T{i}", "DB1", "ANY", value_type)
        for i, value_type in enumerate(TYPES * 2)
    )
    return Plan("s7", device, "process", device, 1_000, columns)


def part_of(layout: Layout, random: np.random.Generator, at_ns: int) -> Part:
    """Return a scan with some columns, some without a value, some not Good, some with a time."""
    width = len(layout.plan.columns)
    indexes = np.flatnonzero(random.random(width) < 0.3).astype(np.uint16)
    if not len(indexes):
        indexes = np.array([0], np.uint16)
    types = [layout.plan.columns[i].value_type for i in indexes.tolist()]
    nulls = np.flatnonzero(random.random(len(indexes)) < 0.2).astype(np.uint32)
    arrays: dict[ValueType, object] = {}
    for kind in sorted(set(types), key=TYPES.index):
        places = [place for place, each in enumerate(types) if each is kind]
        arrays[kind] = values_of(kind, random, [place in nulls for place in places])
    return Part(
        layout,
        at_ns,
        arrays,
        len(indexes),
        indexes,
        nulls=nulls if len(nulls) else None,
        quality_at=nulls if len(nulls) else None,
        qualities=np.full(len(nulls), Quality.BAD, np.uint32) if len(nulls) else None,
        source_at_ns=np.where(random.random(len(indexes)) < 0.5, NO_SOURCE_TIME, at_ns - 7),
    )


def values_of(kind: ValueType, random: np.random.Generator, missing: list[bool]) -> object:
    """Return values of one type, as a Part wants them."""
    numbers = random.integers(1, 1_000, len(missing))
    if kind is ValueType.STRING:
        return ["" if no else f"text {n}" for n, no in zip(numbers, missing, strict=True)]
    if kind is ValueType.BYTES:
        return [b"" if no else bytes([n % 256]) for n, no in zip(numbers, missing, strict=True)]
    dtypes = {
        ValueType.FLOAT64: np.float64,
        ValueType.INT64: np.int64,
        ValueType.UINT64: np.uint64,
        ValueType.BOOL: np.uint8,
    }
    found = (numbers % 2 if kind is ValueType.BOOL else numbers).astype(dtypes[kind])
    found[np.array(missing)] = 0
    return found


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[QueueWriter]:
    writer = QueueWriter.create(tmp_path / "queue", Bounds(capacity_bytes=64 * 1024**2))
    writer.cursors = lambda: {"uns": Settled()}
    yield writer
    writer.close()


def fill(queue: QueueWriter, commits: int = COMMITS, *, seed: int = 1) -> None:
    random = np.random.default_rng(seed)
    layouts = [Layout(plan_of(device)) for device in ("press", "robot", "meter")]
    for commit in range(commits):
        parts = [
            part_of(layouts[int(random.integers(3))], random, commit * 1_000 + n)
            for n in range(PER_COMMIT)
        ]
        queue.append(parts, plans=[layout.plan for layout in layouts])


def newest_one_by_one(queue: QueueWriter) -> list[Record]:
    newest = Newest()
    for record in queue.read(after=0, records_max=1_000_000):
        assert isinstance(record, Record)
        newest.note(record)
    return list(newest.records(after=0, up_to=1_000_000))


@pytest.mark.parametrize("compacted", [False, True])
def test_followed_as_arrays_it_is_the_same_as_noted_one_by_one(
    queue: QueueWriter, *, compacted: bool
) -> None:
    """Seen to bite: the first sample of a column taken for its last."""
    fill(queue)
    while compacted and queue.maintain():
        pass
    following = Following(queue, Newest(), after=0)

    while following.follow(0.0):
        assert following.followed < queue.last_sequence()

    assert following.followed == queue.last_sequence()
    found = list(following.newest.records(after=0, up_to=1_000_000))
    assert found == newest_one_by_one(queue)


def test_what_is_noted_on_the_way_and_what_is_followed_fit_together(queue: QueueWriter) -> None:
    following = Following(queue, Newest(), after=0)
    for seed in range(6):
        fill(queue, 3, seed=seed)
        after = following.followed
        if seed % 2:
            following.note(queue.read(after=after), after=after)
        else:
            assert not following.follow(1.0)

    assert following.followed == queue.last_sequence()
    found = list(following.newest.records(after=0, up_to=1_000_000))
    assert found == newest_one_by_one(queue)


def test_behind_a_hole_nothing_is_noted(queue: QueueWriter) -> None:
    """Or the hole would count as followed.

    Seen to bite: with a note that moves on over a hole.
    """
    fill(queue)
    following = Following(queue, Newest(), after=0)
    last = queue.last_sequence()

    following.note(queue.read(after=last - 5), after=last - 5)

    assert following.followed == 0
    while following.follow(1.0):
        pass
    found = list(following.newest.records(after=0, up_to=last))
    assert found == newest_one_by_one(queue)


def test_what_was_read_already_is_noted_once_more_without_harm(queue: QueueWriter) -> None:
    fill(queue)
    following = Following(queue, Newest(), after=0)
    while following.follow(1.0):
        pass

    following.note(queue.read(after=10, records_max=20), after=10)

    assert following.followed == queue.last_sequence()
    found = list(following.newest.records(after=0, up_to=1_000_000))
    assert found == newest_one_by_one(queue)


@pytest.mark.parametrize("compacted", [False, True])
def test_in_slices_the_queue_reads_as_it_does_whole(queue: QueueWriter, *, compacted: bool) -> None:
    """Gaps too, and what a region that was dropped has left.

    Seen to bite: with some of the gaps of one sequence cut off.
    """
    fill(queue)
    queue.append([Gap("press", "process", "outbox-full", 1, 2, 3, 4)] * 3)
    fill(queue, seed=2)
    while compacted and queue.maintain():
        pass
    queue.claim_records = 0
    queue.room.reduce(Stage.COARSE, THINNED, up_to=queue.last_sequence() // 3)
    whole = queue.read(after=0, records_max=1_000_000)
    slicing = SlicingReader(queue)

    for records_max in (1, 3, 40):
        for up_to in (None, queue.last_sequence() - 7):
            found: list[Record | GapRecord] = []
            after = 0
            while some := slicing.read(after=after, records_max=records_max, up_to=up_to):
                found += some
                after = some[-1].sequence
            assert found == [each for each in whole if up_to is None or each.sequence <= up_to]
