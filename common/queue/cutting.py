"""Cutting off targets whose backlog has passed its limit, so that they do not fill the disk.

What is cut is the oldest that the target has not had, in whole blocks. Nothing is kept for it of
that any more: what all others have is removed, what they wait for stays for them. Spared is what
the target may be delivering (its claim), so that it is told of nothing that arrives after all; a
span that its claim has reached does not grow any more, because the target may have been told of it.

Limits
    A backlog is looked at every LOOK_EVERY_S, LOOK_BLOCKS at a time, and cut back to KEPT_SHARE of
    its limit. One step cuts at most RUN_BLOCKS. What it costs the target is kept per group.
"""

from collections.abc import Sequence
from typing import NamedTuple

from common.clock import now_ns
from common.errors import BlockDamaged
from common.log import get_log
from common.queue.bounds import BacklogLimit
from common.queue.cursor import Settled
from common.queue.cutoff import CUT_SPANS_MAX, CutOff, CutSpan, cut_key, spans_of
from common.queue.ledger import TARGET_CUT_OFF
from common.queue.losses import joined
from common.queue.standing import Span, Standing, merged, own_spans
from common.queue.store import Held, QueueStore
from common.records import Gap

LOOK_EVERY_S = 1.0
LOOK_BLOCKS = 4_096
"""Only their keys and sizes are read: a few ms."""
RUN_BLOCKS = 256
KEPT_SHARE = 0.95
"""Of the bytes that may wait; so that a target that stays away is not cut at every commit."""

log = get_log(__name__)


class _Due(NamedTuple):
    """How much of a target's backlog is too much."""

    target: str
    aged: int
    """Up to this sequence, because of its age."""
    excess_bytes: int


class Cutting:
    """Cuts off the targets of one store."""

    def __init__(self, store: QueueStore) -> None:
        self._store = store
        self._look_at_s = 0.0
        self._after: int | None = None
        """Up to where a look that is under way has come."""
        self._waiting: dict[str, int] = {}
        """Bytes that it has found so far."""
        self._has: dict[str, list[Span]] = {}
        self._due: list[_Due] = []

    def step(self) -> bool:
        """Look at some blocks, or cut off one run of them; False when there is nothing to do."""
        while self._due:
            due = self._due.pop()
            if left := self._cut(due):
                self._due.append(left)
                return True
        if not self._store.limits:
            return False
        if self._after is None:
            now_s = self._store.clock.now_s()
            if now_s < self._look_at_s:
                return False
            self._look_at_s = now_s + LOOK_EVERY_S
            self._begin_to_look()
        return self._look_on() or bool(self._due)

    def _begin_to_look(self) -> None:
        store = self._store
        settled, cut = store.cursors(), spans_of(store.cuts)
        self._has = {
            name: merged([*own_spans(settled[name]), *cut.get(name, ())])
            for name in store.limits
            if name in settled
        }
        self._waiting = dict.fromkeys(self._has, 0)
        self._after = 0

    def _look_on(self) -> bool:
        """Count what waits in the next blocks; return whether there are more."""
        store = self._store
        limits = [each.bytes_max for each in store.limits.values() if each.bytes_max is not None]
        if limits and store.used_bytes > min(limits):
            found = store.sizes_from((self._after or 0) + 1, LOOK_BLOCKS)
            for first, last, size_bytes in found:
                for name, has in self._has.items():
                    if not any(each.first <= first and last <= each.last for each in has):
                        self._waiting[name] += size_bytes
            if len(found) == LOOK_BLOCKS:
                self._after = found[-1][1]
                return True
        self._after = None
        self._due = [
            _Due(name, self._aged(store.limits[name]), _excess_bytes(store.limits[name], waiting))
            for name, waiting in self._waiting.items()
            if name in store.limits
        ]
        self._due = [each for each in self._due if each.aged or each.excess_bytes]
        self._forget_old_marks()
        return False

    def _aged(self, limit: BacklogLimit) -> int:
        return 0 if limit.age_max_s is None else self._store.marked_older(limit.age_max_s)

    def _forget_old_marks(self) -> None:
        """Forget when the oldest sequences came, where a target holds them back for long."""
        ages = [each.age_max_s for each in self._store.limits.values()]
        ages.append(self._store.bounds.age_max_s)
        oldest_s = max((age_s for age_s in ages if age_s is not None), default=None)
        if oldest_s is None:
            return
        store, useful = self._store, self._store.marked_older(oldest_s)
        if (store.oldest_mark() or useful) < useful:
            with store.changing() as change:
                store.forget_marks(change, up_to=useful - 1)

    def _cut(self, due: _Due) -> _Due | None:
        """Cut off one run; return what is left to do, None when that is nothing."""
        store = self._store
        settled = store.cursors().get(due.target)
        if settled is None:
            return None
        old = store.cuts.get(due.target, CutOff())
        run = self._run(due, settled, old)
        if not run:
            return None
        lost, gaps = self._gaps(run)
        passed = [each for each in old.spans if each.last <= settled.position]
        oldest = store.sizes_from(0, 1)
        gone = [each for each in passed if not oldest or each.last < oldest[0][0]]
        spans = old.spans[len(gone) :]
        standing = Standing({due.target: settled}, {}, store.claim_records)
        grown = _grown(spans, run, gaps, standing)
        if len(grown) > CUT_SPANS_MAX:
            return None
        anew = not old.pending(settled.position)
        at_ns = now_ns()
        cut = CutOff(
            grown,
            at_ns if anew else old.begun_at_ns,
            at_ns,
            old.times + anew,
            joined([*old.lost, *lost]),
        )
        with store.changing() as change:
            change.put_small("meta", cut_key(due.target), cut)
        store.cuts[due.target] = cut
        store.untold += lost
        if anew:
            log.warning(
                "target cut off: more waits for it than its limit; it is told of a gap",
                target=due.target,
                from_sequence=run[0].first,
            )
        taken_bytes = sum(len(held.block) for held in run)
        return due._replace(excess_bytes=due.excess_bytes - taken_bytes)

    def _run(self, due: _Due, settled: Settled, old: CutOff) -> list[Held]:
        """Return the oldest neighbouring blocks that are too much and may be cut."""
        for free in self._free(due.target, settled, old):
            run: list[Held] = []
            taken_bytes = 0
            for held in self._store.held_from(free.first):
                if held.first < free.first or (not run and held.empty):
                    continue
                enough = taken_bytes >= due.excess_bytes and held.last > due.aged
                if held.last > free.last or enough or len(run) == RUN_BLOCKS:
                    break
                run.append(held)
                taken_bytes += len(held.block)
            if run:
                return run
        return []

    def _free(self, target: str, settled: Settled, old: CutOff) -> list[Span]:
        """Return where the target has nothing and claims nothing, cut at its edges."""
        store = self._store
        cut = {target: [Span(each.first, each.last) for each in old.spans]}
        standing = Standing({target: settled}, cut, store.claim_records)
        taken = merged([*standing.everywhere, *standing.claims])
        newest = store.state.next_sequence - 1
        behind = [*standing.edges, *(each.last for each in taken)]
        begins = sorted({1, *(at + 1 for at in behind if at < newest)})
        ends = [newest, *standing.edges, *(each.first - 1 for each in taken)]
        pieces = [Span(at, min(end for end in ends if end >= at)) for at in begins if at <= newest]
        return [
            piece
            for piece in pieces
            if not any(each.first <= piece.first <= each.last for each in taken)
        ]

    def _gaps(self, run: Sequence[Held]) -> tuple[list[Gap], list[Gap]]:
        """Return (samples lost to the target, those and the gaps that stood among them)."""
        lost: list[Gap] = []
        older: list[Gap] = []
        for held in run:
            try:
                missing, carried = self._store.gaps_without(held, TARGET_CUT_OFF)
            except BlockDamaged:
                missing, carried = [], self._store.gaps_of_damaged(held.block)
            lost += missing
            older += carried
        lost = joined(lost)
        return lost, joined([*older, *lost])


def _excess_bytes(limit: BacklogLimit, waiting_bytes: int) -> int:
    if limit.bytes_max is None or waiting_bytes <= limit.bytes_max:
        return 0
    return waiting_bytes - int(KEPT_SHARE * limit.bytes_max)


def _grown(
    spans: Sequence[CutSpan], run: Sequence[Held], gaps: list[Gap], standing: Standing
) -> list[CutSpan]:
    """Return the spans with a run that follows the last one, or stands for itself."""
    first, last = run[0].first, run[-1].last
    for i, each in enumerate(spans):
        if each.last == first - 1 and not standing.claimed(each.first, each.first):
            grown = CutSpan(each.first, last, joined([*each.gaps, *gaps]))
            return [*spans[:i], grown, *spans[i + 1 :]]
    return sorted([*spans, CutSpan(first, last, gaps)], key=lambda each: each.first)
