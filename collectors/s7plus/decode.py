"""Bytes of a value, as the library hands them over → scalars. Everything is big-endian."""

import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta

from common.records import Scalar

Decode = Callable[[bytes], Scalar]
"""Raises ValueError when the bytes are no value of the type."""

_FORMATS = {
    "BYTE": ">B",
    "USINT": ">B",
    "SINT": ">b",
    "WORD": ">H",
    "UINT": ">H",
    "INT": ">h",
    "DWORD": ">I",
    "UDINT": ">I",
    "DINT": ">i",
    "TIME": ">i",
    "LWORD": ">Q",
    "ULINT": ">Q",
    "LINT": ">q",
    "LTIME": ">q",
    "REAL": ">f",
    "LREAL": ">d",
}
_EPOCH_1990 = date(1990, 1, 1)
_DATE_DAYS_MAX = (date(2168, 12, 31) - _EPOCH_1990).days
_EPOCH_1970 = datetime(1970, 1, 1)  # noqa: DTZ001 - a PLC's date has no zone
_DAY_NS = 86_400_000_000_000
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_CENTURY_FROM = 90
"""A DATE_AND_TIME of the years 90 to 99 is of the last century."""
_S5_BASES_MS = (10, 100, 1_000, 10_000)
_DIGIT_MAX = 9


def decoder(type_name: str) -> Decode:
    """Return the function that makes a scalar of a value's bytes."""
    return (
        _OTHERS[type_name] if type_name in _OTHERS else _number(struct.Struct(_FORMATS[type_name]))
    )


def _number(packed: struct.Struct) -> Decode:
    def decode(memory: bytes) -> Scalar:
        _sized(memory, packed.size)
        number: int | float = packed.unpack(memory)[0]
        return number

    return decode


def _bool(memory: bytes) -> Scalar:
    _sized(memory, 1)
    return memory[0] != 0


def _char(memory: bytes) -> Scalar:
    _sized(memory, 1)
    return memory.decode("latin-1")


def _wchar(memory: bytes) -> Scalar:
    _sized(memory, 2)
    return memory.decode("utf-16-be")


def _string(memory: bytes) -> Scalar:
    room, used = memory[:2] if len(memory) > 1 else (0, 1)
    if used > room or 2 + used > len(memory):
        raise ValueError(f"the header of the text says {used} of {room} characters")
    return memory[2 : 2 + used].decode("latin-1")


def _wstring(memory: bytes) -> Scalar:
    room, used = struct.unpack_from(">HH", memory) if len(memory) > 3 else (0, 1)  # noqa: PLR2004 - header
    if used > room or 4 + 2 * used > len(memory):
        raise ValueError(f"the header of the text says {used} of {room} characters")
    return memory[4 : 4 + 2 * used].decode("utf-16-be")


def _s5time(memory: bytes) -> Scalar:
    _sized(memory, 2)
    return (_bcd(memory[0] & 0x0F) * 100 + _bcd(memory[1])) * _S5_BASES_MS[(memory[0] >> 4) & 3]


def _date(memory: bytes) -> Scalar:
    _sized(memory, 2)
    days = int.from_bytes(memory)
    if days > _DATE_DAYS_MAX:
        raise ValueError(f"{days} days after 1990-01-01 is no DATE")
    return (_EPOCH_1990 + timedelta(days=days)).isoformat()


def _tod(memory: bytes) -> Scalar:
    _sized(memory, 4)
    return _of_day(int.from_bytes(memory) * _NS_PER_MS)


def _ltod(memory: bytes) -> Scalar:
    _sized(memory, 8)
    return _of_day(int.from_bytes(memory))


def _ldt(memory: bytes) -> Scalar:
    _sized(memory, 8)
    days, ns = divmod(int.from_bytes(memory, signed=True), _DAY_NS)
    if days < 0:
        raise ValueError("an LDT before 1970")
    return f"{(_EPOCH_1970 + timedelta(days=days)).date().isoformat()}T{_of_day(ns)}"


def _dt(memory: bytes) -> Scalar:
    """DATE_AND_TIME: eight bytes of BCD; the last half byte is the day of the week."""
    _sized(memory, 8)
    year, month, day, hour, minute, second, hundredths = map(_bcd, memory[:7])
    at = datetime(  # noqa: DTZ001 - a PLC's date has no zone
        year + (1900 if year >= _CENTURY_FROM else 2000),
        month,
        day,
        hour,
        minute,
        second,
        (hundredths * 10 + _bcd(memory[7] >> 4)) * 1_000,
    )
    return at.isoformat(timespec="milliseconds")


def _of_day(ns: int) -> str:
    if ns >= _DAY_NS:
        raise ValueError("a time of day of more than a day")
    s, fraction = divmod(ns, _NS_PER_S)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}{digits}"


def _bcd(byte: int) -> int:
    tens, ones = divmod(byte, 16)
    if max(tens, ones) > _DIGIT_MAX:
        raise ValueError(f"0x{byte:02x} is no pair of decimal digits")
    return tens * 10 + ones


def _sized(memory: bytes, size: int) -> None:
    if len(memory) != size:
        raise ValueError(f"{len(memory)} bytes where the type has {size}")


_OTHERS: dict[str, Decode] = {
    "BOOL": _bool,
    "CHAR": _char,
    "WCHAR": _wchar,
    "STRING": _string,
    "WSTRING": _wstring,
    "S5TIME": _s5time,
    "DATE": _date,
    "TOD": _tod,
    "LTOD": _ltod,
    "DT": _dt,
    "LDT": _ldt,
}
