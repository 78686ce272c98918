"""Goal: the bytes of a value become that value, and other bytes become an error, never a value.

Method: each type at its edges; and the library's own decoder as a judge over random bytes, where it
decodes the type at all (it truncates nanoseconds, so those are compared in microseconds).
"""

import datetime as dt
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from s7commplus import values
from s7commplus.typeinfo import Softdatatype

from collectors.s7plus.address import TYPES
from collectors.s7plus.decode import decoder

EDGES = [
    ("BOOL", "00", False),
    ("BOOL", "01", True),
    ("BYTE", "ff", 255),
    ("SINT", "80", -128),
    ("INT", "8000", -32768),
    ("UINT", "ffff", 65535),
    ("DINT", "80000000", -(2**31)),
    ("UDINT", "ffffffff", 2**32 - 1),
    ("DWORD", "80000001", 0x80000001),
    ("LINT", "8000000000000000", -(2**63)),
    ("ULINT", "ffffffffffffffff", 2**64 - 1),
    ("REAL", "42290000", 42.25),
    ("REAL", "7f800000", math.inf),
    ("LREAL", "bfb999999999999a", -0.1),
    ("CHAR", "c4", "Ä"),
    ("WCHAR", "20ac", "€"),
    ("STRING", "0a03d66c21" + "00" * 7, "Öl!"),
    ("STRING", "0000", ""),
    ("WSTRING", "0005000220ac0041" + "00" * 6, "€A"),
    ("S5TIME", "3999", 9_990_000),
    ("TIME", "ffffffff", -1),
    ("LTIME", "7fffffffffffffff", 2**63 - 1),
    ("DATE", "0000", "1990-01-01"),
    ("DATE", "ff62", "2168-12-31"),
    ("TOD", "05265bff", "23:59:59.999"),
    ("TOD", "00000000", "00:00:00"),
    ("LTOD", "00004e94914effff", "23:59:59.999999999"),
    ("DT", "9012312359599996", "1990-12-31T23:59:59.999"),
    ("DT", "2406150730001231", "2024-06-15T07:30:00.123"),
    ("LDT", "0000000000000001", "1970-01-01T00:00:00.000000001"),
    ("LDT", "7fffffffffffffff", "2262-04-11T23:47:16.854775807"),
]
NONSENSE = [
    ("INT", "00"),
    ("REAL", ""),
    ("BOOL", "0101"),
    ("STRING", ""),
    ("STRING", "0a0b" + "00" * 20),
    ("STRING", "0a0a00"),
    ("WSTRING", "00020003" + "00" * 10),
    ("WCHAR", "d800"),
    ("DATE", "ffff"),
    ("TOD", "ffffffff"),
    ("LTOD", "ffffffffffffffff"),
    ("LDT", "ffffffffffffffff"),
    ("DT", "ff12312359599996"),
    ("DT", "2413312359599996"),
    ("S5TIME", "0fff"),
]


@pytest.mark.parametrize(("name", "memory", "value"), EDGES, ids=[f"{n}-{m}" for n, m, _ in EDGES])
def test_a_value_comes_out_of_its_bytes(name: str, memory: str, value: object) -> None:
    assert decoder(name)(bytes.fromhex(memory)) == value


def test_no_number_is_a_number_too() -> None:
    value = decoder("REAL")(bytes.fromhex("7fc00000"))

    assert isinstance(value, float)
    assert math.isnan(value)


@pytest.mark.parametrize(("name", "memory"), NONSENSE)
def test_other_bytes_are_no_value(name: str, memory: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoder(name)(bytes.fromhex(memory))


@given(st.sampled_from(sorted(TYPES)), st.binary(max_size=300))
def test_random_bytes_are_what_the_library_takes_them_for(name: str, memory: bytes) -> None:
    _agree(name, memory)


SIZES = {"WCHAR": 2, "DATE": 2, "S5TIME": 2, "TOD": 4, "TIME": 4, "BOOL": 1, "CHAR": 1}


@given(st.sampled_from(["S5TIME", "DATE", "TOD", "LTOD", "DT", "LDT", "TIME", "LTIME"]), st.data())
def test_random_times_are_what_the_library_takes_them_for(name: str, data: st.DataObject) -> None:
    size = SIZES.get(name, 8)
    digits = st.sampled_from([tens * 16 + ones for tens in range(10) for ones in range(10)])
    bcd = st.lists(digits, min_size=size, max_size=size).map(bytes)
    _agree(name, data.draw(st.one_of(st.binary(min_size=size, max_size=size), bcd)))


def _agree(name: str, memory: bytes) -> None:
    judged = values.decode(Softdatatype[TYPES[name].plc_names[0]], memory)
    try:
        value = decoder(name)(memory)
    except ValueError:
        assert judged == memory, "no value for the library either"
        return
    assert _same(name, value, judged), f"{value!r}, and for the library {judged!r}"


def _same(name: str, value: object, judged: object) -> bool:
    match judged:
        case float():
            assert isinstance(value, float)
            return struct.pack(">d", value) == struct.pack(">d", judged)
        case dt.timedelta():
            assert isinstance(value, int)
            us = (
                value * 1_000 if name != "LTIME" else abs(value) // 1_000 * (1 if value > 0 else -1)
            )
            return judged == dt.timedelta(microseconds=us)
        case dt.datetime():
            return dt.datetime.fromisoformat(_to_us(str(value))) == judged
        case dt.date():
            return value == judged.isoformat()
        case dt.time():
            return dt.time.fromisoformat(_to_us(str(value))) == judged
        case _:
            return value == judged and type(value) is type(judged)


def _to_us(text: str) -> str:
    """Cut nanoseconds, as the library does."""
    whole, dot, fraction = text.partition(".")
    return f"{whole}{dot}{fraction[:6].ljust(6, '0')}" if dot else whole
