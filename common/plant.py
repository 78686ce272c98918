"""The OT half of the configuration: ot/plant.toml and its tag tables.

This module knows gateways, the queue's bounds, devices, groups and tags; what a device's remaining
keys and a tag's address mean belongs to its protocol (collectors/<protocol>/config.py, address.py).
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

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
from common.outbox import GROUPS_MAX
from common.sourcetimes import AS_THE_DEVICE_SAYS, SourceTimeConfig, without_source_time_keys
from common.tagtable import TagRow, read_tag_table

TABLES = ["gateway", "queue", "devices"]
_HELP = "The OT half of the configuration lives there."
DEVICES_MAX = 1_000
TOPIC_BYTES_MAX = 65_535
"""MQTT 5, 1.5.4: a topic is a string of at most 65,535 bytes. Brokers may allow less."""

_LEVEL = re.compile(r"[A-Za-z0-9.-][A-Za-z0-9_.-]*")

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
PeriodMs = Annotated[int, Meta(ge=10, le=3_600_000)]
Mib = Annotated[int, Meta(ge=0, le=1_048_576)]
BucketS = Annotated[float, Meta(ge=1, le=86_400)]


class GatewayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[gateway]: which box this is, and where it stands in the enterprise."""

    id: Name
    root: Annotated[str, Meta(min_length=1, max_length=512)]
    """Levels of the namespace above every asset: enterprise/site/area/line."""
    clock: Literal["mark", "trust"] = "mark"
    """While nothing synchronises the gateway's clock: samples say so · it is right all the same."""


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
        if self.thin_coarse_s <= self.thin_fine_s:
            raise ValueError(
                f"thin_coarse_s ({self.thin_coarse_s:g}) must be larger than thin_fine_s "
                f"({self.thin_fine_s:g})"
            )


class GroupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[devices.NAME.groups.NAME]: tags read together at one rate."""

    period_ms: PeriodMs = 1_000
    tags: str | list[dict[str, Any]]
    """A CSV file beside plant.toml, or the rows themselves."""


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
    source_time: SourceTimeConfig = AS_THE_DEVICE_SAYS
    """How far the times that the device gives are believed."""


@dataclass(frozen=True)
class Plant:
    """The whole OT half, valid as far as the house can tell without knowing protocols."""

    gateway: GatewayConfig
    queue: QueueConfig
    devices: tuple[Device, ...]
    document: Document

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
            findings.append(document.finding(key, text))
    queue = _queue(document, findings)
    gateway = build(
        GatewayConfig, document.tables.get("gateway", {}), document, "gateway", findings
    )
    root = gateway.root if gateway else "unknown"
    _check_path(root, document.place("gateway.root"), "gateway.root", findings)
    devices = [
        device
        for name, table in table_at(document, "devices", findings).items()
        if (device := _device(config_dir, root, document, name, table, findings))
    ]
    if len(devices) > DEVICES_MAX:
        findings.append(
            document.finding("devices", f"{len(devices)} devices; {DEVICES_MAX} at most")
        )
    for protocol in sorted({device.protocol for device in devices}):
        groups = sum(len(device.groups) for device in devices if device.protocol == protocol)
        if groups > GROUPS_MAX:
            text = f"{groups} groups over {protocol}; {GROUPS_MAX} at most for one collector"
            findings.append(document.finding("devices", text))
    _check_topics(devices, findings)
    return Plant(gateway, queue, tuple(devices), document) if gateway else None


def read_device(
    config_dir: Path, document: Document, name: str, findings: list[Finding]
) -> Device | None:
    """Return one device of the document, reading no other's tag tables; None when it is no table.

    Findings are the device's own. Its tags' topics begin with `unknown` when [gateway] is wrong.
    """
    root = _root_of(document)
    return _device(config_dir, root, document, name, document.tables["devices"][name], findings)


def _root_of(document: Document) -> str:
    gateway = build(GatewayConfig, document.tables.get("gateway", {}), document, "gateway", [])
    return gateway.root if gateway else "unknown"


def read_queue_config(config_dir: Path, findings: list[Finding]) -> QueueConfig:
    """Return [queue] of ot/plant.toml, reading nothing else of it; defaults beside any finding."""
    document = read_document(config_dir, PLANT_FILE, findings, help_text=_HELP)
    return _queue(document, findings) if document else QueueConfig()


def _queue(document: Document, findings: list[Finding]) -> QueueConfig:
    table = document.tables.get("queue", {})
    return build(QueueConfig, table, document, "queue", findings) or QueueConfig()


def _device(
    config_dir: Path,
    root: str,
    document: Document,
    name: str,
    table: Any,
    findings: list[Finding],
) -> Device | None:
    where = f"devices.{name}"
    if not isinstance(table, dict):
        findings.append(document.finding(where, f"must be a table, [{where}], found {table!r}"))
        return None
    settings, timing = without_source_time_keys(table)
    source_time = build(SourceTimeConfig, timing, document, where, findings)
    protocol = settings.pop("protocol", None)
    asset = settings.pop("asset", name)
    groups = settings.pop("groups", {})
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        findings.append(document.finding(where, f"device name: {readable(error)}"))
    if not isinstance(protocol, str):
        text = f'needs protocol = "…", the name of the protocol it speaks, found {protocol!r}'
        findings.append(document.finding(f"{where}.protocol", text))
    if not isinstance(asset, str):
        findings.append(document.finding(f"{where}.asset", f"must be text, found {asset!r}"))
        asset = name
    _check_path(asset, document.place(f"{where}.asset"), f"{where}.asset", findings)
    if not isinstance(groups, dict) or not groups:
        text = f"needs at least one group: [{where}.groups.NAME] with period_ms and tags"
        findings.append(document.finding(where, text))
        groups = {}
    read = (
        _group(config_dir, f"{root}/{asset}", document, where, (group, rows), findings)
        for group, rows in groups.items()
    )
    return Device(
        name,
        str(protocol),
        asset,
        tuple(g for g in read if g),
        settings,
        (config_dir / document.name).parent,
        source_time=source_time or AS_THE_DEVICE_SAYS,
    )


def _group(
    config_dir: Path,
    path: str,
    document: Document,
    device_where: str,
    entry: tuple[str, object],
    findings: list[Finding],
) -> Group | None:
    name, table = entry
    where = f"{device_where}.groups.{name}"
    config = build(GroupConfig, table, document, where, findings)
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        findings.append(document.finding(where, f"group name: {readable(error)}"))
    if config is None:
        return None
    tags = tuple(
        Tag(row, f"{path}/{row.name}", place, f"{where} tag {row.name}")
        for row, place in read_tag_table(config_dir, config.tags, document, where, findings)
    )
    for tag in tags:
        _check_path(tag.row.name, tag.place, tag.where, findings)
    return Group(name, config.period_ms, tags)


def _check_path(path: str, place: str, where: str, findings: list[Finding]) -> None:
    for level in path.split("/"):
        if not _LEVEL.fullmatch(level):
            text = (
                f"{level!r} is not a level of a topic: letters, digits, '_', '.', '-', "
                "not empty, not beginning with '_'"
            )
            findings.append(Finding(place, where, text))


def _check_topics(devices: list[Device], findings: list[Finding]) -> None:
    """Two tags on one topic would overwrite each other; case alone does not tell people apart."""
    taken: dict[str, Tag] = {}
    for device in devices:
        for tag in (tag for group in device.groups for tag in group.tags):
            if len(tag.topic.encode()) > TOPIC_BYTES_MAX:
                text = f"topic longer than {TOPIC_BYTES_MAX} bytes"
                findings.append(Finding(tag.place, tag.where, text))
            first = taken.setdefault(tag.topic.casefold(), tag)
            if first is not tag:
                text = f"topic {tag.topic} is already the topic of {first.where} ({first.place})"
                findings.append(Finding(tag.place, tag.where, text))
