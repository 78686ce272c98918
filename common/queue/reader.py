"""The queue as every process but the normalizer sees it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from common.block import BlockHeader, decode_block, read_header
from common.clock import monotonic_s, now_ns
from common.errors import BlockDamaged, FormatUnknown, QueueUnusable
from common.log import get_log
from common.queue.cutoff import CutOff, cut_key, cut_offs_in, decoded, next_span
from common.queue.environment import (
    DATA_FILE,
    DATABASES,
    KEY,
    PLAN_KEY,
    bytes_of,
    check_format,
    explained,
    file_id,
    open_environment,
    unsealed,
)
from common.queue.ledger import BLOCK_DAMAGED, Account, Ledger, group_key
from common.queue.losses import Changes, gaps_of, owner, unknown_gap
from common.queue.state import QueueState
from common.records import GapRecord, Plan, Record, decode_plan

HEADERS_MAX = 256
"""Read in one transaction."""
LOOK_INTERVAL_S = 1.0
"""Between looks at whether the file we have open is still the one at its path."""
DELIVERED_BLOCKS_MAX = 4_096
"""Blocks that are delivered and not yet removed are looked at for the ledger, this many at most."""

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

    def __init__(
        self, environment: Any, databases: dict[str, Any], path: Path, target: str = ""
    ) -> None:
        self._environment = environment
        self._databases = databases
        self._path = path
        self._target = target
        self._file_id = file_id(path)
        self._look_at_s = 0.0
        self._plans: dict[int, Plan] = {}
        self._stored_epoch: bytes | None = None
        with self._reading() as transaction:
            stored = transaction.get(b"epoch", db=databases["meta"])
            (self.epoch,) = KEY.unpack(unsealed(stored))
        self._stored_epoch = stored

    @classmethod
    def open(cls, path: Path, *, target: str = "") -> "QueueReader":
        """Open an existing queue. Raises QueueUnusable when there is none yet.

        With a `target`, `read` tells what that target was cut off from instead of what is there.
        """
        with explained("cannot open the queue", path):
            if not (path / DATA_FILE).exists():
                raise QueueUnusable(f"no queue at {path} yet; the normalizer creates it")
            check_format(path)
            environment, databases = open_environment(path, DATABASES, readonly=True, create=False)
        return cls(environment, databases, path, target)

    def close(self) -> None:
        """Release the environment."""
        self._environment.close()

    @contextmanager
    def _reading(self, *, buffers: bool = False) -> Iterator[Any]:
        """Open a read transaction; with `buffers`, its values are views, valid inside it only."""
        self._look()
        with (
            explained("cannot read the queue", self._path),
            self._environment.begin(buffers=buffers) as found,
        ):
            if self._stored_epoch not in (None, found.get(b"epoch", db=self._databases["meta"])):
                # In the same transaction: a record that was appended after it has a sequence that
                # was given before, and must not leave under the epoch that it had then.
                raise QueueUnusable(f"the queue at {self._path} was given a new epoch; open again")
            yield found

    def _look(self) -> None:
        """Notice that somebody removed or replaced the file: what we have open is then a ghost."""
        now_s = monotonic_s()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_INTERVAL_S
            if file_id(self._path) != self._file_id:
                raise QueueUnusable(f"the queue at {self._path} was removed or replaced")

    def _state_in(self, transaction: Any) -> QueueState:
        stored = unsealed(transaction.get(b"state", db=self._databases["meta"]))
        return msgspec.msgpack.decode(stored, type=QueueState)

    def last_sequence(self) -> int:
        """Return the newest sequence ever given; 0 before the first."""
        with self._reading() as transaction:
            return self._state_in(transaction).next_sequence - 1

    def read(
        self, *, after: int, records_max: int = 1_000, up_to: int | None = None
    ) -> list[Record | GapRecord]:
        """Return the records after a sequence, in order; whole blocks, so some may be more.

        None is later than `up_to`; records of one sequence always come together. A damaged block
        is returned as gap records in its place and logged. Empty: there are none, and for those
        that were given by now there never will be.
        """
        while True:
            with self._reading() as transaction:
                cut = next_span(self._own_cut_in(transaction).spans, after)
                end = up_to
                if cut is not None and cut.first > after + 1:  # First what stands before it.
                    end = cut.first - 1 if up_to is None else min(up_to, cut.first - 1)
                elif cut is not None:
                    if up_to is not None and cut.last > up_to:
                        return []
                    if cut.records:
                        return [*cut.records]
                    after = cut.last
                    continue
                blocks = self._some_blocks(transaction, after, records_max, end)
            records: list[Record | GapRecord] = []
            for first, last, block in blocks:
                found = self._decoded(first, last, block)
                most = last if end is None else end
                records += [each for each in found if after < each.sequence <= most]
            if records:
                return records
            reached = [at for at in (end, *(last for _, last, _ in blocks[-1:])) if at is not None]
            after = min(reached, default=after)
            if not reached or (after == end and (cut is None or after < cut.first - 1)):
                return []

    def _some_blocks(
        self, transaction: Any, after: int, records_max: int, end: int | None
    ) -> list[tuple[int, int, bytes]]:
        """Return blocks that end after a sequence and begin at or before `end`."""
        blocks: list[tuple[int, int, bytes]] = []
        found = 0
        for first, last, block in self._blocks_from(transaction, after + 1):
            if end is not None and first > end:
                break
            blocks.append((first, last, block))
            found += last - first + 1
            if found >= records_max:
                break
        return blocks

    def _own_cut_in(self, transaction: Any) -> CutOff:
        if not self._target:
            return CutOff()
        stored = transaction.get(cut_key(self._target), db=self._databases["meta"])
        return decoded(stored, self._target)

    def cut_ahead(self, after: int) -> bool:
        """Return whether this reader's target is cut off from something after a sequence."""
        if not self._target:
            return False
        with self._reading() as transaction:
            return next_span(self._own_cut_in(transaction).spans, after) is not None

    def cut_offs(self) -> dict[str, CutOff]:
        """Return target → what it was cut off from, of every target that ever was."""
        with self._reading() as transaction:
            return cut_offs_in(transaction, self._databases["meta"])

    def _blocks_from(self, transaction: Any, sequence: int) -> Iterator[tuple[int, int, Any]]:
        """Yield (first sequence, last sequence, block) from the block that holds `sequence` on.

        The extent comes from the keys: a block's own header may be what is damaged.
        """
        cursor = transaction.cursor(self._databases["blocks"])
        if not cursor.set_range(KEY.pack(sequence)):
            if not cursor.last():
                return
        elif bytes(cursor.key()) != KEY.pack(sequence) and not cursor.prev():
            cursor.first()
        items = cursor.iternext(keys=True, values=True)
        current = next(items, None)
        while current is not None:
            following = next(items, None)
            (first,) = KEY.unpack(current[0])
            end = (
                KEY.unpack(following[0])[0]
                if following
                else self._state_in(transaction).next_sequence
            )
            if end > sequence:
                yield first, end - 1, current[1]
            current = following

    def blocks(self, *, after: int = 0) -> Iterator[tuple[int, int, bytes]]:
        """Yield (first sequence, last sequence, block) of every block that ends after a sequence.

        Each block is read in a transaction of its own, so that no page is pinned for long; what
        is removed meanwhile is not seen, what is merged meanwhile may be seen from `after` on.
        """
        while True:
            with self._reading() as transaction:
                found = next(self._blocks_from(transaction, after + 1), None)
            if found is None:
                return
            yield found
            after = found[1]

    def headers(self, *, after: int = 0) -> Iterator[tuple[int, int, BlockHeader | None]]:
        """Yield (first sequence, last sequence, header) as `blocks` does; None: it is damaged.

        Touches the pages of headers alone, some hundred in a transaction.
        """
        while True:
            with self._reading(buffers=True) as transaction:
                found = [
                    (first, last, header_or_none(block))
                    for first, last, block in islice(
                        self._blocks_from(transaction, after + 1), HEADERS_MAX
                    )
                ]
            if not found:
                return
            yield from found
            after = found[-1][1]

    def _decoded(self, first: int, last: int, block: bytes) -> list[Record | GapRecord]:
        try:
            records = decode_block(block, self.plan_by_id)
            if not records or first <= records[0].sequence <= records[-1].sequence <= last:
                return records
            reason = "its sequences are not those of its key"
        except FormatUnknown as error:
            raise QueueUnusable(
                f"the block at {first} of {self._path}: {error}; use the version that wrote it"
            ) from error
        except BlockDamaged as error:
            reason = str(error)
        log.error("block damaged", first_sequence=first, last_sequence=last, error=reason)
        gaps = self.gaps_of_damaged(block)
        return [GapRecord(last, gap, number) for number, gap in enumerate(gaps)]

    def gaps_of_damaged(self, block: bytes) -> list[Any]:
        """Return what a damaged block held, as far as its header still says."""
        try:
            header = read_header(block)
        except BlockDamaged:
            return [unknown_gap(BLOCK_DAMAGED, 0, now_ns())]
        gaps = gaps_of(header, BLOCK_DAMAGED, self.plan_by_id)
        if header.gaps or not gaps:
            gaps.append(unknown_gap(BLOCK_DAMAGED, header.first_at_ns, header.last_at_ns))
        return gaps

    def plan_by_id(self, plan_id: int) -> Plan:
        """Return a plan of the catalog. Raises KeyError when it is not there, or damaged."""
        if plan_id not in self._plans:
            with self._reading() as transaction:
                stored = transaction.get(PLAN_KEY.pack(plan_id), db=self._databases["plans"])
            try:
                self._plans[plan_id] = decode_plan(unsealed(stored))
            except (BlockDamaged, msgspec.DecodeError) as error:
                raise KeyError(f"plan {plan_id} of the catalog: {error}") from error
        return self._plans[plan_id]

    def plans(self) -> list[Plan]:
        """Return every plan of the catalog; what is damaged is left out."""
        with self._reading() as transaction:
            keys = transaction.cursor(self._databases["plans"]).iternext(values=False)
            plan_ids = [PLAN_KEY.unpack(key)[0] for key in keys]
        found = []
        for plan_id in plan_ids:
            with suppress(KeyError):
                found.append(self.plan_by_id(plan_id))
        return found

    def tallies(self) -> dict[str, Tally]:
        """Return what has arrived of every group, by collector/device/group."""
        return self._small_values("groups", Tally)

    def ledger(self, delivered: int = 0) -> Ledger:
        """Return what became of every sample collected.

        Blocks wholly at or before `delivered` count as delivered though they are still here.
        """
        with self._reading() as transaction:
            accounts = self._small_values_in(transaction, "ledger", Account)
            changes = Changes()
            for count, (_, last, block) in enumerate(self._blocks_from(transaction, 0)):
                if last > delivered or count >= DELIVERED_BLOCKS_MAX:
                    break
                try:
                    changes.deliver(read_header(block), self.plan_by_id)
                except BlockDamaged:
                    continue  # Its counts are not known here; `tailrace queue verify` shows it.
        for key, change in changes.items():
            accounts[key] = accounts.get(key, Account()) + change
        return Ledger(accounts)

    def books(self) -> tuple[dict[str, Account], dict[str, int]]:
        """Return, as of one instant, the accounts, and the samples that the blocks' headers tell.

        Reads the header of every block: some seconds for a queue of gigabytes.
        """
        with self._reading(buffers=True) as transaction:
            accounts = self._small_values_in(transaction, "ledger", Account)
            return accounts, self._queued_in(transaction)

    def _queued_in(self, transaction: Any) -> dict[str, int]:
        """Return the samples in the queue by group, as the headers tell."""
        found: dict[str, int] = {}
        for _, _, block in self._blocks_from(transaction, 0):
            header = header_or_none(block)
            for each in header.plans if header else ():
                key = group_key(*owner(self.plan_by_id, each.plan_id))
                found[key] = found.get(key, 0) + each.samples
        return found

    def _small_values(self, name: str, kind: type[Any]) -> dict[str, Any]:
        with self._reading() as transaction:
            return self._small_values_in(transaction, name, kind)

    def _small_values_in(self, transaction: Any, name: str, kind: type[Any]) -> dict[str, Any]:
        """Return a database of small values; what is damaged is left out, and logged."""
        found = {}
        for key, stored in transaction.cursor(self._databases[name]):
            try:
                found[bytes(key).decode()] = msgspec.msgpack.decode(unsealed(stored), type=kind)
            except (BlockDamaged, msgspec.DecodeError, UnicodeDecodeError) as error:
                log.error("entry damaged", database=name, key=key.hex(), error=error)
        return found

    def summary(self) -> QueueSummary:
        """Return the queue's extent. Costs two look-ups, whatever the backlog."""
        with self._reading() as transaction:
            blocks = self._databases["blocks"]
            stat = transaction.stat(blocks)
            last = self._state_in(transaction).next_sequence - 1
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
                if at_ns := _first_at_ns(block):  # What every target has had is empty.
                    return at_ns
        return None


def header_or_none(block: bytes) -> BlockHeader | None:
    """Return a block's header, None when it is damaged."""
    try:
        return read_header(block)
    except BlockDamaged:
        return None


def _first_at_ns(block: bytes) -> int:
    """Return the earliest read time a block claims; for showing an age, nothing more."""
    header = header_or_none(block)
    return header.first_at_ns if header else 0
