"""Durations as people type them: `500ms`, `1s`, `2`, `5min`, `1h`."""

import re

import click

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|h|)")
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "min": 60.0, "h": 3_600.0}


class Duration(click.ParamType[float]):
    """Seconds, between two bounds."""

    name = "duration"

    def __init__(self, least_s: float, most_s: float, why: str) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._why = why

    def convert(
        self,
        value: str | float,
        param: click.Parameter | None,
        context: click.Context | None,
    ) -> float:
        """Return seconds, or refuse what is no duration."""
        if isinstance(value, float):
            return value  # A default, which click converts as well.
        found = _FORM.fullmatch(value.strip().lower())
        if not found:
            text = f"{value!r} is no duration; write 500ms, 1s or 2min"
            self.fail(f"{text}; before an address with `=`: --watch=1s", param, context)
        seconds = float(found[1]) * _SECONDS[found[2]]
        if not self._least_s <= seconds <= self._most_s:
            text = f"{value} is not between {self._least_s:g} s and {self._most_s:g} s"
            self.fail(f"{text}: {self._why}", param, context)
        return seconds
