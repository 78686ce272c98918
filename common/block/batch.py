"""Records as arrays: what compaction and thinning work on.

A section keeps its samples tag by tag, and those of a tag in order of sequence: neighbours are then
like each other, which is what compresses well and what thinning compares.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from common.block.parts import NO_SOURCE_TIME, STRING_KIND, kinds_of
from common.block.runs import Mask, Words, in_order
from common.records import Gap, Plan


class PlacedGap(NamedTuple):
    """A gap and where it stands."""

    sequence: int
    number: int
    gap: Gap


class Section(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """All records of one plan. Its arrays may be shared with other sections: never change them."""

    plan_id: int
    plan: Plan
    sequences: Words
    """Of each record, ascending."""
    read_at_ns: npt.NDArray[np.int64]
    """Of each record."""
    record: npt.NDArray[np.uint32]
    """Of each sample, the place of its record."""
    column: npt.NDArray[np.uint16]
    """Of each sample."""
    bits: Words
    """Of each sample, its value as 64 bits: a float's or an integer's own, 0 or 1 of a boolean,
    the place in `texts` of a string or of bytes; of no meaning where there is no value."""
    texts: list[str | bytes]
    null: Mask | None = None
    """Of each sample, whether it has no value; None when all have one."""
    quality: npt.NDArray[np.uint32] | None = None
    """Of each sample, its OPC UA status code; None when all are Good."""
    source_at_ns: npt.NDArray[np.int64] | None = None
    """Of each sample, the device's own time or NO_SOURCE_TIME; None when none has one."""

    @property
    def records(self) -> int:
        """How many records there are."""
        return len(self.sequences)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self.record)

    def select(self, keep: Mask) -> "Section":
        """Return the section with these samples alone; records that lose all of theirs vanish."""
        kept = self.taken(np.flatnonzero(keep))
        holding = np.zeros(self.records, bool)
        holding[kept.record] = True
        place = np.cumsum(holding, dtype=np.uint32) - np.uint32(1)
        return msgspec.structs.replace(
            kept,
            sequences=self.sequences[holding],
            read_at_ns=self.read_at_ns[holding],
            record=place[kept.record],
        )

    def span(self, mask: Mask) -> tuple[int, int]:
        """Return the earliest and the latest read time of some samples, at least one."""
        times = self.read_at_ns[self.record[mask]]
        return int(times.min()), int(times.max())

    def taken(self, places: npt.NDArray[Any]) -> "Section":
        """Return the section with the samples at these places, in this order."""
        return msgspec.structs.replace(
            self,
            record=self.record[places],
            column=self.column[places],
            bits=self.bits[places],
            null=None if self.null is None else self.null[places],
            quality=None if self.quality is None else self.quality[places],
            source_at_ns=None if self.source_at_ns is None else self.source_at_ns[places],
        )

    def between(self, low: int, high: int, starts: npt.NDArray[Any]) -> "Section":
        """Return the records low ≤ n < high of a section that stands record by record.

        `starts` is where the samples of each record begin, and where the last one's end.
        """
        some = slice(int(starts[low]), int(starts[high]))
        return msgspec.structs.replace(
            self,
            sequences=self.sequences[low:high],
            read_at_ns=self.read_at_ns[low:high],
            record=self.record[some] - np.uint32(low),
            column=self.column[some],
            bits=self.bits[some],
            null=None if self.null is None else self.null[some],
            quality=None if self.quality is None else self.quality[some],
            source_at_ns=None if self.source_at_ns is None else self.source_at_ns[some],
        )

    def by_column(self) -> "Section":
        """Return the section tag by tag, of one that stands record by record."""
        return self if self.records <= 1 else self.taken(in_order(self.column))

    def by_record(self) -> "Section":
        """Return the section record by record, of one that stands tag by tag."""
        return self.taken(in_order(self.record))


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Records of neighbouring blocks, a section for each plan, and their gaps."""

    first_sequence: int
    last_sequence: int
    sections: list[Section]
    gaps: list[PlacedGap]
    """In order of (sequence, number)."""

    @classmethod
    def of(
        cls,
        first_sequence: int,
        last_sequence: int,
        sections: Iterable[Section],
        gaps: Iterable[tuple[int, int, Gap]],
    ) -> "Batch":
        """Return a batch of what is at hand; gaps as (sequence, number, gap)."""
        placed = [PlacedGap(*gap) for gap in gaps]
        return cls(first_sequence, last_sequence, list(sections), placed)


def join(batches: Sequence[Batch]) -> Batch:
    """Return batches, at least one, given in order of their sequences, as one."""
    by_plan: dict[int, list[Section]] = {}
    for batch in batches:
        for section in batch.sections:
            by_plan.setdefault(section.plan_id, []).append(section)
    return Batch(
        batches[0].first_sequence,
        batches[-1].last_sequence,
        [_joined(sections) for sections in by_plan.values()],
        [gap for batch in batches for gap in batch.gaps],
    )


def _joined(sections: Sequence[Section]) -> Section:
    if len(sections) == 1:
        return sections[0]
    records_before = np.cumsum([0, *[each.records for each in sections[:-1]]], dtype=np.uint32)
    return Section(
        plan_id=sections[0].plan_id,
        plan=sections[0].plan,
        sequences=np.concatenate([each.sequences for each in sections]),
        read_at_ns=np.concatenate([each.read_at_ns for each in sections]),
        record=np.concatenate(
            [each.record + n for each, n in zip(sections, records_before, strict=True)]
        ),
        column=np.concatenate([each.column for each in sections]),
        bits=np.concatenate(_bits_of_joined_texts(sections)),
        texts=[text for each in sections for text in each.texts],
        null=_concatenated(sections, "null", np.False_),
        quality=_concatenated(sections, "quality", np.uint32(0)),
        source_at_ns=_concatenated(sections, "source_at_ns", np.int64(NO_SOURCE_TIME)),
    ).by_column()


def _bits_of_joined_texts(sections: Sequence[Section]) -> list[Words]:
    """Return each section's bits, with the places of texts moved to where the texts will stand."""
    if not any(each.texts for each in sections):
        return [each.bits for each in sections]
    textual = kinds_of(sections[0].plan) >= STRING_KIND
    moved, texts_before = [], 0
    for each in sections:
        moved.append(each.bits + textual[each.column] * np.uint64(texts_before))
        texts_before += len(each.texts)
    return moved


def _concatenated(sections: Sequence[Section], name: str, default: Any) -> Any:
    """Concatenate what most sections do not have."""
    held = [getattr(each, name) for each in sections]
    if all(array is None for array in held):
        return None
    return np.concatenate(
        [
            np.full(each.samples, default) if array is None else array
            for each, array in zip(sections, held, strict=True)
        ]
    )
