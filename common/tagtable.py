"""Tag tables: rows in plant.toml, or a CSV file as spreadsheets save it."""

import csv
import io
import re
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from common.codes import Wrong, found, told
from common.config import FILE_BYTES_MAX, Document, expected, readable, suggestion
from common.errors import Finding
from common.records import LossClass

TAGS_MAX = 10_000
"""Of one group. A scan of them all still fits one handoff message."""

PeriodMs = Annotated[int, Meta(ge=10, le=3_600_000)]
Text = Annotated[str, Meta(max_length=1_024)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
_RANGE = ("raw_low", "raw_high", "scaled_low", "scaled_high")
_NUMBERS = (
    *("scale", "offset", "deadband", "deadband_percent", "minimum", "maximum", *_RANGE),
    *("min_interval_ms", "heartbeat_s"),
)
_WHOLE = ("min_interval_ms",)
_SEMANTIC_ID = re.compile(
    # IRDI as ISO 29002-5 has it: 0173-1#02-BAA120#008 (ECLASS), 0112/2///61987#ABA565#007 (IEC CDD)
    r"\d{4}[-/][^\s#]+#[^\s#]+(#[^\s#]+)?"
    # an IRI with its scheme, or an OPC UA node of a namespace that is written out
    r"|[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+"
    r"|nsu=[^\s;]+;[isgb]=\S+"
)


class GroupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[devices.NAME.groups.NAME]: tags read together at one rate."""

    period_ms: PeriodMs = 1_000
    tags: str | list[dict[str, Any]]
    """A CSV file beside plant.toml, or the rows themselves."""


class GroupChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[devices.NAME.groups.NAME] of a group that the device's template has."""

    period_ms: PeriodMs | None = None
    tags: str | list[dict[str, Any]] | None = None
    """What the device has beside the template's tags."""


class TagRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of a tag table. An empty cell means the default."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    address: Annotated[str, Meta(max_length=1_024)] = ""
    """Where the device keeps it; empty for a tag that has an expression instead."""
    type: Text = ""
    """The protocol's name of the type; may also be part of the address."""
    unit: Text = ""
    """What is published; of `source_unit` it must be able to be made."""
    source_unit: Text = ""
    """What the scaled value is in, where it is not what shall be published."""
    scale: Number = 1.0
    offset: Number = 0.0
    """in the source unit = raw * scale + offset"""
    raw_low: Number | None = None
    raw_high: Number | None = None
    scaled_low: Number | None = None
    scaled_high: Number | None = None
    """Instead of scale and offset: raw_low … raw_high becomes scaled_low … scaled_high."""
    clamp: Literal["", "low", "high", "both"] = ""
    """Which end of the scaled range no value passes; one that would is held there, Uncertain."""
    minimum: Number | None = None
    maximum: Number | None = None
    """In the published unit: beyond them a value is published as it is, and Uncertain."""
    enum: Text = ""
    """`0=Stopped|1=Running|2=Fault`: the number is published as its text."""
    bits: Annotated[str, Meta(pattern=r"^(\d{1,2}(-\d{1,2})?)?$")] = ""
    """`3` or `4-7`: these bits of an integer; bit 0 is the least significant."""
    text: Literal["", "clean"] = ""
    """`clean`: without the NULs, blanks and control characters that PLCs leave in texts."""
    time_zone: Text = ""
    """The zone that a date and time without one is in: `Europe/Berlin`. Published in UTC."""
    counter: Text = ""
    """`resets`, `16-bit`, `32-bit`, `64-bit` or the number at which it begins again with 0. Beside
    the counter itself `name/total` and `name/delta` are published."""
    expression: Annotated[str, Meta(max_length=1_000)] = ""
    """Instead of an address: what the tag is made of (common/expressions.py)."""
    deadband: Annotated[float, Meta(ge=0, le=1e300)] = 0.0
    """Absolute, in the published unit; 0 reports every change."""
    deadband_percent: Annotated[float, Meta(ge=0, le=1_000)] = 0.0
    deadband_of: Literal["", "value", "range"] = ""
    """What deadband_percent is a share of: the value last told, or the whole range."""
    min_interval_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 0
    """Changes are told no more often; the last of them is told when the time is over."""
    heartbeat_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    """After so long a silence the value is told again, marked as a repetition; 0: never."""
    loss_class: LossClass = msgspec.field(default=LossClass.NORMAL, name="class")
    """Column `class`: what a full queue may give up of this tag, as [queue] when_full says.
    `first-to-go` is dropped before any other tag loses a sample; `normal` next, thinned first under
    "thin"; `keep` is never thinned, and dropped only when nothing else is left to drop."""
    description: Text = ""
    semantic_id: Text = ""
    """What the value is, in a dictionary that others have too: `0173-1#02-BAA120#008`, a URL."""

    def __post_init__(self) -> None:
        """Refuse what would publish a constant, or says two things of one."""
        if bool(self.address) == bool(self.expression):
            raise Wrong("OT-0314", "a tag needs an address or an expression, and not both")
        if self.scale == 0:
            raise Wrong(
                "OT-0315", "scale must not be 0: it would hide the machine behind a constant"
            )
        self._check_range()
        if bool(self.deadband_percent) != bool(self.deadband_of):
            raise Wrong("OT-0320", "deadband_percent and deadband_of belong together; give both")
        if self.deadband and self.deadband_percent:
            raise Wrong("OT-0321", "deadband and deadband_percent say it twice; keep one of them")
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise Wrong(
                "OT-0322", f"minimum {self.minimum:g} must be below maximum {self.maximum:g}"
            )
        if self.semantic_id and not _SEMANTIC_ID.fullmatch(self.semantic_id):
            raise Wrong(
                "OT-0323",
                f"semantic_id {self.semantic_id!r} is neither an IRDI, such as "
                "0173-1#02-BAA120#008, nor a URL or URN",
            )

    def _check_range(self) -> None:
        given = [key for key in _RANGE if getattr(self, key) is not None]
        if given and len(given) < len(_RANGE):
            missing = ", ".join(key for key in _RANGE if key not in given)
            raise Wrong("OT-0316", f"{', '.join(given)} without {missing}; a range needs all four")
        if given and (self.scale, self.offset) != (1.0, 0.0):
            raise Wrong(
                "OT-0317", "a raw range and scale or offset say the same twice; keep one of them"
            )
        if given and (self.raw_low == self.raw_high or self.scaled_low == self.scaled_high):
            raise Wrong("OT-0318", "a range must not be empty: its low and high ends are the same")
        if self.clamp and not given:
            raise Wrong(
                "OT-0319", "clamp needs the range to hold: raw_low, raw_high and scaled_low, …"
            )


_FIELDS = {each.encode_name: each for each in msgspec.structs.fields(TagRow)}
COLUMNS = list(_FIELDS)


class Row(NamedTuple):
    """One row as it is written: nothing in it is checked yet."""

    place: str
    where: str
    cells: dict[str, Any]


def read_tag_table(
    config_dir: Path,
    tags: str | list[dict[str, Any]],
    document: Document,
    where: str,
    findings: list[Finding],
) -> list[tuple[TagRow, str]]:
    """Return (row, place) for every good row; add a finding for every bad one."""
    rows = read_rows(config_dir, tags, document, where, findings)
    return tag_rows(rows or [], findings)


def read_rows(
    config_dir: Path,
    tags: str | list[dict[str, Any]],
    document: Document,
    where: str,
    findings: list[Finding],
) -> list[Row] | None:
    """Return the rows as they are written; None after a finding for a table that is no table."""
    if isinstance(tags, str):
        rows = _csv_rows(config_dir, tags, document, where, findings)
    else:
        place = document.place(f"{where}.tags")
        rows = [Row(place, f"{where}.tags[{i}]", row) for i, row in enumerate(tags)]
    if rows is not None:
        check_number_of_tags(len(rows), document, where, findings)
    return rows


def check_number_of_tags(
    number: int, document: Document, where: str, findings: list[Finding]
) -> None:
    """Add a finding when a group has no tag, or more than a scan can carry."""
    if not 1 <= number <= TAGS_MAX:
        text = f"a group has 1 to {TAGS_MAX} tags, found {number}"
        findings.append(document.finding(f"{where}.tags", text, "OT-0310"))


def tag_rows(rows: list[Row], findings: list[Finding]) -> list[tuple[TagRow, str]]:
    """Return (row, place) for every good row; add a finding for every bad one."""
    built = ((_tag_row(row, findings), row.place) for row in rows)
    return [(row, place) for row, place in built if row is not None]


def _tag_row(row: Row, findings: list[Finding]) -> TagRow | None:
    try:
        return msgspec.convert(row.cells, TagRow)
    except msgspec.ValidationError as error:
        # msgspec names the first thing wrong, and by its path; a person wants all, by its column.
        wrong = wrong_cells(row.place, row.where, row.cells)
        if "name" not in row.cells:
            text = "column 'name' is empty; every tag needs one"
            wrong.append(found("OT-0312", row.place, row.where, text))
        findings += wrong or [told(error, "OT-0313", row.place, row.where, readable(error))]
        return None


def wrong_cells(place: str, where: str, cells: dict[str, Any]) -> list[Finding]:
    """Return a finding for each cell that no row may have."""
    wrong = [
        found("OT-0311", place, where, f"unknown key {key!r}{suggestion(key, COLUMNS)}")
        for key in cells
        if key not in COLUMNS
    ]
    for key, value in cells.items():
        try:
            if key in _FIELDS:
                msgspec.convert(value, _FIELDS[key].type)
        except msgspec.ValidationError as error:
            text = f"column {key!r}: {expected(error, _FIELDS[key].type)}, found {value!r}"
            wrong.append(found("OT-0313", place, where, text))
    return wrong


def _csv_rows(
    config_dir: Path, name: str, document: Document, where: str, findings: list[Finding]
) -> list[Row] | None:
    """Return every row that is not blank, None when the file is unreadable."""
    base = (config_dir / document.name).parent
    path = base / name
    shown = str(path.relative_to(config_dir)) if path.is_relative_to(config_dir) else str(path)
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            text = f"larger than {FILE_BYTES_MAX} bytes; split it"
            findings.append(found("OT-0302", shown, "", text))
            return None
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        text = f"tag table {shown} cannot be read: {error.strerror}"
        findings.append(document.finding(f"{where}.tags", text, "OT-0301"))
        return None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        text = "is not UTF-8; in the spreadsheet save it as 'CSV UTF-8'"
        findings.append(found("OT-0303", f"{shown}:{line}", "", text))
        return None
    header_line = text.partition("\n")[0]
    delimiter = max(",;\t", key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return _table(reader, delimiter, shown, findings)


def _table(
    reader: Any,
    delimiter: str,
    shown: str,
    findings: list[Finding],
) -> list[Row] | None:
    rows: list[Row] = []
    header: list[str] = []
    try:
        for cells in reader:
            place = f"{shown}:{reader.line_num}"
            trimmed = [cell.strip() for cell in cells]
            if not any(trimmed):
                continue
            if not header:
                header = [cell.lower() for cell in trimmed]
                if not _good_header(header, place, findings):
                    return None
            elif len(trimmed) != len(header):
                text = f"{len(trimmed)} cells under a header of {len(header)} columns"
                findings.append(
                    found("OT-0309", place, "", text + f"; the delimiter is {delimiter!r}")
                )
            else:
                row = {key: cell for key, cell in zip(header, trimmed, strict=True) if cell}
                rows.append(Row(place, row.get("name", ""), numbers_in(row, delimiter)))
    except csv.Error as error:
        findings.append(found("OT-0304", f"{shown}:{reader.line_num}", "", f"is not CSV: {error}"))
        return None
    if not header:
        findings.append(
            found("OT-0305", shown, "", f"is empty; the first row names {', '.join(COLUMNS)}")
        )
        return None
    return rows


def _good_header(header: list[str], place: str, findings: list[Finding]) -> bool:
    before = len(findings)
    for column in header:
        if column not in COLUMNS:
            text = f"unknown column {column!r}{suggestion(column, COLUMNS)}"
            findings.append(found("OT-0306", place, "", text))
    twice = {column for column in header if header.count(column) > 1}
    missing = [column for column in ("name", "address") if column not in header]
    if "expression" in header and "address" in missing:
        missing.remove("address")  # A table of derived tags only.
    findings += [
        found("OT-0307", place, "", f"column {column!r} appears twice") for column in twice
    ]
    findings += [found("OT-0308", place, "", f"column {column!r} is missing") for column in missing]
    return len(findings) == before


def numbers_in(row: dict[str, Any], delimiter: str = ",") -> dict[str, Any]:
    """Turn the texts of number cells into numbers; a semicolon file is a decimal-comma file."""
    for key in _NUMBERS:
        if key in row and isinstance(row[key], str):
            text = row[key].replace(",", ".") if delimiter == ";" else row[key]
            try:
                row[key] = int(text) if key in _WHOLE else float(text)
            except ValueError:
                continue  # Left as text: the row's check names cell, column and what was found.
    return row
