"""What a tag's row asks for, in sentences: each step with its units, and when a value is told."""

import math

from common.expressions import Aggregate, understood
from common.plant import Tag
from common.records import (
    Column,
    CounterDelta,
    CounterTotal,
    EnumTexts,
    Expression,
    WindowValue,
)
from common.tagtable import TagRow
from common.units import conversion, unit_named

TEXTS_MAX = 8


def table_sentences(column: Column, tag: Tag | None) -> list[str]:
    """Return what is done to the raw value, in its order."""
    row = tag.row if tag is not None else TagRow(name=column.name, address="?")
    if column.made is not None:
        return [_made(column)]
    found = []
    if isinstance(column.transform, EnumTexts):
        texts = [f"{number} = {text}" for number, text in column.transform.texts]
        more = f", and {len(texts) - TEXTS_MAX} more" if len(texts) > TEXTS_MAX else ""
        found.append(f"states: {', '.join(texts[:TEXTS_MAX])}{more}")
    elif row.bits:
        found.append(f"bits {row.bits} of the integer")
    elif row.text:
        found.append("the text is cleaned")
    elif row.time_zone:
        found.append(f"the time is one of {row.time_zone}, published in UTC")
    source = row.source_unit or column.unit
    if row.raw_low is not None:
        found.append(
            f"raw {row.raw_low:g} … {row.raw_high:g} becomes "
            f"{row.scaled_low:g} … {row.scaled_high:g}{_in(source)}"
        )
    elif (row.scale, row.offset) != (1.0, 0.0):
        found.append(f"raw * {row.scale:.12g} + {row.offset:.12g}{_in(source)}")
    found += _conversion(row)
    if column.scaled:
        total = f"published = raw * {column.scale:.12g} + {column.offset:.12g}"
        found.append(f"together: {total}{_in(column.unit)}")
    found += _bounds(column)
    if row.counter:
        found.append(f"counter ({row.counter}): {column.name}/total and {column.name}/delta")
    return found


def _conversion(row: TagRow) -> list[str]:
    source, target = unit_named(row.source_unit), unit_named(row.unit)
    if source is None or target is None:
        return []
    a, b = conversion(source, target)
    return [f"{source.code} to {target.code}: * {a:.12g} + {b:.12g}"]


def _bounds(column: Column) -> list[str]:
    found = []
    if math.isfinite(column.clamp_low) or math.isfinite(column.clamp_high):
        ends = f"{column.clamp_low:g} … {column.clamp_high:g}"
        found.append(f"held within {ends}{_in(column.unit)}, Uncertain where it had to be")
    if math.isfinite(column.minimum) or math.isfinite(column.maximum):
        found.append(
            f"Uncertain outside of {column.minimum:g} … {column.maximum:g}{_in(column.unit)}"
        )
    return found


def _in(unit: str) -> str:
    return f" {unit}" if unit not in ("", "1") else ""


def _made(column: Column) -> str:
    match column.made:
        case CounterDelta():
            return "the increment of its counter with each reading"
        case CounterTotal():
            return "all increments since the gateway first read the counter"
        case WindowValue(function=function, window_s=window_s):
            return f"{function} over windows of {window_s:g} s"
        case Expression(text=text):
            return f"calculated: {text}"
    return ""


def rule_sentences(column: Column) -> list[str]:
    """Return when a value is told."""
    if isinstance(column.made, CounterDelta):
        return ["every increment, none of 0"]
    if isinstance(column.made, WindowValue):
        return ["once a window, when it is over"]
    rules = []
    if column.deadband:
        rules.append(f"changes of more than {column.deadband:g}{_in(column.unit)}")
    if column.deadband_percent:
        rules.append(f"changes of more than {column.deadband_percent:g} % of what was told last")
    if not rules:
        rules.append("every change")
    if column.min_interval_ms:
        rules.append(f"no more often than every {column.min_interval_ms:,} ms")
    if column.heartbeat_s:
        rules.append(f"again after {column.heartbeat_s:g} s of silence")
    return rules


def inputs_of(column: Column, names: list[str]) -> list[str]:
    """Return the tags that a column is made of; `names` are those of its plan."""
    match column.made:
        case CounterDelta(of=of) | CounterTotal(of=of) | WindowValue(of=of):
            return [names[of]]
        case Expression(text=text):
            meaning = understood(text)
            return [meaning.input] if isinstance(meaning, Aggregate) else list(meaning.inputs)
    return []
