"""A gateway that stores nothing: scans in, samples out, on a clock that is told.

What the service does with a scan (service.py), without handoff and queue: the same normalizers,
begun in the same order, with the same counters after a restart.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from common.block import NO_SOURCE_TIME, Part
from common.records import Column, Plan, Scan
from normalizer.columns import GroupNormalizer
from normalizer.counters import CounterState
from normalizer.deriving import AssetMemory, asset_of, inputs_of
from normalizer.watching import Judged, Reason, Watch, plain_value, reasons

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

    def __init__(
        self, plans: Sequence[Plan], watch_of: Callable[[Plan], Watch] | None = None
    ) -> None:
        """`watch_of` gives who is told of each verdict; without it none is explained."""
        self._plans = {plan.fingerprint: plan for plan in plans}
        self._watch_of = watch_of
        self._counters: dict[str, CounterState] = {}
        self._groups: dict[bytes, GroupNormalizer] = {}
        self._memories: dict[str, AssetMemory] = {}
        self._remember()
        self._now_ns: int | None = None

    def restart(self) -> None:
        """Forget what a new process of the gateway would not know."""
        self._groups.clear()
        self._memories.clear()
        self._remember()

    def _remember(self) -> None:
        """Have every asset remember what an expression of any of its groups asks for."""
        for plan in self._plans.values():
            memory = self._memories.setdefault(asset_of(plan), AssetMemory())
            memory.wanted.update(inputs_of(plan))

    def advance(self, to_ns: int) -> Iterator[Part]:
        """Let the time pass up to an instant, exclusive; yield what is told meanwhile."""
        began_ns = to_ns if self._now_ns is None else self._now_ns
        stride_ns = max(DUE_EVERY_NS, (to_ns - began_ns) // LOOKS_MAX)
        for now_ns in range(began_ns + stride_ns, to_ns, stride_ns):
            if not any(group.waits for group in self._groups.values()):
                break
            yield from self.look(now_ns)
        self._now_ns = max(to_ns, began_ns)

    def look(self, now_ns: int) -> Iterator[Part]:
        """Yield what is due without a scan: held back, to be repeated, windows that are over."""
        for group in self._groups.values():
            if group.waits:
                for part, _ in group.due(now_ns, alive=True):
                    yield part

    def take(self, scan: Scan) -> list[Part]:
        """Return what a scan tells. Raises ScanMalformed."""
        group = self._group(self._plans[scan.plan])
        part = group.normalise(scan)
        self._counters.update(group.changed_counters)
        return [*group.take_closed(), part] if part is not None else group.take_closed()

    def _group(self, plan: Plan) -> GroupNormalizer:
        """Return the plan's normalizer, begun with its first scan."""
        if plan.fingerprint not in self._groups:
            memory = self._memories.setdefault(asset_of(plan), AssetMemory())
            group = self._groups[plan.fingerprint] = GroupNormalizer(plan, self._counters, memory)
            if self._watch_of is not None:
                group.watch = self._watch_of(plan)
        return self._groups[plan.fingerprint]


class Reasons:
    """Keeps the reason of every value, for whoever asks for them scan by scan."""

    def __init__(self) -> None:
        self._found: list[tuple[Column, Reason]] = []

    def watch_of(self, plan: Plan) -> Watch:
        """Return who keeps the reasons of a plan's values."""

        def keep(judged: Judged) -> None:
            found = reasons(judged, plan.columns)
            self._found += [(plan.columns[each.column], each) for each in found]

        return keep

    def taken(self) -> list[tuple[Column, Reason]]:
        """Return the reasons of every value since the last call."""
        taken, self._found = self._found, []
        return taken


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
