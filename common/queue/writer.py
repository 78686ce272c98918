"""The queue as the normalizer sees it: the one process that appends and removes."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from common.block import Part, encode_block, read_header, samples_by_plan
from common.clock import now_ns
from common.errors import BlockDamaged
from common.queue.environment import (
    DATABASES,
    FORMAT,
    KEY,
    PLAN_KEY,
    bytes_of,
    explained,
    open_environment,
    sync_folder,
)
from common.queue.reader import QueueReader, Tally
from common.records import Gap, Plan, Position, decode_plan

CAPACITY_BYTES = 8 * 1024**3
"""Until blocks are compacted this holds fewer days than it will; docs/performance.md has both."""
MAP_SHARE = 0.8
"""Blocks fill at most this share of the map; the rest is for deletes, catalog and copies."""
MAP_EXTRA_BYTES = 64 * 1024**2
BLOCK_SAMPLES_MAX = 65_536
TRIM_BLOCKS_MAX = 256
"""Blocks removed in one transaction; LMDB copies every page it touches."""
KEEP_BLOCKS = 64
"""The newest blocks stay even when delivered, for `tailrace tap` and for the curious."""


def _create(path: Path, map_size: int) -> None:
    """Create an empty queue so that a crash at any instant leaves none or a whole one."""
    fresh = path.with_name(path.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment, databases = open_environment(fresh, DATABASES, map_size=map_size)
    with environment.begin(write=True, db=databases["meta"]) as transaction:
        transaction.put(b"format", str(FORMAT).encode())
        transaction.put(b"epoch", KEY.pack(now_ns() // 1_000_000))
        transaction.put(b"next", KEY.pack(1))
    environment.close()
    (fresh / "cursors").mkdir(mode=0o700)
    sync_folder(fresh)
    fresh.rename(path)
    sync_folder(path.parent)


class QueueWriter(QueueReader):
    """The queue as the normalizer sees it: it may also append and remove."""

    def __init__(
        self,
        environment: Any,
        databases: dict[str, Any],
        path: Path,
        capacity_bytes: int,
    ) -> None:
        super().__init__(environment, databases, path)
        self.capacity_bytes = capacity_bytes
        self._plan_ids: dict[bytes, int] = {}
        self.positions: dict[str, Position] = {}
        """The last committed scan of every collector."""
        with self._reading() as transaction:
            for key, encoded in transaction.cursor(databases["plans"]):
                plan = decode_plan(encoded)
                (plan_id,) = PLAN_KEY.unpack(key)
                self._plans[plan_id] = plan
                self._plan_ids[plan.fingerprint] = plan_id
            for key, packed in transaction.cursor(databases["sources"]):
                self.positions[key.decode()] = msgspec.msgpack.decode(packed, type=Position)
        environment.reader_check()  # A reader that was killed would pin its pages for ever.

    @classmethod
    def create(cls, path: Path, capacity_bytes: int = CAPACITY_BYTES) -> "QueueWriter":
        """Open the queue for its one writer, creating it when there is none."""
        map_size = int(capacity_bytes / MAP_SHARE) + MAP_EXTRA_BYTES
        with explained("cannot open the queue", path):
            if not (path / "data.mdb").exists():
                _create(path, map_size)
            environment, databases = open_environment(path, DATABASES, map_size=map_size)
        return cls(environment, databases, path, capacity_bytes)

    @property
    def plans(self) -> dict[bytes, Plan]:
        """Return every plan of the catalog by fingerprint."""
        return {plan.fingerprint: plan for plan in self._plans.values()}

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
        with (
            explained("cannot write the queue", self._path),
            self._environment.begin(write=True) as transaction,
        ):
            for plan in plans:
                self._catalog(plan, transaction)
            last = self._put_blocks([*self._make_room(transaction), *parts], transaction)
            for key, position in (positions or {}).items():
                packed = msgspec.msgpack.encode(position)
                transaction.put(key.encode(), packed, db=self._databases["sources"])
            for key, tally in (tallies or {}).items():
                packed = msgspec.msgpack.encode(tally)
                transaction.put(key.encode(), packed, db=self._databases["groups"])
        self.positions.update(positions or {})
        return last

    def _put_blocks(self, parts: Sequence[Part | Gap], transaction: Any) -> int:
        (following,) = KEY.unpack(transaction.get(b"next", db=self._databases["meta"]))
        for slice_ in _slices(parts):
            block = encode_block(slice_, following, lambda plan: self._plan_ids[plan.fingerprint])
            transaction.put(KEY.pack(following), block, append=True, db=self._databases["blocks"])
            following += len(slice_)
        transaction.put(b"next", KEY.pack(following), db=self._databases["meta"])
        return int(following) - 1

    def _catalog(self, plan: Plan, transaction: Any) -> None:
        if plan.fingerprint in self._plan_ids:
            return
        plan_id = max(self._plans, default=0) + 1
        transaction.put(PLAN_KEY.pack(plan_id), plan.encoded, db=self._databases["plans"])
        self._plan_ids[plan.fingerprint] = plan_id
        self._plans[plan_id] = plan

    def _make_room(self, transaction: Any) -> list[Gap]:
        """Drop the oldest blocks while the queue is over its capacity; return what was lost."""
        blocks = self._databases["blocks"]
        lost: dict[tuple[str, str, str], Gap] = {}
        for _ in range(TRIM_BLOCKS_MAX):
            if bytes_of(transaction.stat(blocks)) < self.capacity_bytes:
                break
            cursor = transaction.cursor(blocks)
            if not cursor.first():
                break
            for gap in self._as_gaps(bytes(cursor.value())):
                key = (gap.device, gap.group, gap.cause)
                lost[key] = _joined(lost[key], gap) if key in lost else gap
            cursor.delete()
        return list(lost.values())

    def _as_gaps(self, block: bytes) -> list[Gap]:
        """What is missing once this block is gone."""
        try:
            header = read_header(block)
            counts, gaps = samples_by_plan(block)
        except BlockDamaged:
            return [Gap("", "", "block-damaged", 0, 0, 0, 0)]
        times = (header.first_at_ns, header.last_at_ns)
        for plan_id, (scans, samples) in counts.items():
            plan = self._plan(plan_id)
            gaps.append(Gap(plan.device, plan.group, "queue-full", *times, scans, samples))
        return gaps

    def trim(self, up_to: int) -> bool:
        """Remove blocks wholly at or before a sequence; True when more remain to be removed.

        Small transactions: LMDB copies every page it touches, so one large delete on a full map
        fails and frees nothing. The newest KEEP_BLOCKS stay.
        """
        blocks = self._databases["blocks"]
        with (
            explained("cannot trim the queue", self._path),
            self._environment.begin(write=True) as transaction,
        ):
            spare = transaction.stat(blocks)["entries"] - KEEP_BLOCKS
            cursor = transaction.cursor(blocks)
            for _ in range(min(spare, TRIM_BLOCKS_MAX)):
                if not cursor.first():
                    return False
                (first,) = KEY.unpack(cursor.key())
                if self._header(first, cursor.value()).last_sequence > up_to:
                    return False
                cursor.delete()
        return int(spare) > TRIM_BLOCKS_MAX

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
