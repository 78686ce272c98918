"""Times, dates and BCD numbers of an S7 → whole numbers and ISO 8601 texts. Pure.

Sources: STEP 7 "System Software for S7-300 and S7-400, System and Standard Functions" (S5TIME,
DATE_AND_TIME), TIA Portal's help on data types (DTL, LDT, LTOD). A PLC keeps no time zone: the
texts have none.

    S5TIME, timers   word   bits 12-13 time base 10 ms, 100 ms, 1 s, 10 s; three BCD digits
    counters         word   three BCD digits
    DATE             word   days since 1990-01-01
    TOD              dword  milliseconds since midnight;  LTOD lword nanoseconds
    DT               8 B    BCD: year 90-99 is 19.., 00-89 is 20..; month day hour minute second,
                            three digits of milliseconds, day of the week
    LDT              lint   nanoseconds since 1970-01-01
    DTL              12 B   year (word), month, day, weekday, hour, minute, second, ns (dword)
"""

import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta

_S5_BASES_MS = (10, 100, 1_000, 10_000)
_DAY_MS = 86_400_000
_NS_PER_S = 1_000_000_000
_DAY_NS = 86_400 * _NS_PER_S
_FIRST_DATE = date(1990, 1, 1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a PLC's clock has no zone
_PIVOT_YEAR = 90
_DTL = struct.Struct(">HBBBBBBI")
_DTL_YEARS = range(1970, 2555)
"""1970 to 2262 on an S7-1500, to 2554 on an S7-1200."""

Decode = Callable[[bytes, int], int | str]
"""(memory, offset) → value. Raises ValueError when the bytes are no value of the type."""


def _word(memory: bytes, offset: int) -> int:
    return memory[offset] << 8 | memory[offset + 1]


def bcd(byte: int) -> int:
    """Return the two digits of a byte as a number. Raises ValueError for A to F."""
    tens, ones = byte >> 4, byte & 0xF
    if tens > 9 or ones > 9:  # noqa: PLR2004 - decimal digits
        raise ValueError(f"{byte:02X} are no decimal digits")
    return tens * 10 + ones


def _three_digits(word: int) -> int:
    return bcd(word >> 8 & 0xF) * 100 + bcd(word & 0xFF)


def s5time_ms(memory: bytes, offset: int) -> int:
    """Return the milliseconds of an S5TIME or a timer; the two highest bits mean nothing."""
    word = _word(memory, offset)
    return _three_digits(word) * _S5_BASES_MS[word >> 12 & 3]


def counter(memory: bytes, offset: int) -> int:
    """Return the count, 0 to 999."""
    return _three_digits(_word(memory, offset))


def iso_date(memory: bytes, offset: int) -> str:
    """Return a DATE as `2026-01-31`."""
    return (_FIRST_DATE + timedelta(days=_word(memory, offset))).isoformat()


def _time_of_day(count: int, per_s: int, digits: int) -> str:
    seconds, fraction = divmod(count, per_s)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}.{fraction:0{digits}}"


def iso_tod(memory: bytes, offset: int) -> str:
    """Return a TOD as `23:59:59.999`."""
    count_ms = int.from_bytes(memory[offset : offset + 4], "big")
    if count_ms >= _DAY_MS:
        raise ValueError(f"{count_ms} ms are more than a day")
    return _time_of_day(count_ms, 1_000, 3)


def iso_ltod(memory: bytes, offset: int) -> str:
    """Return an LTOD as `23:59:59.999999999`."""
    count_ns = int.from_bytes(memory[offset : offset + 8], "big")
    if count_ns >= _DAY_NS:
        raise ValueError(f"{count_ns} ns are more than a day")
    return _time_of_day(count_ns, _NS_PER_S, 9)


def bcd_datetime(memory: bytes, offset: int) -> datetime:
    """Return the date and time of eight BCD bytes, without a zone. Raises ValueError."""
    year, month, day, hour, minute, second, hundredths = map(bcd, memory[offset : offset + 7])
    thousandths = bcd(memory[offset + 7] >> 4)
    return datetime(  # noqa: DTZ001 - a PLC's clock has no zone
        year + (1900 if year >= _PIVOT_YEAR else 2000),
        *(month, day, hour, minute, second),
        microsecond=(hundredths * 10 + thousandths) * 1_000,
    )


def iso_dt(memory: bytes, offset: int) -> str:
    """Return a DATE_AND_TIME as `2026-01-31T23:59:59.999`."""
    return bcd_datetime(memory, offset).isoformat(timespec="milliseconds")


def iso_ldt(memory: bytes, offset: int) -> str:
    """Return an LDT as `2026-01-31T23:59:59.999999999`."""
    count_ns = int.from_bytes(memory[offset : offset + 8], "big", signed=True)
    if count_ns < 0:
        raise ValueError("a date before 1970")
    seconds, fraction_ns = divmod(count_ns, _NS_PER_S)
    return f"{(_EPOCH + timedelta(seconds=seconds)).isoformat()}.{fraction_ns:09}"


def iso_dtl(memory: bytes, offset: int) -> str:
    """Return a DTL as `2026-01-31T23:59:59.999999999`; its weekday is not looked at."""
    year, month, day, _, hour, minute, second, fraction_ns = _DTL.unpack_from(memory, offset)
    if year not in _DTL_YEARS or fraction_ns >= _NS_PER_S:
        raise ValueError(f"year {year}, {fraction_ns} ns")
    moment = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - as above
    return f"{moment.isoformat()}.{fraction_ns:09}"


DECODERS: dict[str, Decode] = {
    "S5TIME": s5time_ms,
    "TIMER": s5time_ms,
    "COUNTER": counter,
    "DATE": iso_date,
    "TOD": iso_tod,
    "LTOD": iso_ltod,
    "DT": iso_dt,
    "LDT": iso_ldt,
    "DTL": iso_dtl,
}
