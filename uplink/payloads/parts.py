"""Parts of a record, for profiles that tell several samples in one message.

A part is a record of the same sequence with some of its samples; together the parts of a record
have each of its samples once.
"""

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Generic, TypeVar

import msgspec

from common.records import Plan, Record, Scalar, ValueType

NUMBER_BYTES_MAX = 24
"""-2.2250738585072014e-308; no integer of 64 bits, no truth value and no null is longer."""
_TEXTS = (ValueType.STRING, ValueType.BYTES)
PLANS_MAX = 1_000
"""Of which something is remembered; then the memory starts over."""

T = TypeVar("T")


class PerPlan(Generic[T]):
    """What was made of each plan that was met."""

    def __init__(self, make: Callable[[Plan], T]) -> None:
        self._make = make
        self._made: dict[bytes, T] = {}

    def of(self, plan: Plan) -> T:
        """Return it, made anew when it is not there."""
        made = self._made.get(plan.fingerprint)
        if made is None:
            if len(self._made) >= PLANS_MAX:
                self._made.clear()
            made = self._made[plan.fingerprint] = self._make(plan)
        return made


def columns_of(record: Record) -> Sequence[int]:
    """Return the plan column of each sample of a record, in order."""
    return record.indexes if record.indexes is not None else range(len(record.values))


def part_of(record: Record, numbers: Sequence[int]) -> Record:
    """Return the samples at some places of a record; the record itself when it is all of them."""
    if len(numbers) == len(record.values):
        return record
    columns = columns_of(record)
    qualities, sources = record.qualities, record.source_at_ns
    return Record(
        record.sequence,
        record.plan,
        record.read_at_ns,
        [record.values[number] for number in numbers],
        [columns[number] for number in numbers],
        None if qualities is None else [qualities[number] for number in numbers],
        None if sources is None else [sources[number] for number in numbers],
    )


def has_texts(plan: Plan) -> bool:
    """Return whether some column's values may be of any length."""
    return any(column.value_type in _TEXTS for column in plan.columns)


def value_bytes_max(value: Scalar) -> int:
    """Return how long a value may become in JSON."""
    match value:
        case str():
            return json_bytes(value)
        case bytes():
            return 2 + 4 * ceil(len(value) / 3)
    return NUMBER_BYTES_MAX


def json_bytes(text: str) -> int:
    """Return how long a text is in JSON."""
    try:
        return len(msgspec.json.encode(text))
    except ValueError:  # It is not Unicode, which its message will find out.
        return 2 + 4 * len(text)


def filled(sizes: Sequence[int], most: int) -> Iterator[range]:
    """Yield ranges of places that follow each other, each of as many sizes as fit into `most`.

    A size that is larger than that has a range of its own.
    """
    first = total = 0
    for place, size in enumerate(sizes):
        if total + size > most and place > first:
            yield range(first, place)
            first, total = place, 0
        total += size
    if first < len(sizes):
        yield range(first, len(sizes))
