"""What a row asks to be done to the raw value first: names of states, bits, texts, local times."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from common.codes import Wrong
from common.records import BitField, CleanText, EnumTexts, LocalTime, Transform, ValueType
from common.tagtable import TagRow

_INTEGERS = (ValueType.INT64, ValueType.UINT64)
_BITS_MAX = 64


def transform_of(row: TagRow, raw_type: ValueType) -> tuple[Transform | None, ValueType]:
    """Return what the row asks for, and the type of what comes out of it.

    Raises ValueError with a sentence for the person.
    """
    asked = [key for key in ("enum", "bits", "text", "time_zone") if getattr(row, key)]
    if len(asked) > 1:
        raise Wrong("OT-0421", f"{' and '.join(asked)} cannot be combined; keep one of them")
    if row.enum:
        _need(raw_type, _INTEGERS, "enum gives names to the numbers of states")
        return EnumTexts(_texts(row.enum)), ValueType.STRING
    if row.bits:
        _need(raw_type, _INTEGERS, "bits are taken out of an integer")
        first, count = _bits(row.bits)
        return BitField(first, count), ValueType.BOOL if count == 1 else ValueType.UINT64
    if row.text:
        _need(raw_type, (ValueType.STRING,), "text = clean tidies a text")
        return CleanText(), ValueType.STRING
    if row.time_zone:
        _need(raw_type, (ValueType.STRING,), "time_zone belongs to a date and time")
        _check_zone(row.time_zone)
        return LocalTime(row.time_zone), ValueType.STRING
    return None, raw_type


def _need(raw_type: ValueType, accepted: tuple[ValueType, ...], what: str) -> None:
    if raw_type not in accepted:
        raise Wrong("OT-0422", f"{what}, but this address holds a {raw_type}; leave it empty")


def _texts(written: str) -> tuple[tuple[int, str], ...]:
    found: dict[int, str] = {}
    for part in written.split("|"):
        number, equals, text = part.partition("=")
        try:
            code = int(number.strip(), 0)
        except ValueError:
            code = None
        if not equals or code is None or not text.strip():
            raise Wrong("OT-0423", f"enum: {part!r} is not NUMBER=TEXT; write 0=Stopped|1=Running")
        if code in found:
            raise Wrong(
                "OT-0424", f"enum: {code} has two names, {found[code]!r} and {text.strip()!r}"
            )
        found[code] = text.strip()
    return tuple(sorted(found.items()))


def _bits(written: str) -> tuple[int, int]:
    first, _, last = written.partition("-")
    low, high = int(first), int(last or first)
    if not low <= high < _BITS_MAX:
        raise Wrong(
            "OT-0425", f"bits: {written!r} is not a range within 0 to 63, the lower bit first"
        )
    return low, high - low + 1


def _check_zone(name: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Wrong(
            "OT-0426",
            f"time_zone {name!r} is not known here; write an IANA name: Europe/Berlin",
        ) from None
