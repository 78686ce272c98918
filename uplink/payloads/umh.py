"""The profile `umh`: UMH Core's rules, one sample per message, exactly two keys.

    umh/v1/Acme/SiteA/L1/Press/_raw/Temperature_C    {"timestamp_ms":1733904005123,"value":42.5}

The contract stands between the location, which is root, path and asset, and the tag; levels of the
tag's name are UMH's virtual path. Everything else is said beside the payload, as user properties:

    bridged_by   tailrace_<gateway>
    unit         where the tag has one
    id           gateway:epoch:sequence:index, as in the profile `uns`
    quality, reason, repeat, hist, clock, source_time
                 as in the profile `uns`, where they are not Good and not absent

UMH's contracts know numbers, truth values and texts, and no null: a sample that is Bad, or that has
no value, is not published. Its end is seen as silence; who must know it at once needs the profile
`uns`. Bytes are base64 text. A gap is told as in the profile `uns`, outside of umh/.
"""

from collections.abc import Iterator, Sequence

import msgspec

from common.naming import umh_topic
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
from uplink.contract import Manner, Message, Parcel
from uplink.payloads.parts import PerPlan, part_of
from uplink.payloads.uns import HISTORY, NS_PER_MS, UnsWording, told, told_at_ns
from uplink.settings import PayloadConfig
from uplink.surroundings import Identity

Headers = tuple[tuple[str, str], ...]


class Value(msgspec.Struct, frozen=True):
    """One value of one tag on the wire; a further key breaks UMH's contracts."""

    timestamp_ms: int
    value: Scalar


class UmhWording:
    """The profile for one gateway and one epoch of its queue."""

    def __init__(self, config: PayloadConfig, identity: Identity) -> None:
        self._identity = f"{identity.gateway}:{identity.epoch}:"
        self._contract = config.umh_contract
        self._bridged_by = ("bridged_by", f"tailrace_{identity.gateway}")
        self._uns = UnsWording(identity)
        self._columns = PerPlan(self._columns_of)
        self._encode = msgspec.json.Encoder().encode

    def parcels(self, records: Sequence[Record | GapRecord], manner: Manner) -> Iterator[Parcel]:
        """One for each record, with a message for each sample that UMH can hold; a gap is one."""
        for record in records:
            if isinstance(record, GapRecord):
                yield Parcel((record,), 1, manner)
                continue
            places = [place for place in range(len(record.values)) if _fits(*told(record, place))]
            kept = part_of(record, places) if places else record
            yield Parcel((kept,), len(places), manner)

    def index(self, parcel: Parcel, number: int) -> int:
        """Return the plan column; below 0 for a gap."""
        return self._uns.index(parcel, number)

    def message(self, parcel: Parcel, number: int) -> Message:
        """Return message `number` of the parcel. Raises ValueError or OverflowError."""
        (record,), manner = parcel.records, parcel.manner
        if isinstance(record, GapRecord):
            return self._uns.message(parcel, number)
        index = self._uns.index(parcel, number)
        topic, headers = self._columns.of(record.plan)[index]
        value, code = told(record, number)
        time_ms = told_at_ns(record, number) // NS_PER_MS
        headers = (*headers, ("id", f"{self._identity}{record.sequence}:{index}"))
        if code:
            headers += _marks(code)
        if manner.historical:
            headers += HISTORY
        return Message(topic, self._encode(Value(time_ms, value)), manner.retained, headers)

    def _columns_of(self, plan: Plan) -> list[tuple[str, Headers]]:
        """Return topic and constant headers of each column."""
        found = []
        for column in plan.columns:
            unit = (("unit", column.unit),) if column.unit else ()
            topic = umh_topic(column.topic, column.name, self._contract)
            found.append((topic, (self._bridged_by, *unit)))
        return found


def _fits(value: Scalar, code: int) -> bool:
    return value is not None and quality_word(code) != "Bad"


def _marks(code: int) -> Headers:
    word = quality_word(code)
    found = [] if word == "Good" else [("quality", word), ("reason", quality_name(code))]
    if is_repeated(code):
        found.append(("repeat", "1"))
    if clock := clock_word(code):
        found.append(("clock", clock))
    if code & Quality.SOURCE_TIME_LEFT_OUT:
        found.append(("source_time", "left-out"))
    return tuple(found)


def build_wording(config: PayloadConfig, identity: Identity) -> UmhWording:
    """Return the profile `umh` for one gateway and one epoch of its queue."""
    return UmhWording(config, identity)
