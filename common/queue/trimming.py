"""Removing what every target has, at the front of the queue and behind what some wait for."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import lmdb

from common.block import Batch, check_block, encode_batch
from common.errors import BlockDamaged, QueueUnusable
from common.queue.change import Change
from common.queue.ledger import TARGET_CUT_OFF
from common.queue.losses import gaps_of
from common.queue.state import Stage
from common.queue.store import Held, QueueStore

REMOVE_BLOCKS_MAX = 256
"""Blocks removed in one transaction; LMDB copies every page it touches."""
REMOVE_STEPS = (REMOVE_BLOCKS_MAX, 16, 1)

T = TypeVar("T")


class Trimming:
    """Removes delivered blocks of one store, and books them."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store

    def front(self, up_to: int, keep_blocks: int) -> int:
        """Remove some of the oldest blocks that every target has; return how many.

        Of all blocks the newest `keep_blocks` stay.
        """
        done: list[Held] = []
        spare = self._store.block_count() - keep_blocks
        for held in self._store.held_from(0):
            if len(done) >= min(spare, REMOVE_BLOCKS_MAX) or held.last > up_to:
                break
            done.append(held)
        if done:
            in_small_steps(lambda count: self._remove_front(done[:count]))
        return len(done)

    def beyond(self, keep_blocks: int) -> int:
        """Remove some blocks that every target has behind what some of them wait for.

        One empty block stays in the place of neighbours, or the block before them would seem to
        reach to the one behind them.
        """
        spans = self._store.standing_as_looked().everywhere
        spans = [each for each in spans if each.last > self._store.delivered]
        newest = self._store.before_the_newest(keep_blocks) if spans else 0
        for span in spans:
            run: list[Held] = []
            for held in self._store.held_from(span.first):
                if held.last > min(span.last, newest) or len(run) > REMOVE_BLOCKS_MAX:
                    break
                if held.first >= span.first:
                    run.append(held)
            if any(not held.empty for held in run):
                in_small_steps(partial(self._remove_between, run))
                return len(run)
        return 0

    def _remove_front(self, blocks: Sequence[Held]) -> None:
        with self._store.changing() as change:
            self._remove(blocks, change)
            self._store.forget_marks(change, up_to=blocks[-1].last)

    def _remove_between(self, run: Sequence[Held], count: int) -> None:
        # One more than asked for: the first may be what stayed in the place of others.
        blocks = run[: count + 1]
        first, last = blocks[0].first, blocks[-1].last
        with self._store.changing() as change:
            self._remove(blocks, change)
            block = encode_batch(Batch.of(first, last, [], []), Stage.GONE)
            change.put(first, block, Stage.GONE)

    def _remove(self, blocks: Sequence[Held], change: Change) -> None:
        """Take blocks out that nobody waits for; lost are those that no target was given."""
        store = self._store
        standing = store.standing_as_looked()
        for held in blocks:
            try:
                header = check_block(held.block)
            except BlockDamaged as error:
                # It was told as a gap where it was read; here it is booked as one.
                store.gaps_of_lost_block(held, change, str(error))
                continue
            change.remove(held.first, len(held.block), held.stage)
            if standing.somebody_had(held.first, held.last):
                change.ledger.deliver(header, store.plan_by_id)
            else:
                change.ledger.lose_queued(gaps_of(header, TARGET_CUT_OFF, store.plan_by_id))


def in_small_steps(remove: Callable[[int], T]) -> T:
    """Remove many blocks, or as few as a full map lets go: a delete needs pages too."""
    for count in REMOVE_STEPS:
        try:
            return remove(count)
        except lmdb.MapFullError:
            continue
    raise QueueUnusable(
        "the queue's map is full and refuses even one removal; the next start widens it"
    )
