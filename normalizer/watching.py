"""Why a value is told, or not: for a person who asks. The hot path pays one comparison a scan.

The verdict is the one that was really given (reporting.py, deriving.py); here it is only put into
words, beside what was remembered when it was given.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from common.records import Column, CounterDelta, ValueType, quality_name
from normalizer.reporting import Codes, Indexes, Mask, Remembered, Reporting, Verdict

_NS_PER_S = 1_000_000_000


class Judged(NamedTuple):
    """A scan's columns and their verdict, before any of it is remembered."""

    read_at_ns: int
    columns: Indexes
    split: dict[ValueType, tuple[Any, Indexes]]
    arrays: dict[ValueType, Any]
    qualities: Codes
    nulls: Mask
    verdict: Verdict
    forced: Mask | None
    reporting: Reporting


Watch = Callable[[Judged], None]
"""Called for each scan; what it keeps of the arrays it must copy."""


class Reason(NamedTuple):
    """What became of one value."""

    column: int
    value: Any
    """None where there is none."""
    quality: int
    at_ns: int
    outcome: str
    why: str
    last: Remembered | None


def reasons(judged: Judged, plan_columns: tuple[Column, ...]) -> Iterator[Reason]:
    """Yield a reason for each column of a scan, in no order."""
    for value_type, (places, of_type) in judged.split.items():
        array = judged.arrays[value_type]
        for at, (place, index) in enumerate(zip(places.tolist(), of_type.tolist(), strict=True)):
            value = None if judged.nulls[place] else plain_value(value_type, array[at])
            last = judged.reporting.remembered(value_type, index)
            reason = Reason(
                index, value, int(judged.qualities[place]), judged.read_at_ns,
                _outcome(judged.verdict, place), "", last,
            )  # fmt: skip
            forced = judged.forced is not None and bool(judged.forced[place])
            yield reason._replace(why=_why(plan_columns[index], reason, forced=forced))


def plain_value(value_type: ValueType, value: Any) -> Any:
    """Return one element of a type's array as Python has it."""
    if isinstance(value, np.generic):
        value = value.item()
    return bool(value) if value_type is ValueType.BOOL else value


def _outcome(verdict: Verdict, place: int) -> str:
    if verdict.repeated is not None and verdict.repeated[place]:
        return "repeated"
    if verdict.hold is not None and verdict.hold[place]:
        return "held"
    return "told" if verdict.tell[place] else "unchanged"


def _why(column: Column, reason: Reason, *, forced: bool) -> str:
    """Return the sentence that belongs to an outcome."""
    if forced:
        return "every increment is told"
    last = reason.last
    if last is None:
        return "the first value after a start or a loss is always told"
    if isinstance(column.made, CounterDelta) and reason.outcome == "unchanged":
        return "an increment of 0 is no news"
    return _why_after(column, reason, last)


def _why_after(column: Column, reason: Reason, last: Remembered) -> str:
    ago = _ago(reason.at_ns, last.at_ns)
    distance = f"{_distance(column, reason.value, last.value)} ({ago})"
    match reason.outcome:
        case "repeated":
            return f"nothing new since it was {ago}: heartbeat_s {column.heartbeat_s:g} repeats it"
        case "held":
            return (
                f"{distance}, but min_interval_ms {column.min_interval_ms} is not over: told then"
            )
        case "told" if reason.quality != last.quality:
            was, now = quality_name(last.quality), quality_name(reason.quality)
            return f"its quality changed from {was} to {now}: always told"
        case "told" if (reason.value is None) != (last.value is None):
            return "it was without a value before, or is now: always told"
    return distance


def _distance(column: Column, value: Any, last: Any) -> str:
    if value is None and last is None:
        return "still without a value"
    if value == last:
        return f"the same as {_shown(last)}"
    if isinstance(value, str | bytes | bool) or None in (value, last):
        return f"changed from {_shown(last)}"
    unit = f" {column.unit}" if column.unit not in ("", "1") else ""
    distance = abs(value - last)
    moved = f"moved {distance:.6g}{unit} from {_shown(last)}"
    deadband = max(column.deadband, column.deadband_percent / 100 * abs(last))
    if not deadband:
        return f"{moved}: every change is told"
    beyond = "more than" if distance > deadband else "within"
    return f"{moved}: {beyond} the deadband of {deadband:.6g}{unit}"


def _shown(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else repr(value)


def _ago(at_ns: int, last_at_ns: int) -> str:
    if last_at_ns == 0:  # As `Reporting.notice` leaves it.
        return "told before the clock was set back"
    seconds = f"{(at_ns - last_at_ns) / _NS_PER_S:,.3f}".rstrip("0").rstrip(".")
    return f"told {seconds} s before"
