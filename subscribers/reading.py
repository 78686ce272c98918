"""Messages of the JSON profiles uns, asset and batch, as a consumer understands them.

What belongs to a gateway's own branch, `<enterprise>/<site>/_edge/<gateway>/…`, is known by its
topic; everything else by its keys, so that a profile may be told on any topic.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from subscribers.arrivals import Arrivals
from subscribers.identity import Identity, parse_identity

EDGE_LEVEL = "/_edge/"
META_LEVEL = "/_meta/"
ASSETS_MAX = 10_000
EXAMPLES_MAX = 5
NOT_TAGS = "timestamp_ms"


class Account(msgspec.Struct, frozen=True):
    """What became of samples, as the gateway's ledger says."""

    collected: int = 0
    unchanged: int = 0
    delivered: int = 0
    queued: int = 0
    lost: dict[str, int] = {}
    unknown_losses: int = 0

    @property
    def balances(self) -> bool:
        """Whether the ledger's own equation holds."""
        lost = sum(self.lost.values())
        return self.collected == self.unchanged + self.delivered + self.queued + lost


class Books(Account, frozen=True):
    """The whole gateway's, and every device's."""

    devices: dict[str, Account] = {}


class Status(msgspec.Struct, frozen=True):
    """What is needed of `_edge/<gateway>/status`."""

    online: bool
    timestamp_ms: int
    target: str = ""
    state: str = ""
    queue_depth: int | None = None
    acked_sequence: int | None = None
    set_aside: int | None = None
    ledger: Books | None = None


class Missing(msgspec.Struct, frozen=True):
    """A gap."""

    id: str
    device: str
    cause: str
    scans: int
    samples: int


class _BatchSample(msgspec.Struct, frozen=True):
    id: str
    topic: str
    hist: bool = False


class _Data(msgspec.Struct, frozen=True):
    """The keys by which uns, asset and batch are told apart, and their samples known."""

    id: str | None = None
    hist: bool = False
    record: str | None = msgspec.field(default=None, name="_id")
    record_hist: bool = msgspec.field(default=False, name="_hist")
    quality: dict[str, str] = msgspec.field(default_factory=dict, name="_quality")
    samples: list[_BatchSample] | None = None
    gaps: list[Missing] = []


_gap = msgspec.json.Decoder(Missing).decode
_data = msgspec.json.Decoder(_Data).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_status = msgspec.json.Decoder(Status).decode


@dataclass
class Unread:
    """Messages that say nothing by which they could be judged."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    """Topics, EXAMPLES_MAX at most."""

    def add(self, topic: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.examples) < EXAMPLES_MAX and topic not in self.examples:
            self.examples.append(topic)


class Listener:
    """What is told beside the arrivals; this one does not care."""

    def status(self, gateway: str, status: Status) -> None:
        """A gateway spoke of itself."""

    def samples(self, identity: Identity, number: int) -> None:
        """So many samples of a record came for the first time."""

    def gap(self, identity: Identity, gap: Missing) -> None:
        """A gap came for the first time."""


class Reading:
    """Feeds what arrives to `arrivals`; whoever wants to know of statuses and gaps listens."""

    def __init__(self, arrivals: Arrivals, listener: Listener) -> None:
        self._arrivals = arrivals
        self._listener = listener
        self.unread = Unread()
        """Without an identity (profile umh, another publisher), or not as any profile has it."""
        self.assets: dict[str, int] = {}
        """Topic above the tag → samples, ASSETS_MAX at most."""

    def take(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Take in one message. Never raises for what is in it."""
        try:
            own = topic.partition(EDGE_LEVEL)[2]
            if not own:
                if META_LEVEL not in topic:
                    self._take_data(topic, payload, retain=retain)
            elif own.endswith("/status"):
                self._listener.status(own.removesuffix("/status"), _status(payload))
            elif own.endswith("/gap"):
                self._take_gap(_gap(payload))
            elif own.endswith("/batch"):
                self._take_data(topic, payload, retain=retain)
        except (msgspec.MsgspecError, ValueError):
            self.unread.add(topic)

    def _take_data(self, topic: str, payload: bytes, *, retain: bool) -> None:
        data = _data(payload)
        if data.samples is not None:
            for each in data.samples:
                self._take_sample(each.id, each.topic, (retain, each.hist))
            for gap in data.gaps:
                self._take_gap(gap)
        elif data.id is not None:
            self._take_sample(data.id, topic, (retain, data.hist))
        elif data.record is not None:
            names = [name for name in _object(payload) if name[0] != "_" and name != NOT_TAGS]
            names += [name for name in data.quality if name not in names]
            identity = parse_identity(data.record)
            lane = (retain, data.record_hist)
            fresh = self._arrivals.take_named(identity, names, topic=topic, lane=lane)
            self._count(topic, len(fresh))
            self._listener.samples(identity, len(fresh))
        else:
            self.unread.add(topic)

    def _take_sample(self, text: str, topic: str, lane: Hashable) -> None:
        identity = parse_identity(text)
        if self._arrivals.take(identity, topic=topic, lane=lane):
            self._count(topic.rpartition("/")[0], 1)
            self._listener.samples(identity, 1)

    def _take_gap(self, gap: Missing) -> None:
        identity = parse_identity(gap.id)
        if self._arrivals.take_gap(
            identity, device=gap.device, cause=gap.cause, scans=gap.scans, samples=gap.samples
        ):
            self._listener.gap(identity, gap)

    def _count(self, asset: str, samples: int) -> None:
        if asset in self.assets or len(self.assets) < ASSETS_MAX:
            self.assets[asset] = self.assets.get(asset, 0) + samples
