"""The newest sample of every tag, as far as the queue was followed.

What a dashboard must show after an outage, and what a birth certificate states, is not in the
newest records: a tag that is reported by exception may have been told for the last time days ago.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from common.block import NO_SOURCE_TIME, Section
from common.block.parts import DTYPES, TYPES, kinds_of
from common.queue import QueueReader
from common.records import Plan, Quality, Record, Scalar, ValueType


class NewestSample(NamedTuple):
    """The last that is known of one tag."""

    sequence: int
    read_at_ns: int
    value: Scalar
    quality: int
    """OPC UA status code."""
    source_at_ns: int | None


class _Columns:
    """The newest sample of each column of a plan, as arrays."""

    def __init__(self, plan: Plan) -> None:
        width = len(plan.columns)
        self._kinds = [TYPES[kind] for kind in kinds_of(plan).tolist()]
        self._textual = np.array([kind not in DTYPES for kind in self._kinds], bool)
        self.sequences = np.zeros(width, np.uint64)
        """0 where none was met."""
        self._read_at_ns = np.zeros(width, np.int64)
        self._bits = np.zeros(width, np.uint64)
        self._null = np.zeros(width, bool)
        self._quality = np.zeros(width, np.uint32)
        self._source_at_ns = np.full(width, NO_SOURCE_TIME, np.int64)
        self._texts: dict[int, str | bytes] = {}

    def note(self, section: Section) -> None:
        """Take in a section that stands tag by tag."""
        last = np.append(np.flatnonzero(np.diff(section.column)), section.samples - 1)
        columns, records = section.column[last], section.record[last]
        newer = section.sequences[records] >= self.sequences[columns]
        last, columns, records = last[newer], columns[newer], records[newer]
        self.sequences[columns] = section.sequences[records]
        self._read_at_ns[columns] = section.read_at_ns[records]
        self._bits[columns] = section.bits[last]
        self._null[columns] = _at(section.null, last, np.False_)
        self._quality[columns] = _at(section.quality, last, Quality.GOOD)
        self._source_at_ns[columns] = _at(section.source_at_ns, last, NO_SOURCE_TIME)
        if section.texts:
            for place in np.flatnonzero(self._textual[columns] & ~self._null[columns]).tolist():
                column = int(columns[place])
                self._texts[column] = section.texts[int(section.bits[last[place]])]

    def sample(self, column: int) -> NewestSample | None:
        """Return the newest of one column."""
        if not self.sequences[column]:
            return None
        source_at_ns = int(self._source_at_ns[column])
        return NewestSample(
            int(self.sequences[column]),
            int(self._read_at_ns[column]),
            None if self._null[column] else self._value(column),
            int(self._quality[column]),
            None if source_at_ns == NO_SOURCE_TIME else source_at_ns,
        )

    def _value(self, column: int) -> Scalar:
        kind = self._kinds[column]
        if kind not in DTYPES:
            return self._texts[column]
        bits = self._bits[column : column + 1]
        if kind is ValueType.BOOL:
            return bool(bits[0])
        value: Scalar = bits.view(DTYPES[kind])[0].item()
        return value


def _at(array: npt.NDArray[Any] | None, places: npt.NDArray[Any], default: Any) -> Any:
    return default if array is None else array[places]


class Newest:
    """Column by column of every plan that was met. Memory: one or two samples for each column."""

    def __init__(self) -> None:
        self._held: dict[bytes, list[NewestSample | None]] = {}
        self._columns: dict[bytes, _Columns] = {}
        self._plans: dict[bytes, Plan] = {}
        self._current: dict[tuple[str, str], tuple[int, bytes]] = {}

    def note(self, record: Record) -> None:
        """Take in a record; records of one plan may come in any order."""
        plan = record.plan
        held = self._held.get(plan.fingerprint)
        if held is None:
            held = self._held[plan.fingerprint] = [None] * len(plan.columns)
        self._met(plan, record.sequence)
        sequence, read_at_ns = record.sequence, record.read_at_ns
        qualities, sources = record.qualities, record.source_at_ns
        indexes = range(len(record.values)) if record.indexes is None else record.indexes
        for number, column in enumerate(indexes):
            before = held[column]
            if before is None or before.sequence <= sequence:
                held[column] = NewestSample(
                    sequence,
                    read_at_ns,
                    record.values[number],
                    Quality.GOOD if qualities is None else qualities[number],
                    None if sources is None else sources[number],
                )

    def note_section(self, section: Section) -> None:
        """Take in all records of one plan in a block, given tag by tag (`Section.by_column`)."""
        if not section.samples:
            return
        plan = section.plan
        columns = self._columns.get(plan.fingerprint)
        if columns is None:
            columns = self._columns[plan.fingerprint] = _Columns(plan)
        columns.note(section)
        self._met(plan, int(section.sequences[-1]))

    def plans(self) -> list[Plan]:
        """Return the plan of every device's every group under which it was read last."""
        return [self._plans[fingerprint] for _, fingerprint in self._current.values()]

    def of(self, plan: Plan) -> list[NewestSample | None]:
        """Return the newest sample of each column of a plan; None where none was met."""
        held = self._held.get(plan.fingerprint) or [None] * len(plan.columns)
        columns = self._columns.get(plan.fingerprint)
        if columns is None:
            return list(held)
        return [
            sample if sample is not None and sample.sequence >= sequence else columns.sample(column)
            for column, (sample, sequence) in enumerate(
                zip(held, columns.sequences.tolist(), strict=True)
            )
        ]

    def records(self, *, after: int, up_to: int) -> Iterator[Record]:
        """Yield, in order of sequence, what is newest of its tag and stands in after < … ≤ up_to.

        Of plans that are no longer current nothing: other tags have taken their topics' place.
        """
        found: dict[tuple[int, bytes], dict[int, NewestSample]] = {}
        for plan in self.plans():
            for column, sample in enumerate(self.of(plan)):
                if sample is not None and after < sample.sequence <= up_to:
                    of_record = found.setdefault((sample.sequence, plan.fingerprint), {})
                    of_record[column] = sample
        for (sequence, fingerprint), samples in sorted(found.items()):
            yield _record(sequence, self._plans[fingerprint], [*samples], [*samples.values()])

    def _met(self, plan: Plan, sequence: int) -> None:
        self._plans.setdefault(plan.fingerprint, plan)
        group = plan.device, plan.group
        if self._current.get(group, (0, b""))[0] <= sequence:
            self._current[group] = sequence, plan.fingerprint


def newest_plans(reader: QueueReader, newest: Newest) -> list[Plan]:
    """Return the newest plan of every group: as last read, else as last put in the catalog."""
    found = {(plan.device, plan.group): plan for plan in reader.plans()}
    found |= {(plan.device, plan.group): plan for plan in newest.plans()}
    return list(found.values())


def _record(sequence: int, plan: Plan, columns: list[int], samples: list[NewestSample]) -> Record:
    return Record(
        sequence,
        plan,
        samples[0].read_at_ns,
        [each.value for each in samples],
        columns,
        [each.quality for each in samples] if any(each.quality for each in samples) else None,
        [each.source_at_ns for each in samples]
        if any(each.source_at_ns is not None for each in samples)
        else None,
    )
