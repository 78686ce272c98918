"""What an operator wrote of one device → plans and addresses. The part that all protocols share."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from collectors.making import Given, counter_columns, made_columns
from collectors.scaling import deadband_of_range, scaling_of
from collectors.transforming import transform_of
from common.codes import ADDRESS_CODES, Wrong, found, told
from common.config import PLANT_FILE, Document, build
from common.errors import Finding
from common.plant import Device, Group, Tag
from common.records import Column, Plan, ValueType
from common.tagtable import TAGS_MAX, TagRow

A = TypeVar("A")
C = TypeVar("C", bound=msgspec.Struct)

_NUMBERS = (ValueType.INT64, ValueType.UINT64, ValueType.FLOAT64)


@dataclass(frozen=True, slots=True)
class Resolved(Generic[A]):
    """One tag's address as its protocol understood it."""

    address: A
    canonical: str
    """The address as it is shown to people, the same for every dialect it may be written in."""
    source_type: str
    value_type: ValueType
    """Of the raw value; a scaled tag is published as FLOAT64."""


@dataclass(frozen=True, slots=True)
class ResolvedArray(Generic[A]):
    """One row that names an array: each element becomes a tag of its own, `name/index`."""

    elements: tuple[tuple[str, Resolved[A]], ...]
    """(index as it is written behind the name, element); scale, unit and the rest are the row's."""


@dataclass(frozen=True, slots=True)
class CompiledGroup(Generic[A]):
    """A plan, and the address of each of its columns."""

    plan: Plan
    addresses: tuple[A, ...]


@runtime_checkable
class HasGroups(Protocol):
    """What every protocol's settings hold."""

    groups: tuple[CompiledGroup[object], ...]


def compile_config(config: type[C], device: Device, findings: list[Finding]) -> C | None:
    """Return the device's own keys as a `config`, or None after a finding for each thing wrong.

    The findings name the file and the key; whoever holds the plant knows the line as well.
    """
    document = Document(PLANT_FILE, {})
    return build(config, device.settings, document, f"devices.{device.name}", findings)


def compile_groups(
    device: Device,
    resolve: Callable[[TagRow], Resolved[A] | ResolvedArray[A]],
    findings: list[Finding],
) -> tuple[CompiledGroup[A], ...] | None:
    """Return every group with its addresses resolved, or None after a finding for each bad tag.

    `resolve` raises ValueError with a text that tells the person what to write instead.
    """
    before = len(findings)
    scanned = [_compile_group(device, group, resolve, findings) for group in device.groups]
    groups = tuple(
        _with_made_columns(device, scanned, number, findings) for number in range(len(scanned))
    )
    _check_elements(device, groups, findings)
    return groups if len(findings) == before else None


def _compile_group(
    device: Device,
    group: Group,
    resolve: Callable[[TagRow], Resolved[A] | ResolvedArray[A]],
    findings: list[Finding],
) -> CompiledGroup[A]:
    """Return the group with what the device gives."""
    columns: list[Column] = []
    addresses: list[A] = []
    for tag in (tag for tag in group.tags if not tag.row.expression):
        try:
            resolved = resolve(tag.row)
            for level, element in _elements(resolved):
                columns.append(_column(tag, level, element))
                addresses.append(element.address)
        except ValueError as error:
            findings.append(told(error, ADDRESS_CODES[device.protocol], tag.place, tag.where))
    plan = Plan(
        protocol=device.protocol,
        device=device.name,
        group=group.name,
        asset=device.asset,
        period_ms=group.period_ms,
        columns=tuple(columns),
        levels=device.levels,
    )
    return CompiledGroup(plan, tuple(addresses))


def _with_made_columns(
    device: Device, scanned: list[CompiledGroup[A]], number: int, findings: list[Finding]
) -> CompiledGroup[A]:
    """Return the group with what is made of it: totals of counters, then expressions."""
    group, plan = device.groups[number], scanned[number].plan
    here = {column.name: (index, column) for index, column in enumerate(plan.columns)}
    others = (each.plan for each in scanned if each.plan is not plan)
    elsewhere = {column.name: column for other in others for column in other.columns}
    made: list[Column] = []
    for tag in (tag for tag in group.tags if tag.row.counter and tag.row.name in here):
        try:
            index, column = here[tag.row.name]
            made += counter_columns(tag.row, column, index)
        except ValueError as error:
            findings.append(told(error, "OT-0501", tag.place, tag.where))
    expressions = [tag for tag in group.tags if tag.row.expression]
    made += made_columns(expressions, Given(here, elsewhere, device.beside), findings)
    where = f"devices.{plan.device}.groups.{group.name}"
    total = len(plan.columns) + len(made)
    if total > TAGS_MAX:
        text = f"a group has at most {TAGS_MAX} tags, found {total} with every array element"
        findings.append(found("OT-0310", PLANT_FILE, where, text))
    if made and not plan.columns:
        text = "a group needs a tag that the device gives: expressions are made when it is read"
        findings.append(found("OT-0503", PLANT_FILE, where, text))
    columns = (*plan.columns, *made)
    return CompiledGroup(msgspec.structs.replace(plan, columns=columns), scanned[number].addresses)


def _elements(
    resolved: Resolved[A] | ResolvedArray[A],
) -> Iterable[tuple[str, Resolved[A]]]:
    """Yield what stands behind the tag's name, and the address, of each column of a tag."""
    if isinstance(resolved, Resolved):
        return [("", resolved)]
    return [(f"/{index}", element) for index, element in resolved.elements]


def _check_elements(
    device: Device, groups: tuple[CompiledGroup[A], ...], findings: list[Finding]
) -> None:
    """An element of an array may not take the topic of a tag that is written out."""
    taken: set[str] = set()
    for column in (column for group in groups for column in group.plan.columns):
        topic = column.topic.casefold()
        if topic in taken:
            text = f"an array's element and another tag have the topic {column.topic}; rename one"
            findings.append(found("OT-0114", PLANT_FILE, f"devices.{device.name}", text))
        taken.add(topic)


def _column(tag: Tag, level: str, resolved: Resolved[A]) -> Column:
    row = tag.row
    scaling = scaling_of(row)
    transform, value_type = transform_of(row, resolved.value_type)
    limited = row.minimum is not None or row.maximum is not None
    of_range = deadband_of_range(row)
    if (scaling.calculates or row.deadband or row.deadband_percent or limited or row.clamp) and (
        value_type not in _NUMBERS
    ):
        raise Wrong(
            "OT-0411",
            f"scale, units to convert, ranges, limits and deadband need a number, but "
            f"{resolved.canonical} is a {value_type}; leave them empty",
        )
    return Column(
        name=row.name + level,
        topic=tag.topic + level,
        address=resolved.canonical,
        source_type=resolved.source_type,
        value_type=ValueType.FLOAT64 if scaling.calculates or row.clamp else value_type,
        unit=scaling.unit,
        scale=scaling.scale,
        offset=scaling.offset,
        deadband=row.deadband or of_range,
        deadband_percent=row.deadband_percent if row.deadband_of == "value" else 0.0,
        min_interval_ms=row.min_interval_ms,
        heartbeat_s=row.heartbeat_s,
        description=row.description,
        loss_class=row.loss_class,
        minimum=-math.inf if row.minimum is None else row.minimum,
        maximum=math.inf if row.maximum is None else row.maximum,
        clamp_low=scaling.clamp_low,
        clamp_high=scaling.clamp_high,
        transform=transform,
        semantic_id=row.semantic_id,
    )
