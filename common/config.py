"""Configuration files → structs, with every error at once, each with file, line and key.

msgspec checks types and bounds but stops at the first error and knows no lines; this module
walks a table key by key and finds the line of each key, so that one run of `tailrace check`
shows everything that must be changed.
"""

import difflib
import re
import sys
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from common.codes import found, told
from common.errors import Finding

PLANT_FILE = "ot/plant.toml"
CLOUD_FILE = "it/cloud.toml"
FILE_BYTES_MAX = 16 * 1024 * 1024

BacklogHours = Annotated[float, Meta(ge=0, le=87_600)]
BacklogMib = Annotated[int, Meta(ge=0, le=1_048_576)]

T = TypeVar("T", bound=msgspec.Struct)


class BacklogMax(msgspec.Struct, frozen=True, kw_only=True):
    """How much may wait for a target before it is cut off; of its table in it/cloud.toml."""

    backlog_max_h: BacklogHours = 0
    """0: however old."""
    backlog_max_mib: BacklogMib = 0
    """0: however much."""


@dataclass
class Document:
    """One TOML file as read: its tables, and where each key stands."""

    name: str
    """As the operator knows it: relative to the configuration directory."""
    tables: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)

    def place(self, where: str) -> str:
        """Return `file:line` of the nearest known key at or above `where`."""
        key = where
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return f"{self.name}:{self.lines[key]}" if key else self.name

    def stands_at(self, where: str, other: str) -> None:
        """Let the key `where`, which is not written itself, stand where `other` is written."""
        if where not in self.lines and other in self.lines:
            self.lines[where] = self.lines[other]

    def finding(self, where: str, message: str, code: str = "") -> Finding:
        """Return a finding about the key path `where`; a code brings its help."""
        place = self.place(where)
        return found(code, place, where, message) if code else Finding(place, where, message)


def read_document(
    config_dir: Path, name: str, findings: list[Finding], *, help_text: str = ""
) -> Document | None:
    """Read a TOML file, or add a finding that says why it cannot be read."""
    path = config_dir / name
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            text = f"larger than {FILE_BYTES_MAX} bytes; split it"
            findings.append(found("CF-01", name, "", text))
            return None
        text = path.read_bytes().decode("utf-8-sig")
        return Document(name, tomllib.loads(text), _lines_of_keys(text))
    except FileNotFoundError:
        text = f"no such file in {config_dir}. {help_text}".rstrip()
        findings.append(found("CF-02", name, "", text))
    except OSError as error:
        findings.append(found("CF-03", name, "", f"cannot be read: {error.strerror}"))
    except UnicodeDecodeError as error:
        text = f"is not UTF-8 (byte {error.start}); save it as UTF-8"
        findings.append(found("CF-04", name, "", text))
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        place = f"{name}:{at[1]}" if at else name
        findings.append(found("CF-05", place, "", f"is not TOML: {error}"))
    return None


_TABLE = re.compile(r"^\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*([A-Za-z0-9_.\-"']+)\s*=""")


def _lines_of_keys(text: str) -> dict[str, int]:
    """Map dotted key paths to 1-based lines. A hint for people: arrays of tables share one path."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = found[1].replace('"', "").replace("'", "").replace(" ", "")
            lines.setdefault(table, number)
        elif found := _KEY.match(line):
            key = found[1].replace('"', "").replace("'", "")
            lines.setdefault(f"{table}.{key}" if table else key, number)
    return lines


def suggestion(word: str, known: list[str]) -> str:
    """Return ` (did you mean 'x'?)`, or the list of what is known when nothing is near."""
    return near(word, known) or f"; known here: {', '.join(sorted(known))}"


def near(word: str, known: list[str]) -> str:
    """Return `; did you mean 'x'?`, empty when nothing is near: for what has too many names."""
    words = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {words[0]!r}?" if words else ""


def table_at(document: Document, key: str, findings: list[Finding]) -> dict[str, Any]:
    """Return the sub-table `key` of the document, empty with a finding when it is no table."""
    table = document.tables.get(key, {})
    if isinstance(table, dict):
        return table
    text = f"must be a table, [{key}], found {table!r}"
    findings.append(document.finding(key, text, "CF-06"))
    return {}


def build(
    struct: type[T],
    table: object,
    document: Document,
    where: str,
    findings: list[Finding],
) -> T | None:
    """Return `table` as a `struct`, or None after adding a finding for each thing wrong in it."""
    if not isinstance(table, Mapping):
        text = f"must be a table, [{where}], found {table!r}"
        findings.append(document.finding(where, text, "CF-06"))
        return None
    fields = {each.encode_name: each for each in msgspec.structs.fields(struct)}
    before = len(findings)
    findings += [
        document.finding(
            f"{where}.{key}", f"unknown key {key!r}{suggestion(str(key), list(fields))}", "CF-07"
        )
        for key in table
        if key not in fields
    ]
    values: dict[str, Any] = {}
    for name, each in fields.items():
        if name not in table:
            if each.required:
                findings.append(document.finding(where, f"missing required key {name!r}", "CF-08"))
            continue
        if isinstance(each.type, type) and issubclass(each.type, msgspec.Struct):
            inner = build(each.type, table[name], document, f"{where}.{name}", findings)
            values |= {} if inner is None else {name: inner}
            continue
        try:
            values[name] = msgspec.convert(table[name], each.type)
        except msgspec.ValidationError as error:
            text = f"{expected(error, each.type)}, found {_shown(name, table[name])}"
            findings.append(document.finding(f"{where}.{name}", text, "CF-09"))
    if len(findings) > before:
        return None
    try:
        return msgspec.convert(values, struct)  # runs __post_init__, the rules between keys
    except msgspec.ValidationError as error:
        findings.append(told(error, "CF-10", document.place(where), where, readable(error)))
        return None


def _shown(key: str, value: object) -> str:
    """Return a rejected value for a person, without any secret that was put in its place."""
    if "password" in key or key.endswith("_file"):
        return "a value that is not shown: it may be a secret"
    return re.sub(r"//[^/@\s]*@", "//…@", repr(value))


def readable(error: msgspec.ValidationError) -> str:
    """Return msgspec's sentence without its own path, in a person's words."""
    text = str(error).partition(" - at `")[0].replace(" | null", "")  # TOML has no null.
    return text[0].lower() + text[1:] if text else "is not valid"


def expected(error: msgspec.ValidationError, kind: Any) -> str:
    """Return what would be right: of a closed set of words all of them, else msgspec's sentence."""
    match msgspec.inspect.type_info(kind):
        case msgspec.inspect.LiteralType(values=words):
            known = list(words)
        case msgspec.inspect.EnumType(cls=words):
            known = [each.value for each in words]
        case _:
            return readable(error)
    return f"expected one of {', '.join(map(repr, known))}"


def target_names(config_dir: Path, findings: list[Finding]) -> list[str]:
    """Return the names of the targets in it/cloud.toml: those whose cursors hold the queue back."""
    document = read_document(config_dir, CLOUD_FILE, findings)
    return list(table_at(document, "targets", findings)) if document else []


def backlogs_max(config_dir: Path) -> dict[str, BacklogMax]:
    """Return how much may wait for each target of it/cloud.toml; one that is wrong has no limit."""
    document = read_document(config_dir, CLOUD_FILE, [])
    found = {}
    for name, table in (table_at(document, "targets", []) if document else {}).items():
        with suppress(msgspec.ValidationError):
            found[name] = msgspec.convert(table, BacklogMax)
    return found


def rejected_secret(path: Path) -> str | None:
    """Return why a secret file must not be used, None when it may: it must be ours alone."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if mode & 0o077:
        return f"is readable by others (mode {mode & 0o777:o}); run: chmod 600 {path}"
    return None


def print_findings(findings: list[Finding], *, as_json: bool) -> None:
    """Write to stdout a line per finding, or JSON: [{place, where, message, code, help}, …]."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(findings).decode() + "\n")
        return
    sys.stdout.writelines(f"{finding}\n" for finding in findings)
