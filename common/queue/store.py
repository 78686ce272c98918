"""What writing to the queue has in common: its transactions, its books, its clock, its claims."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from common.block import BlockHeader, open_batch
from common.errors import BlockDamaged
from common.log import get_log
from common.queue.aging import QueueClock, forget_marks, marked_before
from common.queue.bounds import BacklogLimit, Bounds
from common.queue.change import Change
from common.queue.cursor import CLAIM_RECORDS, CursorWatch, Settled
from common.queue.cutoff import spans_of
from common.queue.environment import KEY, PLAN_KEY, bytes_of, explained, unsealed
from common.queue.ledger import BLOCK_DAMAGED, Account
from common.queue.losses import gaps_of, loss_of
from common.queue.quarantine import keep_damaged
from common.queue.reader import QueueReader, header_or_none
from common.queue.standing import Standing
from common.queue.state import Stage
from common.records import Gap, Plan, fingerprint_of

log = get_log(__name__)


class Held(NamedTuple):
    """One block as it stands in the queue."""

    first: int
    last: int
    block: bytes
    header: BlockHeader | None
    """None when it is damaged."""

    @property
    def stage(self) -> int:
        """What it has given up; a damaged block is taken for whole."""
        return self.header.stage if self.header else Stage.WHOLE

    @property
    def empty(self) -> bool:
        """True when it only marks where blocks were that every target has had."""
        return self.header is not None and not self.header.plans and not self.header.gaps


class QueueStore(QueueReader):
    """The queue opened for its one writer: every change is one durable transaction."""

    def __init__(
        self, environment: Any, databases: dict[str, Any], path: Path, bounds: Bounds
    ) -> None:
        super().__init__(environment, databases, path)
        self.bounds = bounds
        self.capacity_bytes = bounds.capacity_bytes
        """What blocks may occupy now: as configured, less where the disk has less to give."""
        self.delivered = 0
        """Every target has everything up to this sequence; set by whoever watches the cursors."""
        self.cursors: Callable[[], Mapping[str, Settled]] = self.all_cursors
        """Target → how far it has come at this moment; what follows is claimed."""
        self.claim_records = CLAIM_RECORDS
        self.limits: Mapping[str, BacklogLimit] = {}
        """Of the targets that have one."""
        self.untold: list[Gap] = []
        """What was dropped since somebody last emptied this list: those values must be retold."""
        with self._reading() as transaction:
            self.state = self._state_in(transaction)
            self._accounts = self._small_values_in(transaction, "ledger", Account)
            catalog = list(transaction.cursor(databases["plans"]))
        self._plan_ids: dict[bytes, int] = {}
        self._next_plan_id = 1 + max((PLAN_KEY.unpack(key)[0] for key, _ in catalog), default=0)
        for key, stored in catalog:
            (plan_id,) = PLAN_KEY.unpack(key)
            try:
                self._plan_ids[fingerprint_of(unsealed(stored))] = plan_id
            except BlockDamaged as error:
                log.error("plan damaged; its blocks become gaps", plan=plan_id, error=error)
        self.clock = QueueClock(self.state)
        self.cuts = self.cut_offs()
        """Target → what it was cut off from."""
        self._looked: Mapping[str, Settled] = {}

    @property
    def fingerprints(self) -> set[bytes]:
        """Return the names of all plans of the catalog."""
        return set(self._plan_ids)

    @property
    def plan_ids(self) -> list[int]:
        """Return the ids of all plans of the catalog."""
        return list(self._plan_ids.values())

    def plan(self, fingerprint: bytes) -> Plan | None:
        """Return a plan of the catalog, None when it is not there or damaged."""
        plan_id = self._plan_ids.get(fingerprint)
        try:
            return None if plan_id is None else self.plan_by_id(plan_id)
        except KeyError:
            return None

    @contextmanager
    def changing(self) -> Iterator[Change]:
        """Open a write transaction; leaving the block commits it, durably, with its books.

        Raises QueueUnusable when that fails: nothing may be assumed then; leave the process.
        """
        self._look()
        state = self.state.copy()
        self.clock.stamp(state)
        with (
            explained("cannot write the queue", self._path),
            self._environment.begin(write=True) as transaction,
        ):
            change = Change(transaction, self._databases, state)
            yield change
            accounts = change.write_books(self._accounts)
        self.state = state
        self._accounts.update(accounts)

    def all_cursors(self) -> dict[str, Settled]:
        """Return how far every target has come that ever had a cursor here."""
        targets = [each.name for each in (self._path / "cursors").glob("*")]
        watch = CursorWatch(self._path, targets)
        settled = watch.settled(self.epoch)
        watch.close()
        return settled

    def look(self, settled: Mapping[str, Settled]) -> None:
        """Take note of how far the targets have come which the queue is kept for.

        What all of them have is removed from now on.
        """
        self._looked = dict(settled)
        self.delivered = self.standing_as_looked().everybody

    def standing_as_looked(self) -> Standing:
        """Return where the targets stood when somebody last looked, which may be removed."""
        return self._standing(self._looked)

    def standing_now(self) -> Standing:
        """Return where they stand at this moment, which must be left alone."""
        return self._standing(self.cursors())

    def _standing(self, settled: Mapping[str, Settled]) -> Standing:
        return Standing(settled, spans_of(self.cuts), self.claim_records)

    @property
    def used_bytes(self) -> int:
        """What blocks occupy on disk."""
        with self._reading() as transaction:
            return bytes_of(transaction.stat(self._databases["blocks"]))

    def held_from(self, sequence: int) -> Iterator[Held]:
        """Yield blocks from the one that holds `sequence` on, in one short transaction."""
        with self._reading() as transaction:
            for first, last, block in self._blocks_from(transaction, sequence):
                yield Held(first, last, block, header_or_none(block))

    def marked_older(self, age_s: float) -> int:
        """Return the last sequence known to be older than that by the queue's own clock, or 0."""
        with self._reading() as transaction:
            return marked_before(transaction, self._databases["ages"], self.clock.now_s() - age_s)

    def sizes_from(self, sequence: int, blocks_max: int) -> list[tuple[int, int, int]]:
        """Return (first sequence, last sequence, bytes) of some blocks, touching none of them."""
        with self._reading(buffers=True) as transaction:
            found = islice(self._blocks_from(transaction, sequence), blocks_max)
            return [(first, last, len(block)) for first, last, block in found]

    def gaps_without(self, held: Held, cause: str) -> tuple[list[Gap], list[Gap]]:
        """Return what is missing without a block: (its samples, the gaps that stood in it).

        Raises BlockDamaged.
        """
        if held.header is None:
            raise BlockDamaged(f"the header of the block at {held.first}")
        batch = open_batch(held.block, self.plan_by_id) if held.header.gaps else None
        older = [gap for _, _, gap in batch.gaps] if batch else []
        return gaps_of(held.header, cause, self.plan_by_id), older

    def forget_marks(self, change: Change, *, up_to: int) -> None:
        """Remove the marks of age at or before a sequence."""
        forget_marks(change.transaction, self._databases["ages"], up_to)

    def oldest_mark(self) -> int | None:
        """Return the first sequence of which the age is marked."""
        with self._reading() as transaction:
            keys = transaction.cursor(self._databases["ages"]).iternext(values=False)
            return next((int(KEY.unpack(key)[0]) for key in keys), None)

    def block_count(self) -> int:
        """Return how many blocks there are."""
        with self._reading() as transaction:
            return int(transaction.stat(self._databases["blocks"])["entries"])

    def before_the_newest(self, blocks: int) -> int:
        """Return the last sequence before the newest blocks, which may be gone in a moment."""
        if not blocks:
            return self.state.next_sequence - 1
        with self._reading() as transaction:
            cursor = transaction.cursor(self._databases["blocks"])
            if not cursor.last():
                return 0
            for _ in range(blocks - 1):
                if not cursor.prev():
                    return 0
            return int(KEY.unpack(cursor.key())[0]) - 1

    def lose(self, held: Sequence[Held], change: Change, gaps: Sequence[Gap]) -> None:
        """Take blocks out and book what was queued in them as lost."""
        for each in held:
            change.remove(each.first, len(each.block), each.stage)
        change.ledger.lose_queued(gaps)

    def gaps_of_lost_block(self, held: Held, change: Change, reason: str) -> list[Gap]:
        """Keep a damaged block aside, take it out and book it; return the gaps for its place."""
        keep_damaged(self._path, held.first, held.last, held.block, reason)
        gaps: list[Gap] = self.gaps_of_damaged(held.block)
        self.lose([held], change, gaps)
        if held.header is None:
            self._recount(change)
        return gaps

    def _recount(self, change: Change) -> None:
        """Book as damaged what the ledger still counts as queued and no header knows.

        A damaged header does not say how much its block held; the ledger and all others do.
        """
        found = self._queued_in(change.transaction)
        for key, account in self._accounts.items():
            missing = account.queued + change.ledger.get(key, Account()).queued - found.get(key, 0)
            if missing > 0:
                device, _, group = key.partition("/")
                gap = Gap(device, group, BLOCK_DAMAGED, 0, 0, 0, missing)
                lost = Account(queued=-missing, lost={BLOCK_DAMAGED: loss_of(gap)})
                change.ledger.add(device, group, lost)
