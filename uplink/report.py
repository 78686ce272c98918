"""What an uplink says of itself once a second, in its health file."""

from pathlib import Path
from typing import Any

from common.clock import monotonic_s
from common.health import INTERVAL_S, write_health


class Report:
    """The account of one uplink; every field is what its name says, since the process started."""

    def __init__(self, run_dir: Path, process: str, target: str) -> None:
        self.run_dir = run_dir
        self._process = process
        self._due_at_s = 0.0
        self.target = target
        self.process_state = "waiting"
        """`running`, `idle`, `waiting`, `stopping`."""
        self.state = "away"
        """Of the target: `online`, `away`, `refused`."""
        self.error: str | None = None
        self.notes: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()
        """What a person must do soon."""
        self.certificate_expires_ms: int | None = None
        self.acked_sequence = 0
        self.last_ack_at_ns: int | None = None
        self.published = 0
        self.acked = 0
        self.refused = 0
        """Answers that were no; the same message may count more than once."""
        self.set_aside = 0
        """Messages in the dead-letter store now, or about to be."""
        self.retried = 0
        """Messages of that store that were published again, and taken."""
        self.retry_waiting = 0
        """Messages of that store that a person wants published again."""
        self.in_flight = 0
        self.waiting: int | None = None
        """Sequences of the queue that are not settled; None before the queue is open."""
        self.backlog = 0
        """Of those, the ones that the backfill lane has before it."""

    @property
    def lane(self) -> str:
        """`backfill` while there is a backlog behind current values, else `live`."""
        return "backfill" if self.backlog else "live"

    @property
    def due(self) -> bool:
        """True when the health file should be written again."""
        return monotonic_s() >= self._due_at_s

    def detail(self) -> dict[str, Any]:
        """Return the account as the health file carries it."""
        return {
            "target": self.target,
            "state": self.state,
            "error": self.error,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "certificate_expires_ms": self.certificate_expires_ms,
            "acked_sequence": self.acked_sequence,
            "last_ack_at_ns": self.last_ack_at_ns,
            "published": self.published,
            "acked": self.acked,
            "refused": self.refused,
            "set_aside": self.set_aside,
            "retried": self.retried,
            "retry_waiting": self.retry_waiting,
            "in_flight": self.in_flight,
            "lane": self.lane,
            "waiting": self.waiting,
            "backlog": self.backlog,
        }

    def write_when_due(self) -> None:
        """Write the health file when a second has passed since the last time."""
        if self.due:
            self.write()

    def write(self) -> None:
        """Write the health file now."""
        self._due_at_s = monotonic_s() + INTERVAL_S
        write_health(self.run_dir, self._process, self.process_state, self.detail())
