"""`tailrace tap`: values as they enter the queue, so it works while the WAN is away.

With them come the gaps of what was lost on the way into the queue. What the queue itself had to
drop stands further back, where the data stood; `status` counts it.
"""

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from common.queue import QueueReader
from common.records import GapRecord, Quality, Record, quality_name, quality_word

POLL_S = 0.1
RECORDS_MAX = 1_000


class Shown(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One sample, as `--json` prints it."""

    timestamp_ms: int
    topic: str
    value: Any
    unit: str = ""
    quality: str
    reason: str = ""
    """OPC UA's name of the quality; empty when Good."""


class Missing(msgspec.Struct, kw_only=True, tag_field="gap", tag="gap"):
    """A gap, as `--json` prints it."""

    device: str
    group: str
    cause: str
    first_ms: int
    last_ms: int
    scans: int
    samples: int


def follow(reader: QueueReader, wanted: Callable[[str], bool]) -> Iterator[Shown | Missing | None]:
    """Yield what is committed from now on, for ever; None each time nothing more is there yet."""
    after = reader.last_sequence()
    while True:
        records = reader.read(after=after, records_max=RECORDS_MAX)
        for record in records:
            after = record.sequence
            if isinstance(record, GapRecord):
                yield _missing(record)
            else:
                yield from _shown(record, wanted)
        if not records:
            yield None
            time.sleep(POLL_S)


def _shown(record: Record, wanted: Callable[[str], bool]) -> Iterator[Shown]:
    columns = record.plan.columns
    present = range(len(columns)) if record.indexes is None else record.indexes
    for place, index in enumerate(present):
        column = columns[index]
        if wanted(column.topic):
            code = record.qualities[place] if record.qualities else Quality.GOOD
            source_at_ns = record.source_at_ns[place] if record.source_at_ns else None
            yield Shown(
                timestamp_ms=(source_at_ns or record.read_at_ns) // 1_000_000,
                topic=column.topic,
                value=record.values[place],
                unit=column.unit,
                quality=quality_word(code),
                # The lower half marks a clock in doubt, or a repetition: no other quality.
                reason=quality_name(code) if code >> 16 else "",
            )


def _missing(record: GapRecord) -> Missing:
    gap = record.gap
    return Missing(
        device=gap.device,
        group=gap.group,
        cause=gap.cause,
        first_ms=gap.first_at_ns // 1_000_000,
        last_ms=gap.last_at_ns // 1_000_000,
        scans=gap.scans,
        samples=gap.samples,
    )


def _clock(timestamp_ms: int) -> str:
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC).strftime("%H:%M:%S.%f")[:-3] + "Z"


def line(each: Shown | Missing, width: int) -> str:
    """Return one line for people; `width` is the width of the topic column."""
    if isinstance(each, Missing):
        whose = f"{each.device}/{each.group}" if each.device else "unknown devices"
        return (
            f"{_clock(each.first_ms)}  gap: {_extent(each)} of {whose} missing until "
            f"{_clock(each.last_ms)} ({each.cause})"
        )
    value = f"{each.value:.6g}" if isinstance(each.value, float) else str(each.value)
    unit = f" {each.unit}" if each.unit not in ("", "1") else ""
    quality = f"{each.quality} ({each.reason})" if each.reason else each.quality
    return f"{_clock(each.timestamp_ms)}  {each.topic:<{width}}  {value + unit:<16}  {quality}"


def _extent(gap: Missing) -> str:
    """Return how much is missing; of scans that kept a part of their samples, the samples."""
    if gap.scans:
        return f"{gap.scans:,} scans"
    return f"{gap.samples:,} samples" if gap.samples else "an unknown number of scans"


def print_values(
    path: Path, wanted: Callable[[str], bool], *, limit: int | None, as_json: bool
) -> None:
    """Print what is committed from now on, until `limit` samples. Raises QueueUnusable."""
    reader = QueueReader.open(path)
    left = limit
    width = 0
    try:
        for each in follow(reader, wanted):
            if each is None:
                sys.stdout.flush()  # Once per look, not per line: thousands may come at once.
                continue
            if isinstance(each, Shown):
                width = max(width, len(each.topic))
            text = msgspec.json.encode(each).decode() if as_json else line(each, width)
            sys.stdout.write(f"{text}\n")
            if left is not None and isinstance(each, Shown):
                left -= 1
                if left == 0:
                    return
    finally:
        reader.close()
