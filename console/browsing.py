"""What a device offers, written as a table, as rows of a tag table, or as JSON; in constant memory.

What comes from a device is not trusted: names become levels of a topic, a name that is taken gets
a number, and a text that a spreadsheet would run as a formula is quoted.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import click
import msgspec

from common.answers import Busy, FoundTold, Told
from common.tagtable import TAGS_MAX
from console.notation import printable, shown_value
from console.tables import Columns

CSV_COLUMNS = ("name", "address", "type", "unit", "description")
FIRST_ROWS = 50
"""Of a table: its columns are as wide as these need, or as those that came within half a second."""
NAME_MAX = 256
TEXT_MAX = 1_024
"""Of a tag table (common/tagtable.py)."""

_NO_LEVEL = re.compile(r"[^A-Za-z0-9_.-]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets run a cell that begins so: OWASP, CSV injection."""
_HEADER = ("NAME", "ADDRESS", "TYPE", "UNIT", "VALUE", "ACCESS")


class ShownFound(msgspec.Struct, kw_only=True):
    """One thing that can be read, as `--json` prints it. No key is ever left out."""

    name: str
    address: str
    type: str
    unit: str
    description: str
    readable: bool
    value: Any


def chosen(
    told: Iterable[Told], wanted: Callable[[str], bool] | None, limit: int | None
) -> Iterator[FoundTold | None]:
    """Yield what was found and is wanted, `limit` at most; None whenever nothing came for long."""
    left = limit
    for each in told:
        if isinstance(each, Busy):
            yield None
        elif isinstance(each, FoundTold) and (wanted is None or wanted(each.name)):
            yield each
            if left is not None:
                left -= 1
                if left == 0:
                    return


def write_table(found: Iterable[FoundTold | None], out: IO[str]) -> int:
    """Write an aligned line for each; return how many."""
    written = 0
    columns: Columns | None = None
    waiting: list[tuple[str, ...]] = []

    def flush() -> None:
        nonlocal columns
        if columns is None and waiting:
            columns = Columns(_HEADER, waiting)
            click.echo(columns.header(), file=out)
        if columns is not None:
            for row in waiting:
                click.echo(columns.line(row), file=out)
        waiting.clear()
        out.flush()

    for each in found:
        if each is not None:
            waiting.append(_cells(each))
            written += 1
        if each is None or columns is not None or len(waiting) == FIRST_ROWS:
            flush()
    flush()
    return written


def _cells(found: FoundTold) -> tuple[str, ...]:
    return (
        printable(found.name),
        printable(found.address),
        printable(found.type) or "-",
        printable(found.unit) or "-",
        shown_value(found.value),
        "read" if found.readable else "none",
    )


def write_json(found: Iterable[FoundTold | None], out: IO[str]) -> int:
    """Write one object a line; return how many."""
    written = 0
    for each in found:
        if each is None:
            out.flush()
            continue
        shown = ShownFound(
            name=each.name,
            address=each.address,
            type=each.type,
            unit=each.unit,
            description=each.description,
            readable=each.readable,
            value=each.value,
        )
        out.write(msgspec.json.encode(shown).decode() + "\n")
        written += 1
    return written


class TagRows:
    """Rows of a tag table, and what had to be left out or changed to make them."""

    def __init__(self) -> None:
        self.written = 0
        self.unreadable = 0
        self.unfit = 0
        """Addresses that a tag table cannot hold: too long, or with spaces around them."""
        self.renamed = 0
        # Hashes, not names: 100,000 of them are a few MB.
        self._taken: set[int] = set()

    def write(self, found: Iterable[FoundTold | None], out: IO[str]) -> int:
        """Write the rows below their header; return how many."""
        table = csv.writer(out, lineterminator="\n")
        table.writerow(CSV_COLUMNS)
        for each in found:
            if each is None:
                out.flush()
            elif (row := self._row(each)) is not None:
                table.writerow(row)
                self.written += 1
        return self.written

    def notes(self) -> list[str]:
        """Return what a person should know of the rows."""
        notes = []
        if self.unreadable:
            notes.append(f"{self.unreadable:,} left out: the device does not let them be read")
        if self.unfit:
            text = f"{self.unfit:,} left out: a tag table cannot hold their address"
            notes.append(f"{text}, which is too long or has spaces around it")
        if self.renamed:
            notes.append(f"{self.renamed:,} renamed: a topic cannot hold the name, or it is taken")
        if self.written > TAGS_MAX:
            text = f"a group takes {TAGS_MAX:,} tags, this is {self.written:,}"
            notes.append(f"{text}; pick fewer with UNDER or --filter, or split it over groups")
        return notes

    def _row(self, found: FoundTold) -> tuple[str, ...] | None:
        if not found.readable:
            self.unreadable += 1
            return None
        address = found.address
        if not 1 <= len(address) <= TEXT_MAX or address != address.strip():
            self.unfit += 1
            return None
        name = self._free(topic_levels(found.name))
        self.renamed += name != found.name
        texts = (_quoted(text) for text in (found.unit, found.description))
        return (name, address, found.type.strip(), *texts)

    def _free(self, name: str) -> str:
        """Return the name, with a number behind it when another row has it."""
        number, free = 1, name
        # No two topics may differ by case alone.
        while hash(free.casefold()) in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(hash(free.casefold()))
        return free


def topic_levels(name: str) -> str:
    """Return a name as levels of a topic may be called: letters, digits, `_`, `.`, `-`."""
    levels = (_NO_LEVEL.sub("_", level).lstrip("_") for level in name.split("/"))
    kept = "/".join(level for level in levels if level)
    return kept[: NAME_MAX - 8].rstrip("/") or "unnamed"


def _quoted(text: str) -> str:
    """Return a text of the device for a cell of a spreadsheet."""
    text = printable(text.strip())
    return (f"'{text}" if text.startswith(_FORMULA) else text)[:TEXT_MAX]
