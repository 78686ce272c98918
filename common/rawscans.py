"""Recordings: what a device gave, scan by scan, before it meant anything. One JSON object a line.

    {"line":"group","device":"press","group":"process","protocol":"s7","period_ms":250,
     "tags":["Temperature_C","Strokes"],"addresses":["DB40.DBD12:REAL","DB40.DBD16:UDINT"]}
    {"line":"scan","of":0,"at_ns":1763892900000000000,"values":[42.5,1200]}

A group is described once, before its first scan; `of` counts the group lines from 0. `indexes` are
the places in `tags` that a scan has, all when absent. What JSON cannot hold is written as
{"float":"nan"} and {"bytes":"00ff"} (common/trials.py). `tailrace record` writes it, `tailrace
replay` reads it, and a person may write it with any tool.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

LINE_BYTES_MAX = 16 * 1024 * 1024


class GroupLine(
    msgspec.Struct,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="line",
    tag="group",
):
    """What the columns of the scans are that follow."""

    device: str
    group: str
    tags: list[str]
    protocol: str = ""
    period_ms: int = 1_000
    addresses: list[str] = []
    """For people: where each was read."""


class ScanLine(
    msgspec.Struct,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    tag_field="line",
    tag="scan",
):
    """One reading of a group. Values are packed."""

    of: int
    """Which group line, counted from 0."""
    at_ns: int
    """Gateway clock, UTC, when the reply was complete."""
    values: list[Any]
    indexes: list[int] | None = None
    qualities: list[int] | None = None
    """OPC UA status codes; all Good when absent."""
    source_at_ns: list[int | None] | None = None


Line = GroupLine | ScanLine


def encode_line(line: Line) -> bytes:
    """Return the line, with its end."""
    return msgspec.json.encode(line) + b"\n"


decode_line = msgspec.json.Decoder(Line).decode
"""A line → what it is. Raises msgspec.DecodeError."""


class Unreadable(ValueError):
    """A recording, or a line of it, that is not one; the text says which and why."""


def lines_of(path: Path) -> Iterator[tuple[int, GroupLine | ScanLine]]:
    """Yield the lines of a recording with their numbers, in constant memory. Raises Unreadable."""
    groups: list[GroupLine] = []
    try:
        with path.open("rb") as file:
            for number, text in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), 1):
                if not text.strip():
                    continue
                line = _line(f"{path}:{number}", text, groups)
                if isinstance(line, GroupLine):
                    groups.append(line)
                yield number, line
    except OSError as error:
        raise Unreadable(f"{path} cannot be read: {error.strerror}") from error


def _line(place: str, text: bytes, groups: list[GroupLine]) -> GroupLine | ScanLine:
    try:
        line: Line = decode_line(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what = 'a line of a recording begins with {"line":"group" or {"line":"scan"'
        raise Unreadable(f"{place}: {error}; {what}") from error
    if isinstance(line, GroupLine):
        return line
    if not 0 <= line.of < len(groups):
        raise Unreadable(f"{place}: of = {line.of}, but {len(groups)} group lines stand above it")
    width = len(groups[line.of].tags)
    present = list(range(width)) if line.indexes is None else line.indexes
    if sorted(set(present)) != present or (present and not 0 <= present[0] <= present[-1] < width):
        raise Unreadable(f"{place}: indexes must be ascending places of the {width} tags")
    for name, items in (
        ("values", line.values), ("qualities", line.qualities), ("source_at_ns", line.source_at_ns)
    ):  # fmt: skip
        if items is not None and len(items) != len(present):
            raise Unreadable(f"{place}: {len(items)} {name} of {len(present)} tags")
    return line
