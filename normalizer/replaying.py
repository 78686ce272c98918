"""Recordings through the normalizer, dry: what would be told of them under one tag table or two.

The names of the tags bind a recording to a table, not its addresses: that is what is being tried.
Tags may have moved between groups. Counted column by column, so that a shift takes seconds.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np

from common.block import Part
from common.rawscans import GroupLine, ScanLine, Unreadable, lines_of
from common.records import REPEATED_MASK, Plan, Quality, Scan, decode_plan
from common.trials import (
    Replay,
    Replayed,
    ReplayRefused,
    Sample,
    SampleLine,
    TableReplayed,
    TagReplayed,
    packed,
    unpacked,
)
from normalizer.columns import ScanMalformed
from normalizer.rehearsing import Rehearsal, published
from normalizer.watching import Judged, Watch


class _Counts:
    """What became of the columns of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        width = len(plan.columns)
        self.read = np.zeros(width, np.int64)
        self.told = np.zeros(width, np.int64)
        self.repeated = np.zeros(width, np.int64)
        self.held = np.zeros(width, np.int64)
        self.not_good = np.zeros(width, np.int64)

    def watch(self, judged: Judged) -> None:
        """Count a scan's verdict."""
        self.read[judged.columns] += 1
        self.not_good[judged.columns[judged.qualities != Quality.GOOD]] += 1
        if judged.verdict.hold is not None:
            self.held[judged.columns[judged.verdict.hold]] += 1

    def tell(self, part: Part) -> None:
        """Count what is told."""
        columns = np.arange(len(self.told)) if part.indexes is None else part.indexes
        self.told[columns] += 1
        if part.quality_at is not None and part.qualities is not None:
            repeated = (part.qualities & REPEATED_MASK) == Quality.REPEATED
            self.repeated[columns[part.quality_at[repeated]]] += 1

    def tags(self) -> Iterator[TagReplayed]:
        """Yield the counts of each column."""
        for index, column in enumerate(self.plan.columns):
            yield TagReplayed(
                device=self.plan.device,
                tag=column.name,
                topic=column.topic,
                read=int(self.read[index]),
                told=int(self.told[index]),
                repeated=int(self.repeated[index]),
                held=int(self.held[index]),
                not_good=int(self.not_good[index]),
            )


class _Mapping(NamedTuple):
    """Where the columns of a recorded group stand in one plan."""

    plan: Plan
    columns: dict[int, int]
    """Place in the recorded group → column of the plan, in ascending order of columns."""


class Table:
    """A recording under one configuration."""

    def __init__(self, plans: list[Plan]) -> None:
        self._plans = plans
        self._counts = {plan.fingerprint: _Counts(plan) for plan in plans}
        self._rehearsal = Rehearsal(plans, self._watch_of)
        self._mappings: list[list[_Mapping]] = []
        self._recorded: dict[str, None] = {}
        """DEVICE/TAG, in order."""

    def _watch_of(self, plan: Plan) -> Watch:
        return self._counts[plan.fingerprint].watch

    def group(self, line: GroupLine) -> None:
        """Take note of a recorded group."""
        places = {tag: place for place, tag in enumerate(line.tags)}
        self._recorded |= dict.fromkeys(f"{line.device}/{tag}" for tag in line.tags)
        found = []
        for plan in (plan for plan in self._plans if plan.device == line.device):
            columns = {
                places[column.name]: index
                for index, column in enumerate(plan.scanned)
                if column.name in places
            }
            if columns:
                found.append(_Mapping(plan, columns))
        self._mappings.append(found)

    def take(self, line: ScanLine, values: list[Any]) -> list[Part]:
        """Return what a recorded scan tells, what the time before it told included.

        Raises ScanMalformed.
        """
        parts = list(self._rehearsal.advance(line.at_ns))
        for mapping in self._mappings[line.of]:
            scan = _mapped(mapping, line, values)
            if scan is not None:
                parts += self._rehearsal.take(scan)
        parts += self._rehearsal.look(line.at_ns)
        for part in parts:
            self._counts[part.layout.plan.fingerprint].tell(part)
        return parts

    def done(self) -> TableReplayed:
        """Return what became of every tag of the devices that were recorded."""
        devices = {name.partition("/")[0] for name in self._recorded}
        own = [plan for plan in self._plans if plan.device in devices]
        given = [f"{plan.device}/{column.name}" for plan in own for column in plan.scanned]
        tags = [tag for plan in own for tag in self._counts[plan.fingerprint].tags()]
        known = set(given)
        return TableReplayed(
            tags=tags,
            unknown=[name for name in self._recorded if name not in known],
            missing=[name for name in given if name not in self._recorded],
        )


def _mapped(mapping: _Mapping, line: ScanLine, values: list[Any]) -> Scan | None:
    """Return the part of a recorded scan that a plan has, None when there is none."""
    at = {
        place: number
        for number, place in enumerate(
            range(len(values)) if line.indexes is None else line.indexes
        )
    }  # fmt: skip
    chosen = [(at[place], column) for place, column in mapping.columns.items() if place in at]
    if not chosen:
        return None
    numbers = [number for number, _ in chosen]
    whole = len(chosen) == len(mapping.plan.scanned)
    return Scan(
        mapping.plan.fingerprint,
        line.at_ns,
        line.at_ns,
        [values[number] for number in numbers],
        None if whole else [column for _, column in chosen],
        None if line.qualities is None else [line.qualities[number] for number in numbers],
        None if line.source_at_ns is None else [line.source_at_ns[number] for number in numbers],
    )


def answered(asked: Replay, out: BinaryIO) -> Replayed | ReplayRefused:
    """Replay a recording; write a line for each sample that is told, if that is wanted."""
    try:
        return _replayed(asked, out)
    except Unreadable as error:
        return ReplayRefused(text=str(error))


def _replayed(asked: Replay, out: BinaryIO) -> Replayed:
    table = Table([decode_plan(each) for each in asked.plans])
    other = None if asked.against is None else Table([decode_plan(each) for each in asked.against])
    tables = [table] if other is None else [table, other]
    scans, first_ns, last_ns = 0, 0, 0
    devices: dict[str, None] = {}
    for number, line in lines_of(Path(asked.path)):
        if isinstance(line, GroupLine):
            devices[line.device] = None
            for each in tables:
                each.group(line)
            continue
        try:
            values = [unpacked(value) for value in line.values]
            told = [each.take(line, values) for each in tables]
        except (ScanMalformed, ValueError) as error:
            raise Unreadable(f"{asked.path}:{number}: {error}") from error
        scans, last_ns = scans + 1, max(last_ns, line.at_ns)
        first_ns = first_ns or line.at_ns
        if asked.show:
            shown = (SampleLine(sample=each) for part in told[0] for each in samples(part))
            out.writelines(msgspec.json.encode(each) + b"\n" for each in shown)
    if not scans:
        raise Unreadable(f"{asked.path} holds no scan; make one: tailrace record DEVICE > FILE")
    return Replayed(
        scans=scans,
        first_at_ns=first_ns,
        last_at_ns=last_ns,
        devices=list(devices),
        table=table.done(),
        against=other.done() if other else None,
    )


def samples(part: Part) -> Iterator[Sample]:
    """Yield the samples of a part as they are told."""
    for each in published(part):
        yield Sample(
            topic=each.column.topic,
            value=packed(each.value),
            unit=each.column.unit,
            quality=each.quality,
            read_at_ns=each.read_at_ns,
            source_at_ns=each.source_at_ns,
        )
