"""Goal: an address means the same in every dialect, and a wrong one says what to write instead."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.modbus.address import Address, Array, Table, parse, parse_address
from collectors.modbus.types import ORDERS, PACKINGS, TYPES


@pytest.mark.parametrize(
    ("written", "type_column", "canonical"),
    [
        ("holding:0:FLOAT32@CDAB", "", "holding:0:FLOAT32@CDAB"),
        ("holding:0", "float32@cdab", "holding:0:FLOAT32@CDAB"),
        ("holding:0:FLOAT32@CDAB", "FLOAT32", "holding:0:FLOAT32@CDAB"),
        ("HOLDING:0:float32", "", "holding:0:FLOAT32"),
        ("holding:0:FLOAT32@ABCD", "", "holding:0:FLOAT32"),
        ("holding:65535:INT16", "", "holding:65535:INT16"),
        (" input:12 ", " UINT16 ", "input:12:UINT16"),
        ("holding:5.3", "", "holding:5.3:BOOL"),
        ("holding:5.15:BOOL", "bool", "holding:5.15:BOOL"),
        ("40006.3", "", "holding:5.3:BOOL"),
        ("40001", "UINT16", "holding:0:UINT16"),
        ("49999", "UINT16", "holding:9998:UINT16"),
        ("400001:INT64", "", "holding:0:INT64"),
        ("465536", "UINT16", "holding:65535:UINT16"),
        ("4x00001", "UINT16", "holding:0:UINT16"),
        ("4X1", "UINT16", "holding:0:UINT16"),
        ("30010", "INT16", "input:9:INT16"),
        ("300010", "INT16", "input:9:INT16"),
        ("3x10", "INT16", "input:9:INT16"),
        ("10001", "", "discrete:0:BOOL"),
        ("1x00017", "", "discrete:16:BOOL"),
        ("00001", "", "coil:0:BOOL"),
        ("000017", "bool", "coil:16:BOOL"),
        ("0x1", "", "coil:0:BOOL"),
        ("coil:3", "", "coil:3:BOOL"),
        ("holding:0x10", "UINT16", "holding:16:UINT16"),
        ("holding:0XfFfF", "UINT16", "holding:65535:UINT16"),
        ("holding-register:1", "REAL", "holding:0:FLOAT32"),
        ("input-register:10:UINT16", "", "input:9:UINT16"),
        ("discrete-input:1", "", "discrete:0:BOOL"),
        ("7!400001", "INT16", "holding:0:INT16"),
        ("7!000001", "BIT", "coil:0:BOOL"),
        ("holding:0", "float", "holding:0:FLOAT32"),
        ("holding:0", "Double@dcba", "holding:0:FLOAT64@DCBA"),
        ("holding:0", "u16", "holding:0:UINT16"),
        ("holding:0", "DINT", "holding:0:INT32"),
        ("holding:0:FLOAT16", "", "holding:0:FLOAT16"),
        ("holding:0:uint8h", "", "holding:0:UINT8H"),
        ("holding:0:INT8L@ABCD", "", "holding:0:INT8L"),
        ("holding:0:BCD32@CDAB", "BCD32", "holding:0:BCD32@CDAB"),
        ("holding:0:STRING(10)", "", "holding:0:STRING(10)"),
        ("holding:0:STRING(010)@H", "", "holding:0:STRING(10)"),
        ("holding:0", "string (10) @l", "holding:0:STRING(10)@L"),
        ("holding:0:STRING(10)@BADC", "", "holding:0:STRING(10)@L"),
        ("holding:0:STRING(10)@ABCD", "", "holding:0:STRING(10)"),
        ("holding:0:STRING(4)@E", "", "holding:0:STRING(4)@E"),
        ("holding:0:RAW(4)", "", "holding:0:RAW(4)"),
        ("holding:0:FLOAT32", "FLOAT32@ABCD", "holding:0:FLOAT32"),
    ],
)
def test_every_dialect_becomes_one_canonical_form(
    written: str, type_column: str, canonical: str
) -> None:
    assert str(parse_address(written, type_column, unit=7)) == canonical
    assert str(parse_address(canonical)) == canonical, "what is shown can be written again"


@pytest.mark.parametrize(
    ("written", "type_column", "instruction"),
    [
        ("100", "INT16", "does not say which table; write holding:100"),
        ("1", "", "does not say which table"),
        ("holding:0", "", "needs a type, one of INT16, UINT16"),
        ("holding:0", "FLAOT32", "did you mean 'FLOAT32'"),
        ("holding:0", "INT", "INT is not the same everywhere; write INT16 or INT32"),
        ("holding:0", "uint8", "write UINT8H or UINT8L, the high or the low byte"),
        ("holding:0", "long", "write INT32 or INT64"),
        ("holding:0", "STRING", "STRING needs its size in registers, such as STRING(10)"),
        ("holding:0", "STRING(0)", "has 1 to 125 registers, found 0"),
        ("holding:0", "STRING(126)", "has 1 to 125 registers, found 126"),
        ("holding:0", "STRING(4)@CDAB", "H is the high byte first, L the low byte first"),
        ("holding:0", "RAW(4)@BADC", "RAW, which keeps the bytes as they come, has no byte order"),
        ("holding:0", "UINT8H@DCBA", "a byte of a register has no byte order"),
        ("holding:0", "FLOAT32(2)", "for an array write FLOAT32[2]"),
        ("holding:0", "FLOAT32[]", "is not a Modbus type; write FLOAT32"),
        ("holding:0", "FLOAT32[0]", "an array needs an element at least"),
        ("holding:0", "FLOAT32[3..2]", "an array needs an element at least"),
        ("holding:0", "FLOAT32[10]", "is an array; write a single element, holding:0:FLOAT32"),
        ("holding:65530", "FLOAT32[4]", "ends after the last item"),
        ("holding:65535.0", "BOOL[17]", "ends after the last item"),
        ("coil:65535", "BOOL[2]", "ends after the last item"),
        ("holding-register:0", "INT16", "must be 1 to 65536"),
        ("holding:0x10000", "INT16", "must be 0 to 65535"),
        ("3!400001", "INT16", "names unit 3, but this device is unit 7; leave out 3!"),
        ("1!400001#BL", "FLOAT", "write the byte order behind the type, 400001:FLOAT32@CDAB"),
        ("400001.20H", "", "write a text with its registers and packing, 400001:STRING(10)@L"),
        ("HR1", "INT16", "is not a Modbus address; write holding:0:FLOAT32"),
        ("holding:0:INT32", "UINT32", "its type column says UINT32; keep one"),
        ("holding:0:FLOAT32", "FLOAT32@CDAB", "keep one"),
        ("holding:0:FLOAT32@BACD", "", "one of ABCD, CDAB, BADC, DCBA"),
        ("holding:0", "BOOL", "for a bit write holding:0.0 to .15"),
        ("holding:0.16", "", "bits 0 to 15, found 16"),
        ("holding:0.3", "INT16", "its type is BOOL"),
        ("holding:0.3:BOOL@DCBA", "", "a bit has no byte order"),
        ("coil:0.1", "", "a coil is a single bit"),
        ("coil:0", "INT16", "its type is BOOL"),
        ("holdng:0", "INT16", "did you mean 'holding'"),
        ("holding:65536", "INT16", "must be 0 to 65535"),
        ("holding:65535", "INT32", "ends after the last item"),
        ("40000", "INT16", "must be 1 to 65536"),
        ("465537", "INT16", "must be 1 to 65536"),
        ("20001", "INT16", "no table '2'"),
        ("DB40.DBD12", "REAL", "is not a Modbus address; write holding:0:FLOAT32"),
        ("holding:-1", "INT16", "is not a Modbus address"),
        ("", "", "is not a Modbus address"),
    ],
)
def test_a_wrong_address_says_what_to_write_instead(
    written: str, type_column: str, instruction: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(instruction)):
        parse_address(written, type_column, unit=7)


def test_a_unit_in_the_address_is_refused_where_nobody_says_which_is_right() -> None:
    with pytest.raises(ValueError, match="the device says the unit; leave out 1!"):
        parse_address("1!400001", "INT16")


ADDRESSES = st.builds(
    Address,
    st.sampled_from([Table.HOLDING, Table.INPUT]),
    st.integers(0, 65_536 - 125),
    st.none(),
    st.sampled_from([name for name in TYPES if name != "BOOL"]),
    st.sampled_from(ORDERS),
    st.none(),
)


@given(ADDRESSES, st.integers(0, 3), st.integers(1, 30))
def test_the_canonical_form_of_everything_can_be_written_again(
    address: Address, first: int, count: int
) -> None:
    if "8" in address.type_name:
        address = address._replace(order=ORDERS[0])
    array = Array(address, range(first, first + count))

    assert parse(str(address)) == address
    assert parse(address.place, address.source_type) == address, "the type in its own column"
    assert parse(str(array)) == array
    for _, element in array.elements():
        assert parse_address(str(element))._replace(span=element.span) == element


@given(
    name=st.sampled_from(["STRING", "RAW"]),
    registers=st.integers(1, 125),
    packing=st.sampled_from(PACKINGS),
    many=st.booleans(),
)
def test_the_canonical_form_of_texts_can_be_written_again(
    name: str, registers: int, packing: str, *, many: bool
) -> None:
    order = packing if name == "STRING" else "ABCD"
    address = Address(Table.HOLDING, 3, None, f"{name}({registers})", order)
    parsed: Address | Array = Array(address, range(2)) if many else address

    assert parse(str(parsed)) == parsed
    assert address.data_type.registers == registers


@given(
    st.one_of(
        st.text(max_size=40),
        st.text(alphabet="0134x!:.#@[]()-HLDE holdingcFLOAT32STR\u0663\n", max_size=40),
        st.builds(
            "{}:{}.{}:{}".format, st.sampled_from(list(Table)), *[st.integers()] * 2, st.text()
        ),
    ),
    st.one_of(st.just(""), st.sampled_from(sorted(TYPES)), st.text(max_size=20)),
)
def test_whatever_is_written_is_an_address_or_a_value_error(text: str, type_text: str) -> None:
    with suppress(ValueError):
        parsed = parse(text, type_text)
        assert parse(str(parsed)) == parsed


def test_the_elements_of_an_array_stand_side_by_side() -> None:
    def elements(text: str) -> list[tuple[int, str]]:
        parsed = parse(text)
        assert isinstance(parsed, Array)
        return [(index, str(element)) for index, element in parsed.elements()]

    assert elements("40011:FLOAT32[1..3]@CDAB") == [
        (1, "holding:10:FLOAT32@CDAB"),
        (2, "holding:12:FLOAT32@CDAB"),
        (3, "holding:14:FLOAT32@CDAB"),
    ]
    assert elements("coil:8:BOOL[2]") == [(0, "coil:8:BOOL"), (1, "coil:9:BOOL")]
    assert elements("input:5.14:BOOL[3]") == [
        (0, "input:5.14:BOOL"),
        (1, "input:5.15:BOOL"),
        (2, "input:6.0:BOOL"),
    ]
    assert elements("holding:0:STRING(3)[2]@L")[1] == (1, "holding:3:STRING(3)@L")


def test_the_last_registers_can_be_read_by_every_type() -> None:
    for name, data_type in TYPES.items():
        if name != "BOOL":
            last = 65_536 - data_type.registers
            assert parse_address(f"holding:{last}:{name}").number == last
