"""Goal: a value comes out of an S7's memory exactly as the PLC put it in; what is none is refused.

Method: independent encoders, written from the definition of each type, lay random values out; every
decoder also gets random bytes, of which it makes a value or a ValueError, nothing else. Seen to
bite: a pivot year of 80 in DATE_AND_TIME, an S5TIME with its bases reversed, a DTL whose seconds
and minutes are exchanged.
"""

import struct
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.s7.address import Address
from collectors.s7.decode import NoSuchText, decoder
from collectors.s7.types import TYPES
from common.records import ValueType

PATIENT = settings(deadline=None)
"""How long an example takes is the machine's business."""

IN_MEMORY = [name for name in TYPES if name not in ("TIMER", "COUNTER")]
DATES = st.datetimes(datetime(1990, 1, 1), datetime(2089, 12, 31, 23, 59, 59, 999_000))  # noqa: DTZ001 - PLC clocks have no zone
INTEGERS = {
    "BYTE": ("B", 1, False), "USINT": ("B", 1, False), "SINT": ("b", 1, True),
    "WORD": ("H", 2, False), "UINT": ("H", 2, False), "INT": ("h", 2, True),
    "DWORD": ("I", 4, False), "UDINT": ("I", 4, False), "DINT": ("i", 4, True),
    "LWORD": ("Q", 8, False), "ULINT": ("Q", 8, False), "LINT": ("q", 8, True),
    "TIME": ("i", 4, True), "LTIME": ("q", 8, True),
}  # fmt: skip


def decoded(name: str, memory: bytes, room: int = 0, bit: int = 0) -> Any:
    """Decode with two bytes of somebody else's in front and behind."""
    area = {"TIMER": "T", "COUNTER": "C"}.get(name, "DB")
    address = Address(area, 1, 0, bit, name, room)
    return decoder(address)(b"\xaa\xbb" + memory + b"\xcc\xdd", 2)


def digits(number: int, count: int) -> int:
    """Return a number as binary coded decimal."""
    return int(f"{number:0{count}}"[-count:], 16)


@PATIENT
@given(st.sampled_from(sorted(INTEGERS)), st.data())
def test_whole_numbers_come_back(name: str, data: st.DataObject) -> None:
    code, size, signed = INTEGERS[name]
    low, high = (-(2 ** (8 * size - 1)), 2 ** (8 * size - 1)) if signed else (0, 2 ** (8 * size))
    value = data.draw(st.integers(low, high - 1))

    assert decoded(name, struct.pack(f">{code}", value)) == value


@PATIENT
@given(st.floats(width=32), st.floats())
def test_floats_come_back_to_the_bit(real: float, lreal: float) -> None:
    one, two = struct.pack(">f", real), struct.pack(">d", lreal)

    assert struct.pack(">f", decoded("REAL", one)) == one
    assert struct.pack(">d", decoded("LREAL", two)) == two


@PATIENT
@given(st.integers(0, 255), st.integers(0, 7))
def test_a_bit_is_the_one_of_its_number(byte: int, bit: int) -> None:
    assert decoded("BOOL", bytes([byte]), bit=bit) == (f"{byte:08b}"[7 - bit] == "1")


@PATIENT
@given(st.integers(0, 999), st.sampled_from([(0, 10), (1, 100), (2, 1_000), (3, 10_000)]))
def test_s5time_and_timers_are_milliseconds(count: int, base: tuple[int, int]) -> None:
    memory = struct.pack(">H", base[0] << 12 | digits(count, 3))

    assert decoded("S5TIME", memory) == decoded("TIMER", memory) == count * base[1]


@PATIENT
@given(st.integers(0, 999))
def test_counters_are_their_digits(count: int) -> None:
    assert decoded("COUNTER", struct.pack(">H", digits(count, 3))) == count


@PATIENT
@given(st.dates(date(1990, 1, 1), date(2169, 6, 6)))
def test_dates_are_days_since_1990(day: date) -> None:
    memory = struct.pack(">H", (day - date(1990, 1, 1)).days)

    assert date.fromisoformat(decoded("DATE", memory)) == day


@PATIENT
@given(st.integers(0, 86_400_000 - 1), st.integers(0, 999_999))
def test_times_of_day_are_counted_from_midnight(count_ms: int, more_ns: int) -> None:
    tod = decoded("TOD", struct.pack(">I", count_ms))
    ltod = decoded("LTOD", struct.pack(">Q", count_ms * 1_000_000 + more_ns))

    midnight = datetime(2000, 1, 1, tzinfo=UTC)
    assert time.fromisoformat(tod) == (midnight + timedelta(milliseconds=count_ms)).time()
    assert ltod == f"{tod}{more_ns:06}"


@PATIENT
@given(DATES)
def test_date_and_time_is_eight_bytes_of_decimal_digits(moment: datetime) -> None:
    ms = moment.microsecond // 1_000
    parts = (moment.year % 100, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    weekday = moment.isoweekday() % 7 + 1
    memory = bytes([digits(part, 2) for part in parts])
    memory += bytes([digits(ms // 10, 2), ms % 10 << 4 | weekday])

    assert decoded("DT", memory) == moment.isoformat(timespec="milliseconds")


@PATIENT
@given(st.datetimes(datetime(1970, 1, 1), datetime(2262, 4, 11)), st.integers(0, 999))  # noqa: DTZ001 - PLC clocks have no zone
def test_ldt_and_dtl_have_nanoseconds(moment: datetime, more_ns: int) -> None:
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    ldt = decoded("LDT", struct.pack(">q", since // timedelta(microseconds=1) * 1_000 + more_ns))
    dtl = struct.pack(
        ">HBBBBBBI",
        *(moment.year, moment.month, moment.day, moment.isoweekday(), moment.hour),
        *(moment.minute, moment.second, moment.microsecond * 1_000 + more_ns),
    )

    assert ldt == decoded("DTL", dtl)
    assert ldt == moment.isoformat(timespec="microseconds") + f"{more_ns:03}"


@PATIENT
@given(st.integers(1, 254), st.data())
def test_a_string_is_what_its_header_says_is_in_use(room: int, data: st.DataObject) -> None:
    text = data.draw(st.text(st.characters(max_codepoint=255), max_size=room))
    rest = data.draw(st.binary(min_size=room - len(text), max_size=room - len(text)))

    assert decoded("STRING", bytes([room, len(text)]) + text.encode("latin-1") + rest, room) == text


@PATIENT
@given(st.integers(1, 400), st.data())
def test_a_wstring_is_what_its_header_says_is_in_use(room: int, data: st.DataObject) -> None:
    text = data.draw(st.text(st.characters(codec="utf-16"), max_size=room // 2))
    used = len(text.encode("utf-16-be"))
    memory = struct.pack(">HH", room, used // 2) + text.encode("utf-16-be")

    assert decoded("WSTRING", memory.ljust(4 + 2 * room, b"\xff"), room) == text


NONSENSE = [
    ("S5TIME", "0A00"),
    ("TIMER", "000F"),
    ("COUNTER", "0A12"),
    ("TOD", "05265C00"),  # 24:00:00.000
    ("LTOD", "00004E94914F0000"),
    ("DT", "0000000000000000"),  # Never written: month 0.
    ("DT", "2602300000000002"),  # 30 February.
    ("DT", "26021A0000000002"),
    ("DT", "2602012400000002"),
    ("LDT", "FFFFFFFFFFFFFFFF"),
    ("DTL", "000000000000000000000000"),
    ("DTL", "07EA02300100000000000000"),
    ("DTL", "07EA020101000000FFFFFFFF"),
    ("DTL", "0FA0010101000000" + "00000000"),  # Year 4000.
    ("WCHAR", "D800"),
]


@pytest.mark.parametrize(("name", "memory"), NONSENSE)
def test_what_is_no_value_of_its_type_is_refused(name: str, memory: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decoded(name, bytes.fromhex(memory))


@pytest.mark.parametrize("header", ["0AFF", "0A0B", "FEFD", "0302"])
def test_a_text_whose_header_lies_is_no_text(header: str) -> None:
    """Ten characters of room: more in use than that, or than the header itself has room for."""
    memory = bytes.fromhex(header) + b"x" * 10
    if header == "0302":
        assert decoded("STRING", memory, 10) == "xx", "a shorter STRING than configured is one"
        return
    with pytest.raises(NoSuchText):
        decoded("STRING", memory, 10)


@PATIENT
@given(st.sampled_from(sorted(TYPES)), st.data())
def test_any_bytes_are_a_value_of_the_right_type_or_refused(name: str, data: st.DataObject) -> None:
    kind = TYPES[name]
    room = data.draw(st.integers(1, 30)) if kind.room_max else 0
    address = Address("DB", 1, 0, 0, name, room)
    memory = data.draw(st.binary(min_size=address.length, max_size=address.length))
    python = {
        ValueType.BOOL: bool,
        ValueType.INT64: int,
        ValueType.UINT64: int,
        ValueType.FLOAT64: float,
        ValueType.STRING: str,
    }[kind.value_type]

    try:
        value = decoder(address)(memory, 0)
    except ValueError:
        return
    assert type(value) is python
    if kind.value_type is ValueType.STRING:
        assert isinstance(value, str)
        value.encode("utf-8")  # It can be handed over.
