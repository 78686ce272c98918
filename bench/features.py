"""Question: what does each thing that the normalizer can do cost, per sample.

Scans of one group, of which a tenth of the values changes each time, are decoded, normalised and
appended as the service does it, with LMDB's own fsync. Each row adds one thing to the row `plain`.
What is derived stands at every tenth tag. Last, the memory of 100,000 tags.
"""

import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.normalizer import cpu_s
from common.clock import monotonic_s, now_ns
from common.queue import QueueWriter
from common.records import (
    BitField,
    Column,
    CounterDelta,
    CounterTotal,
    EnumTexts,
    Expression,
    LocalTime,
    Made,
    Plan,
    Position,
    Scan,
    ValueType,
    WindowValue,
    decode_scan,
    encode_scan,
)
from normalizer.columns import GroupNormalizer

SAMPLES = 2_000_000
SCANS = 600
SCANS_PER_COMMIT = 64
CHANGING = 0.1
TENTH = 10
Feature = Callable[[int], tuple[Any, ...]]


def column(number: int, value_type: ValueType = ValueType.FLOAT64, **more: Any) -> Column:
    """Return one tag that the device gives."""
    return Column(f"t{number}", f"Acme/Site/t{number}", f"a{number}", "T", value_type, **more)


def scanned(**more: Any) -> Callable[[int], list[Column]]:
    """Return what makes a group of floats that all have these rules."""
    return lambda width: [column(number, **more) for number in range(width)]


def every_tenth(value_type: ValueType, **more: Any) -> Callable[[int], list[Column]]:
    """Return what makes a group of floats in which every tenth tag is of a kind of its own."""
    return lambda width: [
        column(number, value_type, **more) if number % TENTH == 0 else column(number)
        for number in range(width)
    ]


def with_made(
    make: Callable[[int], list[tuple[str, Made]]], value_type: ValueType = ValueType.FLOAT64
) -> Callable[[int], list[Column]]:
    """Return what makes a group with something made of every tenth tag."""

    def columns(width: int) -> list[Column]:
        own = every_tenth(value_type)(width)
        made = [
            column(width, value_type, made=how)
            for number in range(0, width, TENTH)
            for _, how in make(number)
        ]
        named = [
            msgspec.structs.replace(each, name=f"m{i}", topic=f"Acme/Site/m{i}")
            for i, each in enumerate(made)
        ]
        return own + named

    return columns


EVERYTHING = {"scale": 0.1, "offset": 32.0, "deadband": 0.05}
FEATURES: dict[str, Callable[[int], list[Column]]] = {
    "plain": scanned(),
    "scale, unit and deadband": scanned(**EVERYTHING),
    "deadband as a share of the value": scanned(deadband_percent=1.0),
    "minimum and maximum": scanned(minimum=-1e9, maximum=1e9),
    "clamped range": scanned(scale=0.1, clamp_low=-1e9, clamp_high=1e9),
    "minimum interval": scanned(min_interval_ms=1),
    "heartbeat": scanned(heartbeat_s=60.0),
    "names of states": every_tenth(ValueType.STRING, transform=EnumTexts(((0, "a"), (1, "b")))),
    "one bit": every_tenth(ValueType.BOOL, transform=BitField(3, 1)),
    "local times": every_tenth(ValueType.STRING, transform=LocalTime("Europe/Berlin")),
    "counters": with_made(
        lambda n: [("total", CounterTotal(n, 2**32)), ("delta", CounterDelta(n, 2**32))],
        ValueType.UINT64,
    ),
    "expressions": with_made(lambda n: [("e", Expression(f"(t{n} + t{n + 1}) / 2"))]),
    "windows of a minute": with_made(lambda n: [("w", WindowValue("mean", n, 60.0))]),
}


def scans_of(plan: Plan) -> list[bytes]:
    """Return encoded scans of which a tenth of the values changes each time."""
    chance = np.random.default_rng(1)
    width = len(plan.scanned)
    steps = (chance.random((SCANS, width)) < CHANGING).cumsum(axis=0)
    started_ns = now_ns()
    return [
        encode_scan(
            Scan(
                plan.fingerprint,
                started_ns + number * 100_000_000,
                0,
                [_raw(each, value) for each, value in zip(plan.scanned, row, strict=True)],
            )
        )
        for number, row in enumerate(steps.tolist())
    ]


def _raw(tag: Column, value: int) -> Any:
    if isinstance(tag.transform, LocalTime):
        return f"2026-07-01T12:{value // 60 % 60:02}:{value % 60:02}"
    if isinstance(tag.transform, EnumTexts | BitField) or tag.value_type is ValueType.UINT64:
        return value
    return float(value)


def measure(columns: list[Column]) -> tuple[float, float]:
    """Return samples a second, and CPU microseconds a sample."""
    plan = Plan("modbus", "bench", "fast", "Bench", 100, tuple(columns))
    encoded = scans_of(plan)
    width = len(plan.scanned)
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as folder:
        queue = QueueWriter.create(Path(folder) / "queue")
        group = GroupNormalizer(plan)
        scans, from_s, from_cpu_s = 0, monotonic_s(), cpu_s()
        while scans * width < SAMPLES:
            parts = []
            for i in range(SCANS_PER_COMMIT):
                part = group.normalise(decode_scan(encoded[(scans + i) % SCANS]))
                parts += group.take_closed()
                if part is not None:
                    parts.append(part)
            scans += SCANS_PER_COMMIT
            queue.append(parts, plans=[plan], positions={"modbus": Position(1, scans)})
        spent_s, spent_cpu_s = monotonic_s() - from_s, cpu_s() - from_cpu_s
        queue.close()
    samples = scans * width
    return samples / spent_s, 1e6 * spent_cpu_s / samples


def resident_mb() -> float:
    """Return this process's memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Print a row for each feature, then the memory."""
    print(f"normalizer + queue by feature, durable; {platform.machine()}, {os.cpu_count()} cores")
    print("  10 % of the values change; CPU µs per sample, and what the feature adds")
    for width in (100, 1_000):
        plain = 0.0
        for name, make in FEATURES.items():
            rate, cost_us = measure(make(width))
            plain = plain or cost_us
            print(
                f"  {width:5} tags  {name:34} {rate:12,.0f} samples/s  {cost_us:6.3f}  "
                f"{cost_us - plain:+7.3f}"
            )
    before_mb = resident_mb()
    plans = [
        Plan("modbus", f"d{n}", "all", "A", 1_000, tuple(scanned(**EVERYTHING)(10_000)))
        for n in range(10)
    ]
    groups = [GroupNormalizer(plan) for plan in plans]
    for plan, group in zip(plans, groups, strict=True):
        group.normalise(decode_scan(scans_of(plan)[0]))
    print(f"  100,000 tags in ten groups: {resident_mb() - before_mb:.0f} MB more")


if __name__ == "__main__":
    main()
