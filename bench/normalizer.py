"""Question: how many samples a second can one core normalise and commit durably.

Scans of one group are decoded, normalised and appended as the service does it, without the
handoff: everything of one gather window in one transaction with LMDB's own fsync. Values are a
slow random walk, so that every sample is reported (no deadband) or half of them are.
"""

import os
import platform
import resource
import tempfile
from pathlib import Path

import numpy as np

from common.clock import monotonic_s, now_ns
from common.queue import QueueWriter
from common.records import Column, Plan, Position, Scan, ValueType, decode_scan, encode_scan
from normalizer.columns import GroupNormalizer

SAMPLES = 3_000_000
SCANS_PER_COMMIT = 64
"""What the in-flight window lets arrive while one commit is on its way."""


def plan_of(width: int, deadband: float) -> Plan:
    """Return a group of scaled floats."""
    columns = tuple(
        Column(
            f"t{i}", f"Acme/Site/t{i}", f"holding:{2 * i}:FLOAT32", "FLOAT32", ValueType.FLOAT64,
            scale=0.1, deadband=deadband,
        )
        for i in range(width)
    )  # fmt: skip
    return Plan("modbus", "bench", "fast", "Bench", 100, columns)


def scans_of(plan: Plan, count: int) -> list[bytes]:
    """Return encoded scans of a slow random walk, as a collector hands them over."""
    width = len(plan.columns)
    steps = np.random.default_rng(1).normal(0, 1, (count, width)).cumsum(axis=0).round(2)
    return [encode_scan(Scan(plan.fingerprint, now_ns(), 0, row)) for row in steps.tolist()]


def cpu_s() -> float:
    """Return the CPU seconds, user and system, that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(width: int, deadband: float) -> None:
    """Print one row of figures."""
    plan = plan_of(width, deadband)
    encoded = scans_of(plan, min(SAMPLES // width, 6_000))
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as folder:
        queue = QueueWriter.create(Path(folder) / "queue")
        group = GroupNormalizer(plan)
        scans = reported = 0
        from_s, from_cpu_s = monotonic_s(), cpu_s()
        while scans * width < SAMPLES:
            parts = []
            for i in range(SCANS_PER_COMMIT):
                part = group.normalise(decode_scan(encoded[(scans + i) % len(encoded)]))
                if part is not None:
                    parts.append(part)
                    reported += part.samples
            scans += SCANS_PER_COMMIT
            queue.append(parts, plans=[plan], positions={"modbus": Position(1, scans)})
        spent_s, spent_cpu_s = monotonic_s() - from_s, cpu_s() - from_cpu_s
        held_bytes = queue.summary().bytes
        queue.close()
    samples = scans * width
    print(
        f"  {width:5} tags, {100 * reported // samples:3} % reported: "
        f"{samples / spent_s:12,.0f} samples/s  {1e6 * spent_cpu_s / samples:6.2f} CPU s per "
        f"million  {held_bytes / max(reported, 1):5.2f} bytes per reported sample"
    )


def main() -> None:
    """Print all rows."""
    print(f"normalizer + queue, durable; {platform.machine()}, {os.cpu_count()} cores")
    for width in (10, 100, 1_000):
        for deadband in (0.0, 0.1):
            measure(width, deadband)


if __name__ == "__main__":
    main()
