"""Compaction: many small old blocks become few large ones, in which columns compress well.

A group that is read once a second leaves a block a second, most of it headers and names of plans.
While a backlog grows, neighbours are merged, COMPACT_BLOCKS at a time, in tiers: blocks as they
were committed, then what became of those, then once more. A block that is large enough is left
alone, and none is merged across the edge of what a target has: it could then not be given up for
the others, nor removed. Records keep their sequences; only their storage changes.

Each slice is one transaction over at most COMPACT_BLOCKS blocks or COMPACT_SAMPLES_MAX samples.
"""

from common.block import encode_batch, join, open_batch
from common.errors import BlockDamaged
from common.queue.change import Change
from common.queue.room import REGION_BODY_BYTES, REGION_SHARE
from common.queue.state import TIERS, Stage
from common.queue.store import Held, QueueStore

COMPACT_BLOCKS = 64
COMPACT_SAMPLES = 16_384
"""Enough for one block, when its groups have COMPACT_ROWS records each."""
COMPACT_SAMPLES_MAX = 131_072
COMPACT_ROWS = 64
"""Fewer records of a group than this compress badly: their columns are too short."""


class Compaction:
    """Merges the blocks of one store."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store
        self._committed_bytes = self._saved_bytes = 0

    @property
    def ratio(self) -> float:
        """Bytes that stay of each byte committed, by what was merged since the process started."""
        return 1 - self._saved_bytes / self._committed_bytes if self._committed_bytes else 1.0

    def step(self, newest: int) -> bool:
        """Merge one run of blocks that end at or before `newest`; False when there is none."""
        for tier in range(TIERS):
            limit = newest if tier == 0 else self._store.state.compacted_to[tier - 1]
            if self._step(tier, limit):
                return True
        return False

    def _step(self, tier: int, limit: int) -> bool:
        store = self._store
        after = max(store.state.compacted_to[tier], store.delivered)
        run, passed = self._run(tier, after, limit)
        if not run and passed == after:
            return False
        with store.changing() as change:
            change.state.compacted_to[tier] = passed
            if len(run) > 1:
                self._merge(run, tier, change)
        return True

    def _merge(self, run: list[Held], tier: int, change: Change) -> None:
        """Put one block in the place of several, if that is worth anything."""
        try:
            batch = join([open_batch(held.block, self._store.plan_by_id) for held in run])
        except BlockDamaged:
            return  # It stays as it is, and becomes a gap where it is read.
        merged = encode_batch(batch, run[0].stage)
        before_bytes = sum(len(held.block) for held in run)
        self._committed_bytes += before_bytes if tier == 0 else 0
        if len(merged) >= before_bytes:
            return
        self._saved_bytes += before_bytes - len(merged)
        for held in run:
            change.remove(held.first, len(held.block), held.stage)
        change.put(run[0].first, merged, run[0].stage)

    def _run(self, tier: int, after: int, limit: int) -> tuple[list[Held], int]:
        """Return the next run worth merging, and up to where this tier is then done."""
        run: list[Held] = []
        samples = size_bytes = body_bytes = 0
        most_bytes = REGION_SHARE * self._store.capacity_bytes
        standing = self._store.standing_now()
        for held in self._store.held_from(after + 1):
            if held.last <= after:
                continue
            if held.last > limit:
                return [], after  # More may come to make a full run.
            large = tier > 0 and held.header and _enough(held.header.samples, [held])
            if held.header is None or held.stage == Stage.GONE or large:
                return run, (run[-1].last if run else held.last)
            if run and (held.stage != run[0].stage or standing.apart(run[-1].last, held.first)):
                return run, run[-1].last
            run.append(held)
            samples += held.header.samples
            size_bytes += len(held.block)
            body_bytes += held.header.body_bytes
            if (
                len(run) == COMPACT_BLOCKS
                or _enough(samples, run)
                or size_bytes > most_bytes
                or body_bytes > REGION_BODY_BYTES
            ):
                return run, held.last
        return [], after


def _enough(samples: int, run: list[Held]) -> bool:
    if samples < COMPACT_SAMPLES:
        return False
    records = sum(held.header.records for held in run if held.header)
    plans = {each.plan_id for held in run if held.header for each in held.header.plans}
    return records >= COMPACT_ROWS * len(plans) or samples >= COMPACT_SAMPLES_MAX
