"""Goal: what a person would take registers for comes first, and nothing possible is left out."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.address import parse_address
from collectors.modbus.decode import Item, Limits, plan_requests
from collectors.modbus.guessing import guess


def registers(code: str, value: Any) -> list[int]:
    data = struct.pack(code, value)
    return list(struct.unpack(f">{len(data) // 2}H", data))


@pytest.mark.parametrize(
    ("words", "source_type", "value"),
    [
        (registers(">f", 12.5), "FLOAT32", 12.5),
        (registers(">f", 230.1), "FLOAT32", pytest.approx(230.1)),
        (registers(">f", 49.98)[::-1], "FLOAT32@CDAB", pytest.approx(49.98)),
        (registers("<f", -17.3), "FLOAT32@DCBA", pytest.approx(-17.3)),
        (registers("<f", 1013.25)[::-1], "FLOAT32@BADC", 1013.25),
        (registers(">d", 987.654), "FLOAT64", 987.654),
        (registers(">d", 987.654)[::-1], "FLOAT64@CDAB", 987.654),
        (registers(">I", 123_456), "INT32", 123_456),
        (registers(">I", 123_456)[::-1], "INT32@CDAB", 123_456),
        (registers(">q", 5_000_000), "INT64", 5_000_000),
        ([215], "INT16", 215),
        ([0xFFF6], "INT16", -10),
        ([0x4142, 0x4344, 0x3132, 0x0000], "STRING(4)", "ABCD12"),
        ([0x0041, 0x0042, 0x0043, 0x0044], "STRING(4)@D", "ABCD"),
    ],
)
def test_what_a_person_would_say_comes_first(
    words: list[int], source_type: str, value: Any
) -> None:
    best = guess(words)[0]

    assert (best.source_type, best.value, best.plausible) == (source_type, value, True)


def test_what_no_sensor_shows_is_not_plausible() -> None:
    by_type = {each.source_type: each for each in guess([0x7FC0, 0x0000])}

    assert math.isnan(by_type["FLOAT32"].value)
    assert not by_type["FLOAT32"].plausible
    assert not by_type["STRING(2)"].plausible, "a text of control characters"
    assert not {each.source_type: each for each in guess([0x0000, 0x0001])}["FLOAT32"].plausible


@given(st.lists(st.integers(0, 65_535), min_size=1, max_size=6))
def test_every_guess_is_what_its_address_would_read(words: list[int]) -> None:
    guesses = guess(words)

    assert [each.plausible for each in guesses] == sorted(
        (each.plausible for each in guesses), reverse=True
    )
    for each in guesses:
        address = parse_address(f"holding:0:{each.source_type}")
        (request,) = plan_requests([Item(0, address)], Limits())
        (value,) = request.decode(words[: request.count])
        assert value == each.value or (math.isnan(value) and math.isnan(each.value))


@given(st.lists(st.integers(0, 65_535), min_size=4, max_size=4))
def test_no_type_is_forgotten(words: list[int]) -> None:
    names = {each.source_type.partition("@")[0] for each in guess(words)}

    assert names >= {"INT16", "UINT16", "INT32", "UINT32", "INT64", "UINT64"}
    assert names >= {"FLOAT16", "FLOAT32", "FLOAT64", "STRING(4)"}


@pytest.mark.parametrize("count", [0, 126])
def test_as_many_registers_are_needed_as_one_read_can_give(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 125"):
        guess([0] * count)
