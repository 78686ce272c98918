"""What the tests of payload profiles share: a plan with every type, and what is told of it."""

from collections.abc import Sequence
from typing import Any

from common.records import Column, Gap, GapRecord, Plan, Record, ValueType
from uplink.contract import Manner, Message, Wording
from uplink.registry import wording_of
from uplink.settings import PayloadConfig
from uplink.surroundings import Identity

ROOT = "Acme/SiteA/Stamping/Line1"
EDGE = "Acme/SiteA/_edge/sitea-line1"
IDENTITY = Identity("sitea-line1", 17, ROOT, EDGE)
ASSET = f"{ROOT}/Press_Machine"
READ_AT_NS = 1_733_904_005_123_456_789
READ_AT_MS = READ_AT_NS // 1_000_000
NAMES = {
    "Temperature_C": (ValueType.FLOAT64, "Cel"),
    "Pressure_bar": (ValueType.FLOAT64, "bar"),
    "Strokes": (ValueType.UINT64, "1"),
    "Offset": (ValueType.INT64, ""),
    "Running": (ValueType.BOOL, ""),
    "Recipe": (ValueType.STRING, ""),
    "Frame": (ValueType.BYTES, ""),
    "Zone1/Temperature_C": (ValueType.FLOAT64, "Cel"),
}
PLAN = Plan(
    "s7",
    "press",
    "process",
    "Press_Machine",
    250,
    tuple(
        Column(name, f"{ASSET}/{name}", f"DB40.DBD{4 * place}", "REAL", value_type, unit)
        for place, (name, (value_type, unit)) in enumerate(NAMES.items())
    ),
    ("enterprise", "site", "area", "line"),
)
CURRENT = Manner(historical=False, retained=True, payload_bytes_max=100 * 1024)
BACKFILL = Manner(historical=True, retained=False, payload_bytes_max=100 * 1024)
GAP = Gap("press", "process", "queue-full", 1_000_000_000, 2_000_000_000, 7, 70)


def wording(payload: str, **keys: Any) -> Wording:
    return wording_of(PayloadConfig(payload=payload, **keys), IDENTITY)


def record(values: list[Any], **fields: Any) -> Record:
    return Record(
        **{"sequence": 4711, "plan": PLAN, "read_at_ns": READ_AT_NS, **fields}, values=values
    )


def plan_of(*names: str, value_type: ValueType = ValueType.FLOAT64) -> Plan:
    columns = (Column(name, f"{ASSET}/{name}", "DB1", "REAL", value_type) for name in names)
    return Plan("s7", "press", "process", "Press_Machine", 250, tuple(columns))


def messages(
    by: Wording, records: Sequence[Record | GapRecord], manner: Manner = CURRENT
) -> list[Message]:
    return [
        by.message(parcel, number)
        for parcel in by.parcels(records, manner)
        for number in range(parcel.messages)
    ]
