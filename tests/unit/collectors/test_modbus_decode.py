"""Goal: a value comes out of its registers exactly as the device put it in.

Method: values are laid out by the definition of each byte order, byte by byte, and read back.
"""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.address import ORDERS, TYPES, parse_address
from collectors.modbus.decode import Item, halves, plan_requests

NUMBERS = {name: each for name, each in TYPES.items() if name != "BOOL"}


def on_the_wire(value: Any, type_name: str, order: str) -> list[int]:
    """Lay a value out by the letters of its order, extended to 64 bits as devices do."""
    data = struct.pack(">" + TYPES[type_name].code, value)
    words = [data[at : at + 2] for at in range(0, len(data), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


def values_of(type_name: str) -> st.SearchStrategy[Any]:
    data_type = TYPES[type_name]
    if type_name.startswith("FLOAT"):
        return st.floats(width=16 * data_type.registers)  # NaN and infinity included
    bits = 16 * data_type.registers
    if type_name.startswith("U"):
        return st.integers(0, 2**bits - 1)
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


MIXED = st.lists(
    st.sampled_from(sorted(NUMBERS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(ORDERS), values_of(name))
    ),
    min_size=1,
    max_size=30,
)


@given(MIXED)
def test_every_type_in_every_order_comes_back_as_it_was(
    tags: list[tuple[str, str, Any]],
) -> None:
    registers: list[int] = []
    items = []
    for column, (type_name, order, value) in enumerate(tags):
        address = parse_address(f"holding:{len(registers)}:{type_name}@{order}")
        items.append(Item(column, address))
        registers += on_the_wire(value, type_name, order)

    (request,) = plan_requests(items, gap_registers_max=0)
    decoded = dict(zip(request.columns, request.decode(registers), strict=True))

    for column, (_, _, value) in enumerate(tags):
        got = decoded[column]
        assert type(got) is type(value)
        assert got == value or (math.isnan(got) and math.isnan(value))


@pytest.mark.parametrize(
    ("order", "registers"),
    [
        ("ABCD", [0x4148, 0x0000]),
        ("CDAB", [0x0000, 0x4148]),
        ("BADC", [0x4841, 0x0000]),
        ("DCBA", [0x0000, 0x4841]),
    ],
)
def test_the_orders_are_those_of_the_manuals(order: str, registers: list[int]) -> None:
    item = Item(0, parse_address(f"holding:0:FLOAT32@{order}"))

    (request,) = plan_requests([item], gap_registers_max=0)

    assert list(request.decode(registers)) == [12.5]


def test_bits_of_a_register_are_counted_from_the_least_significant() -> None:
    items = [Item(bit, parse_address(f"holding:7.{bit}")) for bit in range(16)]
    items.append(Item(16, parse_address("holding:7:UINT16")))

    (request,) = plan_requests(items, gap_registers_max=0)
    decoded = dict(zip(request.columns, request.decode([0x8002]), strict=True))

    assert request.count == 1, "tags may share a register"
    assert [bit for bit in range(16) if decoded[bit] is True] == [1, 15]
    assert decoded[16] == 0x8002


def test_coils_are_taken_from_their_own_place_and_padding_is_ignored() -> None:
    items = [Item(0, parse_address("coil:9")), Item(1, parse_address("coil:2"))]

    (request,) = plan_requests(items, gap_registers_max=1)
    reply = [True] + [False] * 6 + [False] + [True] * 8
    decoded = dict(zip(request.columns, request.decode(reply), strict=True))

    assert (request.start, request.count) == (2, 8)
    assert decoded == {1: True, 0: False}


def test_requests_keep_to_the_protocols_limits_and_to_one_table() -> None:
    texts = [f"holding:{number}:UINT16" for number in range(300)]
    texts += [f"coil:{number}" for number in range(0, 4_000, 10)] + ["input:0:UINT16"]
    items = [Item(column, parse_address(text)) for column, text in enumerate(texts)]

    requests = plan_requests(items, gap_registers_max=16)

    sizes = sorted((request.table.value, request.count) for request in requests)
    assert sizes == [
        ("coil", 1_991), ("coil", 1_991), ("holding", 50), ("holding", 125), ("holding", 125),
        ("input", 1),
    ]  # fmt: skip


def test_halves_hold_every_tag_once() -> None:
    items = [Item(column, parse_address(f"holding:{column}:UINT16")) for column in range(7)]
    (request,) = plan_requests(items, gap_registers_max=0)

    parts = halves(request, gap_registers_max=0)

    assert [part.count for part in parts] == [3, 4]
    assert sorted(column for part in parts for column in part.columns) == list(range(7))
