"""CloudEvents 1.0 in binary mode: the attributes stand beside the payload, which stays as it is.

    specversion  1.0
    type         tailrace.<profile>.v1; of a gap on a topic of its own tailrace.gap.v1
    source       <enterprise>/<site>/_edge/<gateway>
    subject      the topic
    id           gateway:epoch:sequence:index. Of a message with several samples also a digest of
                 its payload: the same samples may come again together with others, and then
                 it is another event, which nobody may drop as a repeat
    time         timestamp_ms of the (first) sample, as RFC 3339

They are user properties of MQTT 5 under these names (MQTT Protocol Binding 1.0.2, 3.1.3), and
Kafka headers that begin with `ce_` (Kafka Protocol Binding 1.0.2, 3.2.3.1); datacontenttype is the
content type there is. MQTT 3.1.1 has no place for them.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from common.records import GapRecord, Record
from uplink.contract import Manner, Message, Parcel, Wording
from uplink.payloads.uns import NS_PER_MS, told_at_ns
from uplink.surroundings import Identity

ATTRIBUTES = ("specversion", "type", "source", "subject", "id", "time")
"""The headers of a message that are attributes of its event; all others are none."""
ONE_SAMPLE_EACH = ("uns", "umh")
"""Profiles whose messages carry one sample."""
GAP_TYPE = "tailrace.gap.v1"
_DIGEST_BYTES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CloudEventsWording:
    """Another profile's messages, each an event."""

    def __init__(self, wording: Wording, profile: str, identity: Identity) -> None:
        self._wording = wording
        self._source = ("source", identity.edge)
        self._kind = f"tailrace.{profile}.v1"
        self._identity = f"{identity.gateway}:{identity.epoch}:"
        self._one_sample = profile in ONE_SAMPLE_EACH
        self._several = profile == "batch"

    def parcels(self, records: Sequence[Record | GapRecord], manner: Manner) -> Iterable[Parcel]:
        """Return the other profile's parcels."""
        return self._wording.parcels(records, manner)

    def index(self, parcel: Parcel, number: int) -> int:
        """Return what the other profile says."""
        return self._wording.index(parcel, number)

    def message(self, parcel: Parcel, number: int) -> Message:
        """Return the message as an event. Raises what the other profile raises."""
        message = self._wording.message(parcel, number)
        first, index = parcel.records[0], self._wording.index(parcel, number)
        identity = f"{self._identity}{first.sequence}:{index}"
        kind = self._kind
        if not self._several and isinstance(first, GapRecord):
            kind, identity = GAP_TYPE, f"{self._identity}{first.sequence}:gap{first.number or ''}"
        elif not self._one_sample:
            digest = hashlib.blake2b(message.payload, digest_size=_DIGEST_BYTES).hexdigest()
            identity = f"{identity}:{digest}"
        attributes = (
            ("specversion", "1.0"),
            ("type", kind),
            self._source,
            ("subject", message.topic),
            ("id", identity),
            *_time(self._told_at_ns(first, number) // NS_PER_MS),
        )
        others = tuple(header for header in message.headers if header[0] not in ATTRIBUTES)
        return message._replace(headers=attributes + others)

    def _told_at_ns(self, record: Record | GapRecord, number: int) -> int:
        """Return the time that the payload tells of its (first) sample, or of its gap."""
        if isinstance(record, GapRecord):
            return record.gap.last_at_ns
        return told_at_ns(record, number if self._one_sample else 0)


@lru_cache(maxsize=64)  # The samples of a scan have one time, or a few.
def _time(at_ms: int) -> tuple[tuple[str, str], ...]:
    """Return the attribute time; nothing for a time that no calendar has."""
    try:
        told = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return ()
    return (("time", told.isoformat(timespec="milliseconds").replace("+00:00", "Z")),)
