"""Goal: states have names, bits are taken out, texts are clean and local times become instants.

Method: scans through the whole of a group's normalizer, as they come from the handoff.
"""

from typing import Any

import pytest

from common.records import (
    BitField,
    CleanText,
    Column,
    EnumTexts,
    LocalTime,
    Plan,
    Quality,
    Scan,
    Transform,
    ValueType,
)
from normalizer.columns import GroupNormalizer

STATES = EnumTexts(((0, "Stopped"), (1, "Running")))


def told(transform: Transform, value_type: ValueType, raw: Any) -> tuple[Any, int]:
    """Return value and quality of one raw value."""
    plain = Column("P", "Acme/P", "a", "INT", ValueType.INT64)
    column = Column("T", "Acme/T", "a", "INT", value_type, transform=transform)
    plan = Plan("s7", "press", "fast", "Press", 100, (plain, column))
    part = GroupNormalizer(plan).normalise(Scan(plan.fingerprint, 1, 1, [7, raw]))
    assert part is not None
    assert part.arrays[ValueType.INT64][0] == 7, "its neighbour is what it was"
    quality = 0 if part.qualities is None else int(part.qualities[0])
    if part.nulls is not None:
        return None, quality
    return list(part.arrays[value_type])[-1], quality


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (1, ("Running", 0)),
        (7, ("7", Quality.UNCERTAIN)),
        (None, (None, Quality.BAD)),
        (1.0, (None, Quality.BAD_TYPE_MISMATCH)),
    ],
)
def test_a_state_is_published_by_its_name(raw: Any, expected: tuple[Any, int]) -> None:
    """Seen to bite: an unknown number published as Good."""
    assert told(STATES, ValueType.STRING, raw) == expected


@pytest.mark.parametrize(
    ("bits", "value_type", "raw", "expected"),
    [
        (BitField(3, 1), ValueType.BOOL, 0b1000, True),
        (BitField(3, 1), ValueType.BOOL, 0b0111, False),
        (BitField(4, 4), ValueType.UINT64, 0xABC, 0xB),
        (BitField(0, 64), ValueType.UINT64, -1, 2**64 - 1),
    ],
)
def test_bits_are_taken_out_of_a_number(
    bits: BitField, value_type: ValueType, raw: int, expected: int
) -> None:
    assert told(bits, value_type, raw) == (expected, 0)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("  Recipe 7  ", "Recipe 7"), ("A\0rest", "A"), ("Ü\x01\t1\r\n", "Ü1"), ("", "")],
)
def test_a_text_is_cleaned_of_what_a_plc_leaves_in_it(raw: str, expected: str) -> None:
    assert told(CleanText(), ValueType.STRING, raw) == (expected, 0)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("2026-07-01T12:00:00", ("2026-07-01T10:00:00Z", 0)),
        ("2026-01-01T00:30:00.123456789", ("2025-12-31T23:30:00.123456789Z", 0)),
        ("2026-10-25T02:30:00", ("2026-10-25T00:30:00Z", Quality.UNCERTAIN)),
        ("2026-03-29T02:30:00", ("2026-03-29T01:30:00Z", Quality.UNCERTAIN)),
        ("2026-07-01T12:00:00+00:00", ("2026-07-01T12:00:00Z", 0)),
        ("yesterday", (None, Quality.BAD_TYPE_MISMATCH)),
    ],
)
def test_a_local_time_becomes_an_instant(raw: str, expected: tuple[Any, int]) -> None:
    """Seen to bite: without the look at both folds the hour that occurs twice is Good."""
    assert told(LocalTime("Europe/Berlin"), ValueType.STRING, raw) == expected


def test_a_column_that_is_not_in_the_scan_is_not_touched() -> None:
    columns = (
        Column("A", "Acme/A", "a", "INT", ValueType.STRING, transform=STATES),
        Column("B", "Acme/B", "b", "INT", ValueType.STRING, transform=STATES),
    )
    plan = Plan("opcua", "robot", "fast", "Robot", 100, columns)

    part = GroupNormalizer(plan).normalise(Scan(plan.fingerprint, 1, 1, [0], indexes=[1]))

    assert part is not None
    assert (list(part.arrays[ValueType.STRING]), part.indexes) == (["Stopped"], [1])
