"""A block that is opened once and read in parts: a large one takes long to be read as a whole."""

import numpy as np

from common.block.decode import PlanOf, open_batch, records_of
from common.records import GapRecord, Record


class SlicedBlock:
    """One block, opened. Memory: its arrays."""

    def __init__(self, block: bytes, plan_of: PlanOf) -> None:
        """Raises what `decode_block` raises."""
        batch = open_batch(block, plan_of)
        self.first_sequence = batch.first_sequence
        self.last_sequence = batch.last_sequence
        self._sections = [section.by_record() for section in batch.sections]
        self._starts = [
            np.searchsorted(section.record, np.arange(section.records + 1))
            for section in self._sections
        ]
        self._gaps = [GapRecord(gap.sequence, gap.gap, gap.number) for gap in batch.gaps]

    def read(self, *, after: int, up_to: int, records_max: int) -> list[Record | GapRecord]:
        """Return some records after a sequence, in order; those of one sequence come together.

        As `decode_block` has them. More than `records_max` only where they share a sequence.
        """
        spans = [
            np.searchsorted(section.sequences, [after, up_to], side="right")
            for section in self._sections
        ]
        gaps = [gap for gap in self._gaps if after < gap.sequence <= up_to]
        places = [gap.sequence for gap in gaps]
        for section, (low, high) in zip(self._sections, spans, strict=True):
            places += section.sequences[low : min(high, low + records_max)].tolist()
        if not places:
            return []
        end = sorted(places)[min(records_max, len(places)) - 1]
        records: list[Record | GapRecord] = []
        for section, starts, (low, _) in zip(self._sections, self._starts, spans, strict=True):
            high = int(np.searchsorted(section.sequences, end, side="right"))
            if low < high:
                records += records_of(section.between(int(low), high, starts))
        records += [gap for gap in gaps if gap.sequence <= end]
        records.sort(key=lambda each: each.sequence)
        return records
