"""Whom a person asks: a device of ot/plant.toml by its name, or one without configuration by a URL.

Only what the question needs has to be right: the device's own keys, and the row of a tag that is
asked for by name. Its other rows, the other devices and [gateway] may be half-written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import urlsplit

from collectors.check import with_line
from collectors.compiling import HasGroups
from collectors.inspection import Inspect
from collectors.registry import PROTOCOLS, compiler_of, inspect_of
from common.config import PLANT_FILE, Document, near, read_document, suggestion, table_at
from common.errors import ConfigError, Finding, TailraceError
from common.places import Places
from common.plant import Device, Group, Tag, read_device
from common.records import Column

SCHEMES = {"opc.tcp": "opcua", "opcua": "opcua"}
"""Schemes of URLs that are not the protocol's own name; `modbus+udp` is modbus as well."""

_EXAMPLES = "modbus://host:502/1, s7://host, opc.tcp://host:4840, simulated://"


class CannotAsk(TailraceError):
    """There is nobody to ask, or not like this; the text says what to write instead."""

    def __init__(self, kind: Literal["usage", "found"], text: str) -> None:
        super().__init__(text)
        self.kind: Literal["usage", "found"] = kind


@dataclass(frozen=True)
class Wanted:
    """One thing to read."""

    asked: str
    """As the person wrote it."""
    address: str
    type_text: str = ""
    columns: tuple[Column, ...] = ()
    """Of the tag that was named, one for each element; empty for a bare address."""
    element: int | None = None
    """Which element of an array was named; None for all."""


class Addressee:
    """One device, ready to be asked. Building it touches no network."""

    def __init__(
        self,
        device: Device,
        document: Document | None = None,
        row_findings: Sequence[Finding] = (),
        called: str = "",
    ) -> None:
        """`called` is what the person wrote, when that is not its name.

        `row_findings` are what is wrong in its tag tables, for whoever names one of their tags.

        Raises CannotAsk when its own keys are wrong.
        """
        self.device = device
        self.called = called or device.name
        self.protocol = device.protocol
        self._document = document
        self._row_findings = row_findings
        findings: list[Finding] = []
        settings = compiler_of(device.protocol)(replace(device, groups=()), findings)
        if settings is None or findings:
            raise CannotAsk("found", _lines(findings, document))
        self.settings = settings

    @property
    def inspect(self) -> Inspect:
        """How its protocol is asked. Raises CannotAsk when the library is missing."""
        try:
            return inspect_of(self.protocol)
        except ConfigError as error:
            texts = "; ".join(finding.message for finding in error.findings)
            raise CannotAsk("found", f"{self.protocol} {texts}") from error

    def compiled(self) -> object:
        """Return the device's settings with every tag of it. Raises CannotAsk when any is wrong."""
        findings = list(self._row_findings)
        settings = compiler_of(self.protocol)(self.device, findings)
        if settings is None or findings:
            raise CannotAsk("found", _lines(findings, self._document))
        return settings

    def wanted(self, text: str) -> Wanted:
        """Return what a word means: the tag of that name if there is one, else an address.

        Raises CannotAsk when the tag's own row is wrong.
        """
        for group in self.device.groups:
            for tag in group.tags:
                if text == tag.row.name:
                    return self._tag(text, group, tag)
                if text.startswith(f"{tag.row.name}/"):
                    return self._element(text, group, tag)
        bad = [finding for finding in self._row_findings if finding.where.split()[-1:] == [text]]
        if bad:
            raise CannotAsk("found", _lines(bad, self._document))
        return Wanted(text, text)

    def near(self, text: str) -> str:
        """Return ` (did you mean …)` when a tag of the device has nearly this name."""
        names = [tag.row.name for group in self.device.groups for tag in group.tags]
        return near(text, names)

    def _tag(self, text: str, group: Group, tag: Tag) -> Wanted:
        only = replace(self.device, groups=(replace(group, tags=(tag,)),))
        findings: list[Finding] = []
        compiled = compiler_of(self.protocol)(only, findings)
        if not isinstance(compiled, HasGroups) or findings:
            raise CannotAsk("found", _lines(findings, self._document))
        columns = compiled.groups[0].plan.columns
        return Wanted(text, tag.row.address, tag.row.type, columns)

    def _element(self, text: str, group: Group, tag: Tag) -> Wanted:
        whole = self._tag(text, group, tag)
        names = [column.name for column in whole.columns]
        if text not in names:
            last = names[-1].removeprefix(f"{tag.row.name}/")
            what = f"{tag.row.name} has the elements {names[0]} to {last}"
            if names == [tag.row.name]:
                what = f"{tag.row.name} is no array"
            raise CannotAsk("usage", f"no tag {text!r}: {what}")
        return replace(whole, element=names.index(text))


def addressee(places: Places, word: str) -> Addressee:
    """Return the device that a person named. Raises CannotAsk.

    One that is named by a URL may keep nothing, such as a certificate that it trusts.
    """
    return _of_url(word) if "://" in word else _of_plant(places, word)


def _of_url(url: str) -> Addressee:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise CannotAsk("usage", f"the URL cannot be read: {error}; such as {_EXAMPLES}") from error
    if "@" in parts.netloc:
        text = "a URL on a command line is seen by every user of this machine; give no user and"
        raise CannotAsk("usage", f"{text} password in it: configure the device in {PLANT_FILE}")
    scheme = parts.scheme
    protocol = SCHEMES.get(scheme) or scheme.partition("+")[0]
    if protocol not in PROTOCOLS:
        known = sorted({*PROTOCOLS, *SCHEMES})
        text = f"unknown scheme {scheme!r}{suggestion(scheme, known)}"
        raise CannotAsk("usage", f"{text}; such as {_EXAMPLES}")
    try:
        keys = import_module(f"{PROTOCOLS[protocol]}.config").keys_of_url(parts)
    except ValueError as error:
        raise CannotAsk("usage", str(error)) from error
    device = Device("device", protocol, "device", (), keys, Path.cwd())
    try:
        return Addressee(device, called=url)
    except CannotAsk as error:
        raise CannotAsk("usage", str(error)) from error


def _of_plant(places: Places, name: str) -> Addressee:
    findings: list[Finding] = []
    document = read_document(places.config_dir, PLANT_FILE, findings)
    if document is None:
        text = (
            "\n".join(map(str, findings))
            + f"\nWithout configuration name the device by a URL: {_EXAMPLES}"
        )
        raise CannotAsk("usage", text)
    devices = table_at(document, "devices", findings)
    if name not in devices:
        hint = suggestion(name, list(devices)) if devices else "; it names none"
        text = f"no device {name!r} in {PLANT_FILE}{hint}"
        raise CannotAsk("usage", f"{text}; or give a URL: {_EXAMPLES}")
    device = read_device(places.config_dir, document, name, findings)
    if device is None:
        raise CannotAsk("found", _lines(findings, document))
    if device.protocol not in PROTOCOLS:
        _refuse_protocol(document, device)
    state_dir = places.data_dir / device.protocol
    return Addressee(replace(device, state_dir=state_dir), document, findings)


def _refuse_protocol(document: Document, device: Device) -> NoReturn:
    where = f"devices.{device.name}.protocol"
    text = f"unknown protocol {device.protocol!r}{suggestion(device.protocol, list(PROTOCOLS))}"
    raise CannotAsk("found", str(document.finding(where, text)))


def _lines(findings: Sequence[Finding], document: Document | None = None) -> str:
    """Return a line for each; of a device without a document what is said of its keys."""
    if document is None:
        return "\n".join(
            finding.message if finding.place == PLANT_FILE else str(finding) for finding in findings
        )
    return "\n".join(str(with_line(finding, document)) for finding in findings)
