"""Samples of one publication, or of one reading → values and qualities of columns."""

from collections.abc import Iterable, Sequence
from typing import Any

from asyncua import ua
from asyncua.ua.uaerrors import UaError

from collectors.opcua.decode import Notified, scalar_of, text_of
from collectors.opcua.items import Item
from collectors.opcua.ledger import Ledger
from collectors.opcua.structures import Definitions, Structure
from collectors.opcua.wire import ARRAY, BYTE_STRING, NOTHING, STRING, XML_ELEMENT, Sample
from common.records import Plan, Quality, Scalar, ValueType, quality_name

SEVERITY_AND_CODE = 0xFFFF0000
"""Of a status code; the lower half says more of the value, not of its quality."""

_OVERFLOW = 0x00000480
"""InfoType DataValue, Overflow: the server's queue of the tag was too short (10000-4, 7.39.1)."""
_FITTING = {
    ValueType.BOOL: frozenset({1}),
    ValueType.INT64: frozenset({2, 3, 4, 5, 6, 7, 8}),
    ValueType.UINT64: frozenset({3, 5, 7, 9}),
    ValueType.FLOAT64: frozenset({10, 11}),
    ValueType.STRING: frozenset[int](),
    ValueType.BYTES: frozenset[int](),
}
"""Built-in types whose every value is one of the column's, as it stands."""
STRUCTURE = 22
"""In `kind`: an ExtensionObject."""
_EMPTY: dict[int, Scalar] = {STRING: "", XML_ELEMENT: "", BYTE_STRING: b""}


def notified(
    plan: Plan,
    items: Sequence[Item],
    changes: Iterable[tuple[int, Sample]],
    ledger: Ledger,
    definitions: Definitions,
    *,
    doubtful: bool = False,
) -> list[Notified]:
    """Return what the changes say, in their order. `doubtful`: the server's clock has jumped.

    Raises UaError when the server reports an item that it was never asked for.
    """
    found: list[Notified] = []
    reasons: dict[int, str] = {}
    overflowed = False
    count = len(items)
    for handle, brought in changes:
        if handle >= count:
            raise UaError(f"reported item {handle}, which it was never asked for")
        item, (value, kind, status, source_at_ns) = items[handle], brought
        target = item.targets[0]
        if not status and item.whole and kind in _FITTING[target.value_type]:
            # Nearly every value; the float of a float column may not become another object.
            quality = Quality.UNCERTAIN if doubtful and source_at_ns else Quality.GOOD
            found.append(Notified(target.column, value, quality, source_at_ns))
            continue
        quality = status & SEVERITY_AND_CODE
        if status & _OVERFLOW == _OVERFLOW:
            # Whoever integrates or counts must see that values before this one are missing.
            overflowed, quality = True, quality or Quality.UNCERTAIN
        if doubtful and source_at_ns:
            quality = quality or Quality.UNCERTAIN
        sample = brought
        if kind & ~ARRAY == STRUCTURE and quality < Quality.BAD:
            try:
                sample = brought._replace(value=definitions.opened(value))
            except ValueError as error:
                quality = Quality.BAD_DECODING_ERROR
                reasons |= dict.fromkeys(item.columns, str(error))
        found += _columns(item, sample, quality, reasons)
    if reasons:
        ledger.note_misfits(plan, reasons)
    if overflowed:
        ledger.note_overflow(plan)
    return found


def _columns(item: Item, sample: Sample, quality: int, reasons: dict[int, str]) -> list[Notified]:
    """Return the item's columns; of those whose value does not fit, the reason as well."""
    found = []
    for column, path, value_type in item.targets:
        value: Scalar = None
        code = quality
        if quality < Quality.BAD:
            try:
                steps = _own_step(item, sample) + path
                value, code = _value(sample.value, sample.kind, steps, value_type)
                code = quality if code == Quality.GOOD else code
            except LookupError:
                code = Quality.BAD_INDEX_RANGE_NO_DATA
            except ValueError as error:
                code = Quality.BAD_TYPE_MISMATCH
                reasons[column] = str(error)
        found.append(Notified(column, value, code, sample.source_at_ns))
    return found


def _own_step(item: Item, sample: Sample) -> tuple[int | str, ...]:
    """Return the way to the one element that the server was asked for.

    It sends an array of one; a server that knows no index ranges sends all of it.
    """
    if not item.address.index_range or not sample.kind & ARRAY:
        return ()
    asked = tuple(int(each) for each in item.address.index_range.split(","))
    first, alone = sample.value, True
    for _ in asked:
        alone = alone and isinstance(first, list) and len(first) == 1
        first = first[0] if isinstance(first, list) and first else None
    return (0,) * len(asked) if alone else asked


def _value(
    value: Any, kind: int, path: tuple[int | str, ...], value_type: ValueType
) -> tuple[Scalar, int]:
    """Return what lies at the end of a path as a scalar of the column's type, and its quality.

    Raises LookupError for an element that is missing, ValueError for what does not fit. A null
    text or byte string is an empty one.
    """
    if kind == NOTHING:
        return None, Quality.BAD_WAITING_FOR_INITIAL_DATA
    for step in path:
        value, kind = _step(value, step), kind & ~ARRAY
    plain = _plain(value)
    if plain is None:
        plain = _EMPTY.get(kind)
        if plain is None:
            return None, Quality.BAD_WAITING_FOR_INITIAL_DATA
    doubt = text_of(plain)[1] if isinstance(plain, str) else Quality.GOOD
    return scalar_of(plain, value_type), doubt


def _step(value: Any, step: int | str) -> Any:
    value = value.Value if isinstance(value, ua.Variant) else value
    if isinstance(step, int):
        if value is None:
            raise LookupError("no array")
        if not isinstance(value, list):
            raise ValueError(f"expected an array, found {_shown(value)}")  # noqa: TRY004 - a server's
        return value[step]
    members = _members(value)
    if members is None:
        raise ValueError(f"expected a structure with {step!r}, found {_shown(value)}")
    if step not in members:
        raise ValueError(f"the structure has no {step!r}; it has {', '.join(members)}")
    return members[step]


def _members(value: Any) -> dict[str, Any] | None:
    """Return the members of a structure by name; None for what is none, or is not understood."""
    if isinstance(value, Structure):
        return value.members
    names = getattr(type(value), "__dataclass_fields__", {})
    if not names or isinstance(value, ua.ExtensionObject):
        return None
    return {name: getattr(value, name) for name in names if name != "Encoding"}


def _plain(value: Any) -> Any:
    """Return what a value of the standard's own kinds is to the rest of the world."""
    while isinstance(value, ua.Variant | ua.DataValue):
        value = value.Value
    match value:
        case ua.LocalizedText():
            plain: Any = value.Text or ""
        case ua.QualifiedName(NamespaceIndex=0):
            plain = value.Name
        case ua.QualifiedName():
            plain = f"{value.NamespaceIndex}:{value.Name}"
        case ua.NodeId():
            plain = value.to_string()
        case ua.StatusCode():
            plain = quality_name(value.value)
        case ua.XmlElement():
            plain = value.Value
        case _:
            plain = value
    return plain


def _shown(value: Any) -> str:
    """Return in words what was found; a structure that nobody explained is named by its type."""
    if isinstance(value, ua.ExtensionObject):
        return f"a structure that the server does not describe ({value.TypeId.to_string()})"
    return type(value).__name__
