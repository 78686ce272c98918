"""What the queue holds, value by value, as `tailrace queue peek` and `export` show it.

The header of each block is looked at first, so that a block without anything that was asked for
is never unpacked. Memory holds one block at a time.
"""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from common.block import BlockHeader
from common.queue import QueueReader
from common.records import Gap, GapRecord, Plan, Record
from console.notation import iso_time, quality_text

CSV_COLUMNS = (
    "sequence", "index", "read_at", "source_at", "topic", "value", "unit", "quality",
)  # fmt: skip


class Sample(msgspec.Struct, kw_only=True):
    """One value of one tag. As JSON: bytes in base64, and null for the NaN that JSON lacks."""

    sequence: int
    index: int
    """The column of the plan; gateway, epoch, sequence and index name the sample everywhere."""
    read_at: str
    """ISO 8601 to the nanosecond, UTC, by the gateway's clock."""
    source_at: str | None
    """The device's own time of the value, where it gives one."""
    topic: str
    value: Any
    unit: str
    quality: str
    """OPC UA's name of the status code; it begins with Good, Uncertain or Bad."""


class Missing(msgspec.Struct, kw_only=True):
    """A gap: data known to be missing, at the place where it stood."""

    sequence: int
    number: int
    """Tells several gaps of one sequence apart."""
    gap: str
    """Its cause."""
    device: str
    group: str
    first_at: str
    last_at: str
    scans: int
    samples: int


Row = Sample | Missing


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows are wanted: sequences in (after, up_to], times in [from_ns, to_ns)."""

    after: int = 0
    up_to: int
    from_ns: int | None = None
    to_ns: int | None = None
    wanted: Callable[[str], bool] | None = None
    """By topic; None wants all."""


class _Choice:
    """A selection, applied to plans, blocks, records and gaps."""

    def __init__(self, reader: QueueReader, selection: Selection) -> None:
        self._reader = reader
        self._selection = selection
        self._columns: dict[bytes, frozenset[int]] = {}
        self._groups = {(p.device, p.group) for p in reader.plans() if self.columns(p)}

    def columns(self, plan: Plan) -> frozenset[int]:
        """Return the columns of a plan that are wanted."""
        if plan.fingerprint not in self._columns:
            wanted = self._selection.wanted
            self._columns[plan.fingerprint] = frozenset(
                index
                for index, column in enumerate(plan.columns)
                if wanted is None or wanted(column.topic)
            )
        return self._columns[plan.fingerprint]

    def block(self, header: BlockHeader | None) -> bool:
        """Return whether a block may hold anything that is wanted; a damaged one may."""
        if header is None:
            return True
        if not self._in_time(header.first_at_ns, header.last_at_ns):
            return False
        return header.gaps > 0 or any(self._of_plan(each.plan_id) for each in header.plans)

    def _of_plan(self, plan_id: int) -> bool:
        try:
            return bool(self.columns(self._reader.plan_by_id(plan_id)))
        except KeyError:
            return True  # The block cannot be read any more and is shown as a gap.

    def record(self, record: Record) -> bool:
        """Return whether a record was read at a time that is wanted."""
        return self._in_time(record.read_at_ns, record.read_at_ns)

    def gap(self, gap: Gap) -> bool:
        """Return whether a gap may concern anything that is wanted."""
        if not self._in_time(gap.first_at_ns, gap.last_at_ns):
            return False
        if self._selection.wanted is None or not gap.device:
            return True
        return (gap.device, gap.group) in self._groups

    def _in_time(self, first_ns: int, last_ns: int) -> bool:
        from_ns, to_ns = self._selection.from_ns, self._selection.to_ns
        return (from_ns is None or last_ns >= from_ns) and (to_ns is None or first_ns < to_ns)


def rows(reader: QueueReader, selection: Selection) -> Iterator[Row]:
    """Yield what was selected, in order of sequence. Raises QueueUnusable."""
    choice = _Choice(reader, selection)
    for first, last, header in reader.headers(after=selection.after):
        if first > selection.up_to:
            return
        if not choice.block(header):
            continue
        after, up_to = max(selection.after, first - 1), min(selection.up_to, last)
        for record in reader.read(after=after, up_to=up_to, records_max=last - first + 1):
            if isinstance(record, GapRecord):
                if choice.gap(record.gap):
                    yield _missing(record)
            elif choice.record(record):
                yield from _samples(record, choice.columns(record.plan))


def _samples(record: Record, wanted: frozenset[int]) -> Iterator[Sample]:
    columns = record.plan.columns
    read_at = iso_time(record.read_at_ns)
    present = range(len(columns)) if record.indexes is None else record.indexes
    for place, index in enumerate(present):
        if index not in wanted:
            continue
        source_at_ns = record.source_at_ns[place] if record.source_at_ns else None
        yield Sample(
            sequence=record.sequence,
            index=index,
            read_at=read_at,
            source_at=None if source_at_ns is None else iso_time(source_at_ns),
            topic=columns[index].topic,
            value=record.values[place],
            unit=columns[index].unit,
            quality=quality_text(record.qualities[place]) if record.qualities else "Good",
        )


def _missing(record: GapRecord) -> Missing:
    gap = record.gap
    return Missing(
        sequence=record.sequence,
        number=record.number,
        gap=gap.cause,
        device=gap.device,
        group=gap.group,
        first_at=iso_time(gap.first_at_ns),
        last_at=iso_time(gap.last_at_ns),
        scans=gap.scans,
        samples=gap.samples,
    )


def missing_text(gap: Missing) -> str:
    """Return a gap as a sentence."""
    whose = f"{gap.device}/{gap.group}" if gap.device else "unknown devices"
    return f"{_extent(gap)} of {whose} missing from {gap.first_at} to {gap.last_at} ({gap.gap})"


def _extent(gap: Missing) -> str:
    samples, scans = f"{gap.samples:,} samples", f"{gap.scans:,} scans"
    if gap.samples:
        return f"{samples} in {scans}" if gap.scans else samples
    return scans if gap.scans else "an unknown number of samples"


def csv_cells(row: Row) -> tuple[object, ...]:
    """Return the cells of a row. A gap has no topic, and says in `quality` what is missing."""
    if isinstance(row, Missing):
        return (row.sequence, "", row.first_at, "", "", "", "", f"gap: {missing_text(row)}")
    return (
        row.sequence,
        row.index,
        row.read_at,
        row.source_at or "",
        row.topic,
        value_text(row.value),
        row.unit,
        row.quality,
    )


def value_text(value: object) -> str:
    """Return a value as text, without loss: floats in full, bytes in base64, nothing for None."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value)
        case bytes():
            return base64.b64encode(value).decode()
    return str(value)
