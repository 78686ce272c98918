"""What a server notified → columns. Pure: it knows values and times, not the library."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from common.records import ALL_COLUMNS, Plan, Quality, Scalar, Scan, ValueType

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 2**53
"""A float64 holds every integer up to here."""
_INT64_MIN, _INT64_MAX, _UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1


class Notified(NamedTuple):
    """One value of one tag, as one notification brought it."""

    column: int
    value: Scalar
    quality: int
    source_at_ns: int | None


def instant_ns(at: datetime | None) -> int | None:
    """Return nanoseconds since the Unix epoch, UTC; None for no time.

    A DateTime without zone is UTC, as OPC UA defines it. The zero of OPC UA, the year 1601, means
    that there is no time; what lies before 1970 or after 2262 cannot be an instant of a machine.
    """
    if at is None:
        return None
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    ns = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
    return ns if 0 < ns <= _INT64_MAX else None


def scalar_of(value: object, value_type: ValueType) -> Scalar:
    """Return the value as its column's type, as long as nothing of it is lost.

    Raises ValueError when it is of another kind, or too large to be kept exactly.
    """
    fits: Scalar = None
    match value_type:
        case ValueType.BOOL if isinstance(value, bool):
            fits = value
        case ValueType.INT64 if _is_int(value, _INT64_MIN, _INT64_MAX):
            fits = int(value)  # type: ignore[call-overload]  # An enumeration becomes its number.
        case ValueType.UINT64 if _is_int(value, 0, _UINT64_MAX):
            fits = int(value)  # type: ignore[call-overload]
        case ValueType.FLOAT64 if isinstance(value, float) or _is_int(value, -_EXACT, _EXACT):
            fits = float(value)  # type: ignore[arg-type]
        case ValueType.STRING if isinstance(value, str):
            fits = text_of(value)[0]
        case ValueType.STRING if isinstance(value, datetime):
            fits = _iso(value)
        case ValueType.STRING if isinstance(value, uuid.UUID):
            fits = str(value)
        case ValueType.BYTES if isinstance(value, bytes):
            fits = value
    if fits is None:
        found = "an array" if isinstance(value, list | tuple) else type(value).__name__
        raise ValueError(f"expected {value_type}, found {found}")
    return fits


def text_of(text: str) -> tuple[str, int]:
    """Return a text that can be encoded, and how far to trust it.

    asyncua hides each byte that is no UTF-8 in a lone surrogate, which nobody can encode. Servers
    that send such bytes mostly mean Latin-1, so the whole text is read as that, and Uncertain.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("latin-1"), Quality.UNCERTAIN
    return str(text), Quality.GOOD


def _is_int(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _iso(at: datetime) -> str:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")


def gather(
    plan: Plan, notified: Iterable[Notified], *, read_at_ns: int, monotonic_ns: int
) -> list[Scan]:
    """Return the values that arrived together as one scan, or as few as their order allows.

    The second value of a tag goes into the second scan, the third into the third, so that no
    value is lost and each tag's values keep their order.
    """
    rounds: list[dict[int, Notified]] = []
    seen: dict[int, int] = {}
    for each in notified:
        nth = seen.get(each.column, 0)
        seen[each.column] = nth + 1
        if nth == len(rounds):
            rounds.append({})
        rounds[nth][each.column] = each
    return [_scan(plan, columns, read_at_ns, monotonic_ns) for columns in rounds]


def _scan(plan: Plan, columns: dict[int, Notified], read_at_ns: int, monotonic_ns: int) -> Scan:
    present = [columns[index] for index in sorted(columns)]
    qualities = [each.quality for each in present]
    times = [each.source_at_ns for each in present]
    return Scan(
        plan=plan.fingerprint,
        read_at_ns=read_at_ns,
        monotonic_ns=monotonic_ns,
        values=[each.value for each in present],
        indexes=ALL_COLUMNS if len(present) == len(plan.scanned) else sorted(columns),
        qualities=qualities if any(code != Quality.GOOD for code in qualities) else None,
        source_at_ns=times if any(at is not None for at in times) else None,
    )
