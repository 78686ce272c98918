"""The profile `asset`: what was read in one scan is one flat JSON object on the asset's topic.

    {"timestamp_ms":1733904005123,"Temperature_C":42.5,"Pressure_bar":6.1,
     "_quality":{"Pressure_bar":"Uncertain"},"_reason":{"Pressure_bar":"UncertainLastUsableValue"},
     "_id":"sitea-line1:17:4711"}

Keys
    a tag's name  its value. A level of the name ends in a dot: `Zone1.Temperature_C`, and element 3
                  of an array is `Name.3`. A tag that has no value now has no key: null would make
                  UMH's historian refuse the whole message
    _quality      tag → Uncertain or Bad; everything else is Good. A tag that stands here and has no
                  key has no value
    _reason       tag → name of the status code, of those that are not Good
    _id           gateway:epoch:sequence. A sample's identity is this and the tag's name: the same
                  sequence may come in several messages, so drop repeats tag by tag
    _repeat, _hist, _clock, _source_time
                  as `repeat`, `hist`, `clock` and `source_time` in the profile `uns`; they hold for
                  all of the message

What holds for all of a message must be true of each tag in it. So samples of one scan that have
another time (the device's own, as OPC UA gives it) or another of these marks are a message of
their own, the older one first. And a message has at most FIELDS_MAX fields, and stays below the
bytes that the far side takes: what is more is told in several messages, each with whole samples.

The message that is retained is the last one of the asset: of a group that is told by exception
that is what changed last, not the machine's state. A gap is told as in the profile `uns`.

Who reads it as it comes: Telegraf's `json` parser (numbers become fields; texts and truth values,
and so every key with an underscore, are dropped unless they are asked for), Node-RED, UMH
Classic's `_historian` (numbers and truth values as numbers, texts as texts; the keys with an
underscore become tags of that name) and UMH's classic_to_core.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from common.records import (
    TIME_MARKS,
    GapRecord,
    Plan,
    Quality,
    Record,
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
from uplink.payloads.uns import HISTORY, NS_PER_MS, UnsWording, told, told_at_ns
from uplink.settings import PayloadConfig
from uplink.surroundings import Identity

FIELDS_MAX = 900
"""classic_to_core takes 1,000 of a message, its own included, and forgets the rest."""
_JUDGED_BYTES = len('"Uncertain"') + max(map(len, STATUS_NAMES.values())) + 8
"""What quality and reason of a sample add, beside its key in both."""
_JUDGED_FIELDS = 3
_ENVELOPE_BYTES = 256


class _Keys(NamedTuple):
    """What is known of a plan."""

    topic: str
    """Of the asset."""
    names: tuple[str, ...]
    bytes_max: tuple[int, ...]
    """Of each column, Good and with its largest number."""
    total_bytes_max: int
    """Of all columns; 0: it depends on the values."""


class AssetWording:
    """The profile for one gateway and one epoch of its queue."""

    def __init__(self, identity: Identity) -> None:
        self._identity = f"{identity.gateway}:{identity.epoch}:"
        self._uns = UnsWording(identity)
        self._keys = PerPlan(_keys)
        self._encode = msgspec.json.Encoder().encode

    def parcels(self, records: Sequence[Record | GapRecord], manner: Manner) -> Iterator[Parcel]:
        """One for each message: a part of a record, or a gap."""
        for record in records:
            if isinstance(record, GapRecord):
                yield Parcel((record,), 1, manner)
            else:
                for part in self._parts(record, manner.payload_bytes_max):
                    yield Parcel((part,), 1, manner)

    def index(self, parcel: Parcel, number: int) -> int:
        """Return the plan column of the message's first sample; below 0 for a gap."""
        return self._uns.index(parcel, number)

    def message(self, parcel: Parcel, number: int) -> Message:
        """Return the message of the parcel. Raises ValueError or OverflowError."""
        (record,), manner = parcel.records, parcel.manner
        if isinstance(record, GapRecord):
            return self._uns.message(parcel, number)
        keys = self._keys.of(record.plan)
        time_ms, code = _marks(record, 0)
        body: dict[str, Any] = {"timestamp_ms": time_ms}
        words, reasons = {}, {}
        for place, column in enumerate(columns_of(record)):
            value, judged = told(record, place)
            name = keys.names[column]
            if value is not None:
                body[name] = value
            word = quality_word(judged)
            if word != "Good":
                reasons[name] = quality_name(judged)
            if word != "Good" or value is None:
                words[name] = word
        if words:
            body["_quality"] = words
        if reasons:
            body["_reason"] = reasons
        _add_marks(body, code, historical=manner.historical)
        body["_id"] = f"{self._identity}{record.sequence}"
        headers = HISTORY if manner.historical else ()
        return Message(keys.topic, self._encode(body), manner.retained, headers)

    def _parts(self, record: Record, payload_bytes_max: int) -> Iterator[Record]:
        """Yield a record's parts, each true of one time and small enough."""
        keys = self._keys.of(record.plan)
        most = payload_bytes_max - _ENVELOPE_BYTES
        if (
            record.qualities is None
            and record.source_at_ns is None
            and 0 < keys.total_bytes_max <= most
            and len(record.values) <= FIELDS_MAX
        ):
            yield record
            return
        alike: dict[tuple[int, int], list[int]] = {}
        for place in range(len(record.values)):
            alike.setdefault(_marks(record, place), []).append(place)
        columns = columns_of(record)
        for _, places in sorted(alike.items()):
            sizes = [self._size(keys, record, place, columns[place], most) for place in places]
            for some in filled(sizes, most):
                yield part_of(record, places[some.start : some.stop])

    @staticmethod
    def _size(keys: _Keys, record: Record, place: int, column: int, most: int) -> int:
        """Return how much of a message a sample takes, in bytes: its fields are a share as well."""
        value, code = told(record, place)
        key_bytes = keys.bytes_max[column] - NUMBER_BYTES_MAX
        size, fields = key_bytes + value_bytes_max(value), 1
        if value is None or quality_word(code) != "Good":
            size, fields = size + 2 * key_bytes + _JUDGED_BYTES, _JUDGED_FIELDS
        return max(size, -(-most * fields // FIELDS_MAX))


def _marks(record: Record, place: int) -> tuple[int, int]:
    """Return what a sample shares with the others of its message: its time in ms, its marks."""
    code = record.qualities[place] if record.qualities is not None else Quality.GOOD
    marks = code & TIME_MARKS | (Quality.REPEATED if is_repeated(code) else 0)
    return told_at_ns(record, place) // NS_PER_MS, marks


def _add_marks(body: dict[str, Any], code: int, *, historical: bool) -> None:
    if is_repeated(code):
        body["_repeat"] = True
    if historical:
        body["_hist"] = True
    if clock := clock_word(code):
        body["_clock"] = clock
    if code & Quality.SOURCE_TIME_LEFT_OUT:
        body["_source_time"] = "left-out"


def _keys(plan: Plan) -> _Keys:
    """Return the keys of a plan's tags, each another: names may have dots, or be one of ours."""
    taken = {"timestamp_ms"}
    names = []
    for column in plan.columns:
        name = column.name.replace("/", ".")
        if name in taken:
            name = column.name
        while name in taken:
            name += "_"
        taken.add(name)
        names.append(name)
    first = plan.columns[0]
    sizes = tuple(json_bytes(name) + 2 + NUMBER_BYTES_MAX for name in names)
    return _Keys(
        first.topic.removesuffix(f"/{first.name}"),
        tuple(names),
        sizes,
        0 if has_texts(plan) else sum(sizes),
    )


def build_wording(_config: PayloadConfig, identity: Identity) -> AssetWording:
    """Return the profile `asset` for one gateway and one epoch of its queue."""
    return AssetWording(identity)
