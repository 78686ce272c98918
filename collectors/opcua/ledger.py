"""What outlives a session of one device, so that the log tells changes of state, not states."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from collectors.taglog import log_tags
from common.log import get_log
from common.records import Plan, Quality, quality_name

log = get_log(__name__)


@dataclass
class Ledger:
    """What outlives a session, so that a state is logged when it changes, not while it lasts."""

    overflows: int = 0
    """Publications in which the server had dropped values of a tag."""
    refused: dict[tuple[str, int], int] = field(default_factory=dict)
    """(Group, column) → status code of tags that the server does not give."""
    misfits: set[tuple[str, int]] = field(default_factory=set)
    """(Group, column) of tags whose values are not of their column's type."""
    silent: set[tuple[str, int]] = field(default_factory=set)
    """(Group, column) of tags that the server accepted, and never reported."""
    unfit_calls: set[tuple[str, str]] = field(default_factory=set)
    """(Group, what) that the server does in another way than it was asked."""
    undescribed: bool = False
    """The server did not describe its structures when asked."""
    unparsable: bool = False
    """The server once sent a value that ends the whole publication: look for it at connect."""

    def note_refused(self, plan: Plan, asked: Iterable[int], refused: dict[int, int]) -> None:
        """Remember which of the asked columns are refused; log those that were not before."""
        fresh: dict[int, list[int]] = {}
        for column, code in refused.items():
            if self.refused.get((plan.group, column)) != code:
                fresh.setdefault(code, []).append(column)
            self.refused[plan.group, column] = code
        fresh.pop(Quality.BAD_CONFIGURATION_ERROR, None)  # namespaces.py has said why.
        for code, columns in fresh.items():
            text = "the server does not give these tags; check their addresses"
            log_tags(log, logging.WARNING, text, plan, columns, reason=quality_name(code))
        back = [
            column
            for column in asked
            if column not in refused and self.refused.pop((plan.group, column), None) is not None
        ]
        if back:
            log_tags(
                log, logging.INFO, "the server gives these tags now", plan, back, reason="Good"
            )

    def note_misfits(self, plan: Plan, reasons: dict[int, str]) -> None:
        """Remember the columns whose values do not fit; log each of them once."""
        fresh: dict[str, list[int]] = {}
        for column, reason in reasons.items():
            if (plan.group, column) not in self.misfits:
                self.misfits.add((plan.group, column))
                fresh.setdefault(reason, []).append(column)
        for reason, columns in fresh.items():
            text = "values do not fit the 'type' of these tags; correct their 'type' column"
            log_tags(log, logging.WARNING, text, plan, columns, reason=reason)

    def note_silent(self, plan: Plan, columns: list[int]) -> None:
        """Remember the columns without a first value; log each of them once."""
        fresh = [column for column in columns if (plan.group, column) not in self.silent]
        self.silent.update((plan.group, column) for column in fresh)
        if fresh:
            text = "the server accepted these tags but reports no value; check them on the server"
            log_tags(log, logging.WARNING, text, plan, fresh, reason="BadWaitingForInitialData")

    def note_revised(self, plan: Plan, what: str, text: str, columns: list[int]) -> None:
        """Log once for each group that the server does something else than it was asked."""
        if (plan.group, what) not in self.unfit_calls:
            self.unfit_calls.add((plan.group, what))
            log_tags(log, logging.WARNING, text, plan, columns, reason=what)

    def note_undescribed(self, device: str, error: Exception) -> None:
        """Log once that the server does not say what its structures are."""
        if not self.undescribed:
            self.undescribed = True
            text = "the server does not describe its structures; their members are BadTypeMismatch"
            log.warning(text, device=device, reason=error)

    def note_overflow(self, plan: Plan) -> None:
        """Count a publication that does not hold everything; log the first."""
        if not self.overflows:
            text = "the server dropped values between two publications; raise queue_size"
            log.warning(text, device=plan.device, group=plan.group)
        self.overflows += 1
