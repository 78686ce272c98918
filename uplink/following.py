"""Keeping the newest sample of every tag known, without telling anything.

What the live lane reads is noted as it goes by. Where it does not read (while the far side is away,
and what it has skipped) the queue is followed in slices, block by block, as arrays.
"""

from collections.abc import Sequence

from common.block import open_batch
from common.clock import monotonic_s
from common.errors import BlockDamaged, FormatUnknown
from common.queue import QueueReader
from common.records import GapRecord, Record
from uplink.newest import Newest


class Following:
    """How far one queue was followed."""

    def __init__(self, reader: QueueReader, newest: Newest, *, after: int) -> None:
        self._reader = reader
        self.newest = newest
        """Complete for everything after where it began, up to `followed`."""
        self.followed = after

    def note(self, records: Sequence[Record | GapRecord], *, after: int) -> None:
        """Take in what somebody has read after a sequence, unless there is a hole before it."""
        if after > self.followed or not records:
            return
        for record in records:
            if isinstance(record, Record) and record.sequence > self.followed:
                self.newest.note(record)
        self.followed = max(self.followed, records[-1].sequence)

    def follow(self, budget_s: float) -> bool:
        """Follow the queue for about so long; return whether there is more. One block at least."""
        until_s = monotonic_s() + budget_s
        end = self._reader.last_sequence()
        for _, last, block in self._reader.blocks(after=self.followed):
            try:
                batch = open_batch(block, self._reader.plan_by_id)
            except (BlockDamaged, FormatUnknown):
                pass  # Whoever delivers it tells and logs the gap.
            else:
                for section in batch.sections:
                    self.newest.note_section(section)
            self.followed = last
            if monotonic_s() >= until_s:
                return self.followed < self._reader.last_sequence()
        self.followed = max(self.followed, end)
        return False
