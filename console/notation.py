"""How the console writes values, times and qualities for people."""

import functools
import struct
from datetime import UTC, datetime
from typing import Any

from common.records import quality_name, quality_word

TEXT_MAX = 120
"""Characters of one value that are shown."""
_NS_PER_S = 1_000_000_000


def shown_value(value: Any) -> str:
    """Return a value for a line on a terminal: floats without the noise of their binary form."""
    match value:
        case None:
            return "-"
        case bool():
            return "true" if value else "false"
        case float():
            return _shown_float(value)
    text = printable(str(value))
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"


def _shown_float(value: float) -> str:
    """Return the fewest digits that mean this value, of a 32-bit float those of 32 bits."""
    try:
        single = struct.unpack("<f", struct.pack("<f", value))[0] == value
    except OverflowError:
        single = False
    if not single:
        return f"{value:.12g}"
    texts = (f"{value:.{digits}g}" for digits in (6, 7, 8))
    of_single = struct.pack("<f", value)
    return next((t for t in texts if struct.pack("<f", float(t)) == of_single), f"{value:.9g}")


def printable(text: str) -> str:
    """Return a text of a device with its control characters spelt out.

    Otherwise a device could move the cursor, colour the screen or rename the window.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


@functools.lru_cache(maxsize=64)
def quality_text(code: int) -> str:
    """Return OPC UA's name of a status code, behind its severity where the house has no name."""
    name = quality_name(code)
    return f"{quality_word(code)} {name}" if name.startswith("0x") else name


def iso_time(at_ns: int) -> str:
    """Return `2026-11-23T10:15:00.123456789Z`."""
    return f"{_iso_second(at_ns // _NS_PER_S)}.{at_ns % _NS_PER_S:09d}Z"


def instant_ns(at: datetime) -> int:
    """Return a time as ns since 1970; UTC where it says nothing else."""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    since = at - datetime.fromtimestamp(0, UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


@functools.lru_cache(maxsize=4_096)
def _iso_second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
