"""What arrived, held against what the gateway says became of its samples.

    collected = unchanged + delivered + queued + lost               the gateway's ledger
    collected - unchanged - queued = arrived + set aside + named in gaps       what is checked

Each status is true at one instant. Those said while nothing was queued are compared, because the
ledger counts delivered samples by whole blocks: what is checked is the difference between two of
them, or from the beginning where the first sequence was seen to arrive. The samples counted are
those whose sequences the later status covers and the earlier one does not.

What cannot be compared: samples by device, since topics do not name it; and messages set aside
where a message carries several samples.
"""

from dataclasses import dataclass, field

import msgspec

from subscribers.arrivals import GAPS_MAX, Arrivals, Found
from subscribers.identity import Identity
from subscribers.reading import Books, Listener, Missing, Status

GATEWAYS_MAX = 1_000


@dataclass(frozen=True)
class _Standing:
    """What a gateway said at an instant at which nothing was queued."""

    position: int
    set_aside: int
    books: Books
    arrived: int
    """Samples up to the position that had come by then."""

    @property
    def due(self) -> int:
        """Samples that must have arrived, be set aside or be named in gaps."""
        return self.books.collected - self.books.unchanged - self.books.queued


_BEGINNING = _Standing(0, 0, Books(), 0)


@dataclass
class _Gateway:
    epoch: int = 0
    """The newest that was met; 0: none yet."""
    baseline: _Standing | None = None
    latest: _Standing | None = None
    late: int = 0
    """Samples up to the baseline's position that came after it."""
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """(sequence, samples)."""
    said: Status | None = None
    online: bool = False

    def begins(self, epoch: int) -> None:
        """Take note of a newer epoch: another queue, other sums."""
        if self.epoch:
            self.baseline = self.latest = None
        self.epoch, self.late = epoch, 0
        self.gaps.clear()


class LostOf(msgspec.Struct, kw_only=True):
    """What the gaps of one device and cause have named."""

    device: str
    cause: str
    gaps: int
    samples: int
    unknown: int
    """Gaps whose size nobody knows."""


class Comparison(msgspec.Struct, kw_only=True):
    """One gateway's samples between two statuses. All but `difference` as counted."""

    from_sequence: int
    to_sequence: int
    collected: int
    unchanged: int
    queued: int
    delivered: int
    lost: int
    arrived: int
    set_aside: int
    """Messages more, or fewer where some were dropped or arrived after all."""
    named_in_gaps: int
    difference: int
    """collected - unchanged - queued - arrived - set_aside - named_in_gaps; 0 when all adds up."""


class GatewayVerdict(msgspec.Struct, kw_only=True):
    """What is to be said of one gateway, in its newest epoch."""

    gateway: str
    epoch: int
    online: bool
    target: str
    queue_depth: int | None
    first: int
    last: int
    samples: int
    repeats: int
    doubtful: int
    missing: int
    missing_spans: list[tuple[int, int]]
    told: int
    disorder: int
    disorder_topics: list[str]
    lost: list[LostOf]
    epochs_before: int
    """Epochs seen before the newest; what came of them is not compared."""
    comparison: Comparison | None
    """None until two statuses at rest have come."""
    balances: bool
    """The ledger's own sum, as last said."""

    @property
    def unexplained(self) -> int:
        """Sequences that are missing beyond what is set aside."""
        refused = self.comparison.set_aside if self.comparison else 0
        return max(0, self.missing - max(0, refused))

    @property
    def sound(self) -> bool:
        """Whether everything adds up."""
        compared = self.comparison is not None and self.comparison.difference == 0
        orderly = not (self.unexplained or self.doubtful or self.disorder)
        return compared and orderly and self.balances


class Reconciliation(Listener):
    """Of every gateway that is heard of."""

    def __init__(self, arrivals: Arrivals, target: str = "") -> None:
        """`target` is the uplink whose statuses count; empty: whichever speaks."""
        self._arrivals = arrivals
        self._target = target
        self._gateways: dict[str, _Gateway] = {}

    def status(self, gateway: str, status: Status) -> None:
        """A gateway spoke of itself."""
        if self._target and status.target not in ("", self._target):
            return
        each = self._of(gateway)
        if each is None:
            return
        each.online = status.online
        if not status.online or status.ledger is None or status.acked_sequence is None:
            return
        each.said = status
        if status.queue_depth:
            return
        arrived = self._arrived(gateway, each, status.acked_sequence)
        standing = _Standing(status.acked_sequence, status.set_aside or 0, status.ledger, arrived)
        if each.baseline is None:
            each.baseline = standing
        else:
            each.latest = standing

    def samples(self, identity: Identity, number: int) -> None:
        """So many samples of a record came for the first time."""
        each = self._of(identity.gateway)
        if each is None:
            return
        if identity.epoch > each.epoch:
            each.begins(identity.epoch)
        if each.baseline is not None and identity.sequence <= each.baseline.position:
            each.late += number

    def gap(self, identity: Identity, gap: Missing) -> None:
        """A gap came for the first time."""
        each = self._of(identity.gateway)
        if each is None:
            return
        if identity.epoch > each.epoch:
            each.begins(identity.epoch)
        if identity.epoch == each.epoch and len(each.gaps) < GAPS_MAX:
            each.gaps.append((identity.sequence, gap.samples))

    def verdicts(self) -> list[GatewayVerdict]:
        """Return what is to be said of every gateway of which data came, by name."""
        found: dict[str, list[Found]] = {}
        for stream in self._arrivals.found():
            found.setdefault(stream.gateway, []).append(stream)
        return [
            self._verdict(name, self._gateways.get(name) or _Gateway(), streams)
            for name, streams in found.items()
        ]

    def silent(self) -> list[str]:
        """Return the gateways that spoke of themselves and of which no data came."""
        return sorted(name for name, each in self._gateways.items() if not each.epoch)

    def _of(self, name: str) -> _Gateway | None:
        if name not in self._gateways and len(self._gateways) >= GATEWAYS_MAX:
            return None
        return self._gateways.setdefault(name, _Gateway())

    def _arrived(self, name: str, gateway: _Gateway, up_to: int) -> int:
        if not gateway.epoch:
            return 0
        return self._arrivals.samples_up_to(name, gateway.epoch, up_to)

    def _verdict(self, name: str, gateway: _Gateway, streams: list[Found]) -> GatewayVerdict:
        stream = streams[-1]
        said = gateway.said
        return GatewayVerdict(
            gateway=name,
            epoch=stream.epoch,
            online=gateway.online,
            target=said.target if said else "",
            queue_depth=said.queue_depth if said else None,
            first=stream.first,
            last=stream.last,
            samples=stream.samples,
            repeats=stream.repeats,
            doubtful=stream.doubtful,
            missing=stream.missing,
            missing_spans=stream.missing_spans,
            told=stream.told,
            disorder=stream.disorder,
            disorder_topics=stream.disorder_topics,
            lost=[
                LostOf(
                    device=device,
                    cause=cause,
                    gaps=lost.gaps,
                    samples=lost.samples,
                    unknown=lost.unknown,
                )
                for (device, cause), lost in stream.lost.items()
            ],
            epochs_before=len(streams) - 1,
            comparison=self._comparison(name, gateway, stream),
            balances=said is None or said.ledger is None or said.ledger.balances,
        )

    def _comparison(self, name: str, gateway: _Gateway, stream: Found) -> Comparison | None:
        whole = stream.first == 1
        begin = _BEGINNING if whole else gateway.baseline
        end = gateway.latest or (gateway.baseline if whole else None)
        if begin is None or end is None or stream.epoch != gateway.epoch:
            return None
        before = 0 if whole else begin.arrived + gateway.late
        arrived = self._arrived(name, gateway, end.position) - before
        named = sum(samples for at, samples in gateway.gaps if begin.position < at <= end.position)
        refused = end.set_aside - begin.set_aside
        after, earlier = end.books, begin.books
        return Comparison(
            from_sequence=begin.position + 1,
            to_sequence=end.position,
            collected=after.collected - earlier.collected,
            unchanged=after.unchanged - earlier.unchanged,
            queued=after.queued - earlier.queued,
            delivered=after.delivered - earlier.delivered,
            lost=sum(after.lost.values()) - sum(earlier.lost.values()),
            arrived=arrived,
            set_aside=refused,
            named_in_gaps=named,
            difference=end.due - begin.due - arrived - refused - named,
        )
