"""What was collected against what arrived: every loss on the way becomes a gap, counted.

Each scan carries how many scans and samples its group has collected since the collector's epoch
began, itself included. A jump in these counts is a loss, whatever caused it, and its size.
"""

from collections.abc import Mapping

from common.handoff import Delivery
from common.queue import Tally
from common.records import Gap, Plan


class Accounts:
    """The tally of every group, ahead of the queue by what is not yet committed."""

    def __init__(self, committed: Mapping[str, Tally], queue_epoch: int = 0) -> None:
        self._tallies = dict(committed)
        self._queue_epoch = queue_epoch
        self.changed: dict[str, Tally] = {}
        """Tallies to commit together with the scans that changed them."""
        self.gaps = 0

    def enter(self, delivery: Delivery, plan: Plan, read_at_ns: int, samples: int) -> list[Gap]:
        """Book one arrived scan of `samples` samples; return what is missing before it.

        A scan that arrived but cannot be used is booked with samples=0: it is then missing itself.
        """
        key = f"{delivery.collector}/{plan.device}/{plan.group}"
        before = self._tallies.get(key)
        gaps: list[Gap] = []
        if before is not None and before.epoch != delivery.epoch:
            times = _span(before.last_at_ns, read_at_ns)
            gaps.append(Gap(plan.device, plan.group, "outbox-lost", *times, 0, 0))
            before = None
        elif before is None and delivery.epoch < self._queue_epoch and delivery.scan_count > 1:
            # The queue was begun anew under a collector that lived on: what it counted before
            # went to another queue, and nobody here knows how much of it.
            gaps.append(Gap(plan.device, plan.group, "queue-new", read_at_ns, read_at_ns, 0, 0))
            earlier = delivery.sample_count - samples
            before = Tally(delivery.epoch, delivery.scan_count - 1, earlier, read_at_ns)
        if before is None:
            before = Tally(delivery.epoch, 0, 0, read_at_ns)
        arrived = 1 if samples else 0
        scans = delivery.scan_count - before.scans - arrived
        missing = delivery.sample_count - before.samples - samples
        if scans > 0 or missing > 0:
            cause = "outbox-full" if arrived else "scan-damaged"
            times = _span(before.last_at_ns, read_at_ns)
            gaps.append(Gap(plan.device, plan.group, cause, *times, max(scans, 0), max(missing, 0)))
        self._tallies[key] = self.changed[key] = Tally(
            delivery.epoch, delivery.scan_count, delivery.sample_count, read_at_ns
        )
        self.gaps += len(gaps)
        return gaps

    def committed(self) -> None:
        """Forget what had to be committed: it is."""
        self.changed = {}


def _span(a_ns: int, b_ns: int) -> tuple[int, int]:
    """First and last in order, even when the clock was set back in between."""
    return min(a_ns, b_ns), max(a_ns, b_ns)
