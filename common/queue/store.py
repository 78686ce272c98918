"""What writing to the queue has in common: its transactions, its books, its clock, its claims."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from common.block import BlockHeader
from common.errors import BlockDamaged
from common.log import get_log
from common.queue.aging import QueueClock
from common.queue.bounds import Bounds
from common.queue.change import Change
from common.queue.cursor import CLAIM_RECORDS, CursorWatch
from common.queue.environment import PLAN_KEY, bytes_of, explained, unsealed
from common.queue.ledger import BLOCK_DAMAGED, Account
from common.queue.losses import loss_of
from common.queue.quarantine import keep_damaged
from common.queue.reader import QueueReader, header_or_none
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
        self.cursors: Callable[[], Iterable[int]] = self.all_cursors
        """Where every target's cursor stands at this moment; what follows it is claimed."""
        self.claim_records = CLAIM_RECORDS
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

    def all_cursors(self) -> list[int]:
        """Return the positions of every target that ever had a cursor here."""
        targets = [each.name for each in (self._path / "cursors").glob("*")]
        watch = CursorWatch(self._path, targets)
        positions = watch.positions(self.epoch)
        watch.close()
        return list(positions.values())

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
