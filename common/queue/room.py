"""Making room: what the queue gives up, in which order, one bounded slice at a time.

Order
    `drop-oldest`   tags that are first to go, from the oldest data on; then everything that need
                    not be kept, from the oldest on; then the oldest, whatever it is.
    `thin`          the same, but before a normal tag is dropped the older half of the queue is
                    thinned to fine buckets, and half of that to coarse ones: what is left is a
                    history that loses detail with age.
    `stop-reading`  nothing.

    Each step works on a region: neighbouring blocks, of which one block is made that holds what
    stayed and the gaps that tell what did not. What a target may be delivering (its claim), and a
    block of which a target has had a part only, is left alone as long as there is anything else,
    so that no gap names a sample that arrives after all; and no region reaches over the edge of
    what a target has (standing.py).

Limits
    A region is REGION_SAMPLES, REGION_BLOCKS or REGION_SHARE of the capacity: some ten ms.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from common.block import Batch, Section, encode_batch, join, open_batch, thinned
from common.errors import BlockDamaged
from common.queue.bounds import WhenFull
from common.queue.change import Change
from common.queue.ledger import QUEUE_FULL, THINNED
from common.queue.losses import joined
from common.queue.standing import Standing
from common.queue.state import Stage
from common.queue.store import Held, QueueStore
from common.records import Gap, LossClass

REGION_SAMPLES = 65_536
REGION_BLOCKS = 256
REGION_SHARE = 1 / 16
REGION_BODY_BYTES = 16 * 1024**2
"""Unpacked; long texts are many bytes in few samples."""
BEGIN_SHARE = 0.97
"""Of the capacity: room is made from here on, before a commit must wait for it."""
WHOLE_SHARE, FINE_SHARE = 0.5, 0.25
"""`thin`: of all bytes, what stays in full detail, and what stays in fine buckets."""

Mask = npt.NDArray[np.bool_]
Claimed = Callable[[Held], bool]
"""Whether a block must be left alone."""


class Room:
    """Reduces the queue of one store."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store
        self.blocks_max = REGION_BLOCKS
        """Of a region; fewer when a full map does not let go of many at once."""
        self.forced = 0
        """How often nothing was left but what a target may be delivering: gaps may overlap it."""
        self._masks: dict[int, dict[LossClass, Mask]] = {}

    @property
    def wanted(self) -> bool:
        """True when the queue is nearly at its capacity and its policy is to give something up."""
        if self._store.bounds.when_full is WhenFull.STOP_READING:
            return False
        return self._store.used_bytes >= BEGIN_SHARE * self._store.capacity_bytes

    def step(self, blocks_max: int = REGION_BLOCKS) -> bool:
        """Give up one region; return False when there is nothing left to give."""
        self.blocks_max = blocks_max
        for stage in self._stages():
            if self.reduce(stage, QUEUE_FULL):
                return True
        self.forced += 1
        straddling = self._store.standing_now().straddling
        return self.reduce(
            Stage.GONE, QUEUE_FULL, claimed=lambda held: straddling(held.first, held.last)
        ) or self.reduce(Stage.GONE, QUEUE_FULL, claimed=lambda _: False)

    def _stages(self) -> Iterator[Stage]:
        """Yield what to try now, the least loss first."""
        state, total = self._store.state, max(sum(self._store.state.stage_bytes), 1)
        if any(self._mask(plan, LossClass.FIRST_TO_GO).any() for plan in self._store.plan_ids):
            yield Stage.SPARED
        if self._store.bounds.when_full is WhenFull.THIN:
            whole = state.stage_bytes[Stage.WHOLE] + state.stage_bytes[Stage.SPARED]
            if whole > WHOLE_SHARE * total:
                yield Stage.FINE
            if state.stage_bytes[Stage.FINE] > FINE_SHARE * total:
                yield Stage.COARSE
        yield Stage.KEPT
        yield Stage.GONE

    def reduce(
        self, stage: Stage, cause: str, *, up_to: int | None = None, claimed: Claimed | None = None
    ) -> bool:
        """Bring the oldest region to a stage; return False when all of it is there already.

        Stage.GONE with `up_to` is how data is dropped by age or by a person. What is `claimed`
        stays; None stands for what targets claim at this moment.
        """
        store = self._store
        from_ = store.state.reduced_to[stage] if stage < Stage.GONE else 0
        standing = store.standing_now()
        left_alone = claimed or (lambda held: standing.untouchable(held.first, held.last))
        region, passed = self._region(from_, stage, up_to, standing, left_alone)
        if region:
            with store.changing() as change:
                try:
                    self._give_up(region, stage, cause, change)
                    change.state.reduced_to[stage] = max(region[-1].last, from_)
                except BlockDamaged:
                    self._give_up_damaged(region, change)
        elif passed > from_ and stage < Stage.GONE:
            with store.changing() as change:
                change.state.reduced_to[stage] = passed
        return bool(region)

    def _region(
        self,
        after: int,
        stage: Stage,
        up_to: int | None,
        standing: Standing,
        claimed: Claimed,
    ) -> tuple[list[Held], int]:
        """Return neighbouring blocks that a stage has not reached, and how far was looked.

        What became of the region before comes along if it is small: so gaps become one instead of
        many, and a bucket that began there is thinned as one. But never from one side of an edge
        to the other: a target has the one, and must be told of the other.
        """
        after = max(after, standing.everybody)  # What everybody has is not lost, only in the way.
        most_bytes = REGION_SHARE * self._store.capacity_bytes
        region: list[Held] = []
        samples = size_bytes = body_bytes = 0
        for held in self._store.held_from(after):
            if up_to is not None and held.last > up_to:
                break
            if region and standing.apart(region[-1].last, held.first):
                if samples:
                    break
                region = []
            left_alone = claimed(held) or standing.everyone_has(held.first, held.last)
            if left_alone or held.last <= after or not self._touches(held, stage):
                if samples:
                    break
                after = max(after, held.last)
                small = len(held.block) <= most_bytes / 2
                free = held.last > standing.everybody and not left_alone
                region = [held] if free and small and _comes_along(held, stage) else []
                continue
            region.append(held)
            samples += max(held.header.samples, 1) if held.header else 1
            size_bytes += len(held.block)
            body_bytes += held.header.body_bytes if held.header else 0
            if (
                body_bytes >= REGION_BODY_BYTES
                or samples >= REGION_SAMPLES
                or size_bytes >= most_bytes
                or len(region) >= self.blocks_max
            ):
                break
        return (region if samples else []), after

    def _touches(self, held: Held, stage: Stage) -> bool:
        """Return whether a stage may take something from a block."""
        if held.stage >= stage:
            return False
        if stage == Stage.SPARED and held.header:
            plans = held.header.plans
            return any(self._mask(each.plan_id, LossClass.FIRST_TO_GO).any() for each in plans)
        return True

    def _give_up(self, region: Sequence[Held], stage: Stage, cause: str, change: Change) -> None:
        """Replace a region by what stays of it. Raises BlockDamaged before anything is changed."""
        store = self._store
        plans = {each.plan_id for held in region if held.header for each in held.header.plans}
        unpack = stage < Stage.KEPT or (
            stage == Stage.KEPT and any(self._mask(p, LossClass.KEEP).any() for p in plans)
        )
        if unpack:
            cause = THINNED if stage in (Stage.FINE, Stage.COARSE) else cause
            sections, lost, gaps = self._reduced(region, stage, cause)
        else:
            sections, lost, gaps = [], *self._dropped(region, cause)
        gaps = joined([*gaps, *lost])
        first, last = region[0].first, region[-1].last
        batch = Batch.of(first, last, sections, [(last, n, gap) for n, gap in enumerate(gaps)])
        store.lose(region, change, lost)
        reached = stage if sections else Stage.GONE
        change.put(first, encode_batch(batch, reached), reached)
        if cause != THINNED:
            store.untold += lost

    def _dropped(self, region: Sequence[Held], cause: str) -> tuple[list[Gap], list[Gap]]:
        """Return (what is lost, older gaps) of a region of which nothing stays."""
        lost: list[Gap] = []
        older: list[Gap] = []
        for held in region:
            missing, carried = self._store.gaps_without(held, cause)
            lost += missing
            older += carried
        return joined(lost), older

    def _reduced(
        self, region: Sequence[Held], stage: Stage, cause: str
    ) -> tuple[list[Section], list[Gap], list[Gap]]:
        """Return (what stays, what is lost, older gaps) of a region."""
        batch = join([open_batch(held.block, self._store.plan_by_id) for held in region])
        sections, lost = [], []
        for section in batch.sections:
            keep = self._kept(section, stage)
            if keep.all():
                sections.append(section)
                continue
            stays = section.select(keep)
            if stays.samples:
                sections.append(stays)
            lost.append(
                Gap(
                    section.plan.device,
                    section.plan.group,
                    cause,
                    *section.span(~keep),
                    section.records - stays.records,
                    section.samples - stays.samples,
                )
            )
        return sections, lost, [gap for _, _, gap in batch.gaps]

    def _kept(self, section: Section, stage: Stage) -> Mask:
        """Return which samples of a section a stage leaves."""
        bounds = self._store.bounds
        keep = self._mask(section.plan_id, LossClass.KEEP)
        if stage == Stage.SPARED:
            return ~self._mask(section.plan_id, LossClass.FIRST_TO_GO)[section.column]
        if stage == Stage.KEPT:
            return keep[section.column]
        bucket_s = bounds.thin_fine_s if stage == Stage.FINE else bounds.thin_coarse_s
        return thinned(section, int(bucket_s * 1e9), keep)

    def _mask(self, plan_id: int, wanted: LossClass) -> Mask:
        """Return which columns of a plan are of a class."""
        if plan_id not in self._masks:
            try:
                classes = [each.loss_class for each in self._store.plan_by_id(plan_id).columns]
            except KeyError:
                classes = []  # Its blocks cannot be read any more; they are dropped whole.
            self._masks[plan_id] = {
                each: np.array([found is each for found in classes], bool) for each in LossClass
            }
        return self._masks[plan_id][wanted]

    def _give_up_damaged(self, region: Sequence[Held], change: Change) -> None:
        """Replace every damaged block of a region by the gaps that are known of it."""
        for held in region:
            try:
                open_batch(held.block, self._store.plan_by_id)
            except BlockDamaged as error:
                gaps = self._store.gaps_of_lost_block(held, change, str(error))
                numbered = [(held.last, n, gap) for n, gap in enumerate(gaps)]
                batch = Batch.of(held.first, held.last, [], numbered)
                change.put(held.first, encode_batch(batch, Stage.GONE), Stage.GONE)
                self._store.untold += gaps


def _comes_along(held: Held, stage: Stage) -> bool:
    """Return whether a block that is at a stage may be joined with what is brought there now."""
    if held.stage == Stage.GONE:
        return stage >= Stage.KEPT
    header = held.header
    return held.stage == stage and header is not None and header.samples <= REGION_SAMPLES // 4
