"""Goal: an address means the same in every dialect, and a wrong one says what to write instead."""

import re

import pytest

from collectors.modbus.address import TYPES, parse_address


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
    ],
)
def test_every_dialect_becomes_one_canonical_form(
    written: str, type_column: str, canonical: str
) -> None:
    assert str(parse_address(written, type_column)) == canonical
    assert str(parse_address(canonical)) == canonical, "what is shown can be written again"


@pytest.mark.parametrize(
    ("written", "type_column", "instruction"),
    [
        ("100", "INT16", "does not say which table; write holding:100"),
        ("1", "", "does not say which table"),
        ("holding:0", "", "needs a type, one of INT16, UINT16"),
        ("holding:0", "FLOAT", "did you mean 'FLOAT"),
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
        parse_address(written, type_column)


def test_the_last_registers_can_be_read_by_every_type() -> None:
    for name, data_type in TYPES.items():
        if name != "BOOL":
            last = 65_536 - data_type.registers
            assert parse_address(f"holding:{last}:{name}").number == last
