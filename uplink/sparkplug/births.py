"""What a birth certificate says: every metric, what it is, and what it was last."""

from collections.abc import Iterable

from common.records import Plan, Quality
from uplink.newest import NewestSample
from uplink.sparkplug.book import Book, Metric
from uplink.sparkplug.current import Current
from uplink.sparkplug.judging import STALE, Properties, judged, quality_properties
from uplink.sparkplug.wire import (
    NULL,
    DataType,
    MetricField,
    metric,
    number_field,
    properties_field,
    text_field,
    value_field,
)
from uplink.status import product_version

BD_SEQ = "bdSeq"
REBIRTH = "Node Control/Rebirth"
GAP = "Gap"
BD_SEQ_ALIAS, SOFTWARE_ALIAS, VERSION_ALIAS, GAP_ALIAS = 1, 2, 3, 4
"""Below book.FIRST_ALIAS. The rebirth command has none (operational behaviour, 5.11)."""
_NS_PER_MS = 1_000_000


def death_metrics(bd_seq: int, at_ms: int) -> bytes:
    """Return the only metric of an NDEATH."""
    return _told(BD_SEQ, None, at_ms, DataType.INT64, bd_seq)


def node_metrics(bd_seq: int, at_ms: int, *, aliases: bool) -> bytes:
    """Return the metrics of an NBIRTH."""

    def alias(number: int) -> int | None:
        return number if aliases else None

    facts = (
        (BD_SEQ, alias(BD_SEQ_ALIAS), DataType.INT64, bd_seq),
        (REBIRTH, None, DataType.BOOLEAN, False),
        ("Properties/Software", alias(SOFTWARE_ALIAS), DataType.STRING, "Tailrace"),
        ("Properties/Version", alias(VERSION_ALIAS), DataType.STRING, product_version()),
        (GAP, alias(GAP_ALIAS), DataType.STRING, None),
    )
    return b"".join(
        _told(name, number, at_ms, datatype, value) for name, number, datatype, value in facts
    )


def device_metrics(metrics: Iterable[Metric], current: Current, at_ms: int) -> bytes:
    """Return the metrics of a DBIRTH, in the order of their times."""
    told = [_defined(each, current.sample(each), at_ms) for each in metrics]
    told.sort(key=lambda each: each[0])
    return b"".join(content for _, content in told)


def _defined(told: Metric, sample: NewestSample | None, at_ms: int) -> tuple[int, bytes]:
    """Return when a metric was read last, and its definition with what was read."""
    properties = _properties(told)
    if sample is None:
        value, stated_ms = None, at_ms
        properties["Quality"] = DataType.INT32, STALE
    else:
        value, code = judged(sample.value, sample.quality)
        at_ns = sample.read_at_ns if sample.source_at_ns is None else sample.source_at_ns
        stated_ms = at_ns // _NS_PER_MS
        properties |= quality_properties(code)
    return stated_ms, _told(
        told.name, told.alias, stated_ms, told.datatype, value, properties=properties
    )


def _properties(told: Metric) -> Properties:
    column = told.column
    found: Properties = {}
    if column.unit:
        found["engUnit"] = DataType.STRING, column.unit
    if column.minimum != float("-inf"):
        found["engLow"] = DataType.DOUBLE, column.minimum
    if column.maximum != float("inf"):
        found["engHigh"] = DataType.DOUBLE, column.maximum
    if column.description:
        found["documentation"] = DataType.STRING, column.description
    if column.semantic_id:
        found["semantic_id"] = DataType.STRING, column.semantic_id
    found["readOnly"] = DataType.BOOLEAN, True
    return found


def _told(
    name: str,
    alias: int | None,
    at_ms: int,
    datatype: DataType,
    value: object,
    *,
    properties: Properties | None = None,
) -> bytes:
    """Return one metric as a birth or a death has it: whole."""
    parts = [text_field(MetricField.NAME, name)]
    if alias is not None:
        parts.append(number_field(MetricField.ALIAS, alias))
    parts.append(number_field(MetricField.TIMESTAMP, at_ms))
    parts.append(number_field(MetricField.DATATYPE, datatype))
    properties = properties or {}
    told = NULL
    if value is not None:
        try:
            told = value_field(datatype, value)
        except (ValueError, TypeError, OverflowError):  # Of another type once: data will follow.
            properties |= quality_properties(Quality.BAD_TYPE_MISMATCH)
    return metric(b"".join((*parts, told, properties_field(properties))))


def all_lost(samples: list[NewestSample]) -> bool:
    """Return whether nothing of a plan could be read the last time."""
    lost = Quality.BAD_NO_COMMUNICATION >> 16
    return bool(samples) and all(each.quality >> 16 == lost for each in samples)


def lost_plans(book: Book, current: Current) -> list[Plan]:
    """Return the plans of which the last that was read says that nobody can reach the device."""
    plans = {
        each.plan.fingerprint: each.plan
        for device in book.devices.values()
        for each in device.values()
    }
    return [plan for plan in plans.values() if all_lost(current.samples(plan))]
