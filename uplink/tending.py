"""Looks after what a target foresees: tells it in time, and says when to connect anew."""

from common.log import get_log
from uplink.contract import Target, Tended
from uplink.report import Report

log = get_log(__name__)


class Tending:
    """What one target says of its own future; nothing for a kind that foresees nothing."""

    def __init__(self, target: Target, report: Report) -> None:
        self._target = target if isinstance(target, Tended) else None
        self._report = report
        self._told: dict[str, int] = {}
        """Subject → the most urgent step that was logged."""

    def renewed(self) -> bool:
        """Return whether to connect anew, and keep the report's warnings up to date."""
        if self._target is None:
            return False
        stale = self._target.stale()
        foreseen = self._target.foreseen()
        self._report.warnings = tuple(each.text for each in foreseen)
        self._report.certificate_expires_ms = self._target.certificate_expires_ms
        for each in foreseen:
            if self._told.get(each.subject, -1) < each.step:
                log.warning("act in time", target=self._report.target, warning=each.text)
        self._told = {each.subject: each.step for each in foreseen}
        return stale
