"""What is valid in ot/ and yet hardly meant: names, units, counters, addresses. Only warnings."""

import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from collectors.compiling import HasGroups
from common.codes import LINTS, caution
from common.config import near, suggestion
from common.errors import Caution, Finding
from common.naming import beyond
from common.plant import Device, Plant, Tag
from common.records import Column, ValueType
from common.unitnames import numbers_parts, unit_in_name
from common.units import unit_named, units_known

RESERVED = {"spBv1.0": "Sparkplug B", "umh": "the United Manufacturing Hub"}
"""First level of a topic → who takes what stands below it for their own."""

_COUNTERS = frozenset(
    (
        *("count", "counts", "counter", "strokes", "cycles", "pulses", "pieces", "parts"),
        *("totalizer", "totaliser", "zaehler", "hubzaehler", "stueckzahl"),
    )
)
_COUNTER_UNITS = frozenset(("", "1", "{piece}", "{dozen}"))
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_INTEGERS = (ValueType.INT64, ValueType.UINT64)


def lint_plant(plant: Plant) -> Iterator[Caution]:
    """Yield what can be said without knowing the protocols."""
    yield from _reserved(plant)
    yield from _dots(plant)
    yield from _cases(plant)
    used = {device.template for device in plant.devices}
    for name in plant.templates:
        if name not in used:
            where = f"templates.{name}"
            text = f"no device uses the template {name}"
            yield caution("OT-L11", plant.document.place(where), where, text)


def lint_device(plant: Plant, device: Device, compiled: HasGroups) -> Iterator[Caution]:
    """Yield what the device's plans show."""
    columns = [
        (column, tag)
        for group, built in zip(device.groups, compiled.groups, strict=True)
        for column, tag in _with_tags(built.plan.columns, group.tags)
    ]
    yield from _limits(plant, device, columns)
    yield from _same_addresses(columns)
    names = frozenset(column.name for column, _ in columns)
    firsts: dict[str, tuple[Tag, Column]] = {}
    for column, tag in columns:  # Of an array its first element, of a counter the counter itself.
        firsts.setdefault(tag.where, (tag, column))
    for tag, column in firsts.values():
        for code, text in _of_one(tag, column, names):
            yield caution(code, tag.place, tag.where, text)


def without_ignored(plant: Plant, cautions: Iterable[Caution]) -> list[Finding]:
    """Return the warnings that [gateway] does not ignore, and an error for each unknown code."""
    ignored = plant.gateway.ignore_warnings
    left: list[Finding] = [each for each in cautions if each.code not in ignored]
    for code in ignored:
        if code not in LINTS:
            text = f"no warning has the code {code!r}{suggestion(code, list(LINTS))}"
            left.append(plant.document.finding("gateway.ignore_warnings", text, "OT-0115"))
    return left


def _of_one(tag: Tag, column: Column, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    yield from _units(tag, column, names)
    if _counts(tag, column):
        yield "OT-L08", f"{tag.row.name} looks like a counter, and has no counter"
    width = _range_of(tag, column)
    if 0 < width <= column.deadband:
        yield "OT-L10", f"deadband {column.deadband:g} in a range that is {width:g} wide"


def _units(tag: Tag, column: Column, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    written = tag.row.unit
    declared = unit_named(written)
    if written and declared is None:
        yield "OT-L07", f"unit {written!r} is not known{_near_unit(written)}"
        return
    named = unit_in_name(tag.row.name)
    if named is None or numbers_parts(tag.row.name, names):
        return
    if declared is None and column.value_type is ValueType.FLOAT64:
        yield "OT-L06", f"the name ends in {named.symbol}, and unit is empty"
    if declared is not None and declared.code != named.code:
        yield "OT-L05", f"the name ends in {named.symbol}, and unit is {declared.code}"


@lru_cache(1_000)
def _near_unit(written: str) -> str:
    return near(written, units_known())


def _counts(tag: Tag, column: Column) -> bool:
    if tag.row.counter or column.made or column.transform or column.value_type not in _INTEGERS:
        return False
    words = {word.lower() for word in _WORD.findall(tag.row.name.rpartition("/")[2])}
    return column.unit in _COUNTER_UNITS and bool(words & _COUNTERS)


def _range_of(tag: Tag, column: Column) -> float:
    """Return how wide the declared range is in the published unit, 0 where none is declared."""
    row = tag.row
    if row.minimum is not None and row.maximum is not None:
        return row.maximum - row.minimum
    if row.raw_low is not None and row.raw_high is not None:
        return abs((row.raw_high - row.raw_low) * column.scale)
    clamped = column.clamp_high - column.clamp_low
    return clamped if math.isfinite(clamped) else 0.0


def _with_tags(columns: Iterable[Column], tags: Iterable[Tag]) -> Iterator[tuple[Column, Tag]]:
    """Yield each column with the row that it comes from: its own name's, or that above it."""
    by_name = {tag.row.name: tag for tag in tags}
    for column in columns:
        name = column.name
        while name and name not in by_name:
            name = name.rpartition("/")[0]
        yield column, by_name[name]


def _limits(plant: Plant, device: Device, columns: list[tuple[Column, Tag]]) -> Iterator[Caution]:
    for profile in plant.gateway.broker_profiles:
        found = [
            (text, column, tag)
            for column, tag in columns
            if (text := beyond(profile, column.topic)) is not None
        ]
        if found:
            text, column, tag = found[0]
            more = f"; so are {len(found) - 1} more of {device.name}" if len(found) > 1 else ""
            yield caution("OT-L01", tag.place, tag.where, f"topic {column.topic}: {text}{more}")


def _same_addresses(columns: list[tuple[Column, Tag]]) -> Iterator[Caution]:
    seen: dict[tuple[object, ...], Tag] = {}
    for column, tag in columns:
        if column.made is None:
            first = seen.setdefault(
                (
                    *(column.address, column.source_type, column.transform),
                    *(column.unit, column.scale, column.offset),
                ),
                tag,
            )
            if first is not tag:
                text = f"reads {column.address}, as does {first.row.name} ({first.place})"
                yield caution("OT-L09", tag.place, tag.where, text)


def _reserved(plant: Plant) -> Iterator[Caution]:
    first = plant.gateway.root.partition("/")[0]
    if owner := RESERVED.get(first):
        place = plant.document.place("gateway.root")
        text = f"{first!r} is the prefix of {owner}"
        yield caution("OT-L03", place, "gateway.root", text)


def _dots(plant: Plant) -> Iterator[Caution]:
    for place, where, path in _paths(plant):
        if "." in path and path.partition("/")[0] not in RESERVED:
            yield caution("OT-L02", place, where, f"{path!r} holds a dot")


def _cases(plant: Plant) -> Iterator[Caution]:
    """Compare every branch with those that read the same; equal topics are an error already."""
    seen: dict[str, tuple[str, str]] = {}
    told: set[str] = set()
    for device in plant.devices:
        above = "/".join(each for each in (device.path, device.asset) if each)
        branches = [(above, f"devices.{device.name}.asset", "")]
        branches += [
            (f"{above}/{tag.row.name.rpartition('/')[0]}", tag.where, tag.place)
            for group in device.groups
            for tag in group.tags
            if "/" in tag.row.name
        ]
        for branch, where, place in branches:
            for prefix in _prefixes(branch):
                first = seen.setdefault(prefix.casefold(), (prefix, where))
                if first[0] != prefix and prefix not in told:
                    told.add(prefix)
                    text = f"{prefix} and {first[0]} ({first[1]}) differ in case only"
                    yield caution("OT-L04", place or plant.document.place(where), where, text)


def _prefixes(path: str) -> Iterator[str]:
    levels = path.split("/")
    return ("/".join(levels[: depth + 1]) for depth in range(len(levels)))


def _paths(plant: Plant) -> Iterator[tuple[str, str, str]]:
    """Yield (place, where, levels) of everything that a topic is made of."""
    place = plant.document.place
    yield place("gateway.root"), "gateway.root", plant.gateway.root
    for device in plant.devices:
        for key, path in (("path", device.path), ("asset", device.asset)):
            where = f"devices.{device.name}.{key}"
            yield place(where), where, path
        for tag in (tag for group in device.groups for tag in group.tags):
            yield tag.place, tag.where, tag.row.name
