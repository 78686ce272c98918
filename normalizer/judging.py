"""One reading against what was last told, judged by the part that judges whole scans."""

from typing import Any

import numpy as np

from common.block import Layout
from common.records import Column, Plan
from common.trials import Last, Question, unpacked
from normalizer.chain import Link
from normalizer.reporting import DTYPES, Reporting
from normalizer.watching import Judged, Reason, reasons


def judged(column: Column, link: Link, question: Question) -> Reason:
    """Return what becomes of a normalised value, when all that is known is what was last told."""
    plan = Plan("", "", "", "", 1_000, (column,))
    layout = Layout(plan)
    reporting = Reporting(layout)
    here = np.zeros(1, np.uint16)
    if question.last is not None:
        _remember(reporting, column, question.last)
    array = _array(column, link.value)
    qualities = np.array([link.quality], np.uint32)
    nulls = np.array([link.value is None])
    reporting.notice(question.at_ns)
    moved = reporting.moved(column.value_type, array, here)
    verdict = reporting.judge(here, question.at_ns, moved, qualities, nulls)
    split = {column.value_type: (np.zeros(1, np.int64), here)}
    arrays = {column.value_type: array}
    whole = Judged(
        question.at_ns, here, split, arrays, qualities, nulls, verdict, None, reporting
    )  # fmt: skip
    return next(reasons(whole, plan.columns))


def _remember(reporting: Reporting, column: Column, last: Last) -> None:
    here = np.zeros(1, np.uint16)
    value = unpacked(last.value)
    reporting.notice(last.at_ns)
    reporting.told_values(column.value_type, here, _array(column, value))
    qualities, nulls = np.array([last.quality], np.uint32), np.array([value is None])
    reporting.told(here, last.at_ns, qualities, nulls)


def _array(column: Column, value: Any) -> Any:
    """Return an array of one, as the column's type has it; what is none of it becomes 0."""
    dtype = DTYPES.get(column.value_type)
    if dtype is None:
        return ["" if value is None else value]
    return np.array([0 if value is None else value], dtype)
