"""The normalizer's loop: receive, normalise, commit, acknowledge.

Invariant: a scan is acknowledged only after the transaction that holds its record, its
collector's position, its group's tally and its place in the ledger is durable. Being killed at any
instruction therefore costs nothing: what is not acknowledged comes again, what is committed is
recognised as a repeat.
"""

from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path

import msgspec

from common.block import Part
from common.clock import monotonic_s, now_ns
from common.handoff import Counts, Delivery, HandoffReceiver
from common.health import INTERVAL_S, STALE_S, Health, read_health
from common.log import get_log
from common.process import Stopping
from common.queue import Account, Changes, QueueWriter
from common.records import Gap, Plan, Position, decode_scan
from normalizer.accounts import Accounts
from normalizer.columns import GroupNormalizer, Origin, ScanMalformed
from normalizer.counters import CounterState, decode_state, encode_state
from normalizer.deriving import AssetMemory, asset_of, inputs_of
from normalizer.maintenance import Maintenance
from normalizer.report import Report
from normalizer.targets import Targets

WAIT_S = 0.1
GATHER_S = 0.01
"""Scans that come within this time share one commit: one fsync for all of them."""
COMMIT_BYTES_MAX = 8 * 1024 * 1024
READER_CHECK_S = 60.0
DUE_EVERY_S = 0.1
LATE_S = 1.0
"""A scan that was read longer ago than this waited for us; others may be waiting still."""
SETTLE_S = 2.0
"""So long after the last late scan no window is closed by the clock alone."""
PLANS_MAX = 4_096
"""Kept in memory; the catalog has them all."""

log = get_log(__name__)


class NormalizerService:
    """Moves scans from the handoff into the queue until told to stop."""

    def __init__(
        self, queue: QueueWriter, receiver: HandoffReceiver, targets: Targets, run_dir: Path
    ) -> None:
        self._queue = queue
        self._receiver = receiver
        self._targets = targets
        self._plans: dict[bytes, Plan] = {}
        self._planless: set[bytes] = set()
        self._groups: dict[tuple[str, str], GroupNormalizer] = {}
        self._memories: dict[str, AssetMemory] = {}
        self._known_counters = {
            name: decode_state(state) for name, state in queue.counter_states().items()
        }
        self._counters: dict[str, CounterState] = {}
        """To commit together with the scans that advanced them."""
        self._collector_of: dict[tuple[str, str], str] = {}
        self._heard_at_s: dict[tuple[str, str], float] = {}
        self._run_dir = run_dir
        self._alive: set[str] = set()
        """Processes that read, by their fresh health files, as of the last look around."""
        self._accounts = Accounts(queue.tallies(), queue.epoch)
        self._maintenance = Maintenance(queue)
        self._report = Report(run_dir, queue)
        self._next_check_s = self._next_readers_s = self._next_due_s = 0.0
        self._behind_until_s = 0.0
        self._stepped_at_s = monotonic_s()
        queue.cursors = lambda: targets.claiming(queue.epoch)

    def run(self, stopping: Stopping) -> None:
        """Return once told to stop; what was received by then is committed and acknowledged."""
        while not stopping.requested:
            self.step()
        self._look_around("stopping")

    def step(self) -> None:
        """Receive one group of scans, if any come, and take them over; then keep house."""
        if monotonic_s() - self._stepped_at_s > LATE_S:
            self._behind()  # We were stopped, or the disk was slow: scans have piled up.
        self._stepped_at_s = monotonic_s()
        arrived = self._receiver.receive(
            wait_s=min(WAIT_S, self._maintenance.wait_s),
            gather_s=GATHER_S,
            bytes_max=COMMIT_BYTES_MAX,
            closed=self._queue.full,
        )
        if arrived:
            self._take_over(arrived)
        if monotonic_s() >= self._next_check_s:
            self._next_check_s = monotonic_s() + INTERVAL_S
            self._look_around("full" if self._queue.full else "running")
        self._tell_without_scans()
        self._maintenance.run_when_due()
        self._retell()

    def _take_over(self, arrived: list[Delivery | Counts]) -> None:
        self._plans.update(self._receiver.arrived_plans)
        parts: list[Part | Gap] = []
        positions: dict[str, Position] = {}
        for each in arrived:
            if isinstance(each, Counts):
                parts += self._accounts.enter_counts(each, now_ns())
                continue
            parts += self._normalised(each)
            positions[each.collector] = Position(each.epoch, each.sequence)
        if positions or parts:
            self._queue.append(
                parts,
                plans=list(self._receiver.arrived_plans.values()),
                positions=positions,
                tallies=self._accounts.changed,
                accounts=self._accounts.ledger,
                counters={name: encode_state(each) for name, each in self._counters.items()},
            )
        self._known_counters |= self._counters
        self._counters.clear()
        self._accounts.committed()
        self._receiver.acknowledge()
        scans = sum(isinstance(each, Delivery) for each in arrived)
        self._report.committed(scans, parts)

    def _normalised(self, delivery: Delivery) -> list[Part | Gap]:
        """Return what one scan adds to the queue: the gaps before it, then its own part."""
        plan = self._plan(delivery.plan)
        if plan is None:
            # Not entered into the accounts: the group's next scan shows it as missing.
            if delivery.plan not in self._planless:
                self._planless.add(delivery.plan)  # One line for all of a ring.
                log.error("scans without a plan", collector=delivery.collector)
            return []
        part: Part | None = None
        try:
            scan = decode_scan(delivery.payload)
            if now_ns() - scan.read_at_ns > LATE_S * 1e9:
                self._behind()
            self._collector_of[plan.device, plan.group] = delivery.collector
            self._heard_at_s[plan.device, plan.group] = monotonic_s()
            group = self._group(plan)
            part = group.normalise(scan)
        except (msgspec.DecodeError, ScanMalformed) as error:
            log.error("scan not usable", device=plan.device, group=plan.group, error=error)
            return [*self._accounts.enter(delivery, plan, now_ns(), 0)]
        samples, reported = len(scan.values), part.samples if part else 0
        self._report.samples_received += samples
        closed = group.take_closed()
        self._counters.update(group.changed_counters)
        gaps = self._accounts.enter(
            delivery, plan, scan.read_at_ns, samples, reported,
            made=group.made_samples, closed=sum(each.samples for each in closed),
        )  # fmt: skip
        return [*gaps, *closed, part] if part is not None else [*gaps, *closed]

    def _behind(self) -> None:
        self._behind_until_s = monotonic_s() + SETTLE_S

    def _plan(self, fingerprint: bytes) -> Plan | None:
        if fingerprint not in self._plans and (found := self._queue.plan(fingerprint)):
            if len(self._plans) >= PLANS_MAX:
                self._plans.clear()
            self._plans[fingerprint] = found
        return self._plans.get(fingerprint)

    def _group(self, plan: Plan) -> GroupNormalizer:
        """Return the group's normalizer; under a new plan it begins anew and tells everything."""
        key = (plan.device, plan.group)
        group = self._groups.get(key)
        if group is None or group.layout.plan.fingerprint != plan.fingerprint:
            memory = self._memories.setdefault(asset_of(plan), AssetMemory())
            self._recall(plan, memory)
            # Those of scans that this very commit is to hold are known as well.
            counters = ChainMap(self._counters, self._known_counters)
            group = self._groups[key] = GroupNormalizer(plan, counters, memory)
        return group

    def _recall(self, plan: Plan, memory: AssetMemory) -> None:
        """Give a new plan's expressions what other groups of the asset told last.

        From here on the memory is kept; but a group that is read once an hour may just have been.
        """
        groups = [
            group
            for group in self._groups.values()
            if asset_of(group.layout.plan) == asset_of(plan)
        ]
        for name in inputs_of(plan) - memory.reads.keys():
            told = [read for group in groups if (read := group.last_told(name)) is not None]
            if told:
                memory.reads[name] = max(told, key=lambda read: read.at_ns)

    def _tell_without_scans(self) -> None:
        """Commit values that were held back and are due, and repetitions after long silence."""
        if monotonic_s() < self._next_due_s or self._queue.full:
            return
        self._next_due_s = monotonic_s() + DUE_EVERY_S
        parts: list[Part | Gap] = []
        ledger = Changes()
        if monotonic_s() - self._stepped_at_s > LATE_S:
            self._behind()  # Since this step began: what came meanwhile is not taken over yet.
        caught_up = monotonic_s() >= self._behind_until_s
        for key, group in self._groups.items():
            if not group.waits:
                continue
            # Nothing is repeated for a collector that may be dead.
            alive = self._collector_of.get(key) in self._alive
            for part, origin in group.due(now_ns(), alive=alive, caught_up=caught_up):
                parts.append(part)
                # What was held had been booked as unchanged; the others were never collected.
                fresh = Account(collected=part.samples)
                held = Account(unchanged=-part.samples)
                ledger.add(*key, held if origin is Origin.HELD else fresh)
        if parts:
            self._queue.append(parts, accounts=ledger)
            self._report.committed(0, parts)

    def _retell(self) -> None:
        """Have every value told again whose last record may be among what was dropped."""
        for gap in self._queue.untold:
            if not gap.device:  # Whose it was is not known.
                for group in self._groups.values():
                    group.forget(gap.last_at_ns)
            elif found := self._groups.get((gap.device, gap.group)):
                found.forget(gap.last_at_ns)
        self._queue.untold.clear()

    def _let_go_of_groups(self, spoken: Mapping[str, Health]) -> None:
        """Forget groups that their collectors no longer have: another table is in effect.

        Their last values would be repeated, and their windows closed, for ever.
        """
        silent_since_s = monotonic_s() - STALE_S
        for key, collector in list(self._collector_of.items()):
            devices = spoken[collector].detail.get("devices") if collector in spoken else None
            if not isinstance(devices, dict) or self._heard_at_s[key] > silent_since_s:
                continue
            device = devices.get(key[0])
            groups = device.get("groups") if isinstance(device, dict) else None
            if not isinstance(groups, dict) or key[1] not in groups:
                self._groups.pop(key, None)
                del self._collector_of[key], self._heard_at_s[key]

    def _look_around(self, state: str) -> None:
        """Once a second: what the targets have, what the disk gives; then say how things are."""
        if self._targets.changed():
            self._groups.clear()  # A target that begins now must be told everything once.
        fresh_ns = now_ns() - int(STALE_S * 1e9)
        spoken = {
            name: health
            for name, health in read_health(self._run_dir).items()
            if health.at_ns > fresh_ns
        }
        self._alive = {name for name, health in spoken.items() if health.state != "stopping"}
        self._let_go_of_groups(spoken)
        settled = self._targets.settled(self._queue.epoch)
        self._queue.limits = self._targets.limits
        self._queue.look(settled)
        self._queue.fit_to_disk()
        if monotonic_s() >= self._next_readers_s:
            self._next_readers_s = monotonic_s() + READER_CHECK_S
            self._queue.check_readers()
        self._report.write(state, settled, repeats=self._receiver.repeats, gaps=self._accounts.gaps)
