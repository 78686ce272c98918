"""The queue as an uplink reads it: of a large block, a part at a time.

A block that was compacted may hold a hundred thousand records. Read as a whole for each part of it
that the claim allows, it would cost a multiple, and the live lane would wait meanwhile.
"""

from common.block import SlicedBlock
from common.errors import BlockDamaged, FormatUnknown
from common.queue import QueueReader
from common.records import GapRecord, Record


class SlicingReader:
    """Reads what QueueReader reads. Memory: one block, opened."""

    def __init__(self, reader: QueueReader) -> None:
        self._reader = reader
        self._block = b""
        self._sliced: SlicedBlock | None = None

    def last_sequence(self) -> int:
        """Return the newest sequence ever given."""
        return self._reader.last_sequence()

    def read(
        self, *, after: int, records_max: int = 1_000, up_to: int | None = None
    ) -> list[Record | GapRecord]:
        """Return the records after a sequence, in order, as `QueueReader.read` does."""
        if self._reader.cut_ahead(after):
            # Only QueueReader knows what of a block this target is not to get any more.
            return self._reader.read(after=after, records_max=records_max, up_to=up_to)
        found = next(self._reader.blocks(after=after), None)
        if found is None:
            return []
        first, last, block = found
        sliced = self._opened(first, last, block) if last - first >= records_max else None
        if sliced is None:
            return self._reader.read(after=after, records_max=records_max, up_to=up_to)
        end = last if up_to is None else min(last, up_to)
        records = sliced.read(after=after, up_to=end, records_max=records_max)
        if records or (up_to is not None and up_to <= last):
            return records
        return self._reader.read(after=last, records_max=records_max, up_to=up_to)

    def _opened(self, first: int, last: int, block: bytes) -> SlicedBlock | None:
        """Open a block, unless it is the one that is open; None when it cannot be opened.

        It is compared whole: the queue may have given up a part of it meanwhile.
        """
        if block != self._block:
            self._block, self._sliced = block, None
            try:
                opened = SlicedBlock(block, self._reader.plan_by_id)
            except (BlockDamaged, FormatUnknown):
                return None  # QueueReader tells it.
            if first <= opened.first_sequence <= opened.last_sequence <= last:
                self._sliced = opened
        return self._sliced
