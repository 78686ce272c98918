"""What moves through the house: plans, scans, records and gaps.

A *plan* is the compiled form of one group's tag table; its fingerprint names it. A *scan* is one
raw reading of a group, columns of values under a plan. A *record* is a normalised scan, or the
part of it worth reporting, as the queue keeps it. A *gap* is data known to be missing.
"""

import enum
import hashlib
import math
from functools import cached_property
from typing import Any

import msgspec

from common.statuscodes import STATUS_NAMES

FINGERPRINT_BYTES = 16

Scalar = bool | int | float | str | bytes | None
"""One value as a device gave it. None exactly when there is no value to give."""

ALL_COLUMNS = None
"""In `indexes`: every column of the plan is present, in order."""


class Quality:
    """OPC UA status codes (OPC 10000-4, 7.39; OPC 10000-6, annex A), as unsigned 32-bit numbers.

    The two top bits are the severity: 00 Good, 01 Uncertain, 10 Bad.
    """

    GOOD = 0x00000000
    UNCERTAIN = 0x40000000
    UNCERTAIN_LAST_USABLE_VALUE = 0x40900000
    UNCERTAIN_ENGINEERING_UNITS_EXCEEDED = 0x40940000
    BAD = 0x80000000
    BAD_COMMUNICATION_ERROR = 0x80050000
    BAD_DECODING_ERROR = 0x80070000
    BAD_TIMEOUT = 0x800A0000
    BAD_USER_ACCESS_DENIED = 0x801F0000
    BAD_NO_COMMUNICATION = 0x80310000
    BAD_WAITING_FOR_INITIAL_DATA = 0x80320000
    BAD_NODE_ID_UNKNOWN = 0x80340000
    BAD_INDEX_RANGE_NO_DATA = 0x80370000
    BAD_NOT_READABLE = 0x803A0000
    BAD_OUT_OF_RANGE = 0x803C0000
    BAD_NO_DATA = 0x809B0000
    BAD_TYPE_MISMATCH = 0x80740000
    BAD_CONFIGURATION_ERROR = 0x80890000
    BAD_NOT_CONNECTED = 0x808A0000
    BAD_DEVICE_FAILURE = 0x808B0000
    BAD_SENSOR_FAILURE = 0x808C0000
    REPEATED = 0x00000402
    """Info bits beside any of the above: DataValue, Interpolated (OPC 10000-4, 7.39.1). A value
    told again after silence is the last one, held on to now."""


REPEATED_MASK = 0x0000041F
"""The bits of a status code that say of a value where it comes from."""


def is_repeated(code: int) -> bool:
    """Return whether a status code says that the value was told before, and is told again."""
    return code & REPEATED_MASK == Quality.REPEATED


def quality_word(code: int) -> str:
    """Return the severity of a status code: `Good`, `Uncertain` or `Bad`."""
    return ("Good", "Uncertain", "Bad", "Bad")[(code >> 30) & 3]


def quality_name(code: int) -> str:
    """Return the standard's name of a status code, or its number where the standard has none.

    The lower half of the code does not belong to the name (common/statuscodes.py).
    """
    return STATUS_NAMES.get(code >> 16) or f"0x{code:08X}"


class ValueType(enum.StrEnum):
    """The types that leave the house; each has its own column in a block."""

    BOOL = "bool"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT64 = "float64"
    STRING = "string"
    BYTES = "bytes"


class LossClass(enum.StrEnum):
    """Which of a group's samples go first when the queue has to lose some."""

    KEEP = "keep"
    """Never thinned; dropped only when nothing else is left to drop."""
    NORMAL = "normal"
    FIRST_TO_GO = "first-to-go"
    """Dropped before any other class loses a sample."""


class EnumTexts(msgspec.Struct, frozen=True, array_like=True, tag="enum"):
    """A state's number becomes its name; a number without a name stays a number, Uncertain."""

    texts: tuple[tuple[int, str], ...]


class BitField(msgspec.Struct, frozen=True, array_like=True, tag="bits"):
    """Some bits of an integer: one is a truth value, several are a number."""

    first: int
    """0 is the least significant."""
    count: int


class CleanText(msgspec.Struct, frozen=True, array_like=True, tag="clean"):
    """A text without what a PLC leaves behind it: NULs, blanks and control characters."""


class LocalTime(msgspec.Struct, frozen=True, array_like=True, tag="local-time"):
    """A date and time without a zone becomes an instant: ISO 8601, UTC."""

    zone: str
    """IANA name, `Europe/Berlin`."""


Transform = EnumTexts | BitField | CleanText | LocalTime
"""What happens to a raw value before anything else; each goes from one raw type to one other."""


class CounterDelta(msgspec.Struct, frozen=True, array_like=True, tag="delta"):
    """Increments of a counter of the same plan, one for each reading that counts some."""

    of: int
    """Column of the counter."""
    modulus: int
    """At which it begins again with 0; 0: never."""


class CounterTotal(msgspec.Struct, frozen=True, array_like=True, tag="total"):
    """All increments since the gateway first read the counter; survives resets and restarts."""

    of: int
    modulus: int


class Expression(msgspec.Struct, frozen=True, array_like=True, tag="expression"):
    """A value calculated from others of the same device (common/expressions.py)."""

    text: str


class WindowValue(msgspec.Struct, frozen=True, array_like=True, tag="window"):
    """An aggregate of a column of the same plan over windows aligned to the clock."""

    function: str
    of: int
    window_s: float


Made = CounterDelta | CounterTotal | Expression | WindowValue
"""Where a column's values come from that no device gives."""


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One tag of a plan: where its value comes from and what it means. Fields are only appended."""

    name: str
    topic: str
    """Full path in the namespace: root / asset / name."""
    address: str
    """Canonical address, as the protocol's own users write it."""
    source_type: str
    """The protocol's name of the type, `REAL` or `FLOAT32@CDAB`."""
    value_type: ValueType
    unit: str = ""
    """Label of the published unit (UCUM), after scaling."""
    scale: float = 1.0
    offset: float = 0.0
    """published = raw * scale + offset"""
    deadband: float = 0.0
    """Absolute, in the published unit; 0 reports every change."""
    description: str = ""
    loss_class: LossClass = LossClass.NORMAL
    minimum: float = -math.inf
    maximum: float = math.inf
    """Published unit; a value beyond is published, and Uncertain."""
    clamp_low: float = -math.inf
    clamp_high: float = math.inf
    """Published unit; a value beyond is held there, and Uncertain."""
    transform: Transform | None = None
    """Applied to the raw value, before scaling."""
    deadband_percent: float = 0.0
    """Of the value last told; the larger of the two deadbands holds."""
    min_interval_ms: int = 0
    """Changes are not told more often; the last one is told when the time is over."""
    heartbeat_s: float = 0.0
    """After so long a silence the value is told again, marked as a repetition; 0: never."""
    made: Made | None = None
    """None: the device gives it. Made columns stand behind all others of their plan."""
    semantic_id: str = ""
    """What the value is, in a dictionary that others have too: an IRDI or an IRI."""

    @property
    def scaled(self) -> bool:
        """True when the published value is not the raw value."""
        return self.scale != 1.0 or self.offset != 0.0


class Plan(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """What the columns of one group's scans mean. Immutable: another table is another plan.

    Fields are only appended.
    """

    protocol: str
    device: str
    group: str
    asset: str
    period_ms: int
    columns: tuple[Column, ...]
    levels: tuple[str, ...] = ()
    """Names of the levels above the asset: enterprise, site, area, line; () in old plans."""

    @cached_property
    def location(self) -> dict[str, str]:
        """Name of level → level above the asset: {"enterprise": "Acme", "site": "SiteA"}, in order.

        Empty for a plan without levels. The levels themselves stand in every topic, and only there.
        """
        if not self.columns:
            return {}
        first = self.columns[0]
        path = first.topic.removesuffix(f"/{self.asset}/{first.name}")
        return dict(zip(self.levels, path.split("/"), strict=False))

    @cached_property
    def scanned(self) -> tuple[Column, ...]:
        """The columns that a scan has: those that the device gives."""
        return tuple(column for column in self.columns if column.made is None)

    @cached_property
    def encoded(self) -> bytes:
        """The plan as stored in the catalog and sent over the handoff (msgpack)."""
        return msgspec.msgpack.encode(self)

    @cached_property
    def fingerprint(self) -> bytes:
        """16 bytes that name this plan and no other (BLAKE2b of its encoding)."""
        return fingerprint_of(self.encoded)


def fingerprint_of(encoded_plan: bytes) -> bytes:
    """Return the 16 bytes that name an encoded plan."""
    return hashlib.blake2b(encoded_plan, digest_size=FINGERPRINT_BYTES).digest()


_plan_decoder = msgspec.msgpack.Decoder(Plan)


def decode_plan(encoded: bytes) -> Plan:
    """Return the plan. Raises msgspec.DecodeError."""
    return _plan_decoder.decode(encoded)


class Scan(msgspec.Struct, frozen=True, array_like=True):
    """One raw reading of one group. Lists are parallel; index i of each speaks of the same tag."""

    plan: bytes
    """Fingerprint of the plan the scan was read under; it names device and group."""
    read_at_ns: int
    """Gateway clock, UTC, taken when the reply was complete."""
    monotonic_ns: int
    """The clock that never steps, taken at the same moment."""
    values: list[Any]
    """Scalars; msgspec cannot tell str from bytes in one union, so the normalizer checks types."""
    indexes: list[int] | None = ALL_COLUMNS
    """Ascending plan columns that are present; None when all are, in order."""
    qualities: list[int] | None = None
    """OPC UA status codes; None when all are Good. A value may be None only where not Good."""
    source_at_ns: list[int | None] | None = None
    """The device's own time of each value, UTC ns; None where the device gives none."""


_scan_encoder = msgspec.msgpack.Encoder()
_scan_decoder = msgspec.msgpack.Decoder(Scan)


def encode_scan(scan: Scan) -> bytes:
    """Return the scan as it crosses the handoff (msgpack array). Integers must fit 64 bits."""
    return _scan_encoder.encode(scan)


def decode_scan(encoded: bytes) -> Scan:
    """Return the scan. Raises msgspec.DecodeError when the bytes are not one."""
    return _scan_decoder.decode(encoded)


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Data known to be missing, delivered like any other record. Fields are only appended."""

    device: str
    group: str
    cause: str
    """`outbox-full`, `outbox-lost`, `queue-full`, `thinned`, … (common/queue/ledger.py has all)."""
    first_at_ns: int
    last_at_ns: int
    """Nothing is known to be missing outside of first_at_ns … last_at_ns (gateway clock)."""
    scans: int
    """How many are missing as a whole; 0 beside samples: only parts of scans are."""
    samples: int
    """How many are missing; 0 beside 0 scans: the number is not known."""


class Record(msgspec.Struct, frozen=True):
    """A normalised scan, or the part of it worth reporting, as read back from the queue."""

    sequence: int
    plan: Plan
    read_at_ns: int
    """Gateway clock, UTC, of the scan."""
    values: list[Any]
    """Published values, in the order of `indexes`; None exactly where there is none to publish."""
    indexes: list[int] | None = ALL_COLUMNS
    qualities: list[int] | None = None
    """OPC UA status codes; None when all are Good."""
    source_at_ns: list[int | None] | None = None


class GapRecord(msgspec.Struct, frozen=True):
    """A gap as read back from the queue.

    It stands where the data stood, so its sequence may be that of a record that kept a part of its
    samples; such a gap follows the record. Several gaps of one sequence are told apart by `number`.
    """

    sequence: int
    gap: Gap
    number: int = 0


class Position(msgspec.Struct, frozen=True, array_like=True):
    """How far a collector's stream has been committed."""

    epoch: int
    sequence: int
