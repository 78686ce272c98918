"""Goal: a value comes out of its registers exactly as the device put it in.

Method: values are laid out by the definition of each byte order, byte by byte, and read back.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.address import Array, parse, parse_address
from collectors.modbus.decode import Item, Limits, plan_requests
from collectors.modbus.types import ORDERS, PACKINGS, TYPES
from tests.unit.collectors.naive_modbus import naive_value, same

NO_GAPS = Limits(gap_registers_max=0)


NUMBERS = [name for name in TYPES if name != "BOOL"]
SIZED = st.builds("{}({})".format, st.sampled_from(["STRING", "RAW"]), st.integers(1, 12))
TAGS = st.tuples(
    st.one_of(st.sampled_from(NUMBERS), SIZED),
    st.sampled_from(ORDERS),
    st.sampled_from(PACKINGS),
    st.integers(0, 180),
    st.one_of(st.none(), st.integers(1, 20)),
)
WORDS = st.one_of(
    st.integers(0, 65_535), st.sampled_from([0, 0x7FF0, 0x8000, 0xFFFF, 0x2000, 0x0041, 0x1234])
)


def written(tag: tuple[str, str, str, int, int | None]) -> str:
    type_name, order, packing, number, count = tag
    many = "" if count is None else f"[{count}]"
    if type_name.startswith("STRING"):
        return f"holding:{number}:{type_name}{many}@{packing}"
    if type_name.startswith("RAW") or "INT8" in type_name:
        return f"holding:{number}:{type_name}{many}"
    return f"holding:{number}:{type_name}{many}@{order}"


@given(
    tags=st.lists(TAGS, min_size=1, max_size=12),
    words=st.lists(WORDS, min_size=40, max_size=80),
    gap=st.integers(0, 20),
    registers_max=st.integers(12, 125),
    merge=st.booleans(),
)
def test_everything_decodes_to_what_a_naive_reader_of_single_registers_finds(
    tags: list[tuple[str, str, str, int, int | None]],
    words: list[int],
    gap: int,
    registers_max: int,
    *,
    merge: bool,
) -> None:
    memory = [words[at % len(words)] for at in range(1_000)]
    parsed = [parse(written(tag)) for tag in tags]
    addresses = [
        address
        for each in parsed
        for address in ([e for _, e in each.elements()] if isinstance(each, Array) else [each])
    ]

    requests = plan_requests(
        [Item(*each) for each in enumerate(addresses)],
        Limits(registers_max=registers_max, gap_registers_max=gap, merge=merge),
    )
    decoded: dict[int, Any] = {}
    for request in requests:
        assert request.count <= registers_max
        reply = memory[request.start : request.start + request.count]
        decoded |= dict(zip(request.columns, request.decode(reply), strict=True))

    assert len(decoded) == len(addresses)
    for column, address in enumerate(addresses):
        own = memory[address.number : address.number + address.data_type.registers]
        expected = naive_value(own, address.type_name, address.order)
        assert same(decoded[column], expected), str(address)


def alone(address: str, registers: list[int]) -> Any:
    (request,) = plan_requests([Item(0, parse_address(address))], NO_GAPS)
    (value,) = request.decode(registers)
    return value


@pytest.mark.parametrize(
    ("order", "registers"),
    [
        ("ABCD", [0x3FF3, 0xC0CA, 0x428C, 0x59FB]),
        ("CDAB", [0x59FB, 0x428C, 0xC0CA, 0x3FF3]),
        ("BADC", [0xF33F, 0xCAC0, 0x8C42, 0xFB59]),
        ("DCBA", [0xFB59, 0x8C42, 0xCAC0, 0xF33F]),
    ],
)
def test_values_of_64_bits_have_their_words_or_bytes_swapped_throughout(
    order: str, registers: list[int]
) -> None:
    assert alone(f"holding:0:FLOAT64@{order}", registers) == 1.2345678901234567


@pytest.mark.parametrize(
    ("address", "registers", "value"),
    [
        ("holding:0:STRING(3)", [0x4142, 0x4300, 0x2000], "ABC"),
        ("holding:0:STRING(3)@L", [0x4241, 0x0043, 0x0020], "ABC"),
        ("holding:0:STRING(3)@D", [0x0041, 0x0042, 0x0043], "ABC"),
        ("holding:0:STRING(3)@E", [0x4100, 0x4200, 0x4300], "ABC"),
        ("holding:0:STRING(2)", [0x4100, 0x4200], "A\0B"),
        ("holding:0:STRING(2)", [0x2041, 0xE480], " A\xe4\x80"),
        ("holding:0:STRING(1)", [0x0000], ""),
        ("holding:0:RAW(2)", [0x0001, 0xFF00], b"\x00\x01\xff\x00"),
        ("holding:0:BCD16", [0x9999], 9_999),
        ("holding:0:BCD16", [0x00A0], None),
        ("holding:0:BCD32@CDAB", [0x5678, 0x1234], 12_345_678),
        ("holding:0:BCD64", [0x9999] * 4, 9_999_999_999_999_999),
        ("holding:0:INT8H", [0x80FF], -128),
        ("holding:0:INT8L", [0x80FF], -1),
        ("holding:0:UINT8H", [0x80FF], 128),
        ("holding:0:UINT8L", [0x80FF], 255),
        ("holding:0:FLOAT16", [0x7BFF], 65_504.0),
        ("holding:0:FLOAT16@BADC", [0x003C], 1.0),
    ],
)
def test_texts_digits_and_bytes_are_unpacked(
    address: str, registers: list[int], value: Any
) -> None:
    assert same(alone(address, registers), value)


def test_a_digit_that_is_none_spoils_no_neighbour() -> None:
    items = [Item(i, parse_address(f"holding:{i}:BCD16")) for i in range(3)]

    (request,) = plan_requests(items, NO_GAPS)

    assert request.decode([0x0001, 0xABCD, 0x0003]) == [1, None, 3]


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

    (request,) = plan_requests([item], NO_GAPS)

    assert list(request.decode(registers)) == [12.5]


def test_bits_of_a_register_are_counted_from_the_least_significant() -> None:
    items = [Item(bit, parse_address(f"holding:7.{bit}")) for bit in range(16)]
    items.append(Item(16, parse_address("holding:7:UINT16")))

    (request,) = plan_requests(items, NO_GAPS)
    decoded = dict(zip(request.columns, request.decode([0x8002]), strict=True))

    assert request.count == 1, "tags may share a register"
    assert [bit for bit in range(16) if decoded[bit] is True] == [1, 15]
    assert decoded[16] == 0x8002


def test_coils_are_taken_from_their_own_place_and_padding_is_ignored() -> None:
    items = [Item(0, parse_address("coil:9")), Item(1, parse_address("coil:2"))]

    (request,) = plan_requests(items, Limits(gap_registers_max=1))
    reply = [True] + [False] * 6 + [False] + [True] * 8
    decoded = dict(zip(request.columns, request.decode(reply), strict=True))

    assert (request.start, request.count) == (2, 8)
    assert decoded == {1: True, 0: False}


def test_requests_keep_to_the_protocols_limits_and_to_one_table() -> None:
    texts = [f"holding:{number}:UINT16" for number in range(300)]
    texts += [f"coil:{number}" for number in range(0, 4_000, 10)] + ["input:0:UINT16"]
    items = [Item(column, parse_address(text)) for column, text in enumerate(texts)]

    requests = plan_requests(items, Limits())

    sizes = sorted((request.table.value, request.count) for request in requests)
    assert sizes == [
        ("coil", 1_991), ("coil", 1_991), ("holding", 50), ("holding", 125), ("holding", 125),
        ("input", 1),
    ]  # fmt: skip


def planned(texts: list[str], limits: Limits) -> list[tuple[str, int, int]]:
    """Return table, start and count of each request."""
    addresses = []
    for text in texts:
        parsed = parse(text)
        many = parsed.elements() if isinstance(parsed, Array) else [(0, parsed)]
        addresses += [address for _, address in many]
    requests = plan_requests([Item(*each) for each in enumerate(addresses)], limits)
    return [(request.table.value, request.start, request.count) for request in requests]


METER = ["holding:0:FLOAT32", "holding:2:UINT16", "holding:3.0", "holding:3.7", "holding:20:INT16"]


@pytest.mark.parametrize(
    ("texts", "limits", "requests"),
    [
        (METER, Limits(), [("holding", 0, 21)]),
        (METER, Limits(gap_registers_max=15), [("holding", 0, 4), ("holding", 20, 1)]),
        (
            METER,
            Limits(registers_max=3),
            [("holding", 0, 3), ("holding", 3, 1), ("holding", 20, 1)],
        ),
        (
            METER,
            Limits(merge=False),
            [("holding", 0, 2), ("holding", 2, 1), ("holding", 3, 1), ("holding", 20, 1)],
        ),
        (
            ["holding:0:FLOAT32[4]", "holding:8:INT16"],
            Limits(merge=False),
            [("holding", 0, 8), ("holding", 8, 1)],
        ),
        (["holding:0:FLOAT32[62]"], Limits(), [("holding", 0, 124)]),
        (["holding:0:FLOAT32[63]"], Limits(), [("holding", 0, 124), ("holding", 124, 2)]),
        (["holding:0:UINT16[126]"], Limits(), [("holding", 0, 125), ("holding", 125, 1)]),
        (["holding:0:UINT16[125]"], Limits(), [("holding", 0, 125)]),
        (["coil:0:BOOL[2001]"], Limits(), [("coil", 0, 2_000), ("coil", 2_000, 1)]),
        (["coil:0:BOOL[20]"], Limits(bits_max=16), [("coil", 0, 16), ("coil", 16, 4)]),
        (["coil:0", "coil:17"], Limits(gap_registers_max=1), [("coil", 0, 18)]),
        (["coil:0", "coil:18"], Limits(gap_registers_max=1), [("coil", 0, 1), ("coil", 18, 1)]),
        (
            ["holding:65535:UINT16", "input:65535:UINT16"],
            Limits(),
            [("holding", 65_535, 1), ("input", 65_535, 1)],
        ),
        # The array would be torn if the first request took all that fits.
        (
            ["holding:0:UINT16[120]", "holding:120:FLOAT32[10]"],
            Limits(),
            [("holding", 0, 120), ("holding", 120, 20)],
        ),
        (["holding:0:FLOAT64", "holding:2:UINT16"], Limits(), [("holding", 0, 4)]),
    ],
)
def test_the_requests_are_those_that_a_calculation_by_hand_gives(
    texts: list[str], limits: Limits, requests: list[tuple[str, int, int]]
) -> None:
    assert planned(texts, limits) == requests
