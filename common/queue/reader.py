"""The queue as every process but the normalizer sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from common.block import BlockHeader, decode_block, read_header
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
)
from common.records import Gap, GapRecord, Plan, Record, decode_plan

log = get_log(__name__)


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """What has arrived of one group since its collector's epoch began, lost or not."""

    epoch: int
    scans: int
    samples: int
    last_at_ns: int
    """Read time of the newest scan that arrived (gateway clock, UTC)."""


class QueueSummary(msgspec.Struct, frozen=True):
    """The queue at a glance; computed without unpacking a block."""

    first_sequence: int
    """0 when the queue is empty, as is `oldest_at_ns`."""
    last_sequence: int
    blocks: int
    bytes: int
    oldest_at_ns: int


class QueueReader:
    """The queue as another process sees it. Every call is a short transaction of its own."""

    def __init__(self, environment: Any, databases: dict[str, Any], path: Path) -> None:
        self._environment = environment
        self._databases = databases
        self._path = path
        self._plans: dict[int, Plan] = {}
        with self._reading() as transaction:
            meta = databases["meta"]
            found = transaction.get(b"format", db=meta)
            if found != str(FORMAT).encode():
                raise QueueUnusable(
                    f"{path} has format {found!r}, this version reads {FORMAT}; its data is "
                    "untouched: use the version of Tailrace that wrote it"
                )
            self.epoch: int = KEY.unpack(transaction.get(b"epoch", db=meta))[0]

    @classmethod
    def open(cls, path: Path) -> "QueueReader":
        """Open an existing queue. Raises QueueUnusable when there is none yet."""
        with explained("cannot open the queue", path):
            if not (path / "data.mdb").exists():
                raise QueueUnusable(f"no queue at {path} yet; the normalizer creates it")
            environment, databases = open_environment(path, DATABASES, readonly=True, create=False)
        return cls(environment, databases, path)

    def close(self) -> None:
        """Release the environment."""
        self._environment.close()

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        with explained("cannot read the queue", self._path), self._environment.begin() as found:
            yield found

    def last_sequence(self) -> int:
        """Return the newest sequence ever given; 0 before the first."""
        with self._reading() as transaction:
            packed = transaction.get(b"next", db=self._databases["meta"])
        return int(KEY.unpack(packed)[0]) - 1

    def read(self, *, after: int, records_max: int = 1_000) -> list[Record | GapRecord]:
        """Return the records after a sequence, in order; whole blocks, so some may be more.

        A damaged block is returned as a gap record in its place and logged.
        """
        blocks: list[tuple[int, bytes]] = []
        with self._reading() as transaction:
            cursor = transaction.cursor(self._databases["blocks"])
            found = 0
            for key, block in self._blocks_from(cursor, after + 1):
                blocks.append((key, block))
                found += self._header(key, block).records
                if found >= records_max:
                    break
        records: list[Record | GapRecord] = []
        for key, block in blocks:
            records += [each for each in self._decoded(key, block) if each.sequence > after]
        return records

    def _blocks_from(self, cursor: Any, sequence: int) -> Iterator[tuple[int, bytes]]:
        """Yield (first sequence, block) from the block that holds `sequence` on."""
        if not cursor.set_range(KEY.pack(sequence)):
            if not cursor.last():
                return
        elif cursor.key() != KEY.pack(sequence) and not cursor.prev():
            cursor.first()
        for key, block in cursor.iternext(keys=True, values=True):
            (first,) = KEY.unpack(key)
            if self._header(first, block).last_sequence >= sequence:
                yield first, block

    def _header(self, first: int, block: bytes) -> BlockHeader:
        try:
            return read_header(block)
        except BlockDamaged:
            return BlockHeader(first, first, 1, 0, 0, 0)

    def _decoded(self, first: int, block: bytes) -> list[Record | GapRecord]:
        try:
            return decode_block(block, self._plan)
        except BlockDamaged as error:
            header = self._header(first, block)
            log.error("block damaged", first_sequence=first, error=error)
            gap = Gap("", "", "block-damaged", header.first_at_ns, header.last_at_ns, 0, 0)
            return [GapRecord(header.last_sequence, gap)]

    def _plan(self, plan_id: int) -> Plan:
        if plan_id not in self._plans:
            with self._reading() as transaction:
                encoded = transaction.get(PLAN_KEY.pack(plan_id), db=self._databases["plans"])
            if encoded is None:
                raise KeyError(f"plan {plan_id} is not in the catalog")
            self._plans[plan_id] = decode_plan(encoded)
        return self._plans[plan_id]

    def tallies(self) -> dict[str, Tally]:
        """Return what has arrived of every group, by device/group."""
        with self._reading() as transaction:
            return {
                key.decode(): msgspec.msgpack.decode(packed, type=Tally)
                for key, packed in transaction.cursor(self._databases["groups"])
            }

    def summary(self) -> QueueSummary:
        """Return the queue's extent. Costs two look-ups, whatever the backlog."""
        with self._reading() as transaction:
            blocks = self._databases["blocks"]
            packed = transaction.get(b"next", db=self._databases["meta"])
            stat = transaction.stat(blocks)
            used = bytes_of(stat)
            cursor = transaction.cursor(blocks)
            first, oldest_at_ns = 0, 0
            if cursor.first():
                (first,) = KEY.unpack(cursor.key())
                oldest_at_ns = self._header(first, cursor.value()).first_at_ns
        last = int(KEY.unpack(packed)[0]) - 1
        return QueueSummary(first, last, stat["entries"], used, oldest_at_ns)

    def read_at_ns_after(self, sequence: int) -> int | None:
        """Return the earliest read time of the block that follows a sequence, None when none."""
        with self._reading() as transaction:
            cursor = transaction.cursor(self._databases["blocks"])
            for key, block in self._blocks_from(cursor, sequence + 1):
                return self._header(key, block).first_at_ns
        return None
