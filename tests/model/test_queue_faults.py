"""Goal: damage, fullness and replacement of the queue cost what they must, and say so.

Method: real LMDB files, damaged through LMDB itself (a flipped bit in a stored value is what a
bad disk or memory leaves), filled beyond their map, removed under a running reader.
"""

import random
import shutil
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from common.block import Layout, Part
from common.errors import QueueUnusable
from common.queue import QueueReader, QueueWriter, Tally
from common.records import Column, Gap, GapRecord, Plan, Position, Record, ValueType

PLAN = Plan(
    "simulated",
    "press",
    "fast",
    "Press",
    100,
    (Column("a", "Acme/a", "a", "T", ValueType.INT64, unit="bar"),),
)
LAYOUT = Layout(PLAN)


def part(value: int, samples: int = 1) -> Part:
    """Build one record; many samples stand for a wide group."""
    if samples == 1:
        return Part(LAYOUT, value, {ValueType.INT64: np.array([value])}, 1)
    columns = tuple(
        Column(f"t{i}", f"Acme/t{i}", "a", "T", ValueType.INT64) for i in range(samples)
    )
    layout = Layout(Plan("simulated", "press", "wide", "Press", 100, columns))
    noise = np.random.default_rng(value).integers(0, 2**62, samples)
    return Part(layout, value, {ValueType.INT64: noise}, samples)


def filled(path: Path, commits: int) -> QueueWriter:
    queue = QueueWriter.create(path, 64 * 1024**2)
    for i in range(commits):
        queue.append(
            [part(3 * i + j) for j in range(3)],
            plans=[PLAN],
            positions={"modbus": Position(1, i)},
            tallies={"modbus/press/fast": Tally(1, i, i, i)},
        )
    return queue


def everything(queue: QueueReader) -> list[Record | GapRecord]:
    records: list[Record | GapRecord] = []
    while page := queue.read(after=records[-1].sequence if records else 0):
        records += page
    return records


def flip(path: Path, database: str, entry: int, place: int, bit: int) -> None:
    """Flip one bit of one stored value."""
    environment = lmdb.open(str(path), max_dbs=8, map_size=256 * 1024**2)
    handle = environment.open_db(database.encode(), create=False)
    with environment.begin(write=True, db=handle) as transaction:
        key, value = list(transaction.cursor())[entry]
        damaged = bytearray(value)
        damaged[place % len(damaged)] ^= 1 << bit
        transaction.put(key, bytes(damaged))
    environment.close()


@pytest.mark.parametrize("seed", range(25))
def test_a_flipped_bit_anywhere_in_a_block_costs_that_block_and_no_other(
    tmp_path: Path, seed: int
) -> None:
    """Seen to bite: when extents came from headers, one bit in a header lost the whole queue."""
    choose = random.Random(seed)
    filled(tmp_path / "queue", 20).close()
    hit = choose.randrange(20)
    flip(tmp_path / "queue", "blocks", hit, choose.randrange(60), choose.randrange(8))
    queue = QueueWriter.create(tmp_path / "queue", 64 * 1024**2)

    found = everything(queue)

    gaps = [record for record in found if isinstance(record, GapRecord)]
    kept = [record.sequence for record in found if isinstance(record, Record)]
    lost = range(3 * hit + 1, 3 * hit + 4)
    assert [gap.gap.cause for gap in gaps] == ["block-damaged"]
    assert gaps[0].sequence == lost[-1], "in its place"
    assert kept == [sequence for sequence in range(1, 61) if sequence not in lost]
    queue.trim(3 * hit)
    assert queue.last_sequence() == 60
    queue.close()


@pytest.mark.parametrize("database", ["plans", "sources", "groups"])
@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_in_the_small_databases_is_noticed_and_never_ends_the_process(
    tmp_path: Path, database: str, seed: int
) -> None:
    choose = random.Random(seed)
    filled(tmp_path / "queue", 3).close()
    flip(tmp_path / "queue", database, 0, choose.randrange(200), choose.randrange(8))

    queue = QueueWriter.create(tmp_path / "queue", 64 * 1024**2)
    found = everything(queue)

    if database == "plans":
        assert {record.gap.cause for record in found if isinstance(record, GapRecord)} == {
            "block-damaged"
        }, "never read under a plan that is not the one it was written under"
        assert queue.plan(PLAN.fingerprint) is None
    else:
        assert len(found) == 9
        assert (queue.positions, queue.tallies())[database == "groups"] == {}, "not trusted"
    queue.append([part(99)], plans=[PLAN])
    newest = queue.read(after=9)[0]
    assert isinstance(newest, Record)
    assert newest.plan == PLAN
    queue.close()


@pytest.mark.parametrize("wide", [0.0, 0.3])
def test_a_map_that_is_full_drops_its_oldest_and_goes_on(tmp_path: Path, wide: float) -> None:
    """The map is smaller than the capacity: what fragmentation does slowly, at once.

    A map without one free page ends the process; its successor receives again and has room.
    """
    choose = random.Random(1)
    restarts = 0

    def append(parts: list[Part]) -> None:
        nonlocal queue, restarts
        plans = list({each.layout.plan.fingerprint: each.layout.plan for each in parts}.values())
        try:
            queue.append(parts, plans=plans)
        except QueueUnusable:
            restarts += 1
            queue.close()
            queue = QueueWriter.create(tmp_path / "queue", 3 * 1024**2, map_bytes=4 * 1024**2)
            queue.append(parts, plans=plans)

    queue = QueueWriter.create(tmp_path / "queue", 64 * 1024**2, map_bytes=3 * 1024**2)
    scans = samples = 0
    for i in range(600):
        parts = [part(i, 2_000 if choose.random() < wide else 1) for _ in range(5)]
        append(parts)
        scans += len(parts)
        samples += sum(each.samples for each in parts)
    if wide == 0:  # Small records alone take longer to fill it.
        for i in range(600, 40_000):
            append([part(i)])
            scans += 1
            samples += 1

    found = everything(queue)

    kept = [record for record in found if isinstance(record, Record)]
    gaps = [record.gap for record in found if isinstance(record, GapRecord)]
    assert gaps, "the map was full"
    assert restarts <= 1, "and that is rare"
    assert len(kept) + sum(gap.scans for gap in gaps) == scans, "all there was, to the scan"
    assert sum(len(r.values) for r in kept) + sum(gap.samples for gap in gaps) == samples
    queue.close()


def test_what_every_target_has_is_dropped_without_claiming_a_loss(tmp_path: Path) -> None:
    queue = QueueWriter.create(tmp_path / "queue", 64 * 1024)
    for i in range(3_000):
        queue.delivered = queue.last_sequence()
        queue.append([part(i)], plans=[PLAN])

    assert queue.summary().blocks < 3_000, "it was full"
    assert not [record for record in everything(queue) if isinstance(record, GapRecord)]
    assert queue.dropped == []
    queue.close()


def test_dropping_tells_whose_values_are_gone(tmp_path: Path) -> None:
    queue = QueueWriter.create(tmp_path / "queue", 64 * 1024)
    told: list[Gap] = []
    for i in range(3_000):
        queue.append([part(i)], plans=[PLAN])
        told += queue.dropped

    assert {(gap.device, gap.group) for gap in told} == {("press", "fast")}
    queue.close()


def test_a_queue_removed_under_its_users_is_noticed(tmp_path: Path) -> None:
    queue = filled(tmp_path / "queue", 3)
    queue.close()
    reader = QueueReader.open(tmp_path / "queue")
    shutil.rmtree(tmp_path / "queue")
    reader._look_at_s = 0.0  # noqa: SLF001 - as if a second had passed

    with pytest.raises(QueueUnusable, match="removed or replaced"):
        reader.last_sequence()
    reader.close()


def test_what_is_left_of_a_half_removed_queue_is_moved_aside_not_in_the_way(
    tmp_path: Path,
) -> None:
    filled(tmp_path / "queue", 3).close()
    for file in (tmp_path / "queue").glob("*.mdb"):
        file.unlink()

    queue = QueueWriter.create(tmp_path / "queue", 64 * 1024**2)

    assert queue.last_sequence() == 0
    (aside,) = tmp_path.glob("queue.aside-*")
    assert (aside / "cursors").is_dir(), "nothing is deleted"
    queue.close()


def test_the_capacity_follows_a_disk_with_less_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = filled(tmp_path / "queue", 3)
    disk: dict[str, Any] = {"f_frsize": 4096, "f_blocks": 10**6, "f_bavail": 10**5}
    monkeypatch.setattr("os.statvfs", lambda _: type("Disk", (), disk))
    configured = queue.capacity_bytes

    queue.fit_to_disk()
    assert queue.capacity_bytes == configured, "there is room"
    disk["f_bavail"] = 60_000
    queue.fit_to_disk()
    assert queue.capacity_bytes < configured
    disk["f_bavail"] = 0
    queue.fit_to_disk()
    assert queue.capacity_bytes == 16 * 1024**2, "never nothing"
    disk["f_bavail"] = 10**5
    queue.fit_to_disk()
    assert queue.capacity_bytes == configured, "by itself, when space returns"
    queue.close()
