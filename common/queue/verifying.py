"""Checking a queue: every block, and the ledger against the blocks, to the sample.

Works on a queue in use: the books are compared in one snapshot that reads headers alone; the
blocks are then unpacked one by one, each in a transaction of its own.
"""

from collections.abc import Callable

import msgspec

from common.block import check_block, decode_block
from common.errors import BlockDamaged
from common.queue.reader import QueueReader
from common.records import GapRecord


class DamagedBlock(msgspec.Struct, frozen=True):
    """One block that is not what was written."""

    first_sequence: int
    last_sequence: int
    reason: str


class Difference(msgspec.Struct, frozen=True):
    """One group whose account does not agree with itself or with the blocks."""

    group: str
    """device/group"""
    queued: int
    """Samples in the queue as the ledger says."""
    found: int
    """Samples in the queue as the blocks say."""
    unexplained: int
    """Samples collected that no column of the account explains."""


class Verification(msgspec.Struct):
    """What was checked, and what is wrong."""

    blocks: int = 0
    records: int = 0
    samples: int = 0
    gaps: int = 0
    damaged: list[DamagedBlock] = []
    differences: list[Difference] = []

    @property
    def sound(self) -> bool:
        """True when nothing is wrong."""
        return not self.damaged and not self.differences


def verify(reader: QueueReader, progress: Callable[[int], None] = lambda _: None) -> Verification:
    """Check the whole queue; `progress` is told the number of blocks checked so far."""
    found = Verification()
    found.differences = _differences(reader)
    for first, last, block in reader.blocks():
        found.blocks += 1
        try:
            _check(reader, first, last, block, found)
        except BlockDamaged as error:
            found.damaged.append(DamagedBlock(first, last, str(error)))
        progress(found.blocks)
    return found


def _differences(reader: QueueReader) -> list[Difference]:
    accounts, queued = reader.books()
    differences = []
    for key in sorted(accounts.keys() | queued.keys()):
        account, samples = accounts.get(key), queued.get(key, 0)
        told = account.queued if account else 0
        unexplained = account.unexplained if account else samples
        if told != samples or unexplained:
            differences.append(Difference(key, told, samples, unexplained))
    return differences


def _check(reader: QueueReader, first: int, last: int, block: bytes, found: Verification) -> None:
    header = check_block(block)
    records = decode_block(block, reader.plan_by_id)
    data = [record for record in records if not isinstance(record, GapRecord)]
    samples = sum(len(record.values) for record in data)
    found.records += len(data)
    found.samples += samples
    found.gaps += len(records) - len(data)
    if (header.records, header.samples, header.gaps) != (
        len(data), samples, len(records) - len(data),
    ):  # fmt: skip
        raise BlockDamaged("its header counts other records than its body holds")
    sequences = [record.sequence for record in records]
    if sequences != sorted(sequences):
        raise BlockDamaged("its records are not in order")
    if not sequences and (header.plans or header.gaps):
        raise BlockDamaged("it holds less than its header says")
    if sequences and not first <= sequences[0] <= sequences[-1] <= last:
        raise BlockDamaged("its sequences are not those of its key")
