"""The queue as the normalizer sees it: the one process that appends and removes."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from common.block import Part, encode_block, read_header, samples_by_plan
from common.clock import new_epoch, now_ns
from common.errors import BlockDamaged, QueueUnusable
from common.log import get_log
from common.queue.environment import (
    DATABASES,
    FORMAT,
    KEY,
    PLAN_KEY,
    bytes_of,
    explained,
    open_environment,
    sealed,
    sync_folder,
    unsealed,
)
from common.queue.reader import QueueReader, Tally
from common.records import Gap, Plan, Position, fingerprint_of

CAPACITY_BYTES = 8 * 1024**3
"""What blocks may occupy on disk; docs/performance.md has bytes per sample."""
MAP_SHARE = 0.8
"""Blocks fill at most this share of the map; the rest is for deletes, catalog and copies."""
MAP_NEARLY_FULL = 0.95
MAP_EXTRA_BYTES = 64 * 1024**2
DISK_RESERVE_BYTES, DISK_RESERVE_SHARE = 256 * 1024**2, 0.05
"""The smaller of both is left free; the queue drops its oldest instead of filling the disk."""
CAPACITY_LEAST_BYTES = 16 * 1024**2
BLOCK_SAMPLES_MAX = 8_192
"""64 KiB of numbers: large blocks need long runs of free pages, which a full map may not have."""
DROP_BLOCKS_MAX = 256
"""Blocks removed in one transaction; LMDB copies every page it touches."""
REMOVE_STEPS = (DROP_BLOCKS_MAX, 16, 1)
MAP_FULL_TRIES = 8
KEEP_BLOCKS = 64
"""The newest blocks stay even when delivered, for `tailrace tap` and for the curious."""

log = get_log(__name__)


def _create(path: Path, map_bytes: int) -> None:
    """Create an empty queue so that a crash at any instant leaves none or a whole one."""
    if path.exists():
        aside = path.with_name(f"{path.name}.aside-{now_ns() // 1_000_000_000}")
        path.rename(aside)
        log.error("no data.mdb in the queue; what is left of it was moved aside", kept_in=aside)
    fresh = path.with_name(path.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment, databases = open_environment(fresh, DATABASES, map_size=map_bytes)
    with environment.begin(write=True, db=databases["meta"]) as transaction:
        transaction.put(b"format", str(FORMAT).encode())
        transaction.put(b"epoch", sealed(KEY.pack(new_epoch())))
        transaction.put(b"next", sealed(KEY.pack(1)))
    environment.close()
    (fresh / "cursors").mkdir(mode=0o700)
    sync_folder(fresh)
    fresh.rename(path)
    sync_folder(path.parent)


class QueueWriter(QueueReader):
    """The queue as the normalizer sees it: it may also append and remove."""

    def __init__(
        self, environment: Any, databases: dict[str, Any], path: Path, capacity_bytes: int
    ) -> None:
        super().__init__(environment, databases, path)
        self.capacity_bytes = capacity_bytes
        """What blocks may occupy now: as configured, less where the disk has less to give."""
        self.delivered = 0
        """Every target has everything up to this sequence; set by whoever watches the cursors."""
        self.dropped: list[Gap] = []
        """What the last `append` had to drop; those groups' values are no longer told."""
        self._capacity_most_bytes = capacity_bytes
        self._plan_ids: dict[bytes, int] = {}
        self._next_plan_id = 1
        with self._reading() as transaction:
            for key, stored in transaction.cursor(databases["plans"]):
                (plan_id,) = PLAN_KEY.unpack(key)
                self._next_plan_id = plan_id + 1
                try:
                    self._plan_ids[fingerprint_of(unsealed(stored))] = plan_id
                except BlockDamaged as error:
                    log.error("plan damaged; its blocks become gaps", plan=plan_id, error=error)
        self.positions: dict[str, Position] = self._small_values("sources", Position)
        """The last committed scan of every collector."""
        environment.reader_check()  # A reader that was killed would pin its pages for ever.

    @classmethod
    def create(
        cls, path: Path, capacity_bytes: int = CAPACITY_BYTES, map_bytes: int | None = None
    ) -> "QueueWriter":
        """Open the queue for its one writer, creating it when there is none."""
        map_bytes = map_bytes or int(capacity_bytes / MAP_SHARE) + MAP_EXTRA_BYTES
        with explained("cannot open the queue", path):
            if not (path / "data.mdb").exists():
                _create(path, map_bytes)
            file_bytes = (path / "data.mdb").stat().st_size
            if file_bytes > MAP_NEARLY_FULL * map_bytes:
                # A map that is full to the last page refuses deletes as well; the process ended
                # because of it, and this is how it goes on: with room to delete.
                map_bytes = file_bytes + MAP_EXTRA_BYTES
            environment, databases = open_environment(path, DATABASES, map_size=map_bytes)
        return cls(environment, databases, path, capacity_bytes)

    @property
    def fingerprints(self) -> set[bytes]:
        """Return the names of all plans of the catalog."""
        return set(self._plan_ids)

    def plan(self, fingerprint: bytes) -> Plan | None:
        """Return a plan of the catalog, None when it is not there or damaged."""
        plan_id = self._plan_ids.get(fingerprint)
        try:
            return None if plan_id is None else self._plan(plan_id)
        except KeyError:
            return None

    def append(
        self,
        parts: Sequence[Part | Gap],
        *,
        plans: Sequence[Plan] = (),
        positions: Mapping[str, Position] | None = None,
        tallies: Mapping[str, Tally] | None = None,
    ) -> int:
        """Commit parts in order, with all that belongs to them, and return the last sequence.

        When this returns, everything given is durable; when it raises QueueUnusable, nothing may
        be assumed: leave the process, open again and receive again.
        """
        for _ in range(MAP_FULL_TRIES):
            try:
                return self._append(parts, plans, positions or {}, tallies or {})
            except lmdb.MapFullError:
                # The commit's own drops are undone with it, so room is made in one by itself.
                self._in_small_steps(self._drop_oldest)
        raise QueueUnusable(f"the map of {self._path} is full and dropping the oldest did not help")

    def _in_small_steps(self, remove: Callable[[int], None]) -> None:
        """Remove many blocks, or as few as a full map lets go: a delete needs pages too."""
        for count in REMOVE_STEPS:
            try:
                return remove(count)
            except lmdb.MapFullError:
                continue
        raise QueueUnusable(
            f"the map of {self._path} is full and refuses even one removal; "
            "the next start widens it"
        )

    def _append(
        self,
        parts: Sequence[Part | Gap],
        plans: Sequence[Plan],
        positions: Mapping[str, Position],
        tallies: Mapping[str, Tally],
    ) -> int:
        ids = dict(self._plan_ids)
        with self._writing() as transaction:
            for plan in plans:
                if plan.fingerprint not in ids:
                    ids[plan.fingerprint] = max(ids.values(), default=self._next_plan_id - 1) + 1
                    key = PLAN_KEY.pack(ids[plan.fingerprint])
                    transaction.put(key, sealed(plan.encoded), db=self._databases["plans"])
            dropped = self._owed(transaction) + self._make_room(transaction)
            last = self._put_blocks([*dropped, *parts], ids, transaction)
            for name, values in (("sources", positions), ("groups", tallies)):
                for each, value in values.items():
                    packed = sealed(msgspec.msgpack.encode(value))
                    transaction.put(each.encode(), packed, db=self._databases[name])
        self._plan_ids = ids
        self.positions.update(positions)
        self.dropped = dropped
        return last

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """Open a write transaction; leaving the block commits it, durably."""
        self._look()
        with (
            explained("cannot write the queue", self._path),
            self._environment.begin(write=True) as transaction,
        ):
            yield transaction

    def _put_blocks(
        self, parts: Sequence[Part | Gap], ids: Mapping[bytes, int], transaction: Any
    ) -> int:
        following = self._number(transaction, b"next")
        for slice_ in _slices(parts):
            block = encode_block(slice_, following, lambda plan: ids[plan.fingerprint])
            transaction.put(KEY.pack(following), block, append=True, db=self._databases["blocks"])
            following += len(slice_)
        transaction.put(b"next", sealed(KEY.pack(following)), db=self._databases["meta"])
        return following - 1

    def _make_room(self, transaction: Any, least: int = 0) -> list[Gap]:
        """Drop the oldest blocks while over capacity, `least` at least; return what was lost."""
        blocks = self._databases["blocks"]
        lost: dict[tuple[str, str, str], Gap] = {}
        for count in range(DROP_BLOCKS_MAX):
            if count >= least and bytes_of(transaction.stat(blocks)) < self.capacity_bytes:
                break
            oldest = next(self._blocks_from(transaction, 0), None)
            if oldest is None:
                break
            first, last, block = oldest
            for gap in self._as_gaps(block) if last > self.delivered else ():
                key = (gap.device, gap.group, gap.cause)
                lost[key] = _joined(lost[key], gap) if key in lost else gap
            transaction.delete(KEY.pack(first), db=blocks)
        return list(lost.values())

    def _drop_oldest(self, count: int) -> None:
        """Drop blocks in a transaction of their own; what is lost is owed to the next append."""
        with self._writing() as transaction:
            owed = self._owed(transaction) + self._make_room(transaction, least=count)
            packed = sealed(msgspec.msgpack.encode(owed))
            transaction.put(b"owed", packed, db=self._databases["meta"])

    def _owed(self, transaction: Any) -> list[Gap]:
        """Take the gaps of blocks that were dropped before and are not yet booked."""
        stored = transaction.pop(b"owed", db=self._databases["meta"])
        return msgspec.msgpack.decode(unsealed(stored), type=list[Gap]) if stored else []

    def _as_gaps(self, block: bytes) -> list[Gap]:
        """Return what is missing once this block is gone."""
        try:
            counts, gaps = samples_by_plan(block)
            header = read_header(block)
            times = (header.first_at_ns, header.last_at_ns)
            for plan_id, (scans, samples) in counts.items():
                plan = self._plan(plan_id)
                gaps.append(Gap(plan.device, plan.group, "queue-full", *times, scans, samples))
        except (BlockDamaged, KeyError):
            return [Gap("", "", "block-damaged", 0, now_ns(), 0, 0)]
        return gaps

    def trim(self, up_to: int) -> bool:
        """Remove blocks wholly at or before a sequence; True when more remain to be removed.

        Small transactions: LMDB copies every page it touches, so one large delete on a full map
        fails and frees nothing. The newest KEEP_BLOCKS stay.
        """
        blocks = self._databases["blocks"]
        with self._reading() as transaction:
            spare = int(transaction.stat(blocks)["entries"]) - KEEP_BLOCKS
            done: list[int] = []
            for first, last, _ in self._blocks_from(transaction, 0):
                if len(done) >= min(spare, DROP_BLOCKS_MAX) or last > up_to:
                    break
                done.append(first)
        if done:
            self._in_small_steps(lambda count: self._remove(done[:count]))
        return len(done) == DROP_BLOCKS_MAX

    def _remove(self, blocks: Sequence[int]) -> None:
        with self._writing() as transaction:
            for first in blocks:
                transaction.delete(KEY.pack(first), db=self._databases["blocks"])

    def fit_to_disk(self) -> None:
        """Take a smaller capacity while the disk has less to give, and the full one again later."""
        status = os.statvfs(self._path)
        free_bytes = status.f_bavail * status.f_frsize
        file_bytes = (self._path / "data.mdb").stat().st_blocks * 512
        disk_bytes = status.f_blocks * status.f_frsize
        reserve_bytes = min(DISK_RESERVE_BYTES, int(disk_bytes * DISK_RESERVE_SHARE))
        spare_bytes = int((file_bytes + free_bytes - reserve_bytes) * MAP_SHARE)
        capacity_bytes = max(CAPACITY_LEAST_BYTES, spare_bytes)
        capacity_bytes = min(capacity_bytes, self._capacity_most_bytes)
        if (capacity_bytes < self._capacity_most_bytes) != (
            self.capacity_bytes < self._capacity_most_bytes
        ):
            log.warning(
                "the queue's capacity follows the disk",
                capacity_bytes=capacity_bytes,
                configured_bytes=self._capacity_most_bytes,
                free_bytes=free_bytes,
            )
        self.capacity_bytes = capacity_bytes

    def check_readers(self) -> None:
        """Free the slots of readers that were killed; their snapshots would pin pages for ever."""
        self._environment.reader_check()


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


def _joined(a: Gap, b: Gap) -> Gap:
    return Gap(
        a.device,
        a.group,
        a.cause,
        min(a.first_at_ns, b.first_at_ns),
        max(a.last_at_ns, b.last_at_ns),
        a.scans + b.scans,
        a.samples + b.samples,
    )
