"""The profile `batch`: samples of many tags and scans in one message, on one topic per gateway.

    {"samples":[{"topic":"Acme/SiteA/L1/Press/Temperature_C","timestamp_ms":1733904005123,
                 "value":42.5,"quality":"Good","id":"sitea-line1:17:4711:3"}, …],
     "gaps":[{"timestamp_ms":…,"device":…,…,"id":"sitea-line1:17:4712:gap"}]}

Each sample is what the profile `uns` says of it, with its topic in front; `gaps` stands there only
when there are any. Samples stand in the queue's order, and so do gaps; what a gap stands between,
its sequence tells. A sample is identified by its own `id`: the same sample may come again in a
message that is cut in another way, so nothing identifies the message.

A message holds what one reading of the queue gave, so nothing waits for others: a quiet plant
sends small ones, a backlog full ones. It stays below `batch_bytes_max` and what the far side
takes; only a sample that is larger alone exceeds it. None is retained: what a topic keeps would be
the last few samples of any tags. Current values for those who come late are the profile `uns`'s
to give, in another target or with `backfill_payload`.
"""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from common.records import (
    GapRecord,
    Plan,
    Quality,
    Record,
    Scalar,
    clock_word,
    is_repeated,
    quality_name,
    quality_word,
)
from common.statuscodes import STATUS_NAMES
from uplink.contract import Manner, Message, Parcel
from uplink.payloads.parts import (
    NUMBER_BYTES_MAX,
    PerPlan,
    columns_of,
    filled,
    has_texts,
    json_bytes,
    part_of,
    value_bytes_max,
)
from uplink.payloads.uns import HISTORY, NS_PER_MS, MissingData, UnsWording, told
from uplink.settings import PayloadConfig
from uplink.surroundings import Identity

_ENVELOPE_BYTES = len('{"samples":[],"gaps":[]}')
_SAMPLE_BYTES = len('{"topic":,"timestamp_ms":-9223372036854,"value":,"quality":"Good","id":""},')
_HIST_BYTES = len(',"hist":true')
_NOT_PLAIN_BYTES = len(
    'Uncertain,"reason":"","repeat":true,"clock":"unsynchronised","source_time":"left-out"'
) + max(map(len, STATUS_NAMES.values()))
_GAP_BYTES = 320
"""Of a gap, without what it names."""


class BatchSample(msgspec.Struct, frozen=True):
    """One value of one tag on the wire: as in the profile `uns`, and where it belongs."""

    topic: str
    timestamp_ms: int
    value: Scalar
    quality: str
    id: str
    reason: str | UnsetType = UNSET
    repeat: bool | UnsetType = UNSET
    hist: bool | UnsetType = UNSET
    clock: str | UnsetType = UNSET
    source_time: str | UnsetType = UNSET


class Batch(msgspec.Struct, frozen=True):
    """One message."""

    samples: list[BatchSample]
    gaps: list[MissingData] | UnsetType = UNSET


class _Columns:
    """What is known of a plan."""

    def __init__(self, plan: Plan, identity_bytes: int) -> None:
        self.topics = [column.topic for column in plan.columns]
        more = _SAMPLE_BYTES + identity_bytes
        self.bytes_max = [
            json_bytes(topic) + more + len(f":{index}") for index, topic in enumerate(self.topics)
        ]
        """Of each column's sample, Good, without its value and its sequence."""
        whole = sum(self.bytes_max) + len(self.topics) * NUMBER_BYTES_MAX
        self.total_bytes_max = 0 if has_texts(plan) else whole
        """Of all columns, all Good, without their sequence; 0: it depends on the values."""


class BatchWording:
    """The profile for one gateway and one epoch of its queue."""

    def __init__(self, config: PayloadConfig, identity: Identity) -> None:
        self._identity = f"{identity.gateway}:{identity.epoch}:"
        self._topic = config.batch_topic or f"{identity.edge}/batch"
        self._bytes_max = config.batch_bytes_max
        self._uns = UnsWording(identity)
        self._columns = PerPlan(lambda plan: _Columns(plan, len(self._identity)))
        self._encode = msgspec.json.Encoder().encode

    def parcels(self, records: Sequence[Record | GapRecord], manner: Manner) -> Iterator[Parcel]:
        """One for each message; a record too large for one is told in several, alone in them."""
        most = min(manner.payload_bytes_max, self._bytes_max) - _ENVELOPE_BYTES
        held: list[Record | GapRecord] = []
        held_bytes = 0
        for record in records:
            size = self._size(record, manner)
            if held and held_bytes + size > most:
                yield Parcel(tuple(held), 1, manner)
                held, held_bytes = [], 0
            if size > most and isinstance(record, Record):
                for some in filled(self._sizes(record, manner), most):
                    yield Parcel((part_of(record, some),), 1, manner)
            else:
                held.append(record)
                held_bytes += size
        if held:
            yield Parcel(tuple(held), 1, manner)

    def index(self, parcel: Parcel, number: int) -> int:
        """Return the plan column of the message's first sample; below 0 when a gap is first."""
        return self._uns.index(parcel._replace(records=parcel.records[:1]), number)

    def message(self, parcel: Parcel, _number: int) -> Message:
        """Return the message of the parcel. Raises ValueError or OverflowError."""
        historical = parcel.manner.historical
        samples: list[BatchSample] = []
        gaps: list[MissingData] = []
        for record in parcel.records:
            if isinstance(record, GapRecord):
                gaps.append(self._uns.missing(record))
            else:
                samples += self._samples(record, historical=historical)
        return Message(
            self._topic,
            self._encode(Batch(samples, gaps or UNSET)),
            retain=False,
            headers=HISTORY if historical else (),
        )

    def _samples(self, record: Record, *, historical: bool) -> Iterator[BatchSample]:
        hist = True if historical else UNSET
        topics = self._columns.of(record.plan).topics
        identity = f"{self._identity}{record.sequence}:"
        read_ms, sources = record.read_at_ns // NS_PER_MS, record.source_at_ns
        for place, column in enumerate(columns_of(record)):
            value, code = told(record, place)
            source_ns = sources[place] if sources is not None else None
            time_ms = read_ms if source_ns is None else source_ns // NS_PER_MS
            if not code:
                yield BatchSample(
                    topics[column], time_ms, value, "Good", f"{identity}{column}", hist=hist
                )
                continue
            word = quality_word(code)
            left_out = code & Quality.SOURCE_TIME_LEFT_OUT
            yield BatchSample(
                topics[column],
                time_ms,
                value,
                word,
                f"{identity}{column}",
                UNSET if word == "Good" else quality_name(code),
                True if is_repeated(code) else UNSET,
                hist,
                clock_word(code) or UNSET,
                "left-out" if left_out else UNSET,
            )

    def _size(self, record: Record | GapRecord, manner: Manner) -> int:
        """Return how many bytes a record takes at most."""
        if isinstance(record, GapRecord):
            named = record.gap.device, record.gap.group, record.gap.cause
            return _GAP_BYTES + len(self._identity) + sum(map(json_bytes, named))
        total = self._columns.of(record.plan).total_bytes_max
        if total and record.qualities is None and len(record.values) == len(record.plan.columns):
            return total + len(record.values) * _more(record, manner)
        return sum(self._sizes(record, manner))

    def _sizes(self, record: Record, manner: Manner) -> list[int]:
        """Return how many bytes each sample of a record takes at most."""
        fixed, more, values = self._columns.of(record.plan), _more(record, manner), record.values
        return [
            fixed.bytes_max[column] + value_bytes_max(values[place]) + more
            for place, column in enumerate(columns_of(record))
        ]


def _more(record: Record, manner: Manner) -> int:
    """Return what each sample of a record takes beside its column's own."""
    more = 0 if record.qualities is None else _NOT_PLAIN_BYTES
    return more + len(str(record.sequence)) + (_HIST_BYTES if manner.historical else 0)


def build_wording(config: PayloadConfig, identity: Identity) -> BatchWording:
    """Return the profile `batch` for one gateway and one epoch of its queue."""
    return BatchWording(config, identity)
