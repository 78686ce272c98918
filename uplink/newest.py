"""The newest sample of every tag, as far as the queue was followed.

What a dashboard must show after an outage, and what a birth certificate states, is not in the
newest records: a tag that is reported by exception may have been told for the last time days ago.
"""

from collections.abc import Iterator
from typing import NamedTuple

from common.records import Plan, Quality, Record, Scalar


class NewestSample(NamedTuple):
    """The last that is known of one tag."""

    sequence: int
    read_at_ns: int
    value: Scalar
    quality: int
    """OPC UA status code."""
    source_at_ns: int | None


class Newest:
    """Column by column of every plan that was met. Memory: one sample for each column."""

    def __init__(self) -> None:
        self._held: dict[bytes, list[NewestSample | None]] = {}
        self._plans: dict[bytes, Plan] = {}
        self._current: dict[tuple[str, str], tuple[int, bytes]] = {}

    def note(self, record: Record) -> None:
        """Take in a record; records of one plan may come in any order."""
        plan = record.plan
        held = self._held.get(plan.fingerprint)
        if held is None:
            held = self._held[plan.fingerprint] = [None] * len(plan.columns)
            self._plans[plan.fingerprint] = plan
        group = plan.device, plan.group
        if self._current.get(group, (0, b""))[0] <= record.sequence:
            self._current[group] = record.sequence, plan.fingerprint
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

    def plans(self) -> list[Plan]:
        """Return the plan of every device's every group under which it was read last."""
        return [self._plans[fingerprint] for _, fingerprint in self._current.values()]

    def of(self, plan: Plan) -> list[NewestSample | None]:
        """Return the newest sample of each column of a plan; None where none was met."""
        return self._held.get(plan.fingerprint) or [None] * len(plan.columns)

    def records(self, *, after: int, up_to: int) -> Iterator[Record]:
        """Yield, in order of sequence, what is newest of its tag and stands in after < … ≤ up_to.

        Of plans that are no longer current nothing: other tags have taken their topics' place.
        """
        found: dict[tuple[int, bytes], list[int]] = {}
        for plan in self.plans():
            for column, sample in enumerate(self.of(plan)):
                if sample is not None and after < sample.sequence <= up_to:
                    found.setdefault((sample.sequence, plan.fingerprint), []).append(column)
        for (sequence, fingerprint), columns in sorted(found.items()):
            samples = [self._held[fingerprint][column] for column in columns]
            yield _record(sequence, self._plans[fingerprint], columns, [s for s in samples if s])


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
