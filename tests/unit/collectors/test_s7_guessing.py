"""Goal: what a person would take an S7's bytes for comes first, and nothing possible is left out.

Method: values as programs hold them, with what may stand behind them, asked for by an address that
names a size (DBD, DBW, DBX) and by one that does not (DBB). Seen to bite: guesses in the order of
the types, evidence without the address's size, a midnight that counts as an instant.
"""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.s7.address import Address
from collectors.s7.decode import decoder
from collectors.s7.guessing import guesses
from collectors.s7.types import TYPES

ZEROS = bytes(20)
SIZED = {"X": "BOOL", "B": "BYTE", "W": "WORD", "D": "DWORD"}


def place(letter: str) -> Address:
    return Address("DB", 1, 0, 0, SIZED[letter], 0)


def packed(code: str, *values: float) -> bytes:
    return struct.pack(f">{code}", *values)


@pytest.mark.parametrize(
    ("letter", "memory", "source_type", "value"),
    [
        ("D", packed("f", 21.5), "REAL", 21.5),
        ("D", packed("f", 21.5) + ZEROS, "REAL", 21.5),
        ("B", packed("f", 21.5) + ZEROS, "REAL", 21.5),
        ("D", packed("4f", 230.1, -3.25, 49.98, 0.001), "REAL", pytest.approx(230.1)),
        ("D", packed("f", -17.3) + b"\xff" * 8, "REAL", pytest.approx(-17.3)),
        ("D", packed("f", 3.14159), "REAL", pytest.approx(3.14159)),
        ("D", packed("i", 123_456) + ZEROS, "DINT", 123_456),
        ("B", packed("i", 123_456) + ZEROS, "DINT", 123_456),
        ("D", packed("i", -5), "DINT", -5),
        ("D", ZEROS, "REAL", 0.0),
        ("W", packed("h", 215) + packed("f", 2.5), "INT", 215),
        ("W", packed("h", 215) + ZEROS, "INT", 215),
        ("W", packed("h", -10) + ZEROS, "INT", -10),
        ("B", packed("d", 987.654), "LREAL", 987.654),
        ("B", b"\x14\x05Press" + ZEROS, "STRING(20)", "Press"),
        ("B", packed("HH", 8, 3) + "ABC".encode("utf-16-be") + ZEROS, "WSTRING(8)", "ABC"),
        ("B", bytes.fromhex("2601312359599990"), "DT", "2026-01-31T23:59:59.999"),
        (
            "B",
            packed("HBBBBBBI", 2026, 1, 31, 7, 6, 0, 0, 0),
            "DTL",
            "2026-01-31T06:00:00.000000000",
        ),
        ("X", b"\x81" + ZEROS, "BOOL, bit 0", True),
    ],
)
def test_what_an_engineer_would_say_comes_first(
    letter: str, memory: bytes, source_type: str, value: Any
) -> None:
    best = guesses(place(letter), memory)[0]

    assert (best.source_type, best.value, best.plausible) == (source_type, value, True)


def test_single_bits_and_bytes_come_behind_everything_else() -> None:
    plausible = [
        each.source_type
        for each in guesses(place("D"), packed("f", 21.5) + ZEROS)
        if each.plausible
    ]

    assert plausible[0] == "REAL"
    assert plausible[-9:-8] == ["CHAR"], "0x41 is an A"
    assert [each.partition(",")[0] for each in plausible[-8:]] == ["BOOL"] * 8


@given(st.binary(min_size=12, max_size=64), st.sampled_from(sorted(SIZED)))
def test_every_guess_is_what_its_address_would_read(memory: bytes, letter: str) -> None:
    found = guesses(place(letter), memory)

    for each in found:
        name, _, bit = each.source_type.partition(", bit ")
        room = int(name.rstrip(")").partition("(")[2] or 0)
        address = Address("DB", 1, 0, int(bit or 0), name.partition("(")[0], room)
        read = decoder(address)(memory, 0)
        assert each.value == read or read != read  # noqa: PLR0124 - NaN
    ranks = [each.plausible for each in found]
    assert ranks == sorted(ranks, reverse=True)
    names = {each.source_type.partition(",")[0] for each in found}
    whole = {name for name, each in TYPES.items() if each.value_type in ("int64", "uint64")}
    assert names >= (whole - {"TIMER", "COUNTER", "S5TIME"}) | {"BOOL", "REAL", "LREAL"}
