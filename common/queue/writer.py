"""The queue as the normalizer sees it: the one process that appends and removes."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from common.block import Part, encode_block
from common.clock import now_ns
from common.errors import BlockDamaged, QueueUnusable
from common.log import get_log
from common.queue.aging import mark_interval_s, put_mark
from common.queue.bounds import Bounds, WhenFull
from common.queue.change import Change
from common.queue.compaction import Compaction
from common.queue.creation import closed, open_for_writing, renewed_epoch
from common.queue.cutting import Cutting
from common.queue.disk import capacity_on_disk, keep_ballast
from common.queue.environment import PLAN_KEY, free_bytes, sealed, unsealed
from common.queue.ledger import OPERATOR, QUEUE_AGE, QUEUE_NEW, Account
from common.queue.losses import Changes, loss_of, unknown_gap
from common.queue.reader import Tally
from common.queue.room import Room
from common.queue.state import Stage
from common.queue.store import Held, QueueStore
from common.queue.trimming import REMOVE_BLOCKS_MAX, Trimming, in_small_steps
from common.records import Gap, Plan, Position

MAP_SHARE = 0.8
"""Blocks fill at most this share of the map; the rest is for deletes, catalog and copies."""
MAP_EXTRA_BYTES = 64 * 1024**2
BLOCK_SAMPLES_MAX = 8_192
"""64 KiB of numbers: large blocks need long runs of free pages, which a full map may not have."""
MAP_FULL_TRIES = 8
KEEP_BLOCKS = 64
"""The newest blocks stay even when delivered, for `tailrace tap` and for the curious."""
COMPACTION_FREE_BYTES = 16 * 1024**2
READ_AGAIN_SHARE = 0.95
"""A full queue that stops reading goes on once it has fallen to this share."""

COUNTER_PREFIX = b"counter:"
"""Of keys in the database `meta`."""

log = get_log(__name__)


class QueueWriter(QueueStore):
    """The queue as the normalizer sees it: it may also append and remove."""

    def __init__(
        self, environment: Any, databases: dict[str, Any], path: Path, bounds: Bounds
    ) -> None:
        super().__init__(environment, databases, path, bounds)
        self.room = Room(self)
        self.compaction = Compaction(self)
        self.cutting = Cutting(self)
        self.trimming = Trimming(self)
        self.keep_blocks = KEEP_BLOCKS
        self.appended_bytes = 0
        """Of blocks committed since the process started, before compaction."""
        self._marked_at_s = self.clock.now_s()
        self._stopped_reading = False
        self.positions: dict[str, Position] = self._small_values("sources", Position)
        """The last committed scan of every collector."""
        environment.reader_check()  # A reader that was killed would pin its pages for ever.

    @classmethod
    def create(
        cls, path: Path, bounds: Bounds | None = None, *, map_bytes: int = 0
    ) -> "QueueWriter":
        """Open the queue for its one writer, creating it when there is none.

        Raises DiskFull when there is no room for the one commit that shows that it works.
        """
        bounds = bounds or Bounds()
        map_bytes = map_bytes or int(bounds.capacity_bytes / MAP_SHARE) + MAP_EXTRA_BYTES
        environment, databases, begun_anew = open_for_writing(path, map_bytes)
        queue = cls(environment, databases, path, bounds)
        come_to = [
            at
            for each in queue.all_cursors().values()
            for at in (each.position, *(island.last for island in each.islands))
        ]
        ahead = max(come_to, default=0) > queue.last_sequence()
        if renewed_epoch(environment, databases, path, cursors_ahead=ahead):
            environment.close()
            environment, databases, _ = open_for_writing(path, map_bytes)
            queue = cls(environment, databases, path, bounds)
        # Commits once before anything is promised: what an earlier process failed to make durable
        # may be in the system's cache only, and this rests it on pages that are on the disk.
        queue.begin([unknown_gap(QUEUE_NEW, 0, now_ns())] if begun_anew else [])
        return queue

    def close(self) -> None:
        """Release the environment, and note that it was left in order."""
        super().close()
        closed(self._path)

    def append(
        self,
        parts: Sequence[Part | Gap],
        *,
        plans: Sequence[Plan] = (),
        positions: Mapping[str, Position] | None = None,
        tallies: Mapping[str, Tally] | None = None,
        accounts: Mapping[str, Account] | None = None,
        counters: Mapping[str, bytes] | None = None,
    ) -> int:
        """Commit parts in order, with all that belongs to them, and return the last sequence.

        `counters` are states of the normalizer's own, kept by name until they are given anew
        (`counter_states`).
        `accounts` says per group what was collected, unchanged and lost on the way; without it,
        what is in `parts` is taken for all there was. When this returns, everything given is
        durable; when it raises QueueUnusable, nothing may be assumed: leave the process, open
        again and receive again.
        """
        self._wait_for_room()
        for _ in range(MAP_FULL_TRIES):
            try:
                return self._append(
                    parts, plans, positions or {}, tallies or {}, accounts, counters or {}
                )
            except lmdb.MapFullError:
                self._free_pages()
        raise QueueUnusable(f"the map of {self._path} is full and dropping the oldest did not help")

    def counter_states(self) -> dict[str, bytes]:
        """Return what `counters` last said, by name; what fails its checksum is left out."""
        found: dict[str, bytes] = {}
        with self._reading() as transaction, transaction.cursor(self._databases["meta"]) as cursor:
            at_one = cursor.set_range(COUNTER_PREFIX)
            while at_one and cursor.key().startswith(COUNTER_PREFIX):
                name = cursor.key().removeprefix(COUNTER_PREFIX).decode()
                try:
                    found[name] = msgspec.msgpack.decode(unsealed(cursor.value()), type=bytes)
                except (BlockDamaged, msgspec.DecodeError) as error:
                    log.error("counter state damaged; it counts anew", counter=name, error=error)
                at_one = cursor.next()
        return found

    def begin(self, gaps: Sequence[Gap]) -> None:
        """Commit once, without making room: what targets claim is not known before the loop."""
        with contextlib.suppress(lmdb.MapFullError):
            self._append(gaps, (), {}, {}, None, {})

    def _append(
        self,
        parts: Sequence[Part | Gap],
        plans: Sequence[Plan],
        positions: Mapping[str, Position],
        tallies: Mapping[str, Tally],
        accounts: Mapping[str, Account] | None,
        counters: Mapping[str, bytes],
    ) -> int:
        ids = dict(self._plan_ids)
        following = self._next_plan_id
        with self.changing() as change:
            for plan in plans:
                if plan.fingerprint not in ids:
                    ids[plan.fingerprint], following = following, following + 1
                    key = PLAN_KEY.pack(ids[plan.fingerprint])
                    stored = sealed(plan.encoded)
                    change.transaction.put(key, stored, db=self._databases["plans"])
            self._put_blocks(parts, ids, change)
            change.ledger.merge(_collected(parts) if accounts is None else accounts)
            for name, values in (("sources", positions), ("groups", tallies)):
                for each, value in values.items():
                    change.put_small(name, each.encode(), value)
            for name, state in counters.items():
                change.put_small("meta", COUNTER_PREFIX + name.encode(), state)
            self._mark(change)
            last = change.state.next_sequence - 1
        self._plan_ids, self._next_plan_id = ids, following
        self.positions.update(positions)
        return last

    def _put_blocks(
        self, parts: Sequence[Part | Gap], ids: Mapping[bytes, int], change: Change
    ) -> None:
        for slice_ in _slices(parts):
            first = change.state.next_sequence
            block = encode_block(slice_, first, lambda plan: ids[plan.fingerprint])
            change.put(first, block, last=True)
            self.appended_bytes += len(block)
            change.state.next_sequence += len(slice_)
            for part in slice_:
                if isinstance(part, Part):
                    plan = part.layout.plan
                    entered = Account(entered=part.samples, queued=part.samples)
                    change.ledger.add(plan.device, plan.group, entered)

    def _mark(self, change: Change) -> None:
        """Note now and then how old the queue's clock says the newest sequence is."""
        now_s = self.clock.now_s()
        if now_s >= self._marked_at_s:
            ages = [self.bounds.age_max_s, *(each.age_max_s for each in self.limits.values())]
            least_s = min((age_s for age_s in ages if age_s is not None), default=None)
            self._marked_at_s = now_s + mark_interval_s(least_s)
            newest = change.state.next_sequence - 1
            put_mark(change.transaction, self._databases["ages"], newest, now_s)

    @property
    def full(self) -> bool:
        """True while the policy is to stop reading and there is no room for more."""
        if self.bounds.when_full is not WhenFull.STOP_READING:
            return False
        share = READ_AGAIN_SHARE if self._stopped_reading else 1.0
        self._stopped_reading = self.used_bytes >= share * self.capacity_bytes
        return self._stopped_reading

    def maintain(self) -> bool:
        """Do one bounded slice of whatever is due; return whether there may be more to do."""
        try:
            return self._upkeep()
        except lmdb.MapFullError:
            self._free_pages()  # Upkeep needs free pages too: it copies before it frees.
            return True

    def _upkeep(self) -> bool:
        if (
            self.trimming.front(self.delivered, self.keep_blocks)
            or self.trimming.beyond(self.keep_blocks)
            or self._drop_aged()
            or self.cutting.step()
        ):
            return True
        if self.room.wanted and self._make_room():
            return True
        if free_bytes(self._path) < COMPACTION_FREE_BYTES:
            return False  # It copies before it frees; on a full disk that would end the process.
        return self.compaction.step(self.before_the_newest(self.keep_blocks))

    def _make_room(self) -> bool:
        """Remove what nobody waits for, else cut off who waits for too much, else give up some."""
        return bool(
            self.trimming.front(self.delivered, 0)
            or self.trimming.beyond(0)
            or self.cutting.step()
            or self._give_up()
        )

    def trim(self, up_to: int) -> bool:
        """Remove blocks wholly at or before a sequence; True when more remain to be removed.

        Small transactions: LMDB copies every page it touches, so one large delete on a full map
        fails and frees nothing. The newest blocks stay.
        """
        return self.trimming.front(up_to, self.keep_blocks) == REMOVE_BLOCKS_MAX

    def drop(self, up_to: int) -> None:
        """Drop every block that ends at or before a sequence because a person said so.

        Only a block of which a target has had a part stays: no gap could tell that target apart
        what it has and what it lost.
        """
        standing = self.standing_now()

        def begun(held: Held) -> bool:
            return standing.straddling(held.first, held.last)

        def step(blocks_max: int) -> bool:
            self.room.blocks_max = blocks_max
            return self.room.reduce(Stage.GONE, OPERATOR, up_to=up_to, claimed=begun)

        while in_small_steps(step):
            pass

    def fit_to_disk(self) -> None:
        """Take a smaller capacity while the disk has less to give, and the full one again later."""
        before, self.capacity_bytes = self.capacity_bytes, capacity_on_disk(self._path, self.bounds)
        most = self.bounds.capacity_bytes
        if (self.capacity_bytes < most) != (before < most):
            log.warning(
                "the queue's capacity follows the disk",
                capacity_bytes=self.capacity_bytes,
                configured_bytes=most,
                free_bytes=free_bytes(self._path),
            )
        keep_ballast(self._path, self.bounds)

    def check_readers(self) -> None:
        """Free the slots of readers that were killed; their snapshots would pin pages for ever."""
        self._environment.reader_check()

    def _drop_aged(self) -> bool:
        """Drop one region of what is older than the configured age."""
        if self.bounds.age_max_s is None:
            return False
        aged = self.marked_older(self.bounds.age_max_s)
        if not aged:
            return False
        if self.room.reduce(Stage.GONE, QUEUE_AGE, up_to=aged):
            return True
        with self.changing() as change:
            self.forget_marks(change, up_to=aged)
        return False

    def _wait_for_room(self) -> None:
        """At capacity, give up the oldest before anything is added."""
        while self.bounds.when_full is not WhenFull.STOP_READING and (
            self.used_bytes >= self.capacity_bytes
        ):
            if not self._make_room():
                return

    def _give_up(self) -> bool:
        return in_small_steps(self.room.step)

    def _free_pages(self) -> None:
        """Make room in a map that is full, whatever the capacity says."""
        if self.trimming.front(self.delivered, 0) or self.trimming.beyond(0):
            return
        if self.bounds.when_full is WhenFull.STOP_READING or not self._give_up():
            raise QueueUnusable(
                f"the map of {self._path} is full, nothing in it may go; the next start widens it"
            )


def _collected(parts: Sequence[Part | Gap]) -> Changes:
    """Return the accounts of parts that are all there was."""
    changes = Changes()
    for part in parts:
        if isinstance(part, Part):
            plan = part.layout.plan
            changes.add(plan.device, plan.group, Account(collected=part.samples))
        else:
            lost = Account(collected=part.samples, lost={part.cause: loss_of(part)})
            changes.add(part.device, part.group, lost)
    return changes


def _slices(parts: Sequence[Part | Gap]) -> Iterator[Sequence[Part | Gap]]:
    """Cut a commit into blocks of at most BLOCK_SAMPLES_MAX samples."""
    start = samples = 0
    for i, part in enumerate(parts):
        size = part.samples if isinstance(part, Part) else 1
        if samples + size > BLOCK_SAMPLES_MAX and i > start:
            yield parts[start:i]
            start, samples = i, 0
        samples += size
    if start < len(parts):
        yield parts[start:]
