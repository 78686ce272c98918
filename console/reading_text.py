"""Readings and guesses, as `tailrace read` shows them to people and to programs."""

from collections.abc import Sequence
from typing import Any

import msgspec

from common.answers import Connected, GuessTold, ReadingTold, Wrong
from common.records import quality_word
from console.notation import iso_time, printable, quality_text, shown_value
from console.tables import Columns, milliseconds, span, table

RAW_MAX = 64
"""Bytes of a value that are shown."""
NAME_WIDTH = 12
VALUE_WIDTH = 14
"""Of columns while values are watched, so that a longer one seldom moves its line."""


class Shown(msgspec.Struct, kw_only=True):
    """One reading, as `--json` prints it. No key is ever left out."""

    asked: str
    tag: str | None
    address: str
    type: str
    wire: str
    raw: str | None
    """Hexadecimal."""
    value: Any
    scaled: Any
    unit: str | None
    quality: str
    """OPC UA's name."""
    quality_code: int
    read_at: str
    source_at: str | None
    source_age_s: float | None
    reply_s: float
    note: str | None


class ShownGuess(msgspec.Struct, kw_only=True):
    """One guess, as `--json` prints it."""

    asked: str
    type: str
    value: Any
    plausible: bool


class ShownWrong(msgspec.Struct, kw_only=True):
    """An address that cannot be asked."""

    asked: str
    text: str


class Document(msgspec.Struct, kw_only=True):
    """All of one question, as `--json` prints it without `--watch`."""

    device: str
    protocol: str
    connected_after_s: float
    readings: list[Shown]
    guesses: list[ShownGuess]
    """The most plausible first; empty without `--guess`."""
    wrong: list[ShownWrong]


def shown(told: ReadingTold) -> Shown:
    """Return a reading as `--json` prints it."""
    return Shown(
        asked=told.asked,
        tag=told.tag or None,
        address=told.address,
        type=told.type,
        wire=told.wire,
        raw=told.raw,
        value=told.value,
        scaled=told.scaled,
        unit=told.unit or None,
        quality=quality_text(told.quality),
        quality_code=told.quality,
        read_at=iso_time(told.read_at_ns),
        source_at=None if told.source_at_ns is None else iso_time(told.source_at_ns),
        source_age_s=_age_s(told),
        reply_s=told.reply_s,
        note=told.note or None,
    )


def document(
    connected: Connected,
    readings: Sequence[ReadingTold],
    guesses: Sequence[GuessTold],
    wrong: Sequence[Wrong],
) -> Document:
    """Return all of one question."""
    return Document(
        device=connected.device,
        protocol=connected.protocol,
        connected_after_s=connected.after_s,
        readings=[shown(each) for each in readings],
        guesses=[
            ShownGuess(asked=each.asked, type=each.type, value=each.value, plausible=each.plausible)
            for each in guesses
        ],
        wrong=[ShownWrong(asked=each.asked, text=each.text) for each in wrong],
    )


def bad(told: ReadingTold) -> bool:
    """Return whether there is no value to trust."""
    return quality_word(told.quality) == "Bad"


def readings_text(readings: Sequence[ReadingTold]) -> list[str]:
    """Return a line for each, with what was asked and came over the wire below it."""
    cells = [
        {
            "TAG": printable(each.tag),
            "ADDRESS": printable(each.address),
            "TYPE": printable(each.type),
            "VALUE": shown_value(each.value),
            "SCALED": "" if each.scaled is None else shown_value(each.scaled),
            "UNIT": printable(each.unit),
            "QUALITY": quality_text(each.quality),
            "AGE": "" if each.source_at_ns is None else span(_age_s(each)),
            "REPLY": milliseconds(each.reply_s),
        }
        for each in readings
    ]
    if not cells:
        return []
    # A column that would be empty says nothing.
    header = [name for name in cells[0] if any(row[name] for row in cells)]
    rows = [[row[name] or "-" for name in header] for row in cells]
    return table(header, rows, [_note(each) for each in readings])


def _note(told: ReadingTold) -> str:
    raw = "" if told.raw is None else f"raw {spaced(told.raw)}  "
    lines = [f"{raw}asked: {printable(told.wire)}"]
    if told.source_at_ns is not None:
        lines.append(f"source time {iso_time(told.source_at_ns)}")
    if told.note:
        lines.append(printable(told.note))
    return "\n".join(lines)


def spaced(raw: str) -> str:
    """Return bytes as `42 2a 00 00`."""
    pairs = [raw[at : at + 2] for at in range(0, min(len(raw), 2 * RAW_MAX), 2)]
    more = "" if len(raw) <= 2 * RAW_MAX else f" … {len(raw) // 2} bytes"
    return " ".join(pairs) + more


def _age_s(told: ReadingTold) -> float | None:
    """Return how old the value was when it came; never below 0: the device's clock may be ahead."""
    if told.source_at_ns is None:
        return None
    return max(0.0, (told.read_at_ns - told.source_at_ns) / 1e9)


def guesses_text(guesses: Sequence[GuessTold]) -> list[str]:
    """Return a table for each address, the most plausible first, and what to do with it."""
    lines: list[str] = []
    for asked in dict.fromkeys(each.asked for each in guesses):
        own = [each for each in guesses if each.asked == asked]
        rows = [
            (printable(each.type), shown_value(each.value), "yes" if each.plausible else "no")
            for each in own
        ]
        lines += ["", asked] if lines else [asked]
        lines += table(("TYPE", "VALUE", "PLAUSIBLE"), rows, [None] * len(rows))
    where = "behind the address, or into the tag table's column `type`"
    return [*lines, "", f"Write the one that fits {where}."] if lines else []


class Watched:
    """Readings of the same addresses again and again: what changed since the last time."""

    def __init__(self, names_width: int) -> None:
        self._before: dict[tuple[str, str], Any] = {}
        header = ("READ AT", "ADDRESS", "TYPE", "VALUE", "UNIT", "QUALITY", "REPLY", "CHANGE")
        name, value = "x" * max(names_width, NAME_WIDTH), "9" * VALUE_WIDTH
        usual = ("HH:MM:SS.mmmZ", name, "FLOAT32@CDAB", value, "", "Good", "999.9 ms", "")
        self._columns = Columns(header, [usual])

    def header(self) -> str:
        """Return the line above the readings."""
        return self._columns.header()

    def lines(self, told: ReadingTold) -> list[str]:
        """Return the reading's line; its note once, when the quality changes."""
        key = (told.asked, told.address)
        now = told.value if told.scaled is None else told.scaled
        quality = quality_text(told.quality)
        first = key not in self._before
        was, was_quality = self._before.get(key, (None, quality))
        self._before[key] = (now, quality)
        cells = (
            f"{iso_time(told.read_at_ns)[11:23]}Z",
            printable(told.tag or told.address),
            printable(told.type),
            shown_value(now),
            printable(told.unit),
            quality,
            milliseconds(told.reply_s),
            "" if first else _change(was, now),
        )
        news = told.note and (first or quality != was_quality)
        return [self._columns.line(cells), *([f"    {printable(told.note)}"] if news else [])]


def _change(was: Any, now: Any) -> str:
    """Return by how much a number moved, or what another value was."""
    if was == now:
        return ""
    numbers = all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in (was, now)
    )
    if numbers:
        return f"{now - was:+,}" if isinstance(now - was, int) else f"{now - was:+.6g}"
    return f"was {shown_value(was)}"
