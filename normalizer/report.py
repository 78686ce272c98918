"""What the normalizer says of itself and of the queue once a second, in its health file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.block import Part
from common.clock import now_ns
from common.health import write_health
from common.queue import Account, QueueWriter, Settled
from common.records import Gap
from normalizer.maintenance import Inflow
from normalizer.timing import ClockWatch


class Report:
    """The account of the normalizer; counts since the process started."""

    def __init__(self, run_dir: Path, queue: QueueWriter) -> None:
        self._run_dir = run_dir
        self._queue = queue
        self._inflow = Inflow()
        self._clock = ClockWatch()
        self._inflow_bytes = queue.appended_bytes
        self._scans = self._samples_committed = 0
        self.samples_received = 0

    def committed(self, scans: int, parts: Sequence[Part | Gap]) -> None:
        """Count what one commit held."""
        self._scans += scans
        self._samples_committed += sum(part.samples for part in parts if isinstance(part, Part))

    def write(self, state: str, settled: Mapping[str, Settled], *, repeats: int, gaps: int) -> None:
        """Write the health file."""
        detail = {
            "scans": self._scans,
            "samples_received": self.samples_received,
            "samples_committed": self._samples_committed,
            "repeats": repeats,
            "gaps": gaps,
            **self._clock.detail(),
            "queue": self._queue_detail(settled),
            "ledger": ledger_detail(self._queue.ledger(self._queue.delivered).total),
        }
        write_health(self._run_dir, "normalizer", state, detail)

    def _queue_detail(self, settled: Mapping[str, Settled]) -> dict[str, Any]:
        queue = self._queue
        summary = queue.summary()
        waiting_since_ns = queue.read_at_ns_after(queue.delivered)
        age_s = max(0.0, (now_ns() - waiting_since_ns) / 1e9) if waiting_since_ns else 0.0
        self._inflow.add(queue.appended_bytes - self._inflow_bytes)
        self._inflow_bytes = queue.appended_bytes
        free_bytes = queue.capacity_bytes - summary.bytes
        hours = self._inflow.hours_until_full(free_bytes, queue.compaction.ratio)
        return {
            "first_sequence": summary.first_sequence,
            "last_sequence": summary.last_sequence,
            "depth": summary.last_sequence - queue.delivered,
            "oldest_age_s": round(age_s, 3),
            "bytes": summary.bytes,
            "capacity_bytes": queue.capacity_bytes,
            "autonomy_h": None if hours is None else round(hours, 1),
            "when_full": queue.bounds.when_full,
            "full": queue.full,
            "cursors": {target: each.position for target, each in settled.items()},
            "cut_off": {
                target: {"at_ns": cut.begun_at_ns, "samples": cut.samples}
                for target, cut in queue.cuts.items()
                if target in settled
            },
        }


def ledger_detail(account: Account) -> dict[str, Any]:
    """Return an account as the health file carries it: samples."""
    return {
        "collected": account.collected,
        "unchanged": account.unchanged,
        "delivered": account.delivered,
        "queued": account.queued,
        "lost": {cause: loss.samples for cause, loss in account.lost.items()},
        "unknown_losses": sum(loss.unknown for loss in account.lost.values()),
    }
