"""`tailrace queue peek`: the newest values of the queue, or those after a sequence."""

from collections import deque
from collections.abc import Callable
from itertools import islice

from common.queue import QueueReader
from console.queue_rows import Missing, Row, Selection, missing_text, rows, value_text
from console.tables import table

WIDEN = 8
"""How much further back the next look begins when the last one found too little."""


def newest(reader: QueueReader, count: int, wanted: Callable[[str], bool] | None) -> list[Row]:
    """Return the last `count` values and gaps, the newest last."""
    summary = reader.summary()
    look_back = count
    while True:
        after = max(0, summary.last_sequence - look_back)
        selection = Selection(after=after, up_to=summary.last_sequence, wanted=wanted)
        found = deque(rows(reader, selection), maxlen=count)
        if len(found) == count or after < max(summary.first_sequence, 1):
            return list(found)
        look_back *= WIDEN


def following(
    reader: QueueReader, after: int, count: int, wanted: Callable[[str], bool] | None
) -> list[Row]:
    """Return the first `count` values and gaps after a sequence."""
    selection = Selection(after=after, up_to=reader.last_sequence(), wanted=wanted)
    return list(islice(rows(reader, selection), count))


def peek_text(found: list[Row]) -> list[str]:
    """Return the lines for people: a value each, or a gap with its sentence."""
    lines = [_cells(row) for row in found]
    notes = [missing_text(row) if isinstance(row, Missing) else None for row in found]
    return table(("SEQUENCE", "READ AT", "TOPIC", "VALUE", "UNIT", "QUALITY"), lines, notes)


def _cells(row: Row) -> tuple[str, ...]:
    if isinstance(row, Missing):
        return (str(row.sequence), _milliseconds(row.last_at), "", "", "", "gap")
    value = f"{row.value:.6g}" if isinstance(row.value, float) else value_text(row.value)
    unit = "" if row.unit == "1" else row.unit
    return (str(row.sequence), _milliseconds(row.read_at), row.topic, value, unit, row.quality)


def _milliseconds(at: str) -> str:
    """Return a time as people read it: `2026-11-23 10:15:00.123Z`."""
    return f"{at[:23].replace('T', ' ')}Z"
