"""The normalizer's loop: receive, normalise, commit, acknowledge.

Invariant: a scan is acknowledged only after the transaction that holds its record, its
collector's position and its group's tally is durable. Being killed at any instruction therefore
costs nothing: what is not acknowledged comes again, what is committed is recognised as a repeat.
"""

from pathlib import Path

import msgspec

from common.block import Part
from common.clock import monotonic_s, now_ns
from common.handoff import Delivery, HandoffReceiver
from common.health import INTERVAL_S, write_health
from common.log import get_log
from common.process import Stopping
from common.queue import QueueWriter
from common.records import Gap, Plan, Position, decode_scan
from normalizer.accounts import Accounts
from normalizer.columns import GroupNormalizer, ScanMalformed
from normalizer.targets import Targets

WAIT_S = 0.1
GATHER_S = 0.01
"""Scans that come within this time share one commit: one fsync for all of them."""
COMMIT_BYTES_MAX = 8 * 1024 * 1024
TRIM_STEPS_MAX = 16
"""Small transactions a second; scans wait meanwhile, so never all at once after an outage."""
READER_CHECK_S = 60.0
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
        self._run_dir = run_dir
        self._targets = targets
        self._plans: dict[bytes, Plan] = {}
        self._groups: dict[tuple[str, str], GroupNormalizer] = {}
        self._accounts = Accounts(queue.tallies(), queue.epoch)
        self._scans = self._samples_received = self._samples_committed = 0
        self._next_check_s = self._next_readers_s = 0.0

    def run(self, stopping: Stopping) -> None:
        """Return once told to stop; what was received by then is committed and acknowledged."""
        while not stopping.requested:
            self.step()
        self._report("stopping")

    def step(self) -> None:
        """Receive one group of scans, if any come, and take them over."""
        deliveries = self._receiver.receive(
            wait_s=WAIT_S, gather_s=GATHER_S, bytes_max=COMMIT_BYTES_MAX
        )
        if deliveries:
            self._take_over(deliveries)
        now_s = monotonic_s()
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + INTERVAL_S
            self._report("running")

    def _take_over(self, deliveries: list[Delivery]) -> None:
        self._plans.update(self._receiver.arrived_plans)
        parts: list[Part | Gap] = []
        positions: dict[str, Position] = {}
        for delivery in deliveries:
            parts += self._normalised(delivery)
            positions[delivery.collector] = Position(delivery.epoch, delivery.sequence)
        self._queue.append(
            parts,
            plans=list(self._receiver.arrived_plans.values()),
            positions=positions,
            tallies=self._accounts.changed,
        )
        self._accounts.committed()
        self._receiver.acknowledge()
        for gap in self._queue.dropped:
            # What was last told of these groups may be what is gone: tell all of them again.
            self._groups.pop((gap.device, gap.group), None)
        self._scans += len(deliveries)
        self._samples_committed += sum(part.samples for part in parts if isinstance(part, Part))

    def _normalised(self, delivery: Delivery) -> list[Part | Gap]:
        """Return what one scan adds to the queue: the gaps before it, then its own part."""
        plan = self._plan(delivery.plan)
        if plan is None:
            # Not entered into the accounts: the group's next scan shows it as missing.
            log.error("scan without a plan", collector=delivery.collector)
            return []
        part: Part | None = None
        try:
            scan = decode_scan(delivery.payload)
            part = self._group(plan).normalise(scan)
        except (msgspec.DecodeError, ScanMalformed) as error:
            log.error("scan not usable", device=plan.device, group=plan.group, error=error)
            return [*self._accounts.enter(delivery, plan, now_ns(), 0)]
        self._samples_received += len(scan.values)
        gaps = self._accounts.enter(delivery, plan, scan.read_at_ns, len(scan.values))
        return [*gaps, part] if part is not None else [*gaps]

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
            group = self._groups[key] = GroupNormalizer(plan)
        return group

    def _report(self, state: str) -> None:
        """Once a second: trim what every target has, free dead readers, write health."""
        if self._targets.changed():
            self._groups.clear()  # A target that begins now must be told everything once.
        positions = self._targets.positions(self._queue.epoch)
        delivered = min(positions.values(), default=0)
        self._queue.delivered = delivered
        self._queue.fit_to_disk()
        for _ in range(TRIM_STEPS_MAX):
            if not delivered or not self._queue.trim(delivered):
                break
        now_s = monotonic_s()
        if now_s >= self._next_readers_s:
            self._next_readers_s = now_s + READER_CHECK_S
            self._queue.check_readers()
        summary = self._queue.summary()
        waiting_since_ns = self._queue.read_at_ns_after(delivered)
        age_s = max(0.0, (now_ns() - waiting_since_ns) / 1e9) if waiting_since_ns else 0.0
        detail = {
            "scans": self._scans,
            "samples_received": self._samples_received,
            "samples_committed": self._samples_committed,
            "repeats": self._receiver.repeats,
            "gaps": self._accounts.gaps,
            "queue": {
                "first_sequence": summary.first_sequence,
                "last_sequence": summary.last_sequence,
                "depth": summary.last_sequence - delivered,
                "oldest_age_s": round(age_s, 3),
                "bytes": summary.bytes,
                "capacity_bytes": self._queue.capacity_bytes,
                "cursors": positions,
            },
        }
        write_health(self._run_dir, "normalizer", state, detail)
