"""Question: how much disk 30 days without WAN take, and what compaction costs the normalizer.

Ten groups of 100 slowly changing tags are read once a second (1,000 samples/s), as bench/storage.py
makes them; each second is one durable commit, and the queue looks after itself in between, as in
the service. Nothing is delivered. What stays per sample, after the hours that were run, is
projected to 30 days; the newest blocks, which are never compacted, are part of it.
TAILRACE_BENCH_HOURS says for how long; 2 by default.
"""

import os
import tempfile
from pathlib import Path

import msgspec
import numpy as np

from bench.normalizer import cpu_s
from bench.storage import START_NS, plan_of
from common.block import Part
from common.queue import QueueWriter
from common.records import Plan, Scan
from normalizer.columns import GroupNormalizer

GROUPS, WIDTH, HOURS = 10, 100, 2
DAYS_S = 30 * 86_400


def plant(kind: str, seconds: int) -> list[tuple[Plan, list[tuple[float, ...]], list[int]]]:
    """Return (plan, rows, read times) of every group."""
    found = []
    for number in range(GROUPS):
        random = np.random.default_rng(number)
        plan, tags = plan_of(kind, WIDTH, 1_000)
        plan = msgspec.structs.replace(plan, group=f"g{number}")
        rows = zip(*[tag.raw(random, 1.0, seconds).tolist() for tag in tags], strict=True)
        answer_ns = random.lognormal(np.log(4e6), 0.3, seconds).astype(np.int64)
        read_at_ns = START_NS + np.arange(seconds) * 10**9 + answer_ns
        found.append((plan, list(rows), read_at_ns.tolist()))
    return found


def measure(kind: str, hours: float) -> None:
    """Print one row."""
    seconds = int(hours * 3_600)
    groups = plant(kind, seconds)
    normalizers = [GroupNormalizer(plan) for plan, _, _ in groups]
    plans = [plan for plan, _, _ in groups]
    reported = 0
    upkeep_s = 0.0
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as folder:
        queue = QueueWriter.create(Path(folder) / "queue")
        from_s = cpu_s()
        for second in range(seconds):
            parts: list[Part] = []
            for (plan, rows, read_at_ns), group in zip(groups, normalizers, strict=True):
                scan = Scan(plan.fingerprint, read_at_ns[second], 0, list(rows[second]))
                part = group.normalise(scan)
                if part is not None:
                    parts.append(part)
                    reported += part.samples
            queue.append(parts, plans=plans)
            begun_s = cpu_s()
            while queue.maintain():
                pass
            upkeep_s += cpu_s() - begun_s
        spent_s = cpu_s() - from_s
        held_bytes = queue.summary().bytes
        queue.close()
    read = seconds * GROUPS * WIDTH
    whole = held_bytes / reported * DAYS_S * 1_000 / 1e9
    deadbands = held_bytes / read * DAYS_S * 1_000 / 1e9
    print(
        f"  {kind:9} {reported / read:5.0%} reported  {held_bytes / reported:5.2f} bytes each  "
        f"30 days: {deadbands:5.2f} GB, {whole:5.2f} GB if 1,000/s are reported  "
        f"CPU {spent_s / seconds:.2%} of a core, {upkeep_s / spent_s:.0%} of it upkeep"
    )


def main() -> None:
    """Print all rows."""
    hours = float(os.environ.get("TAILRACE_BENCH_HOURS", HOURS))
    print(f"1,000 samples/s read, {hours:g} h without WAN, one commit a second")
    for kind in ("slow", "counters", "noisy"):
        measure(kind, hours)


if __name__ == "__main__":
    main()
