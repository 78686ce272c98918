"""Notifications of one publication → values and qualities; and what is worth a line in the log."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from asyncua import ua
from asyncua.ua.uaerrors import UaError

from collectors.compiling import CompiledGroup
from collectors.opcua.address import NodeAddress
from collectors.opcua.client import status_name
from collectors.opcua.decode import Notified, instant_ns, scalar_of, text_of
from common.log import get_log
from common.records import Plan, Quality, Scalar, ValueType

SEVERITY_AND_CODE = 0xFFFF0000
"""Of a status code; the lower half says more of the value, not of its quality."""
NAMES_SHOWN = 5
"""Of the tags that one line of the log speaks of."""

_OVERFLOW = 0x00000480
"""InfoType DataValue, Overflow: the server's queue of the tag was too short (10000-4, 7.39.1)."""

log = get_log(__name__)


@dataclass
class Ledger:
    """What outlives a session, so that a state is logged when it changes, not while it lasts."""

    overflows: int = 0
    """Publications in which the server had dropped values of a tag."""
    refused: dict[tuple[str, int], int] = field(default_factory=dict)
    """(Group, column) → status code of tags that the server does not give."""
    misfits: set[tuple[str, int]] = field(default_factory=set)
    """(Group, column) of tags whose values are not of their column's type."""
    silent: set[tuple[str, int]] = field(default_factory=set)
    """(Group, column) of tags that the server accepted, and never reported."""
    unparsable: bool = False
    """The server once sent a value that ends the whole publication: look for it at connect."""

    def note_refused(self, plan: Plan, asked: Iterable[int], refused: dict[int, int]) -> None:
        """Remember which of the asked columns are refused; log those that were not before."""
        fresh: dict[int, list[int]] = {}
        for column, code in refused.items():
            if self.refused.get((plan.group, column)) != code:
                fresh.setdefault(code, []).append(column)
            self.refused[plan.group, column] = code
        for code, columns in fresh.items():
            text = "the server does not give these tags; check their addresses"
            _log(logging.WARNING, text, plan, columns, status_name(code))
        back = [
            column
            for column in asked
            if column not in refused and self.refused.pop((plan.group, column), None) is not None
        ]
        if back:
            _log(logging.INFO, "the server gives these tags now", plan, back, "Good")

    def note_misfits(self, plan: Plan, reasons: dict[int, str]) -> None:
        """Remember the columns whose values do not fit; log each of them once."""
        fresh: dict[str, list[int]] = {}
        for column, reason in reasons.items():
            if (plan.group, column) not in self.misfits:
                self.misfits.add((plan.group, column))
                fresh.setdefault(reason, []).append(column)
        for reason, columns in fresh.items():
            text = "values do not fit the 'type' of these tags; correct their 'type' column"
            _log(logging.WARNING, text, plan, columns, reason)

    def note_silent(self, plan: Plan, columns: list[int]) -> None:
        """Remember the columns without a first value; log each of them once."""
        fresh = [column for column in columns if (plan.group, column) not in self.silent]
        self.silent.update((plan.group, column) for column in fresh)
        if fresh:
            text = "the server accepted these tags but reports no value; check them on the server"
            _log(logging.WARNING, text, plan, fresh, "BadWaitingForInitialData")

    def note_overflow(self, plan: Plan) -> None:
        """Count a publication that does not hold everything; log the first."""
        if not self.overflows:
            text = "the server dropped values between two publications; raise queue_size"
            log.warning(text, device=plan.device, group=plan.group)
        self.overflows += 1


def notified(
    group: CompiledGroup[NodeAddress],
    items: Iterable[ua.MonitoredItemNotification],
    refused: dict[int, int],
    ledger: Ledger,
) -> list[Notified]:
    """Return what the items say, in their order, after the columns that are refused.

    Raises UaError when the server reports an item that it was never asked for.
    """
    found = [Notified(column, None, code, None) for column, code in refused.items()]
    reasons: dict[int, str] = {}
    overflowed = False
    for item in items:
        column, data = int(item.ClientHandle), item.Value
        if column >= len(group.addresses):
            raise UaError(f"reported item {column}, which it was never asked for")
        code = data.StatusCode.value if data.StatusCode else Quality.GOOD
        value, quality = None, code & SEVERITY_AND_CODE
        if quality < Quality.BAD:
            try:
                value, text_quality = _value(data.Value, group.addresses[column].value_type)
                quality = quality or text_quality
                if value is None:
                    quality = Quality.BAD_WAITING_FOR_INITIAL_DATA
            except ValueError as error:
                quality = Quality.BAD_TYPE_MISMATCH
                reasons[column] = str(error)
        if code & _OVERFLOW == _OVERFLOW:
            # Whoever integrates or counts must see that values before this one are missing.
            overflowed, quality = True, quality or Quality.UNCERTAIN
        found.append(Notified(column, value, quality, instant_ns(data.SourceTimestamp)))
    if reasons:
        ledger.note_misfits(group.plan, reasons)
    if overflowed:
        ledger.note_overflow(group.plan)
    return found


def _value(variant: ua.Variant | None, value_type: ValueType) -> tuple[Scalar, int]:
    """Return a scalar of the column's type and its quality; None when the variant holds nothing.

    Raises ValueError when it holds something else. A null text or byte string is an empty one.
    """
    value = variant.Value if variant else None
    if value is None:
        empty = {ua.VariantType.String: "", ua.VariantType.ByteString: b""}
        value = empty.get(variant.VariantType) if variant else None
        return (None if value is None else scalar_of(value, value_type)), Quality.GOOD
    if isinstance(value, ua.LocalizedText):
        value = value.Text or ""
    quality = text_of(value)[1] if isinstance(value, str) else Quality.GOOD
    return scalar_of(value, value_type), quality


def _log(level: int, text: str, plan: Plan, columns: list[int], reason: str) -> None:
    names = ", ".join(plan.columns[column].name for column in columns[:NAMES_SHOWN])
    more = f" and {len(columns) - NAMES_SHOWN} more" if len(columns) > NAMES_SHOWN else ""
    log.log(level, text, device=plan.device, group=plan.group, tags=names + more, reason=reason)
