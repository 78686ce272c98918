"""Tags that no device gives: expressions, windows, totals of counters → made columns of a plan."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from common.codes import Wrong, told
from common.config import suggestion
from common.errors import Finding
from common.expressions import Aggregate, understood
from common.plant import Tag
from common.records import (
    Column,
    CounterDelta,
    CounterTotal,
    Expression,
    Made,
    ValueType,
    WindowValue,
)
from common.tagtable import TagRow

_BITS = {"resets": 0, "16-bit": 2**16, "32-bit": 2**32, "64-bit": 2**64}
_NOT_NUMBERS = (ValueType.STRING, ValueType.BYTES)
_INTEGERS = (ValueType.INT64, ValueType.UINT64)
_BOOLEANS = ("bool", "boolean")
_MODULUS_MAX = 2**64
_ONLY_OF_A_DEVICE = (
    *("source_unit", "scale", "offset", "raw_low", "clamp", "minimum", "maximum"),
    *("enum", "bits", "text", "time_zone", "counter"),
)
"""Cells that belong to a value that a device gives."""


def counter_columns(row: TagRow, counter: Column, index: int) -> list[Column]:
    """Return the total and the increments of a counter that is column `index`; none for others.

    Raises ValueError with a sentence for the person.
    """
    if not row.counter:
        return []
    modulus = _modulus(row.counter)
    if counter.value_type not in _INTEGERS:
        raise Wrong(
            "OT-0501",
            f"a counter must be a whole number as the device gives it, and {row.name} is "
            f"{counter.value_type}; leave scale, units and ranges empty",
        )
    made: list[tuple[str, Made]] = [
        ("total", CounterTotal(index, modulus)),
        ("delta", CounterDelta(index, modulus)),
    ]
    return [
        Column(
            name=f"{counter.name}/{what}",
            topic=f"{counter.topic}/{what}",
            address=counter.address,
            source_type=what,
            value_type=ValueType.UINT64,
            unit=counter.unit,
            description=counter.description,
            loss_class=counter.loss_class,
            made=how,
        )
        for what, how in made
    ]


def _modulus(written: str) -> int:
    if written in _BITS:
        return _BITS[written]
    try:
        modulus = int(written.replace("_", ""))
    except ValueError:
        modulus = 0
    if not 1 < modulus <= _MODULUS_MAX:
        raise Wrong(
            "OT-0502",
            f"counter: {written!r} is not {', '.join(_BITS)} or the number at which the counter "
            "begins again with 0, such as 1000000",
        )
    return modulus


class Given(NamedTuple):
    """What a group's expressions may be made of, by name."""

    here: Mapping[str, tuple[int, Column]]
    """Columns that the device gives in this group, with their places."""
    elsewhere: Mapping[str, Column]
    """Those of the device's other groups."""
    beside: frozenset[str]
    """Tags that other devices of the same asset give; what they hold is not known here."""


def made_columns(tags: Sequence[Tag], given: Given, findings: list[Finding]) -> list[Column]:
    """Return the columns of a group's expressions; a finding for each that cannot be."""
    made = []
    for tag in tags:
        try:
            made.append(_column(tag, given))
        except ValueError as error:
            findings.append(told(error, "OT-0506", tag.place, tag.where))
    return made


def _column(tag: Tag, given: Given) -> Column:
    row = tag.row
    plain = TagRow(name=row.name, expression=row.expression)
    foreign = [key for key in _ONLY_OF_A_DEVICE if getattr(row, key) != getattr(plain, key)]
    if foreign:
        raise Wrong(
            "OT-0504",
            f"{', '.join(foreign)}: not for a tag that has an expression; do it in the expression",
        )
    if row.type.lower() not in ("", *_BOOLEANS):
        raise Wrong(
            "OT-0505", f"type {row.type!r}: an expression is a number, or with type bool a truth"
        )
    meaning = understood(row.expression)
    how: Made = Expression(row.expression)
    if isinstance(meaning, Aggregate):
        index, column = _in_this_group(meaning.input, given)
        _need_number(column)
        how = WindowValue(meaning.function, index, meaning.window_s)
    else:
        for name in meaning.inputs:
            _check_input(name, given)
        for name in sorted(meaning.looks_back):
            _in_this_group(name, given)
    truth = row.type.lower() in _BOOLEANS and isinstance(how, Expression)
    return Column(
        name=row.name,
        topic=tag.topic,
        address=f"= {row.expression}",
        source_type="expression",
        value_type=ValueType.BOOL if truth else ValueType.FLOAT64,
        unit=row.unit,
        deadband=row.deadband,
        deadband_percent=row.deadband_percent if row.deadband_of == "value" else 0.0,
        min_interval_ms=row.min_interval_ms,
        heartbeat_s=row.heartbeat_s,
        description=row.description,
        loss_class=row.loss_class,
        made=how,
        semantic_id=row.semantic_id,
    )


def _check_input(name: str, given: Given) -> None:
    if name in given.here:
        _need_number(given.here[name][1])
    elif name in given.elsewhere:
        _need_number(given.elsewhere[name])
    elif name not in given.beside:
        known = [*given.here, *given.elsewhere, *given.beside]
        raise Wrong(
            "OT-0507",
            f"expression names {name!r}, which no device of this asset gives"
            f"{suggestion(name, known)}; a tag that has an expression itself cannot be used",
        )


def _in_this_group(name: str, given: Given) -> tuple[int, Column]:
    if name not in given.here and (name in given.elsewhere or name in given.beside):
        raise Wrong(
            "OT-0508",
            f"{name} is read in another group; put the window, rate or prev into that group",
        )
    _check_input(name, given)
    return given.here[name]


def _need_number(column: Column) -> None:
    if column.value_type in _NOT_NUMBERS:
        raise Wrong(
            "OT-0509", f"{column.name} is a {column.value_type}; an expression needs numbers"
        )
