"""Tag tests as people write them: ot/tests/*.toml → structs, each with the line it stands on.

docs/testing-tags.md shows every key. Names of devices and tags are checked later, against the
compiled tag tables (tagtest_runs.py).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from common.config import Document, build, read_document
from common.errors import Finding

FOLDER = "ot/tests"
FILES_MAX = 1_000
TESTS_MAX = 10_000
SCANS_MAX = 10_000
"""Of one test, each repetition counted."""
AFTER_S_MAX = 604_800.0
TIMES_MAX = 10_000

START = datetime(2026, 1, 1, tzinfo=UTC)
"""Midnight, so that windows begin with the test."""


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall be told of one tag: `{ value = 42.5, quality = "Good" }`, or the value alone."""

    value: Any = UNSET
    null: bool = False
    """True: told, and without a value."""
    quality: str | UnsetType = UNSET
    """OPC UA's name, or Good, Uncertain, Bad for any of that severity. Default Good."""
    tolerance: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    """How far a number may be from `value`; without it a billionth of it."""
    at: datetime | UnsetType = UNSET
    """The time of the value; of a window its end."""

    def __post_init__(self) -> None:
        """Refuse what nothing can fulfil."""
        if self.null and self.value is not UNSET:
            raise ValueError("null and value contradict each other; keep one of them")
        if self.tolerance is not UNSET and not _is_number(self.value):
            raise ValueError("tolerance needs a number as value")


class ScanConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[tests.scans]]: what is read, and what shall be told of it."""

    after_s: Annotated[float, Meta(ge=0, le=AFTER_S_MAX)] | UnsetType = UNSET
    """Since the scan before; without it the period of the group that is read."""
    times: Annotated[int, Meta(ge=1, le=TIMES_MAX)] = 1
    """The same scan so often, `after_s` apart."""
    raw: dict[str, Any] = {}
    """Tag → value as the device gives it. Tags that are missing are not read by this scan."""
    qualities: dict[str, str] = {}
    """Tag → OPC UA's name of a status code; one that is not in `raw` is read without a value."""
    source_at: dict[str, datetime] = {}
    """Tag → the device's own time of the value."""
    away: bool = False
    """The device is lost: every tag is Bad, without a value."""
    restart: bool = False
    """Before this scan the gateway is started anew."""
    expect: dict[str, Any] = {}
    """Tag → what shall be told of it by this scan, or since the one before."""
    not_told: list[str] = []
    """Tags, or globs, of which nothing shall be told; those in `expect` aside."""


class StoryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[[tests]]: one story of one device."""

    name: Annotated[str, Meta(min_length=1, max_length=256)]
    device: str
    start: datetime = START
    scans: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=SCANS_MAX)]


@dataclass(frozen=True)
class WrittenScan:
    """One scan, and where it stands."""

    config: ScanConfig
    expected: dict[str, Expected]
    where: str


@dataclass(frozen=True)
class WrittenTest:
    """One test, and where it stands."""

    config: StoryConfig
    scans: tuple[WrittenScan, ...]
    where: str
    document: Document

    @property
    def place(self) -> str:
        """`file:line`."""
        return self.document.place(self.where)


def read_tests(config_dir: Path, findings: list[Finding]) -> list[WrittenTest]:
    """Return every test that can be read; add a finding for everything wrong."""
    folder = config_dir / FOLDER
    paths = sorted(folder.glob("*.toml"))
    if len(paths) > FILES_MAX:
        findings.append(Finding(FOLDER, "", f"{len(paths)} files; at most {FILES_MAX}"))
        return []
    tests: list[WrittenTest] = []
    for path in paths:
        tests += _read_file(config_dir, f"{FOLDER}/{path.name}", findings)
    if len(tests) > TESTS_MAX:
        findings.append(Finding(FOLDER, "", f"{len(tests)} tests; at most {TESTS_MAX}"))
    return tests[:TESTS_MAX]


def _read_file(config_dir: Path, name: str, findings: list[Finding]) -> list[WrittenTest]:
    document = read_document(config_dir, name, findings)
    if document is None:
        return []
    document.lines = lines_of_tests((config_dir / name).read_text("utf-8-sig"))
    findings += [
        document.finding(key, f"unknown table {key!r}; write [[tests]]")
        for key in document.tables
        if key != "tests"
    ]
    tables = document.tables.get("tests")
    if not isinstance(tables, list):
        findings.append(document.finding("tests", "holds no test; write [[tests]] with its scans"))
        return []
    found = (_test(document, f"tests.{i}", table, findings) for i, table in enumerate(tables))
    return [test for test in found if test is not None]


def _test(
    document: Document, where: str, table: object, findings: list[Finding]
) -> WrittenTest | None:
    config = build(StoryConfig, table, document, where, findings)
    if config is None:
        return None
    found = [
        _scan(document, f"{where}.scans.{i}", scan, findings)
        for i, scan in enumerate(config.scans)
    ]  # fmt: skip
    scans = tuple(scan for scan in found if scan is not None)
    if sum(scan.config.times for scan in scans) > SCANS_MAX:
        text = f"more than {SCANS_MAX} scans, repetitions counted; write several tests"
        findings.append(document.finding(where, text))
        return None
    return WrittenTest(config, scans, where, document) if len(scans) == len(found) else None


def _scan(
    document: Document, where: str, table: dict[str, Any], findings: list[Finding]
) -> WrittenScan | None:
    config = build(ScanConfig, table, document, where, findings)
    if config is None:
        return None
    before = len(findings)
    read = bool(config.raw or config.qualities or config.away or config.restart)
    if not read and config.after_s is UNSET:
        text = "reads nothing, so it only lets time pass: give after_s, or raw"
        findings.append(document.finding(where, text))
    if config.away and (config.raw or config.qualities):
        text = "away: the device gives nothing; leave out raw and qualities"
        findings.append(document.finding(where, text))
    expected = {
        tag: _expected(document, f"{where}.expect.{tag}", written, findings)
        for tag, written in config.expect.items()
    }
    good = {tag: each for tag, each in expected.items() if each is not None}
    return WrittenScan(config, good, where) if len(findings) == before else None


def _expected(
    document: Document, where: str, written: object, findings: list[Finding]
) -> Expected | None:
    if isinstance(written, dict):
        return build(Expected, written, document, where, findings)
    if isinstance(written, bool | int | float | str):
        return Expected(value=written)
    text = f"must be a value or a table, {{ value = …, quality = … }}, found {written!r}"
    findings.append(document.finding(where, text))
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TABLE = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*([A-Za-z0-9_.\-"'/]+)\s*=""")


def lines_of_tests(text: str) -> dict[str, int]:
    """Return the line of every table and key, arrays of tables by their numbers: `tests.0.name`."""
    lines: dict[str, int] = {}
    counts: dict[str, int] = {}
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            here = _numbered(found[2].replace('"', "").replace("'", ""), counts)
            if found[1] == "[[":
                counts[here] = counts.get(here, -1) + 1
                lines.setdefault(here, number)
                here = f"{here}.{counts[here]}"
            lines.setdefault(here, number)
        elif found := _KEY.match(line):
            key = found[1].replace('"', "").replace("'", "")
            lines.setdefault(f"{here}.{key}" if here else key, number)
    return lines


def _numbered(path: str, counts: dict[str, int]) -> str:
    """Return a path with the number of the newest element behind each array of tables above it."""
    *above, last = [level.strip() for level in path.split(".")]
    built = ""
    for level in above:
        built = f"{built}.{level}" if built else level
        built = f"{built}.{counts[built]}" if built in counts else built
    return f"{built}.{last}" if built else last
