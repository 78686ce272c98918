"""A gateway that stores nothing: scans in, samples out, on a clock that is told.

What the service does with a scan (service.py), without handoff and queue: the same normalizers,
begun in the same order, with the same counters after a restart.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from common.block import NO_SOURCE_TIME, Part
from common.records import Column, Plan, Scan
from normalizer.columns import GroupNormalizer
from normalizer.counters import CounterState
from normalizer.deriving import DeviceMemory
from normalizer.watching import Judged, Reason, plain_value, reasons

DUE_EVERY_NS = 100_000_000
"""As often as the service looks (service.py)."""
LOOKS_MAX = 20_000
"""In one step: during a longer one the clock goes in larger strides."""


class Published(NamedTuple):
    """One value as it would enter the queue."""

    column: Column
    value: Any
    quality: int
    read_at_ns: int
    source_at_ns: int | None


class Rehearsal:
    """The normalizers of some plans. Scans of plans that it was not given are not for it."""

    def __init__(self, plans: Sequence[Plan], *, watched: bool = True) -> None:
        self._plans = {plan.fingerprint: plan for plan in plans}
        self._watched = watched
        self._counters: dict[str, CounterState] = {}
        self._groups: dict[bytes, GroupNormalizer] = {}
        self._memories: dict[str, DeviceMemory] = {}
        self._reasons: list[tuple[Column, Reason]] = []
        self._now_ns: int | None = None
        self.made_samples = 0
        """Values that were made, told or not."""

    def restart(self) -> None:
        """Forget what a new process of the gateway would not know."""
        self._groups.clear()
        self._memories.clear()

    def advance(self, to_ns: int) -> Iterator[Published]:
        """Let the time pass up to an instant, exclusive; yield what is told meanwhile."""
        began_ns = to_ns if self._now_ns is None else self._now_ns
        stride_ns = max(DUE_EVERY_NS, (to_ns - began_ns) // LOOKS_MAX)
        for now_ns in range(began_ns + stride_ns, to_ns, stride_ns):
            if not any(group.waits for group in self._groups.values()):
                break
            yield from self.look(now_ns)
        self._now_ns = max(to_ns, began_ns)

    def look(self, now_ns: int) -> Iterator[Published]:
        """Yield what is due without a scan: held back, to be repeated, windows that are over."""
        for group in self._groups.values():
            if group.waits:
                for part, _ in group.due(now_ns, alive=True):
                    yield from published(part)

    def take(self, scan: Scan) -> Iterator[Published]:
        """Yield what a scan tells. Raises ScanMalformed."""
        group = self._group(self._plans[scan.plan])
        part = group.normalise(scan)
        self.made_samples += group.made_samples
        self._counters.update(group.changed_counters)
        for closed in group.take_closed():
            yield from published(closed)
        if part is not None:
            yield from published(part)

    def take_reasons(self) -> list[tuple[Column, Reason]]:
        """Return the reasons of every value since the last call."""
        taken, self._reasons = self._reasons, []
        return taken

    def _group(self, plan: Plan) -> GroupNormalizer:
        """Return the plan's normalizer, begun with its first scan."""
        if plan.fingerprint not in self._groups:
            memory = self._memories.setdefault(plan.device, DeviceMemory())
            group = self._groups[plan.fingerprint] = GroupNormalizer(plan, self._counters, memory)
            if self._watched:

                def keep(judged: Judged) -> None:
                    found = reasons(judged, plan.columns)
                    self._reasons += [(plan.columns[each.column], each) for each in found]

                group.watch = keep
        return self._groups[plan.fingerprint]


def published(part: Part) -> Iterator[Published]:
    """Yield the samples of a part, in the order of their columns."""
    columns = part.layout.plan.columns
    present = range(len(columns)) if part.indexes is None else part.indexes.tolist()
    nulls = set() if part.nulls is None else set(part.nulls.tolist())
    qualities: dict[int, int] = {}
    if part.quality_at is not None and part.qualities is not None:
        qualities = dict(zip(part.quality_at.tolist(), part.qualities.tolist(), strict=True))
    values = {value_type: iter(array) for value_type, array in part.arrays.items()}
    for place, index in enumerate(present):
        column = columns[index]
        value = plain_value(column.value_type, next(values[column.value_type]))
        source_ns = NO_SOURCE_TIME if part.source_at_ns is None else int(part.source_at_ns[place])
        yield Published(
            column,
            None if place in nulls else value,
            qualities.get(place, 0),
            part.read_at_ns,
            None if source_ns == NO_SOURCE_TIME else source_ns,
        )
