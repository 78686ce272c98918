"""The real normalizer as a process of its own, fed by the test with scans that it can recognise.

Scan n is read n milliseconds after the first and holds n in every value, so that whatever is found
later says by itself which scan it is. The test is the collector: a real outbox, a real handoff.
"""

import asyncio
import itertools
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from common.errors import QueueUnusable
from common.handoff import HandoffSender, handoff_address
from common.health import read_health
from common.outbox import Outbox
from common.queue import Cursor, QueueReader, QueueSummary
from common.records import Column, Gap, GapRecord, Plan, Scan, ValueType
from demo.children import Child

COLLECTOR = "collector-simulated"
TARGET = "uns"
FIRST_AT_NS = 1_790_000_000_000_000_000
PERIOD_NS = 1_000_000
DEPTH_MAX = 2_000
"""Scans that may wait in the outbox while the feeding is patient."""
RESTART_S = 0.2
LIFE_MOST_S = 24 * 3_600.0
COMMIT_SIZES = (1, 1, 1, 2, 5, 20)
NOISE = random.Random(3).randbytes(1 << 20)
"""Nothing of it compresses."""

Wrappers = Callable[[int], Sequence[str]]


def plan_with(noise_bytes: int = 16) -> Plan:
    """Return what a scan holds: a column of every kind, one of them as large as wanted."""
    kinds = {
        "Count": ValueType.INT64,
        "Level": ValueType.FLOAT64,
        "Odd": ValueType.BOOL,
        "Text": ValueType.STRING,
        f"Noise{noise_bytes}": ValueType.BYTES,
    }
    columns = tuple(Column(name, f"A/B/{name}", name, "T", kind) for name, kind in kinds.items())
    return Plan("simulated", "press", "fast", "Press", 1, columns)


def value_of(column: str, scan: int) -> Any:
    """Return what was read in a scan; no two neighbours have anything in common."""
    match column:
        case "Count":
            return scan
        case "Level":
            return scan / 8
        case "Odd":
            return scan % 2 == 1
        case "Text":
            return f"scan {scan}"
    size = int(column.removeprefix("Noise"))
    start = scan * 8_191 % (len(NOISE) - size)
    return scan.to_bytes(8, "big") + NOISE[start : start + size - 8]


def scan_read_at(read_at_ns: int) -> int:
    """Return the number of the scan that was read at an instant."""
    return (read_at_ns - FIRST_AT_NS) // PERIOD_NS


def scan_of(plan: Plan, number: int) -> Scan:
    """Return one scan as a collector reads it."""
    at_ns = FIRST_AT_NS + number * PERIOD_NS
    return Scan(plan.fingerprint, at_ns, at_ns, [value_of(c.name, number) for c in plan.columns])


class NormalizerRig:
    """One installation without an uplink; the test reads the queue, and moves the cursor.

    `wrapper` stands in front of the command: strace, or another Python that changes something.
    """

    def __init__(
        self,
        folder: Path,
        *,
        queue: str = "",
        noise_bytes: int = 16,
        data_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`queue` is the table [queue] of plant.toml."""
        self.folder = folder
        self.config_dir = folder / "config"
        self.data_dir = data_dir or folder / "disk" / "data"
        self.queue_dir = self.data_dir / "queue"
        # Not below `folder`: a Unix socket's path has 107 bytes, and pytest's folders are deep.
        self.run_dir = Path(tempfile.mkdtemp(prefix="tailrace-test-"))
        self.log_file = folder / "normalizer.log"
        self.plan = plan_with(noise_bytes)
        self.scans = 0
        """Handed over so far."""
        self._environment = environment
        self._configure(queue)
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self.process = self.normalizer()

    def _configure(self, queue: str) -> None:
        for half in ("ot", "it"):
            (self.config_dir / half).mkdir(parents=True, exist_ok=True)
        (self.config_dir / "ot" / "plant.toml").write_text(
            f'[gateway]\nid = "sitea-line1"\nroot = "A/B"\n[queue]\n{queue}\n'
        )
        (self.config_dir / "it" / "cloud.toml").write_text(
            f'[targets.{TARGET}]\nkind = "mqtt"\nhost = "localhost"\n'
        )

    def normalizer(self, wrapper: Sequence[str] = (), program: Sequence[str] = ()) -> Child:
        """Return the process, not started; `program` in place of `-m normalizer`."""
        places = {"config": self.config_dir, "run": self.run_dir, "data": self.data_dir}
        options = [part for name, path in places.items() for part in (f"--{name}", str(path))]
        command = [sys.executable, *(program or ("-m", "normalizer")), *options]
        found = [shutil.which(wrapper[0]) or wrapper[0], *wrapper[1:]] if wrapper else []
        return Child("normalizer", [*found, *command], self.log_file, environment=self._environment)

    def close(self) -> None:
        """End the process; what it left stays to be looked at."""
        self.process.stop()
        shutil.rmtree(self.run_dir, ignore_errors=True)

    @asynccontextmanager
    async def tended(self, wrappers: Wrappers = lambda _: ()) -> AsyncIterator[list[int]]:
        """Inside the block have the normalizer started whenever it does not run.

        As supervisord does it, only sooner. `wrappers` gives what stands in front of the start of a
        number, from 0 on. Yields the exit codes so far.
        """
        exit_codes: list[int] = []

        async def tend() -> None:
            for start in itertools.count():
                self.process = self.normalizer(wrappers(start))
                self.process.start()
                await until(lambda: not self.process.running, LIFE_MOST_S, "it ends some day")
                exit_codes.append(self.process.stop() or 0)
                await asyncio.sleep(RESTART_S)

        task = asyncio.create_task(tend())
        try:
            yield exit_codes
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.process.stop()

    @asynccontextmanager
    async def collector(self) -> AsyncIterator["Feeder"]:
        """Be the collector inside the block."""
        outbox = Outbox.open(self.run_dir / "outbox", COLLECTOR)
        sender = HandoffSender(
            address=handoff_address(self.run_dir),
            collector=COLLECTOR,
            outbox=outbox,
            plans=[self.plan],
        )
        pump = asyncio.create_task(sender.run())
        try:
            yield Feeder(self, outbox, sender)
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            outbox.close()

    @contextmanager
    def reader(self) -> Iterator[QueueReader]:
        """Open the queue from the side."""
        reader = QueueReader.open(self.queue_dir)
        try:
            yield reader
        finally:
            reader.close()

    def summary(self) -> QueueSummary:
        """Return the extent of the queue."""
        with self.reader() as reader:
            return reader.summary()

    def gaps(self) -> list[Gap]:
        """Return what the queue says is missing."""
        with self.reader() as reader:
            records = reader.read(after=0, records_max=10**9)
        return [each.gap for each in records if isinstance(each, GapRecord)]

    def committed(self) -> int:
        """Return the last sequence of the queue, 0 while there is none to be read."""
        try:
            return self.summary().last_sequence
        except QueueUnusable:
            return 0

    def health(self) -> str:
        """Return what the normalizer says of its state; empty before it said anything."""
        found = read_health(self.run_dir).get("normalizer")
        return found.state if found else ""

    def log(self) -> str:
        """Return everything the process said since the first start."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


class Feeder:
    """The collector's side: hands scans over, in order."""

    def __init__(self, rig: NormalizerRig, outbox: Outbox, sender: HandoffSender) -> None:
        self._rig = rig
        self.outbox = outbox
        self._sender = sender

    async def feed(self, scans: int, *, pause_s: float = 0.0) -> None:
        """Read and hand over so many scans, never more than the outbox can bear."""
        for _ in range(scans):
            self._put(1)
            if pause_s or self._rig.scans % 64 == 0:
                await asyncio.sleep(pause_s)
            await until(lambda: self.outbox.depth < DEPTH_MAX, 60, self._why)

    async def feed_until(self, condition: Callable[[], object], timeout_s: float = 30) -> None:
        """Go on feeding, a scan at a time, until a condition holds."""
        until_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < until_s, f"what is waited for happens\n{self._why()}"
            await self.feed(1, pause_s=0.01)

    async def feed_commits(self, commits: int, choose: random.Random) -> None:
        """Hand over a few scans at a time, each time waiting until they are committed."""
        for _ in range(commits):
            self._put(choose.choice(COMMIT_SIZES))
            await self.acknowledged()

    def _put(self, scans: int) -> None:
        for _ in range(scans):
            self._sender.put(scan_of(self._rig.plan, self._rig.scans), self._rig.plan)
            self._rig.scans += 1

    async def acknowledged(self, timeout_s: float = 30) -> None:
        """Return when the normalizer has everything."""
        await until(lambda: not self.outbox.depth, timeout_s, self._why)

    def _why(self) -> str:
        return f"{self.outbox.depth} scans not acknowledged\n{self._rig.process.tail()}"


async def until(
    condition: Callable[[], object], timeout_s: float, what: str | Callable[[], str]
) -> None:
    """Return when a condition holds; fail with words when it does not."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout_s:g} s: {text}")
        await asyncio.sleep(0.005)


class MovingCursor:
    """The target's cursor, moved by the test, with a note of when."""

    def __init__(self, rig: NormalizerRig) -> None:
        with rig.reader() as reader:
            self._cursor = Cursor.open(rig.queue_dir, TARGET, epoch=reader.epoch)
        self.moves: list[tuple[float, int]] = []
        """(system clock just before, position)"""

    def advance(self, sequence: int) -> None:
        """Say that the target has everything up to here."""
        self.moves.append((time.time(), sequence))
        self._cursor.advance(sequence)

    def close(self) -> None:
        self._cursor.close()
