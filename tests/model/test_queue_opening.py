"""Goal: opening a queue never ends in a process that starts and dies for ever, and never deletes.

Method: real LMDB files, damaged as disks and people damage them; a writer that was killed leaves
its `in-use` note, as the real process does.
"""

import os
import random
import shutil
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from common.block import Layout, Part
from common.errors import DiskFull, QueueUnusable
from common.queue import Bounds, Cursor, QueueReader, QueueWriter
from common.queue.disk import BALLAST_FILE
from common.records import Column, GapRecord, Plan, Record, ValueType

PLAN = Plan(
    "simulated", "press", "fast", "Press", 100,
    (Column("a", "Acme/a", "a", "T", ValueType.INT64),),
)  # fmt: skip
LAYOUT = Layout(PLAN)
BOUNDS = Bounds(capacity_bytes=64 * 1024**2)


def part(value: int) -> Part:
    return Part(LAYOUT, value, {ValueType.INT64: np.array([value])}, 1)


def killed(path: Path, commits: int = 20) -> int:
    """Leave a queue as a writer does that was killed; return its epoch."""
    queue = QueueWriter.create(path, BOUNDS)
    for i in range(commits):
        queue.append([part(i)], plans=[PLAN])
    epoch = queue.epoch
    queue._environment.close()  # noqa: SLF001 - without the farewell
    return epoch


def values(queue: QueueReader) -> list[int]:
    return [r.values[0] for r in queue.read(after=0, records_max=10**6) if isinstance(r, Record)]


def test_a_writer_that_was_killed_leaves_a_queue_that_goes_on(tmp_path: Path) -> None:
    epoch = killed(tmp_path / "queue")

    queue = QueueWriter.create(tmp_path / "queue", BOUNDS)

    assert queue.epoch == epoch
    assert values(queue) == list(range(20))
    assert not list(tmp_path.glob("queue.aside-*"))
    queue.close()


def cut_short(file: Path, _: random.Random) -> None:
    os.truncate(file, file.stat().st_size // 2)


def emptied(file: Path, _: random.Random) -> None:
    os.truncate(file, 0)


def zeroed(file: Path, _: random.Random) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def another_file(file: Path, choose: random.Random) -> None:
    file.write_bytes(choose.randbytes(65_536))


def trees_destroyed(file: Path, choose: random.Random) -> None:
    """Everything but the two meta pages."""
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(8_192)
        opened.write(choose.randbytes(size - 8_192))


@pytest.mark.parametrize("damage", [cut_short, emptied, zeroed, another_file, trees_destroyed])
def test_an_unreadable_queue_is_moved_aside_and_a_fresh_one_begun(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Seen to bite: without the inspection a process ends by SIGBUS, or dies at each start."""
    epoch = killed(tmp_path / "queue")
    cursor = Cursor.open(tmp_path / "queue", "uns", epoch=epoch)
    cursor.advance(3)
    cursor.close()
    damage(tmp_path / "queue" / "data.mdb", random.Random(1))

    queue = QueueWriter.create(tmp_path / "queue", BOUNDS)

    (aside,) = tmp_path.glob("queue.aside-*")
    assert (aside / "data.mdb").exists(), "kept, not deleted"
    assert queue.epoch != epoch
    (gap,) = [r.gap for r in queue.read(after=0) if isinstance(r, GapRecord)]
    assert (gap.cause, gap.scans, gap.samples) == ("queue-new", 0, 0), "and the far side is told"
    assert "moved aside" in caplog.text
    queue.append([part(7)], plans=[PLAN])
    assert values(queue) == [7]
    assert (tmp_path / "queue" / "cursors" / "uns" / "data.mdb").exists(), "refusals stay visible"
    queue.close()


def test_a_queue_of_another_format_is_refused_and_not_touched(tmp_path: Path) -> None:
    killed(tmp_path / "queue")
    environment = lmdb.open(str(tmp_path / "queue"), max_dbs=8, map_size=2**26)
    meta = environment.open_db(b"meta", create=False)
    with environment.begin(write=True, db=meta) as transaction:
        transaction.put(b"format", b"3")
    environment.close()
    before = (tmp_path / "queue" / "data.mdb").read_bytes()

    for opening in (lambda p: QueueWriter.create(p, BOUNDS), QueueReader.open):
        with pytest.raises(QueueUnusable, match=r"format 3.*the version of Tailrace that wrote it"):
            opening(tmp_path / "queue")

    assert (tmp_path / "queue" / "data.mdb").read_bytes() == before
    assert not list(tmp_path.glob("queue.aside-*"))


def test_a_queue_restored_from_a_copy_gets_a_new_epoch(tmp_path: Path) -> None:
    """Its next sequences were given before: a consumer would take fresh data for repeats."""
    epoch = killed(tmp_path / "queue", commits=5)
    shutil.copytree(tmp_path / "queue", tmp_path / "backup")
    shutil.rmtree(tmp_path / "queue")
    shutil.copytree(tmp_path / "backup", tmp_path / "queue")

    queue = QueueWriter.create(tmp_path / "queue", BOUNDS)

    assert queue.epoch > epoch
    assert values(queue) == [0, 1, 2, 3, 4], "what the copy holds is not lost"
    queue.close()
    again = QueueWriter.create(tmp_path / "queue", BOUNDS)
    assert again.epoch == queue.epoch, "once"
    again.close()


def test_a_queue_older_than_its_cursors_gets_a_new_epoch(tmp_path: Path) -> None:
    epoch = killed(tmp_path / "queue", commits=5)
    cursor = Cursor.open(tmp_path / "queue", "uns", epoch=epoch)
    cursor.advance(17)
    cursor.close()

    queue = QueueWriter.create(tmp_path / "queue", BOUNDS)

    assert queue.epoch > epoch
    queue.close()


def test_a_queue_that_was_only_moved_keeps_its_epoch(tmp_path: Path) -> None:
    epoch = killed(tmp_path / "queue")
    (tmp_path / "queue").rename(tmp_path / "elsewhere")

    queue = QueueWriter.create(tmp_path / "elsewhere", BOUNDS)

    assert queue.epoch == epoch
    queue.close()


def test_a_full_disk_says_so_and_gives_up_the_ballast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = QueueWriter.create(tmp_path / "queue", BOUNDS)
    queue.fit_to_disk()
    ballast = tmp_path / "queue" / BALLAST_FILE
    assert ballast.stat().st_blocks * 512 >= 4 * 1024**2, "really allocated"
    queue.close()
    disk = {"f_frsize": 4096, "f_blocks": 10**6, "f_bavail": 10}
    monkeypatch.setattr("os.statvfs", lambda _: type("Disk", (), disk))

    def no_room(*_: Any, **__: Any) -> None:
        raise lmdb.Error("Input/output error")

    with monkeypatch.context() as full:
        full.setattr("common.queue.writer.QueueWriter.append", no_room)
        full.setattr("lmdb.open", no_room)
        with pytest.raises(DiskFull, match="make room"):
            QueueWriter.create(tmp_path / "queue", BOUNDS)

    assert not ballast.exists()
    queue = QueueWriter.create(tmp_path / "queue", BOUNDS)
    disk["f_bavail"] = 10**6
    queue.fit_to_disk()
    assert ballast.exists(), "back as soon as there is room"
    queue.close()
