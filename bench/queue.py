"""Question: is a queue of 100 million samples as quick as an empty one, and how large is it.

Scans of one group of floats (a slow random walk, rounded, every value new) are appended as the
service appends them: COMMIT_SCANS to a commit, LMDB's own fsync, maintenance between commits by
the service's own rule. Nothing drains. Fresh processes then open what came of it.

    python -m bench queue             100 million samples: some minutes, some hundred MB of disk
    python -m bench.queue 2000000     so many samples

The walk is made outside of the clocks. `TMPDIR` says which disk.
"""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from bench.normalizer import cpu_s, plan_of
from common.block import Layout, Part
from common.clock import monotonic_s, now_ns
from common.queue import QueueReader, QueueWriter
from common.records import Plan, Position, ValueType
from normalizer.maintenance import Maintenance

SAMPLES = 100_000_000
TAGS, COMMIT_SCANS = 100, 64
PERIOD_NS = 100_000_000
STEP_DECIMALS = 2
DECILES = 10
RECORDS_READ = 1_000


class Timing(msgspec.Struct):
    """What one commit cost."""

    commit_s: float
    """`append`: from the call to the disk."""
    slice_s: float
    """The maintenance after it; a scan that comes then waits for it."""
    cpu_s: float


def walk(plan: Plan, commits: int) -> Iterator[list[Part]]:
    """Yield one commit's parts after the other: every value moves a little in every scan."""
    random, layout = np.random.default_rng(1), Layout(plan)
    at_ns, values = now_ns() - commits * COMMIT_SCANS * PERIOD_NS, np.zeros(TAGS)
    for _ in range(commits):
        steps = random.normal(0, 0.1, (COMMIT_SCANS, TAGS)).cumsum(axis=0) + values
        values = steps[-1]
        rounded = steps.round(STEP_DECIMALS)
        parts = []
        for row in rounded:
            at_ns += PERIOD_NS
            parts.append(Part(layout, at_ns, {ValueType.FLOAT64: row}, TAGS))
        yield parts


def fill(path: Path, samples: int) -> None:
    """Fill a new queue and print how that went."""
    plan, commits = plan_of(TAGS, 0.0), samples // (TAGS * COMMIT_SCANS)
    queue = QueueWriter.create(path)
    maintenance = Maintenance(queue)
    timings: list[Timing] = []
    for number, parts in enumerate(walk(plan, commits)):
        from_cpu_s, from_s = cpu_s(), monotonic_s()
        queue.append(parts, plans=[plan], positions={"modbus": Position(1, number)})
        committed_s = monotonic_s()
        maintenance.run_when_due()
        done_s = monotonic_s()
        timings.append(Timing(committed_s - from_s, done_s - committed_s, cpu_s() - from_cpu_s))
    held = queue.summary()
    entered = commits * TAGS * COMMIT_SCANS
    show_speed(timings, entered)
    print(f"  bytes per sample when filled: {held.bytes / entered:.2f} ({held.blocks:,} blocks)")
    from_s, from_cpu_s = monotonic_s(), cpu_s()
    while queue.maintain():
        pass
    held = queue.summary()
    print(
        f"  bytes per sample once compacted: {held.bytes / entered:.2f} ({held.blocks:,} blocks, "
        f"{held.bytes / 1e6:,.0f} MB; file {(path / 'data.mdb').stat().st_size / 1e6:,.0f} MB); "
        f"after {monotonic_s() - from_s:.0f} s more, {cpu_s() - from_cpu_s:.0f} of CPU"
    )
    print(f"  the writer's memory: {memory()}")
    queue.close()


def show_speed(timings: list[Timing], samples: int) -> None:
    """Print the speed of all, and the latency of every tenth of the fill."""
    spent_s = sum(each.commit_s + each.slice_s for each in timings)
    committing_s = sum(each.commit_s for each in timings)
    print(
        f"  {samples / spent_s:12,.0f} samples/s with maintenance, "
        f"{samples / committing_s:,.0f} without; "
        f"{1e6 * sum(each.cpu_s for each in timings) / samples:.2f} CPU s per million"
    )
    print("  tenth of the fill   commit p50   commit p99   slice p50   slice p99   (ms)")
    for tenth in range(DECILES):
        part = timings[tenth * len(timings) // DECILES : (tenth + 1) * len(timings) // DECILES]
        slices_s = [each.slice_s for each in part if each.slice_s > 1e-4] or [0.0]
        row = [*percentiles_ms([each.commit_s for each in part]), *percentiles_ms(slices_s)]
        print(f"  {tenth + 1:17}   " + "   ".join(f"{each:10.2f}" for each in row))


def percentiles_ms(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile in milliseconds."""
    median, late = np.percentile(seconds, [50, 99]) * 1_000
    return float(median), float(late)


def look(role: str, path: Path) -> None:
    """Open the queue in this fresh process as writer or reader, and print what it cost."""
    before = memory()
    from_s = monotonic_s()
    queue = QueueWriter.create(path) if role == "writer" else QueueReader.open(path)
    opened_s, opened = monotonic_s() - from_s, memory()
    last = queue.last_sequence()
    from_s = monotonic_s()
    read = len(queue.read(after=last // 2, records_max=RECORDS_READ))
    read_s, after = monotonic_s() - from_s, memory()
    from_s = monotonic_s()
    ledger = queue.ledger()
    ledger_s, from_s = monotonic_s() - from_s, monotonic_s()
    queue.summary()
    summary_s = monotonic_s() - from_s
    queue.close()
    print(
        f"  a fresh {role}: open {opened_s * 1e3:.1f} ms; {read:,} records from the middle "
        f"{read_s * 1e3:.1f} ms; ledger() {ledger_s * 1e3:.2f} ms; summary() "
        f"{summary_s * 1e3:.2f} ms; {ledger.total.queued:,} samples queued"
    )
    print(f"    memory: {before} before; {opened} opened; {after} after reading")


def memory() -> str:
    """Return this process's resident memory: its own, and the pages of files that it maps."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    own_mb, mapped_mb = (int(found[name]) / 1_000 for name in ("RssAnon", "RssFile"))
    return f"{own_mb:.0f} MB + {mapped_mb:.0f} MB of mapped files"


def forget_file(path: Path) -> None:
    """Have the system drop the file from its cache, so that what follows reads the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(samples: int = SAMPLES) -> None:
    """Fill, then look from outside."""
    print(f"a queue of {samples:,} samples; {platform.machine()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as folder:
        path = Path(folder) / "queue"
        fill(path, samples)
        for role in ("writer", "reader"):
            forget_file(path / "data.mdb")
            program = "import sys; from pathlib import Path; from bench.queue import look"
            code = f"{program}; look(sys.argv[1], Path(sys.argv[2]))"
            subprocess.run([sys.executable, "-c", code, role, str(path)], check=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
