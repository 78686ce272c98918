"""The OT half of the configuration: ot/plant.toml and its tag tables.

This module knows gateways, the queue's bounds, devices, groups and tags; what a device's remaining
keys and a tag's address mean belongs to its protocol (collectors/<protocol>/config.py, address.py).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from common.codes import Wrong, found
from common.config import (
    PLANT_FILE,
    Document,
    build,
    read_document,
    readable,
    suggestion,
    table_at,
)
from common.errors import ConfigError, Finding
from common.naming import TOPIC_BYTES_MAX, BrokerProfile, named_levels, wrong_levels
from common.outbox import GROUPS_MAX
from common.sourcetimes import AS_THE_DEVICE_SAYS, SourceTimeConfig, without_source_time_keys
from common.tagtable import (
    GroupChange,
    GroupConfig,
    Row,
    TagRow,
    check_number_of_tags,
    read_rows,
    tag_rows,
)
from common.templates import Applied, Templates, TemplateUse

TABLES = ["gateway", "queue", "templates", "devices"]
_HELP = "The OT half of the configuration lives there."
DEVICES_MAX = 1_000
_DIFFERING = [each.name for each in msgspec.structs.fields(TemplateUse)]

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Mib = Annotated[int, Meta(ge=0, le=1_048_576)]
BucketS = Annotated[float, Meta(ge=1, le=86_400)]


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[gateway]: which box this is, and where it stands in the enterprise."""

    id: Name
    root: Annotated[str, Meta(min_length=1, max_length=512)]
    """Levels of the namespace above every asset: enterprise/site/area/line."""
    clock: Literal["mark", "trust"] = "mark"
    """While nothing synchronises the gateway's clock: samples say so · it is right all the same."""
    levels: tuple[Name, ...] = ()
    """What the levels of root, and of a device's path, are called; empty: as ISA-95 calls them."""
    broker_profiles: tuple[BrokerProfile, ...] = ()
    """Far sides whose limits of topics the names must fit; `tailrace check` warns."""
    publish_addresses: bool = False
    """Whether a target may tell where in the device a tag stands (`_meta` topics)."""
    ignore_warnings: tuple[str, ...] = ()
    """Codes of warnings that `tailrace check` shall not give: OT-L09."""

    def __post_init__(self) -> None:
        """A level has one name, and each level has one."""
        deep, named = self.root.count("/") + 1, len(self.levels)
        if len(set(self.levels)) < named:
            raise Wrong("OT-0101", "levels: two levels have the same name")
        if self.levels and deep > named:
            raise Wrong("OT-0102", f"root has {deep} levels, and levels names {named}")


class QueueConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[queue]: how much is kept while no target takes it, and what a full queue gives up.

    OT's, not IT's: it/cloud.toml may be wrong at any moment and must not influence what is kept.
    """

    capacity_mib: Annotated[int, Meta(ge=16, le=1_048_576)] = 8_192
    """What records may occupy on disk; the file becomes a quarter larger."""
    disk_reserve_mib: Mib = 256
    """Left free on the file system, at most 5 % of it; the queue keeps less instead."""
    age_max_days: Annotated[float, Meta(gt=0, le=36_500)] | None = None
    """Older data is dropped; absent: data of any age is kept."""
    when_full: Literal["drop-oldest", "stop-reading", "thin"] = "drop-oldest"
    """The oldest goes, by the tags' class · nothing new is taken · the oldest loses detail."""
    thin_fine_s: BucketS = 60.0
    """`thin` leaves first, last, least and greatest of each tag in every bucket of this length…"""
    thin_coarse_s: BucketS = 900.0
    """…and later of this."""

    def __post_init__(self) -> None:
        """What is older has fewer buckets, not more."""
        coarse_s, fine_s = self.thin_coarse_s, self.thin_fine_s
        if coarse_s <= fine_s:
            text = f"thin_coarse_s ({coarse_s:g}) must be larger than thin_fine_s ({fine_s:g})"
            raise Wrong("OT-0103", text)


@dataclass(frozen=True)
class Tag:
    """One named value, as its row says; `place` and `where` find the row again for errors."""

    row: TagRow
    topic: str
    place: str
    where: str


@dataclass(frozen=True)
class Group:
    """Tags of one device read together."""

    name: str
    period_ms: int
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Device:
    """One PLC or meter."""

    name: str
    protocol: str
    asset: str
    groups: tuple[Group, ...]
    settings: dict[str, Any]
    """The keys that belong to the protocol: host, port, unit, …"""
    folder: Path
    """Where plant.toml stands: files that settings name are relative to it."""
    state_dir: Path | None = None
    """Where its protocol may keep what must outlive the process; None: it may keep nothing."""
    path: str = ""
    """Levels between root and asset."""
    levels: tuple[str, ...] = ()
    """What the levels of root and path are called."""
    template: str = ""
    beside: frozenset[str] = frozenset()
    """Names of tags of the same asset that other devices give; expressions may use them."""
    source_time: SourceTimeConfig = AS_THE_DEVICE_SAYS
    """How far the times that the device gives are believed."""


@dataclass(frozen=True)
class Plant:
    """The whole OT half, valid as far as the house can tell without knowing protocols."""

    gateway: GatewayConfig
    queue: QueueConfig
    devices: tuple[Device, ...]
    document: Document
    templates: tuple[str, ...] = ()

    def devices_of(self, protocol: str) -> tuple[Device, ...]:
        """Return the devices that one collector process reads."""
        return tuple(device for device in self.devices if device.protocol == protocol)


def load_plant(config_dir: Path, data_dir: Path | None = None) -> Plant:
    """Read ot/plant.toml and its tag tables. Raises ConfigError with every finding.

    With `data_dir` every protocol may keep its state there, in a folder of its name.
    """
    findings: list[Finding] = []
    plant = read_plant(config_dir, findings)
    if findings or plant is None:
        raise ConfigError(findings)
    if data_dir is None:
        return plant
    devices = (replace(each, state_dir=data_dir / each.protocol) for each in plant.devices)
    return replace(plant, devices=tuple(devices))


def read_plant(config_dir: Path, findings: list[Finding]) -> Plant | None:
    """Read as much of the OT half as can be read, adding a finding for each thing wrong."""
    document = read_document(config_dir, PLANT_FILE, findings, help_text=_HELP)
    if document is None:
        return None
    for key in document.tables:
        if key not in TABLES:
            text = f"unknown table {key!r}{suggestion(key, TABLES)}"
            findings.append(document.finding(key, text, "CF-07"))
    queue = _queue(document, findings)
    gateway = build(
        GatewayConfig, document.tables.get("gateway", {}), document, "gateway", findings
    )
    reader = _Reader(config_dir, document, gateway, findings)
    reader.check_path(gateway.root if gateway else "unknown", "gateway.root")
    devices = [
        device
        for name, table in table_at(document, "devices", findings).items()
        if (device := reader.device(name, table))
    ]
    if len(devices) > DEVICES_MAX:
        findings.append(
            document.finding("devices", f"{len(devices)} devices; {DEVICES_MAX} at most", "OT-0110")
        )
    for protocol in sorted({device.protocol for device in devices}):
        groups = sum(len(device.groups) for device in devices if device.protocol == protocol)
        if groups > GROUPS_MAX:
            text = f"{groups} groups over {protocol}; {GROUPS_MAX} at most for one collector"
            findings.append(document.finding("devices", text, "OT-0111"))
    _check_topics(devices, findings)
    devices = _with_neighbours(devices)
    templates = tuple(reader.templates.names)
    return Plant(gateway, queue, tuple(devices), document, templates) if gateway else None


def _with_neighbours(devices: list[Device]) -> list[Device]:
    """Return the devices, each with what the others of its asset give."""
    given: dict[tuple[str, str], dict[str, set[str]]] = {}
    for device in devices:
        names = {
            tag.row.name for group in device.groups for tag in group.tags if not tag.row.expression
        }
        given.setdefault((device.path, device.asset), {})[device.name] = names
    return [
        replace(device, beside=frozenset().union(*(of[name] for name in of if name != device.name)))
        for device in devices
        if (of := given[device.path, device.asset])
    ]


def read_device(
    config_dir: Path, document: Document, name: str, findings: list[Finding]
) -> Device | None:
    """Return one device of the document, reading no other's tag tables; None when it is no table.

    Findings are the device's own. Its tags' topics begin with `unknown` when [gateway] is wrong.
    """
    gateway = build(GatewayConfig, document.tables.get("gateway", {}), document, "gateway", [])
    reader = _Reader(config_dir, document, gateway, findings)
    return reader.device(name, document.tables["devices"][name])


def read_queue_config(config_dir: Path, findings: list[Finding]) -> QueueConfig:
    """Return [queue] of ot/plant.toml, reading nothing else of it; defaults beside any finding."""
    document = read_document(config_dir, PLANT_FILE, findings, help_text=_HELP)
    return _queue(document, findings) if document else QueueConfig()


def _queue(document: Document, findings: list[Finding]) -> QueueConfig:
    table = document.tables.get("queue", {})
    return build(QueueConfig, table, document, "queue", findings) or QueueConfig()


class _Reader:
    """Reads devices of one document; everything wrong becomes a finding."""

    def __init__(
        self,
        config_dir: Path,
        document: Document,
        gateway: GatewayConfig | None,
        findings: list[Finding],
    ) -> None:
        self._config_dir = config_dir
        self._document = document
        self._root = gateway.root if gateway else "unknown"
        self._levels = gateway.levels if gateway else ()
        self._findings = findings
        self.templates = Templates(config_dir, document, findings)

    def device(self, name: str, table: Any) -> Device | None:
        """Return a device as far as it can be read, None when it is no table."""
        where = f"devices.{name}"
        if not isinstance(table, dict):
            self._find("CF-06", where, f"must be a table, [{where}], found {table!r}")
            return None
        self._check_name(name, where, "device name")
        settings = dict(table)
        differing = {key: settings.pop(key) for key in _DIFFERING if key in settings}
        use = build(TemplateUse, differing, self._document, where, self._findings)
        applied = self._applied(use, where)
        own_groups = settings.pop("groups", {})
        templated = use is None or bool(use.template)
        settings = {**(applied.template.keys if applied else {}), **settings}
        settings, timing = without_source_time_keys(settings)
        source_time = build(SourceTimeConfig, timing, self._document, where, self._findings)
        protocol = settings.pop("protocol", None)
        told = templated and not applied  # What is wrong with the template was found already.
        if (not isinstance(protocol, str) or not protocol) and not told:
            text = f'needs protocol = "…", the name of the protocol it speaks, found {protocol!r}'
            self._find("OT-0104", f"{where}.protocol", text)
        asset = self._levels_of(settings.pop("asset", name), f"{where}.asset", name)
        path = self._levels_of(settings.pop("path", ""), f"{where}.path", "")
        above = f"{self._root}/{path}" if path else self._root
        levels = named_levels(above, self._levels)
        if levels is None:
            deep = above.count("/") + 1
            text = f"root and path have {deep} levels, and [gateway] levels names "
            self._find("OT-0102", f"{where}.path", f"{text}{len(self._levels)}")
        groups = self._groups(own_groups, f"{above}/{asset}", where, applied, templated=templated)
        return Device(
            name,
            protocol if isinstance(protocol, str) else "",
            asset,
            tuple(groups),
            settings,
            (self._config_dir / self._document.name).parent,
            path=path,
            levels=levels or (),
            template=applied.template.name if applied else "",
            source_time=source_time or AS_THE_DEVICE_SAYS,
        )

    def check_path(self, path: str, where: str, place: str = "") -> None:
        """Add a finding for each level of a path that no topic may have."""
        for text in wrong_levels(path):
            at = place or self._document.place(where)
            self._findings.append(found("OT-0108", at, where, text))

    def _applied(self, use: TemplateUse | None, where: str) -> Applied | None:
        if use is None or not use.template:
            return None
        template = self.templates.of(use.template, where)
        return Applied(template, use, self._document, where, self._findings) if template else None

    def _levels_of(self, written: object, where: str, otherwise: str) -> str:
        if not isinstance(written, str):
            self._find("OT-0107", where, f"must be text, found {written!r}")
            return otherwise
        if written or otherwise:  # An asset has a name; a path may be none.
            self.check_path(written, where)
        return written

    def _groups(
        self, own: object, path: str, where: str, applied: Applied | None, *, templated: bool
    ) -> list[Group]:
        shared = applied.template.groups if applied else {}
        if not isinstance(own, dict) or not (own or templated):
            text = f"needs at least one group: [{where}.groups.NAME] with period_ms and tags"
            self._find("OT-0109", where, text)
            own = {}
        groups = []
        for name in {**shared, **own}:
            at = f"{where}.groups.{name}"
            self._check_name(name, at, "group name")
            if applied and name in shared:
                groups.append(self._shared_group(name, own.get(name, {}), path, applied, at))
            elif group := self._own_group(name, own[name], path, at):
                groups.append(group)
        if applied:
            applied.check_names(self._document)
        return [group for group in groups if group.tags or group.name not in shared]

    def _own_group(self, name: str, table: object, path: str, where: str) -> Group | None:
        config = build(GroupConfig, table, self._document, where, self._findings)
        if config is None:
            return None
        rows = read_rows(self._config_dir, config.tags, self._document, where, self._findings)
        return Group(name, config.period_ms, self._tags(rows or [], path, where))

    def _shared_group(
        self, name: str, table: object, path: str, applied: Applied, where: str
    ) -> Group:
        """Return a group of the device's template, with what the device has of its own in it."""
        change = build(GroupChange, table, self._document, where, self._findings) or GroupChange()
        rows = applied.rows(name)
        if change.tags is not None:
            own = read_rows(self._config_dir, change.tags, self._document, where, self._findings)
            rows += own or []
            check_number_of_tags(len(rows), self._document, where, self._findings)
        period_ms = change.period_ms or applied.template.groups[name].period_ms
        return Group(name, period_ms, self._tags(rows, path, where))

    def _tags(self, rows: list[Row], path: str, where: str) -> tuple[Tag, ...]:
        tags = tuple(
            Tag(row, f"{path}/{row.name}", place, f"{where} tag {row.name}")
            for row, place in tag_rows(rows, self._findings)
        )
        for tag in tags:
            self.check_path(tag.row.name, tag.where, tag.place)
        return tags

    def _check_name(self, name: str, where: str, what: str) -> None:
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError as error:
            self._find("OT-0106", where, f"{what}: {readable(error)}")

    def _find(self, code: str, where: str, text: str) -> None:
        self._findings.append(self._document.finding(where, text, code))


def _check_topics(devices: list[Device], findings: list[Finding]) -> None:
    """Two tags on one topic would overwrite each other; case alone does not tell people apart."""
    taken: dict[str, Tag] = {}
    for device in devices:
        for tag in (tag for group in device.groups for tag in group.tags):
            if len(tag.topic.encode()) > TOPIC_BYTES_MAX:
                text = f"topic longer than {TOPIC_BYTES_MAX} bytes"
                findings.append(found("OT-0112", tag.place, tag.where, text))
            first = taken.setdefault(tag.topic.casefold(), tag)
            if first is not tag:
                text = f"topic {tag.topic} is already the topic of {first.where} ({first.place})"
                findings.append(found("OT-0113", tag.place, tag.where, text))
