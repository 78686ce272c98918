"""Asset templates: a machine described once, used by many devices that differ in a few numbers.

    [templates.press]                         [devices.press7]
    protocol = "s7"                           template = "press"
    parameters = {db = 40, base = 0}          host = "10.10.1.27"
                                              parameters = {db = 47}
    [templates.press.groups.process]
    period_ms = 250                           [devices.press7.tags.Temperature_C]
    tags = "tags/press.csv"                   deadband = 0.5

A template's rows are read once. For each device their parameters are filled in, cells are replaced
and tags left out as the device says; then they are rows like any others, checked like any others.
A template's other keys, such as `protocol`, are the device's where it does not give them itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from common.codes import Wrong, told
from common.config import Document, build, near, suggestion, table_at
from common.errors import Finding
from common.parameters import NAME, Parameters, filled, names_in
from common.tagtable import GroupConfig, Row, numbers_in, read_rows, wrong_cells

Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
ParameterText = Annotated[str, Meta(max_length=256)]

_OF_A_DEVICE = ("asset", "path", "template", "tags", "leave_out")


class TemplateUse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a device that say how it differs from its template."""

    template: str = ""
    parameters: dict[str, Whole | ParameterText] = {}
    tags: dict[str, dict[str, Any]] = {}
    """By the name of a tag of the template: cells in place of the template's."""
    leave_out: list[str] = []
    """Tags of the template that this device does not have."""

    def __post_init__(self) -> None:
        """Nothing can differ from a template that is not named."""
        if not self.template and (self.parameters or self.tags or self.leave_out):
            raise Wrong(
                "OT-0206", 'parameters, tags and leave_out belong to template = "…"; name it'
            )


@dataclass(frozen=True)
class TemplateGroup:
    """Tags of every device of a kind."""

    period_ms: int
    rows: list[Row]


@dataclass(frozen=True)
class Template:
    """One kind of device."""

    name: str
    keys: dict[str, Any]
    """Those of its protocol, for devices that do not give them themselves."""
    defaults: Parameters
    named: frozenset[str]
    """Every parameter that a row names."""
    groups: dict[str, TemplateGroup]


class Templates:
    """The templates of one plant; each is read when it is first asked for."""

    def __init__(self, config_dir: Path, document: Document, findings: list[Finding]) -> None:
        self._config_dir = config_dir
        self._document = document
        self._findings = findings
        self._tables = table_at(document, "templates", findings)
        self._read: dict[str, Template | None] = {}

    @property
    def names(self) -> list[str]:
        """Return the names of all."""
        return list(self._tables)

    def of(self, name: str, where: str) -> Template | None:
        """Return the template that the device `where` names, None after a finding."""
        if name not in self._tables:
            hint = suggestion(name, self.names) if self._tables else "; there is none"
            text = f"no template {name!r}{hint}: [templates.{name}]"
            self._findings.append(self._document.finding(f"{where}.template", text, "OT-0201"))
            return None
        if name not in self._read:
            self._read[name] = self._template(name, self._tables[name])
        return self._read[name]

    def _template(self, name: str, table: object) -> Template | None:
        where = f"templates.{name}"
        before = len(self._findings)
        if not isinstance(table, dict):
            text = f"must be a table, [{where}], found {table!r}"
            self._findings.append(self._document.finding(where, text, "CF-06"))
            return None
        keys = dict(table)
        groups = keys.pop("groups", {})
        for key in [key for key in _OF_A_DEVICE if key in keys]:
            text = f"{key} belongs to each device that uses the template, not to the template"
            self._findings.append(self._document.finding(f"{where}.{key}", text, "OT-0202"))
        use = build(
            TemplateUse,
            {"template": name, "parameters": keys.pop("parameters", {})},
            self._document,
            where,
            self._findings,
        )
        if use is not None:
            self._check_parameters(use.parameters, f"{where}.parameters")
        if not isinstance(groups, dict) or not groups:
            text = f"needs at least one group: [{where}.groups.NAME] with period_ms and tags"
            self._findings.append(self._document.finding(where, text, "OT-0109"))
            groups = {}
        read = {group: self._group(f"{where}.groups.{group}", groups[group]) for group in groups}
        named = frozenset[str]().union(*(self._named(name, *each) for each in read.items() if each))
        if use is None or len(self._findings) > before:
            return None
        return Template(
            name, keys, use.parameters, named, {group: each for group, each in read.items() if each}
        )

    def _check_parameters(self, parameters: Parameters, where: str) -> None:
        for name in parameters:
            if not NAME.fullmatch(name):
                text = f"a parameter is named with letters, digits and '_', found {name!r}"
                self._findings.append(self._document.finding(f"{where}.{name}", text, "OT-0203"))

    def _group(self, where: str, table: object) -> TemplateGroup | None:
        config = build(GroupConfig, table, self._document, where, self._findings)
        if config is None:
            return None
        rows = read_rows(self._config_dir, config.tags, self._document, where, self._findings)
        return TemplateGroup(config.period_ms, rows or [])

    def _named(self, template: str, group: str, read: TemplateGroup | None) -> set[str]:
        """Return the parameters that the rows name; a finding for braces that mean nothing."""
        named: set[str] = set()
        for row in read.rows if read else ():
            for column, cell in row.cells.items():
                try:
                    named |= names_in(cell) if isinstance(cell, str) else set()
                except ValueError as error:
                    where = f"templates.{template}.groups.{group} tag {_name_of(row)}"
                    text = f"column {column!r}: {error}"
                    self._findings.append(told(error, "OT-0207", row.place, where, text))
        return named


class Applied:
    """One device's use of its template. Findings name the device, and the template's row."""

    def __init__(
        self,
        template: Template,
        use: TemplateUse,
        document: Document,
        where: str,
        findings: list[Finding],
    ) -> None:
        self.template = template
        self._use = use
        self._where = where
        self._findings = findings
        self._parameters = {**template.defaults, **use.parameters}
        self._seen: set[str] = set()
        known = sorted({*template.defaults, *template.named})
        for name in use.parameters:
            if name not in known:
                hint = suggestion(name, known) if known else "; it has none"
                text = f"template {template.name} has no parameter {name!r}{hint}"
                findings.append(document.finding(f"{where}.parameters.{name}", text, "OT-0204"))
        missing = sorted(template.named - self._parameters.keys())
        if missing:
            given = ", ".join(f"{name} = …" for name in missing)
            text = f"template {template.name} needs parameters = {{{given}}}"
            findings.append(document.finding(f"{where}.parameters", text, "OT-0205"))
        self._complete = not missing
        self._changes: dict[str, dict[str, Any]] = {}
        for name, cells in use.tags.items():
            at = f"{where}.tags.{name}"
            wrong = wrong_cells(document.place(at), at, cells)
            findings += wrong
            self._changes[name] = {} if wrong else cells
        for name in keys_given(template):
            document.stands_at(f"{where}.{name}", f"templates.{template.name}.{name}")

    def rows(self, group: str) -> list[Row]:
        """Return the rows of one of the template's groups as this device has them."""
        if not self._complete:
            return []
        filled_in = (self._row(group, row) for row in self.template.groups[group].rows)
        return [row for row in filled_in if row is not None]

    def _row(self, group: str, row: Row) -> Row | None:
        where = f"{self._where}.groups.{group} tag {_name_of(row)}"
        try:
            cells = self._cells(row.cells)
        except ValueError as error:
            self._findings.append(told(error, "OT-0208", row.place, where))
            return None
        name = cells.get("name", "")
        self._seen.add(name)
        if name in self._use.leave_out:
            return None
        cells.update(self._changes.get(name, {}))
        return Row(row.place, f"{self._where}.groups.{group} tag {name}", cells)

    def _cells(self, written: dict[str, Any]) -> dict[str, Any]:
        cells, changed = dict(written), False
        for column, cell in written.items():
            if isinstance(cell, str) and ("{" in cell or "}" in cell):
                try:
                    cells[column] = filled(cell, self._parameters)
                except ValueError as error:
                    raise ValueError(f"column {column!r}: {error}") from error
                changed = True
        return numbers_in(cells) if changed else cells

    def check_names(self, document: Document) -> None:
        """Add a finding for each tag that is changed or left out and that the template lacks.

        To be asked once every group's rows were.
        """
        for key, names in (("tags", self._use.tags), ("leave_out", self._use.leave_out)):
            for name in names if self._complete else ():
                if name not in self._seen:
                    hint = near(name, sorted(self._seen))
                    text = f"template {self.template.name} has no tag {name!r}{hint}"
                    where = f"{self._where}.{key}" + (f".{name}" if key == "tags" else "")
                    self._findings.append(document.finding(where, text, "OT-0209"))


def keys_given(template: Template) -> Iterable[str]:
    """Return the keys, as paths, that a device has from its template."""
    yield from template.keys
    for group in template.groups:
        for key in ("", ".period_ms", ".tags"):
            yield f"groups.{group}{key}"


def _name_of(row: Row) -> str:
    return str(row.cells.get("name", ""))
