"""The targets that the queue is kept for: named by IT, watched by their cursors.

it/cloud.toml may change, or be wrong, at any moment; OT's data must not care. While it cannot be
read nothing is trimmed, nobody is cut off, and the last names that could be read stay known.
"""

from collections.abc import Mapping
from pathlib import Path

from common.config import CLOUD_FILE, BacklogMax, backlogs_max, target_names
from common.errors import Finding
from common.log import get_log
from common.queue import BacklogLimit, CursorWatch, Settled
from common.queue.bounds import MIB

log = get_log(__name__)


class Targets:
    """The configured targets and how far each has acknowledged."""

    def __init__(self, config_dir: Path, queue_path: Path) -> None:
        self._config_dir = config_dir
        self._queue_path = queue_path
        self._read_at_ns: int | None = None
        self._readable = False
        self.names: list[str] = []
        self.limits: dict[str, BacklogLimit] = {}
        """How much may wait for a target before it is cut off; of those that have a limit."""
        self._cursors = CursorWatch(queue_path, [])
        self.changed()

    def changed(self) -> bool:
        """Read the names again if the file changed; return whether a target was added."""
        modified_at_ns = self._modified_at_ns()
        if modified_at_ns == self._read_at_ns:
            return False
        self._read_at_ns = modified_at_ns
        findings: list[Finding] = []
        names = target_names(self._config_dir, findings)
        self._readable = not findings
        self.limits = _limits(backlogs_max(self._config_dir)) if self._readable else {}
        if findings:
            log.error("targets unknown; nothing is trimmed until it is right", finding=findings[0])
            return False
        added = set(names) - set(self.names)
        if names != self.names:
            self.names = names
            self._cursors.close()
            self._cursors = CursorWatch(self._queue_path, names)
        return bool(added)

    def settled(self, epoch: int) -> dict[str, Settled]:
        """Return how far every target has come; no target while the names are not to be trusted."""
        return self._cursors.settled(epoch) if self._readable else {}

    def claiming(self, epoch: int) -> dict[str, Settled]:
        """Return how far every target has come at this moment, whatever the file says."""
        return self._cursors.settled(epoch)

    def _modified_at_ns(self) -> int:
        try:
            return (self._config_dir / CLOUD_FILE).stat().st_mtime_ns
        except OSError:
            return 0


def _limits(configured: Mapping[str, BacklogMax]) -> dict[str, BacklogLimit]:
    limits = {
        name: BacklogLimit(
            age_max_s=most.backlog_max_h * 3600 or None,
            bytes_max=most.backlog_max_mib * MIB or None,
        )
        for name, most in configured.items()
    }
    return {name: limit for name, limit in limits.items() if limit != BacklogLimit()}
