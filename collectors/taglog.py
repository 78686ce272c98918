"""A line of the log about some tags of a group: which ones, by name, and how many more."""

from collections.abc import Sequence
from typing import Any

from common.log import Log
from common.records import Plan

NAMES_SHOWN = 5


def log_tags(
    log: Log, level: int, text: str, plan: Plan, columns: Sequence[int], reason: object = None
) -> None:
    """Log a sentence about columns of a plan, and the reason where there is one."""
    names = ", ".join(plan.columns[column].name for column in columns[:NAMES_SHOWN])
    more = f" and {len(columns) - NAMES_SHOWN} more" if len(columns) > NAMES_SHOWN else ""
    fields = {"tags": names + more if columns else None, "reason": reason}
    said: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    log.log(level, text, device=plan.device, group=plan.group, **said)
