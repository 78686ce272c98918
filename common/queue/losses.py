"""From blocks to what is missing once they are gone: gaps, and the changes of the ledger."""

from collections.abc import Callable, Iterable, Mapping

from common.block import BlockHeader
from common.queue.ledger import Account, Loss, group_key
from common.records import Gap, Plan

PlanOf = Callable[[int], Plan]


def owner(plan_of: PlanOf, plan_id: int) -> tuple[str, str]:
    """Return (device, group) of a plan, empty ones when the catalog no longer knows it."""
    try:
        plan = plan_of(plan_id)
    except KeyError:
        return "", ""
    return plan.device, plan.group


def gaps_of(header: BlockHeader, cause: str, plan_of: PlanOf) -> list[Gap]:
    """Return what is missing without this block, to the sample; needs its header alone.

    Gap records that stood in its body are not told: whoever can read the body carries them on.
    """
    times = (header.first_at_ns, header.last_at_ns)
    return [
        Gap(*owner(plan_of, each.plan_id), cause, *times, each.records, each.samples)
        for each in header.plans
    ]


def unknown_gap(cause: str, first_at_ns: int, last_at_ns: int) -> Gap:
    """Return a gap of which neither the group nor the size is known."""
    return Gap("", "", cause, first_at_ns, last_at_ns, 0, 0)


def joined(gaps: Iterable[Gap]) -> list[Gap]:
    """Return the gaps with those of one device, group and cause added up; order is kept.

    Gaps of unknown size stay apart from those that are known, or they would vanish in them.
    """
    found: dict[tuple[str, str, str, bool], Gap] = {}
    for gap in gaps:
        key = (gap.device, gap.group, gap.cause, gap.scans == gap.samples == 0)
        first = found.get(key)
        found[key] = gap if first is None else _together(first, gap)
    return list(found.values())


def _together(a: Gap, b: Gap) -> Gap:
    return Gap(
        a.device,
        a.group,
        a.cause,
        min(a.first_at_ns, b.first_at_ns),
        max(a.last_at_ns, b.last_at_ns),
        a.scans + b.scans,
        a.samples + b.samples,
    )


def loss_of(gap: Gap) -> Loss:
    """Return a gap as the ledger counts it."""
    return Loss(gap.scans, gap.samples, int(gap.scans == gap.samples == 0))


class Changes(dict[str, Account]):
    """What one transaction changes in the ledger, by group."""

    def add(self, device: str, group: str, change: Account) -> None:
        """Add to one group's account."""
        key = group_key(device, group)
        self[key] = self[key] + change if key in self else change

    def merge(self, changes: Mapping[str, Account]) -> None:
        """Add what somebody else has gathered."""
        for key, change in changes.items():
            self[key] = self[key] + change if key in self else change

    def lose_queued(self, gaps: Iterable[Gap]) -> None:
        """Book gaps of samples that were in the queue."""
        for gap in gaps:
            lost = {gap.cause: loss_of(gap)}
            self.add(gap.device, gap.group, Account(queued=-gap.samples, lost=lost))

    def deliver(self, header: BlockHeader, plan_of: PlanOf) -> None:
        """Book a block that every target has."""
        for each in header.plans:
            change = Account(delivered=each.samples, queued=-each.samples)
            self.add(*owner(plan_of, each.plan_id), change)
