"""The queue as every process but the normalizer sees it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from common.block import decode_block, read_header
from common.clock import monotonic_s, now_ns
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
    unsealed,
)
from common.records import Gap, GapRecord, Plan, Record, decode_plan

LOOK_INTERVAL_S = 1.0
"""Between looks at whether the file we have open is still the one at its path."""

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
    """The queue as another process sees it. Every call is a short transaction of its own.

    Any call raises QueueUnusable when the queue cannot be read or was replaced by another: leave
    the process, or close and open again.
    """

    def __init__(self, environment: Any, databases: dict[str, Any], path: Path) -> None:
        self._environment = environment
        self._databases = databases
        self._path = path
        self._file_id = _file_id(path)
        self._look_at_s = 0.0
        self._plans: dict[int, Plan] = {}
        with self._reading() as transaction:
            found = transaction.get(b"format", db=databases["meta"])
            if found != str(FORMAT).encode():
                raise QueueUnusable(
                    f"{path} has format {found!r}, this version reads {FORMAT}; its data is "
                    "untouched: use the version of Tailrace that wrote it"
                )
            self.epoch = self._number(transaction, b"epoch")

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
        self._look()
        with explained("cannot read the queue", self._path), self._environment.begin() as found:
            yield found

    def _look(self) -> None:
        """Notice that somebody removed or replaced the file: what we have open is then a ghost."""
        now_s = monotonic_s()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_INTERVAL_S
            if _file_id(self._path) != self._file_id:
                raise QueueUnusable(f"the queue at {self._path} was removed or replaced")

    def _number(self, transaction: Any, key: bytes) -> int:
        return int(KEY.unpack(unsealed(transaction.get(key, db=self._databases["meta"])))[0])

    def last_sequence(self) -> int:
        """Return the newest sequence ever given; 0 before the first."""
        with self._reading() as transaction:
            return self._number(transaction, b"next") - 1

    def read(self, *, after: int, records_max: int = 1_000) -> list[Record | GapRecord]:
        """Return the records after a sequence, in order; whole blocks, so some may be more.

        A damaged block is returned as a gap record in its place and logged.
        """
        blocks: list[tuple[int, int, bytes]] = []
        with self._reading() as transaction:
            found = 0
            for first, last, block in self._blocks_from(transaction, after + 1):
                blocks.append((first, last, block))
                found += last - first + 1
                if found >= records_max:
                    break
        records: list[Record | GapRecord] = []
        for first, last, block in blocks:
            decoded = self._decoded(first, last, block)
            records += [each for each in decoded if each.sequence > after]
        return records

    def _blocks_from(self, transaction: Any, sequence: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield (first sequence, last sequence, block) from the block that holds `sequence` on.

        The extent comes from the keys: a block's own header may be what is damaged.
        """
        cursor = transaction.cursor(self._databases["blocks"])
        if not cursor.set_range(KEY.pack(sequence)):
            if not cursor.last():
                return
        elif cursor.key() != KEY.pack(sequence) and not cursor.prev():
            cursor.first()
        items = cursor.iternext(keys=True, values=True)
        current = next(items, None)
        while current is not None:
            following = next(items, None)
            (first,) = KEY.unpack(current[0])
            end = KEY.unpack(following[0])[0] if following else self._number(transaction, b"next")
            if end > sequence:
                yield first, end - 1, current[1]
            current = following

    def _decoded(self, first: int, last: int, block: bytes) -> list[Record | GapRecord]:
        try:
            records = decode_block(block, self._plan)
            if not records or first <= records[0].sequence <= records[-1].sequence <= last:
                return records
            reason = "its sequences are not those of its key"
        except BlockDamaged as error:
            reason = str(error)
        log.error("block damaged", first_sequence=first, last_sequence=last, error=reason)
        return [GapRecord(last, Gap("", "", "block-damaged", 0, now_ns(), 0, 0))]

    def _plan(self, plan_id: int) -> Plan:
        """Return a plan of the catalog. Raises KeyError when it is not there, or damaged."""
        if plan_id not in self._plans:
            with self._reading() as transaction:
                stored = transaction.get(PLAN_KEY.pack(plan_id), db=self._databases["plans"])
            try:
                self._plans[plan_id] = decode_plan(unsealed(stored))
            except (BlockDamaged, msgspec.DecodeError) as error:
                raise KeyError(f"plan {plan_id} of the catalog: {error}") from error
        return self._plans[plan_id]

    def tallies(self) -> dict[str, Tally]:
        """Return what has arrived of every group, by collector/device/group."""
        return self._small_values("groups", Tally)

    def _small_values(self, name: str, kind: type[Any]) -> dict[str, Any]:
        """Return a database of small values; what is damaged is left out, and logged."""
        found = {}
        with self._reading() as transaction:
            for key, stored in transaction.cursor(self._databases[name]):
                try:
                    found[key.decode()] = msgspec.msgpack.decode(unsealed(stored), type=kind)
                except (BlockDamaged, msgspec.DecodeError, UnicodeDecodeError) as error:
                    log.error("entry damaged", database=name, key=key.hex(), error=error)
        return found

    def summary(self) -> QueueSummary:
        """Return the queue's extent. Costs two look-ups, whatever the backlog."""
        with self._reading() as transaction:
            blocks = self._databases["blocks"]
            stat = transaction.stat(blocks)
            last = self._number(transaction, b"next") - 1
            cursor = transaction.cursor(blocks)
            first, oldest_at_ns = 0, 0
            if cursor.first():
                (first,) = KEY.unpack(cursor.key())
                oldest_at_ns = _first_at_ns(cursor.value())
        return QueueSummary(first, last, stat["entries"], bytes_of(stat), oldest_at_ns)

    def read_at_ns_after(self, sequence: int) -> int | None:
        """Return the earliest read time of the block that follows a sequence, None when none."""
        with self._reading() as transaction:
            for _, _, block in self._blocks_from(transaction, sequence + 1):
                return _first_at_ns(block)
        return None


def _first_at_ns(block: bytes) -> int:
    """Return the earliest read time a block claims; for showing an age, nothing more."""
    try:
        return read_header(block).first_at_ns
    except BlockDamaged:
        return 0


def _file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = (path / "data.mdb").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
