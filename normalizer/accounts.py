"""What was collected against what arrived: every loss on the way becomes a gap, counted.

Each scan carries how many scans and samples its group has collected since the collector's epoch
began, itself included. A jump in these counts is a loss, whatever caused it, and its size. A group
from which nothing arrives any more is spoken for by its collector, once that has nothing else to
say (`Counts`).
"""

from collections.abc import Mapping

from common.handoff import Counts, Delivery
from common.outbox import group_key_hash
from common.queue import Account, Changes, Tally, loss_of
from common.queue.ledger import OUTBOX_FULL, OUTBOX_LOST, QUEUE_NEW, SCAN_DAMAGED
from common.records import Gap, Plan


class Accounts:
    """The tally of every group, ahead of the queue by what is not yet committed."""

    def __init__(self, committed: Mapping[str, Tally], queue_epoch: int = 0) -> None:
        self._tallies = dict(committed)
        self._queue_epoch = queue_epoch
        self.changed: dict[str, Tally] = {}
        """Tallies to commit together with the scans that changed them."""
        self.ledger = Changes()
        """What those scans, and what is missing before them, change in the ledger."""
        self.gaps = 0

    def enter(
        self,
        delivery: Delivery,
        plan: Plan,
        read_at_ns: int,
        samples: int,
        reported: int = 0,
        *,
        made: int = 0,
        closed: int = 0,
    ) -> list[Gap]:
        """Book one arrived scan of `samples` samples, some of which are `reported` to the queue.

        `made` more were calculated of them, of which some are among those reported too; `closed`
        are results of windows, all of them reported beside.

        Return what is missing before it. A scan that arrived but cannot be used is booked with
        samples=0: it is then missing itself.
        """
        key = f"{delivery.collector}/{plan.device}/{plan.group}"
        of_group = (plan.device, plan.group)
        before, gaps = self._before(key, of_group, delivery.epoch, read_at_ns)
        if before is None and delivery.epoch < self._queue_epoch and delivery.scan_count > 1:
            # The queue was begun anew under a collector that lived on: what it counted before
            # went to another queue, and nobody here knows how much of it.
            gaps.append(Gap(*of_group, QUEUE_NEW, read_at_ns, read_at_ns, 0, 0))
            earlier = delivery.sample_count - samples
            before = Tally(delivery.epoch, delivery.scan_count - 1, earlier, read_at_ns)
        if before is None:
            before = Tally(delivery.epoch, 0, 0, read_at_ns)
        arrived = 1 if samples else 0
        scans = delivery.scan_count - before.scans - arrived
        missing = delivery.sample_count - before.samples - samples
        if scans > 0 or missing > 0:
            cause = OUTBOX_FULL if arrived else SCAN_DAMAGED
            times = _span(before.last_at_ns, read_at_ns)
            gaps.append(Gap(*of_group, cause, *times, max(scans, 0), max(missing, 0)))
        self._tallies[key] = self.changed[key] = Tally(
            delivery.epoch, delivery.scan_count, delivery.sample_count, read_at_ns
        )
        collected = samples + made
        self.ledger.add(
            *of_group, Account(collected=collected + closed, unchanged=collected - reported)
        )
        return self._booked(gaps)

    def enter_counts(self, counts: Counts, at_ns: int) -> list[Gap]:
        """Book what a collector says it read, once all that it still has has arrived."""
        gaps: list[Gap] = []
        known = self._keys_of(counts.collector)
        for each in counts.groups:
            key = known.get(each.key)
            if key is None and each.device:
                key = f"{counts.collector}/{each.device}/{each.group}"
            if key is None:
                continue  # A group of which nothing ever arrived, and whose name nobody knows.
            _, device, group = key.split("/")
            before, lost = self._before(key, (device, group), counts.epoch, at_ns)
            gaps += lost
            if before is None and not lost and counts.epoch < self._queue_epoch:
                # As for a scan: what it counted before went to another queue.
                gaps.append(Gap(device, group, QUEUE_NEW, at_ns, at_ns, 0, 0))
                before = Tally(counts.epoch, each.scans, each.samples, at_ns)
                self._tallies[key] = self.changed[key] = before
            before = before or Tally(counts.epoch, 0, 0, at_ns)
            scans, samples = each.scans - before.scans, each.samples - before.samples
            if scans > 0:
                times = _span(before.last_at_ns, at_ns)
                gaps.append(Gap(device, group, OUTBOX_FULL, *times, scans, samples))
                tally = Tally(counts.epoch, each.scans, each.samples, at_ns)
                self._tallies[key] = self.changed[key] = tally
        return self._booked(gaps)

    def committed(self) -> None:
        """Forget what had to be committed: it is."""
        self.changed = {}
        self.ledger = Changes()

    def _before(
        self, key: str, of_group: tuple[str, str], epoch: int, at_ns: int
    ) -> tuple[Tally | None, list[Gap]]:
        """Return the group's tally of this epoch; what an earlier epoch still had is a gap."""
        before = self._tallies.get(key)
        if before is None or before.epoch == epoch:
            return before, []
        times = _span(before.last_at_ns, at_ns)
        return None, [Gap(*of_group, OUTBOX_LOST, *times, 0, 0)]

    def _keys_of(self, collector: str) -> dict[bytes, str]:
        """Return the tallies of one collector by the hash that its outbox knows groups by."""
        found = {}
        for key in self._tallies:
            name, device, group = key.split("/")
            if name == collector:
                found[group_key_hash(device, group)] = key
        return found

    def _booked(self, gaps: list[Gap]) -> list[Gap]:
        for gap in gaps:
            lost = Account(collected=gap.samples, lost={gap.cause: loss_of(gap)})
            self.ledger.add(gap.device, gap.group, lost)
        self.gaps += len(gaps)
        return gaps


def _span(a_ns: int, b_ns: int) -> tuple[int, int]:
    """First and last in order, even when the clock was set back in between."""
    return min(a_ns, b_ns), max(a_ns, b_ns)
