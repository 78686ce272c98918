"""Aligned text for people: the same on a terminal, in a pipe and in a ticket."""

from collections.abc import Sequence

import click

COLOURS = {
    "good": "green",
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
"""Of states; everything else is plain. The words say the same, so colour may be missing."""


_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str | None]
) -> list[str]:
    """Return lines with columns as wide as their widest cell; numbers stand to the right.

    A row's note follows on a line of its own: sentences do not fit columns.
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    right = [all(_is_number(cell) for cell in column[1:]) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(cells, widths, right, strict=True)
        ]
        return "  ".join([*map(_coloured, padded[:-1]), _coloured(padded[-1].rstrip())])

    lines = [click.style(line(header), bold=True)]
    for row, note in zip(rows, notes, strict=True):
        lines += [line(row), f"    {note}"] if note else [line(row)]
    return lines


def _coloured(cell: str) -> str:
    colour = COLOURS.get(cell.strip())
    return click.style(cell, fg=colour) if colour else cell


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace(".", "").isdigit()


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
