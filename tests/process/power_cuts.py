"""A real normalizer is recorded at work; then every state that a power cut may leave is reopened.

    recording = await record(folder, busy(3, 100, seed=1))
    with Reopening(recording) as reopening:
        for moment in moments(recording):
            reopening.reopen(moment, systematic_cuts(moment.disk))

The noted inode number tells a queue from its copy (decision 0012), and after a power cut it is the
same. So each state is laid into the very file that was recorded.
"""

import hashlib
import os
import random
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from tests.process.crash_states import Cut, Disk
from tests.process.normalizer_rig import Feeder, MovingCursor, NormalizerRig, until
from tests.process.reopened import Judge, Request
from tests.process.syscall_log import STRACE, changes

ROOM_BYTES = 512 * 1024**2
VERIFY_EVERY = 5
"""States that the queue's own verification looks at as well; it takes as long as all the rest."""
STRACE_LOG = "strace.log"
COMPLAINTS_MAX = 20
ALTERED = ("-m", "tests.process.altered_normalizer")

Work = Callable[[NormalizerRig, Feeder], Awaitable[list[tuple[float, int]]]]
"""Feeds the normalizer; returns the moves of the cursor, if it moved one."""


@contextmanager
def fast_folder(otherwise: Path) -> Iterator[Path]:
    """Yield a folder in memory where there is room for it: thousands of states are written."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOM_BYTES
    folder = Path(tempfile.mkdtemp(prefix="tailrace-", dir=memory if roomy else otherwise))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Recording:
    """What one process did from its first start on, and what is needed to judge its states."""

    folder: Path
    log_file: Path
    root: Path
    """The folder that was there before; everything below it was made by the process."""
    data_file: Path
    epoch: int
    scans: int
    noise_bytes: int
    moves: list[tuple[float, int]] = field(default_factory=list)

    def delivered_at(self, at_s: float) -> int:
        """Return the furthest the cursor may have been at an instant."""
        return max((position for moved_s, position in self.moves if moved_s <= at_s), default=0)


async def record(
    folder: Path,
    work: Work,
    *,
    noise_bytes: int = 16,
    altered: dict[str, str] | None = None,
    inject: str = "",
) -> Recording:
    """Run a normalizer from its very first start, without a data directory, and write it down.

    `altered` starts it through altered_normalizer.py, with these variables; `inject` makes calls
    fail, as strace says it.
    """
    rig = NormalizerRig(folder, noise_bytes=noise_bytes, environment=altered)
    log_file = folder / STRACE_LOG
    wrapper = [*STRACE, "--output-append-mode", "-o", str(log_file)]
    if inject:
        wrapper += ["-e", f"inject={inject}"]
    rig.process = rig.normalizer(wrapper, ALTERED if altered else ())
    try:
        rig.process.start()
        async with rig.collector() as feeder:
            moves = await work(rig, feeder)
        with rig.reader() as reader:
            epoch = reader.epoch
        await kill(rig, log_file)
    finally:
        rig.close()
    data_file = rig.queue_dir / "data.mdb"
    return Recording(
        folder, log_file, rig.data_dir.parent, data_file, epoch, rig.scans, noise_bytes, moves
    )


async def kill(rig: NormalizerRig, log_file: Path) -> None:
    """End the recorded process, and wait until that is in the log."""
    rig.process.kill()
    await ended(rig, log_file)


async def ended(rig: NormalizerRig, log_file: Path) -> None:
    """Return when strace, a child of the process, has written that it ended, and all before it."""
    last = f"{rig.process.pid} ".encode()

    def written() -> bool:
        with log_file.open("rb") as log:
            log.seek(max(0, log_file.stat().st_size - 1_000))
            lines = log.read().splitlines()
        return any(each.startswith(last) and b"+++ " in each for each in lines)

    await until(written, 30, "strace has written its log")


def busy(rounds: int, commits: int, seed: int, *, killed_after: int | None = None) -> Work:
    """Return work: so many commits a round; after each the target takes most of what is there.

    So the recording holds commits of all sizes, merging of old blocks (rounds of 140 commits and
    more), trimming, and a second start after the round `killed_after`.
    """

    async def work(rig: NormalizerRig, feeder: Feeder) -> list[tuple[float, int]]:
        choose = random.Random(seed)
        cursor: MovingCursor | None = None
        for number in range(rounds):
            before = rig.scans
            await feeder.feed_commits(commits, choose)
            if cursor is None:
                await until(lambda: rig.summary().blocks < commits, 20, "old blocks are merged")
                cursor = MovingCursor(rig)
            cursor.advance(choose.randint(before, rig.scans))
            if number == rounds - 1:
                await until(lambda: rig.summary().first_sequence > 1, 20, "the queue is trimmed")
            if number == killed_after:
                await kill(rig, rig.folder / STRACE_LOG)
                rig.process.start()
        assert cursor is not None
        cursor.close()
        return cursor.moves

    return work


def interrupted(deaths: int) -> Work:
    """Return work: feed, and start the process again whenever it ends by itself."""

    async def work(rig: NormalizerRig, feeder: Feeder) -> list[tuple[float, int]]:
        for _ in range(deaths):
            await feeder.feed_until(lambda: not rig.process.running)
            await ended(rig, rig.folder / STRACE_LOG)
            rig.process.start()
        await feeder.acknowledged()
        return []

    return work


def overfull(commits: int, seed: int) -> Work:
    """Return work: feed, and nobody takes anything, so that the oldest is dropped."""

    async def work(rig: NormalizerRig, feeder: Feeder) -> list[tuple[float, int]]:
        await feeder.feed_commits(commits, random.Random(seed))
        await until(rig.gaps, 20, "something was dropped")
        return []

    return work


class Moment(NamedTuple):
    """An instant just before something becomes durable: before it is, the most is at risk."""

    number: int
    disk: Disk
    """As it was then; valid until the next moment is asked for."""
    promised: int
    delivered: int
    data_number: int
    """What the disk calls the file data.mdb; 0 before there is one."""


def moments(recording: Recording) -> Iterator[Moment]:
    """Yield each instant just before a sync, each that follows a promise, and the end.

    What may be left by a cut at any other instant may be left by a cut at one of these: between
    two of them nothing becomes durable, and whatever was written is still on its way.
    """
    disk = Disk(recording.root)
    # The target's cursor is another process's, the test's own: nothing of it is in the log.
    foreign = f"{recording.data_file.parent}/cursors/"
    at_s, number = 0.0, 0
    for at_s, change in changes(recording.log_file, below=recording.root):
        if getattr(change, "path", "").startswith(foreign):
            continue
        promised = disk.promised
        disk.begin(change)
        if disk.settles(change) or disk.promised > promised:
            number += 1
            yield _moment(recording, number, disk, at_s)
        disk.end(change)
    yield _moment(recording, number + 1, disk, at_s)


def _moment(recording: Recording, number: int, disk: Disk, at_s: float) -> Moment:
    delivered = recording.delivered_at(at_s)
    return Moment(number, disk, disk.promised, delivered, disk.numbers.get("data.mdb", 0))


class Reopening:
    """Lays states into a folder and has them judged; `with` starts and ends the judge."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._folder = recording.folder / "state"
        self._files_dir = recording.folder / "files"
        self._files_dir.mkdir()
        self._judge = Judge()
        self._data_link = self._files_dir / "data"
        os.link(recording.data_file, self._data_link)
        self._seen: set[bytes] = set()
        self.good = self.bad = 0
        """Different states that were judged."""
        self.first_complaints: list[str] = []
        self._began_s = time.monotonic()

    def reopen(self, moment: Moment, cuts: Iterable[Cut]) -> None:
        """Judge every state that is not exactly one that was judged before."""
        for cut in cuts:
            seen = _name_of(moment, cut)
            if seen in self._seen:
                continue
            self._seen.add(seen)
            wrong = self._complaints(moment, cut)
            if wrong:
                self.bad += 1
                if len(self.first_complaints) < COMPLAINTS_MAX:
                    self.first_complaints += wrong
            else:
                self.good += 1

    def _complaints(self, moment: Moment, cut: Cut) -> list[str]:
        self._lay(cut, moment.data_number)
        request = Request(
            str(self._folder / "data" / "queue"),
            self._recording.noise_bytes,
            moment.promised,
            moment.delivered,
            self._recording.epoch,
            verified=(self.good + self.bad) % VERIFY_EVERY == 0,
        )
        wrong = self._judge.ask(request)
        return [f"moment {moment.number}, {cut.what}: {each}" for each in wrong]

    def _lay(self, cut: Cut, data_number: int) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        for path in sorted(cut.folders):
            (self._folder / path).mkdir(mode=0o700)
        for path, (number, content) in cut.files.items():
            target = self._folder / path
            if number == data_number:
                os.link(self._data_link, target)
            target.write_bytes(content)

    @property
    def states_per_s(self) -> float:
        """How many were judged in a second."""
        return (self.good + self.bad) / (time.monotonic() - self._began_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._judge.close()


def _name_of(moment: Moment, cut: Cut) -> bytes:
    """Return what tells one state, and what it is judged by, from every other."""
    sizes = sorted((path, len(content)) for path, (_, content) in cut.files.items())
    told = repr((moment.promised, moment.delivered, sorted(cut.folders), sizes))
    name = hashlib.blake2b(told.encode(), digest_size=16)
    for path, _ in sizes:
        name.update(cut.files[path][1])
    return name.digest()
