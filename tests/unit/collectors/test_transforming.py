"""Goal: what a row asks to be done first is understood, or refused in words."""

import pytest

from collectors.transforming import transform_of
from common.records import BitField, EnumTexts, LocalTime, Transform, ValueType
from common.tagtable import TagRow


def asked(raw_type: ValueType, **cells: str) -> tuple[Transform | None, ValueType]:
    return transform_of(TagRow(name="T", address="a", **cells), raw_type)


def test_a_row_that_asks_for_nothing_gets_nothing() -> None:
    assert asked(ValueType.INT64) == (None, ValueType.INT64)


def test_names_of_states_may_be_written_in_any_base_and_order() -> None:
    texts = EnumTexts(((0, "Off"), (16, "On = ready")))

    assert asked(ValueType.UINT64, enum="0x10 = On = ready | 0=Off") == (texts, ValueType.STRING)


def test_one_bit_is_a_truth_value_and_several_are_a_number() -> None:
    assert asked(ValueType.INT64, bits="3") == (BitField(3, 1), ValueType.BOOL)
    assert asked(ValueType.INT64, bits="4-7") == (BitField(4, 4), ValueType.UINT64)


def test_a_zone_is_kept_by_its_name() -> None:
    zone = asked(ValueType.STRING, time_zone="Europe/Berlin")

    assert zone == (LocalTime("Europe/Berlin"), ValueType.STRING)


@pytest.mark.parametrize(
    ("raw_type", "cells", "says"),
    [
        (ValueType.FLOAT64, {"enum": "0=Off"}, "but this address holds a float64"),
        (ValueType.STRING, {"bits": "3"}, "bits are taken out of an integer"),
        (ValueType.INT64, {"text": "clean"}, "tidies a text"),
        (ValueType.INT64, {"time_zone": "UTC"}, "belongs to a date and time"),
        (ValueType.STRING, {"time_zone": "Berlin"}, "time_zone 'Berlin' is not known"),
        (ValueType.STRING, {"time_zone": "../etc/passwd"}, "is not known here"),
        (ValueType.INT64, {"enum": "Off=0"}, "'Off=0' is not NUMBER=TEXT"),
        (ValueType.INT64, {"enum": "0=Off|"}, "'' is not NUMBER=TEXT"),
        (ValueType.INT64, {"enum": "0=Off|0x0=On"}, "0 has two names, 'Off' and 'On'"),
        (ValueType.INT64, {"bits": "7-4"}, "'7-4' is not a range"),
        (ValueType.INT64, {"bits": "64"}, "within 0 to 63"),
        (ValueType.INT64, {"bits": "3", "enum": "0=Off"}, "enum and bits cannot be combined"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    raw_type: ValueType, cells: dict[str, str], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        asked(raw_type, **cells)
