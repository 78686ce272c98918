"""Each step of one value's way from raw to published, made by the parts that do it for whole scans.

For people who ask; a chain is as long as the tag has steps that can change something.
"""

import math
from typing import Any, NamedTuple

import msgspec
import numpy as np

from common.records import (
    BitField,
    CleanText,
    Column,
    EnumTexts,
    LocalTime,
    Plan,
    Transform,
    ValueType,
)
from normalizer.checking import Checks
from normalizer.limits import Limits
from normalizer.transforms import Transforms
from normalizer.watching import plain_value

_NUMBERS = (ValueType.INT64, ValueType.UINT64, ValueType.FLOAT64)


class Link(NamedTuple):
    """One step, and what the value is afterwards."""

    what: str
    value: Any
    quality: int


def chain(column: Column, raw: Any, quality: int) -> list[Link]:
    """Return the steps of one reading of a column that the device gives, the raw value first."""
    plan = Plan("", "", "", "", 1_000, (msgspec.structs.replace(column, made=None),))
    links = [Link("raw", raw, quality)]
    if column.transform is not None:
        values, codes = Transforms(plan).apply([raw], [quality], None)
        raw, quality = values[0], codes[0] if codes else 0
        links.append(Link(_transform_text(column.transform), raw, quality))
    value_type = column.value_type
    here = np.zeros(1, np.uint16)
    codes_array, nulls = np.array([quality], np.uint32), np.zeros(1, bool)

    def link(what: str, array: Any) -> Link:
        value = None if nulls[0] else plain_value(value_type, array[0])
        return Link(what, value, int(codes_array[0]))

    checks = Checks(plan)
    array = checks.typed(value_type, [raw], here, codes_array, nulls)
    if nulls[0]:
        return [*links, link(f"is no {value_type}", array)]
    if value_type is ValueType.FLOAT64:
        array = checks.finished(array, here, here, codes_array, nulls)
        if column.scaled or nulls[0]:
            text = f"* {column.scale:.12g} + {column.offset:.12g}" if column.scaled else "no number"
            links.append(link(text, array))
    if value_type in _NUMBERS and (text := _limits_text(column)):
        array = Limits(plan).apply(array, here, here, codes_array, nulls)
        links.append(link(text, array))
    return links


def _transform_text(transform: Transform) -> str:
    match transform:
        case EnumTexts():
            return "name of the state"
        case BitField(first=first, count=1):
            return f"bit {first}"
        case BitField(first=first, count=count):
            return f"bits {first}-{first + count - 1}"
        case CleanText():
            return "cleaned text"
        case LocalTime(zone=zone):
            return f"from {zone} to UTC"


def _limits_text(column: Column) -> str:
    texts = [
        f"{word} {low:g} … {high:g}"
        for word, low, high in (
            ("held within", column.clamp_low, column.clamp_high),
            ("expected within", column.minimum, column.maximum),
        )
        if math.isfinite(low) or math.isfinite(high)
    ]
    return ", ".join(texts)
