"""The profile `uns`: one message per sample, on the tag's own topic, a flat JSON object.

    {"timestamp_ms":1733904005123,"value":42.5,"quality":"Good","id":"sitea-line1:17:4711:3"}

Keys
    timestamp_ms  the device's own time of the value where it gives one, else the read time; UTC
    value         number, text, true/false, base64 text for bytes; null when there is none
    quality       Good, Uncertain, Bad (the severity of the OPC UA status code)
    id            gateway:epoch:sequence:index; the same message, repeated, has the same id
    reason        name of the status code; only when the quality is not Good
    clock         only while the gateway's own clock was in doubt: `unsynchronised`, nothing keeps
                  it right; `stepped`, it was set since the reading before (docs/time.md)
    source_time   `left-out` when the device gave a time that is not believed: timestamp_ms is
                  the read time
    repeat        true when nothing changed: the value is told again after a long silence
    hist          true when the sample is history: it waited, and completes what was missed

A gap, data known to be missing, goes to `<enterprise>/<site>/_edge/<gateway>/gap`, not retained:

    {"timestamp_ms":…,"device":…,"group":…,"cause":…,"first_ms":…,"last_ms":…,"scans":…,
     "samples":…,"id":"sitea-line1:17:4711:gap"}

Its id ends in `gap`, and in `gap1`, `gap2`, … where several gaps share one sequence. That may be
the sequence of samples too: the gap names what is missing beside them.

JSON has no NaN and no Infinity: such a value is sent as null, Bad, whatever its quality said.
History also says so beside the payload: the header `hist` is `1`.
"""

from collections.abc import Iterator, Sequence
from math import isfinite

import msgspec
from msgspec import UNSET, UnsetType

from common.records import (
    TIME_MARKS,
    GapRecord,
    Quality,
    Record,
    Scalar,
    clock_word,
    is_repeated,
    quality_name,
    quality_word,
)
from uplink.contract import Manner, Message, Parcel
from uplink.settings import PayloadConfig
from uplink.surroundings import Identity

GAP_INDEX = -1
"""Of gap 0 in the dead-letter store, where an index is a number; gap 1 has -2, and so on."""
NS_PER_MS = 1_000_000
HISTORY = (("hist", "1"),)
"""What is said beside the payload of history, by every profile."""


class Sample(msgspec.Struct, frozen=True):
    """One value of one tag on the wire."""

    timestamp_ms: int
    value: Scalar
    quality: str
    id: str
    reason: str | UnsetType = UNSET
    repeat: bool | UnsetType = UNSET
    hist: bool | UnsetType = UNSET
    clock: str | UnsetType = UNSET
    source_time: str | UnsetType = UNSET


class MissingData(msgspec.Struct, frozen=True):
    """A gap on the wire."""

    timestamp_ms: int
    device: str
    group: str
    cause: str
    first_ms: int
    last_ms: int
    scans: int
    samples: int
    """How many are missing; 0 means the number is not known."""
    id: str


class UnsWording:
    """The profile for one gateway and one epoch of its queue."""

    def __init__(self, identity: Identity) -> None:
        self._identity = f"{identity.gateway}:{identity.epoch}:"
        self._gap_topic = f"{identity.edge}/gap"
        self._encode = msgspec.json.Encoder().encode

    def parcels(self, records: Sequence[Record | GapRecord], manner: Manner) -> Iterator[Parcel]:
        """One for each record, with a message for each sample; a gap is one message."""
        for record in records:
            messages = 1 if isinstance(record, GapRecord) else len(record.values)
            yield Parcel((record,), messages, manner)

    def index(self, parcel: Parcel, number: int) -> int:
        """Return the plan column; below 0 for a gap."""
        (record,) = parcel.records
        if isinstance(record, GapRecord):
            return GAP_INDEX - record.number
        return record.indexes[number] if record.indexes is not None else number

    def message(self, parcel: Parcel, number: int) -> Message:
        """Return message `number` of the parcel. Raises ValueError or OverflowError."""
        record, manner = parcel.records[0], parcel.manner
        if isinstance(record, GapRecord):
            return self._gap(record)
        index = record.indexes[number] if record.indexes is not None else number
        value, code = told(record, number)
        word = quality_word(code)
        sample = Sample(
            told_at_ns(record, number) // NS_PER_MS,
            value,
            word,
            f"{self._identity}{record.sequence}:{index}",
            UNSET if word == "Good" else quality_name(code),
            True if is_repeated(code) else UNSET,
            True if manner.historical else UNSET,
        )
        if code & TIME_MARKS:
            sample = _timed(sample, code)
        return Message(
            record.plan.columns[index].topic,
            self._encode(sample),
            manner.retained,
            HISTORY if manner.historical else (),
        )

    def _gap(self, record: GapRecord) -> Message:
        return Message(self._gap_topic, self._encode(self.missing(record)), retain=False)

    def missing(self, record: GapRecord) -> MissingData:
        """Return a gap as it is told."""
        gap = record.gap
        return MissingData(
            timestamp_ms=gap.last_at_ns // NS_PER_MS,
            device=gap.device,
            group=gap.group,
            cause=gap.cause,
            first_ms=gap.first_at_ns // NS_PER_MS,
            last_ms=gap.last_at_ns // NS_PER_MS,
            scans=gap.scans,
            samples=gap.samples,
            id=f"{self._identity}{record.sequence}:gap{record.number or ''}",
        )


def told(record: Record, number: int) -> tuple[Scalar, int]:
    """Return value and status code of one sample as JSON can tell them."""
    value = record.values[number]
    code = record.qualities[number] if record.qualities is not None else Quality.GOOD
    if type(value) is float and not isfinite(value):
        return None, code if code & Quality.BAD else Quality.BAD_OUT_OF_RANGE
    return value, code


def told_at_ns(record: Record, number: int) -> int:
    """Return the device's own time of one sample where it gives one, else the read time."""
    source_ns = record.source_at_ns[number] if record.source_at_ns is not None else None
    return record.read_at_ns if source_ns is None else source_ns


def _timed(sample: Sample, code: int) -> Sample:
    """Return the sample with what is to be known of its time."""
    left_out = code & Quality.SOURCE_TIME_LEFT_OUT
    return msgspec.structs.replace(
        sample, clock=clock_word(code) or UNSET, source_time="left-out" if left_out else UNSET
    )


def build_wording(_config: PayloadConfig, identity: Identity) -> UnsWording:
    """Return the profile `uns` for one gateway and one epoch of its queue."""
    return UnsWording(identity)
