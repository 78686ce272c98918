"""What happens to raw values before their types are checked, of the few columns that ask for it.

Each takes one value; columns without a transform are not looked at. A value that a transform
cannot be applied to is left as it is, and then fails the check of its type.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from common.records import (
    BitField,
    CleanText,
    EnumTexts,
    LocalTime,
    Plan,
    Quality,
    Transform,
)

Outcome = tuple[Any, int]
"""Value, and the quality that it has at best."""


class Transforms:
    """Of every column of one plan; costs nothing for a plan without any."""

    def __init__(self, plan: Plan) -> None:
        self._by_column = {
            index: _compiled(column.transform)
            for index, column in enumerate(plan.columns)
            if column.transform is not None
        }

    def apply(
        self, values: Sequence[Any], qualities: Sequence[int] | None, indexes: Sequence[int] | None
    ) -> tuple[Sequence[Any], Sequence[int] | None]:
        """Return values and qualities of a scan with every transform applied."""
        if not self._by_column:
            return values, qualities
        made = list(values)
        codes = [Quality.GOOD] * len(made) if qualities is None else list(qualities)
        wanted = (
            self._by_column.items()
            if indexes is None
            else [
                (place, self._by_column[column])
                for place, column in enumerate(indexes)
                if column in self._by_column
            ]
        )
        for place, transformed in wanted:
            if place < len(made) and made[place] is not None:
                made[place], at_best = transformed(made[place])
                codes[place] = codes[place] or at_best
        return made, codes if any(codes) else None


def _compiled(transform: Transform) -> Callable[[Any], Outcome]:
    match transform:
        case EnumTexts():
            return _named(dict(transform.texts))
        case BitField(first=first, count=1):
            return lambda value: (bool(value >> first & 1), 0) if _is_int(value) else (value, 0)
        case BitField(first=first, count=count):
            mask = (1 << count) - 1
            return lambda value: (value >> first & mask, 0) if _is_int(value) else (value, 0)
        case CleanText():
            return lambda value: (_clean(value), 0) if isinstance(value, str) else (value, 0)
        case LocalTime(zone=zone):
            return _in_zone(ZoneInfo(zone))


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _named(texts: dict[int, str]) -> Callable[[Any], Outcome]:
    def named(value: Any) -> Outcome:
        if not _is_int(value):
            return value, 0
        text = texts.get(value)
        return (str(value), Quality.UNCERTAIN) if text is None else (text, Quality.GOOD)

    return named


def _clean(text: str) -> str:
    """Return what stands before the first NUL, without control characters and outer blanks."""
    return "".join(each for each in text.partition("\0")[0] if each.isprintable()).strip()


def _in_zone(zone: ZoneInfo) -> Callable[[Any], Outcome]:
    def instant(value: Any) -> Outcome:
        try:
            local = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            return None, Quality.BAD_TYPE_MISMATCH
        if local.tzinfo is not None:
            return _iso(local.astimezone(UTC), value), Quality.GOOD
        at = local.replace(tzinfo=zone)
        # The hour that occurs twice, or never, each year: nobody can tell which was meant.
        doubtful = at.utcoffset() != at.replace(fold=1).utcoffset()
        return (
            _iso(at.astimezone(UTC), value),
            Quality.UNCERTAIN if doubtful else Quality.GOOD,
        )

    return instant


def _iso(at: datetime, written: str) -> str:
    """Return ISO 8601 in UTC, with the nanoseconds that `datetime` cannot hold."""
    text = at.isoformat().replace("+00:00", "")
    digits = written.partition(".")[2]
    fraction = digits[: next((i for i, c in enumerate(digits) if not c.isdigit()), len(digits))]
    if fraction:
        text = f"{text.partition('.')[0]}.{fraction}"
    return f"{text}Z"
