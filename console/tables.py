"""Aligned text for people: the same on a terminal, in a pipe and in a ticket."""

import re
from collections.abc import Sequence

import click

COLOURS = {
    "good": "green",
    "uncertain": "yellow",
    "bad": "red",
    "online": "green",
    "running": "green",
    "failing": "red",
    "refused": "red",
    "silent": "red",
    "away": "yellow",
    "connecting": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "waiting": "yellow",
    "full": "yellow",
}
"""Of states and qualities; everything else is plain. The words say the same: it may be missing."""


_QUALITY = re.compile(r"(Good|Uncertain|Bad)(?: ?[A-Z0-9]\w*)?")
"""`Good`, `BadOutOfRange`, `Bad 0x80FF0000`."""
_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))


class Columns:
    """Columns as wide as the widest cell of the rows that are known; numbers stand to the right."""

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        columns = list(zip(header, *rows, strict=True))
        self._header = header
        self._widths = [max(len(cell) for cell in column) for column in columns]
        self._right = [all(_is_number(cell) for cell in column[1:]) for column in columns]

    def header(self) -> str:
        """Return the line above the rows."""
        return click.style(self.line(self._header), bold=True)

    def line(self, cells: Sequence[str]) -> str:
        """Return one row; a cell wider than its column moves the rest of its line."""
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(cells, self._widths, self._right, strict=True)
        ]
        return "  ".join([*map(_coloured, padded[:-1]), _coloured(padded[-1].rstrip())]).rstrip()


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str | None]
) -> list[str]:
    """Return lines with columns as wide as their widest cell; numbers stand to the right.

    A row's note follows on lines of its own: sentences do not fit columns.
    """
    columns = Columns(header, rows)
    lines = [columns.header()]
    for row, note in zip(rows, notes, strict=True):
        lines += [columns.line(row), *noted(note)]
    return lines


def noted(note: str | None) -> list[str]:
    """Return the lines of a note below a row."""
    return [f"    {line}" for line in note.splitlines()] if note else []


def _coloured(cell: str) -> str:
    quality = _QUALITY.fullmatch(cell.strip())
    colour = COLOURS.get(quality[1].lower() if quality else cell.strip())
    return click.style(cell, fg=colour) if colour else cell


def _is_number(cell: str) -> bool:
    digits = cell.removeprefix("-").removeprefix("+").replace(",", "").replace(".", "")
    return cell == "-" or digits.isdigit()


def count(number: int | None) -> str:
    """Return `12,345`."""
    return "-" if number is None else f"{number:,}"


def rate(per_s: float | None) -> str:
    """Return a rate with one digit behind the point."""
    return "-" if per_s is None else f"{max(0.0, per_s):,.1f}"


def milliseconds(seconds: float | None) -> str:
    """Return a reply time: `0.4 ms`, `12.3 ms`."""
    return "-" if seconds is None else f"{seconds * 1000:,.1f} ms"


def span(seconds: float | None) -> str:
    """Return a duration in the two units that matter: `0.4 s`, `3 min 12 s`, `2 d 4 h`."""
    if seconds is None:
        return "-"
    if seconds < 10:  # noqa: PLR2004 - below that the tenth is worth reading
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for unit, of_s, lesser, of_lesser_s in _UNITS:
        if whole >= of_s:
            return f"{whole // of_s} {unit} {whole % of_s // of_lesser_s} {lesser}"
    return f"{whole} s"


def size(in_bytes: int) -> str:
    """Return bytes with the decimal unit that keeps them readable."""
    amount = float(in_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:  # noqa: PLR2004 - the step between decimal units
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
