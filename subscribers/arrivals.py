"""What arrived, judged by the identities alone: repeats, holes, gaps, order. Standard library only.

    arrivals = Arrivals()
    if arrivals.take(payload["id"], topic=topic, lane=payload.get("hist")):
        keep(topic, payload)

Where a message carries a whole record (profile `asset`), a sample is known by the record and the
tag's name: `take_named` returns the names that are new.

What it relies on
    A gateway delivers at least once. The same message has the same id, so a repeat is known by it.
    Within one lane, current values or history, the messages of a topic come in the order of their
    sequences; between two lanes in none. What the gateway had to give up is told by a gap, at the
    last sequence of what it gave up; the gap counts the records that are missing as a whole.

Which holes are told
    Every hole that ends right before a gap of a cause in LOST_INSIDE, and beyond that as many
    sequences below it, back to the gap before, as it names records, its own sequence included:
    thinning leaves records standing between those it removes.

Limits
    SEQUENCES_MAX sequences per stream (a gateway in one epoch) are known by each message; when
    there are more, those that every lane has passed are known as a whole only, oldest first. A
    message of such a one counts as `doubtful` and is given to the consumer: told twice is better
    than never. 65,536 columns, SPANS_MAX spans, GAPS_MAX gaps, TOPICS_MAX topics per lane.
    Memory: some 60 MB for a stream that has reached all of them but the topics.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from subscribers.identity import COLUMN_MAX, Identity, parse_identity
from subscribers.spans import Spans

SEQUENCES_MAX = 262_144
"""A gateway repeats what lies within 8,192 sequences after its cursor."""
AHEAD_MAX = 65_536
"""Of those that one lane has told ahead of another, how many are kept longer than that."""
FORGET_STEP = 4_096
SPANS_MAX = 100_000
GAPS_MAX = 100_000
TOPICS_MAX = 500_000
EXAMPLES_MAX = 20
STREAMS_MAX = 1_000
"""More gateways and epochs than that are refused: somebody invents them."""

LOST_INSIDE = (
    *("queue-full", "queue-age", "thinned", "block-damaged", "dropped-by-operator"),
    "target-cut-off",
)
"""Causes of losses inside the queue, where records had sequences. Others cost no sequence."""


@dataclass
class Lost:
    """What the gaps of one cause have named."""

    gaps: int = 0
    scans: int = 0
    """Readings that are missing as a whole."""
    samples: int = 0
    unknown: int = 0
    """Gaps whose size nobody knows."""


@dataclass
class Found:
    """What is known of one stream."""

    gateway: str
    epoch: int
    first: int
    last: int
    samples: int
    """First arrivals of them."""
    repeats: int
    """Of data and gaps."""
    doubtful: int
    missing: int
    """Sequences between `first` and `last` that neither came nor are told by a gap."""
    told: int
    """Sequences that did not come and are told by a gap."""
    missing_spans: list[tuple[int, int]]
    """The first EXAMPLES_MAX of those that are missing."""
    lost: dict[tuple[str, str], Lost]
    """By device and cause."""
    disorder: int
    """First arrivals behind a later message of their topic, in the same lane."""
    disorder_topics: list[str]


@dataclass
class _Stream:
    """One gateway in one epoch."""

    masks: dict[int, int] = field(default_factory=dict)
    """Sequence → which samples came: bit n is column n, or the n-th name met on its topic."""
    ahead: dict[int, int] = field(default_factory=dict)
    """The same, of sequences that some lane has not passed yet."""
    names: dict[str, dict[str, int]] = field(default_factory=dict)
    """Topic → name → which bit stands for it."""
    spans: Spans = field(default_factory=lambda: Spans(SPANS_MAX))
    gaps: dict[tuple[int, int], tuple[bool, int]] = field(default_factory=dict)
    """(sequence, number) → whether it was lost inside the queue, and how many whole records."""
    gap_at: dict[int, bool] = field(default_factory=dict)
    """Sequence of a gap → whether samples of the same sequence came as well."""
    lost: dict[tuple[str, str], Lost] = field(default_factory=dict)
    fronts: dict[Hashable, int] = field(default_factory=dict)
    """Lane → the highest sequence in it."""
    newest: dict[tuple[Hashable, str], int] = field(default_factory=dict)
    samples: int = 0
    repeats: int = 0
    doubtful: int = 0
    disorder: int = 0
    disorder_topics: list[str] = field(default_factory=list)


class TooManyStreams(ValueError):
    """More gateways and epochs than can be real."""


class Arrivals:
    """Of any number of gateways and epochs. Not thread-safe."""

    def __init__(self, *, sequences_max: int = SEQUENCES_MAX, ahead_max: int = AHEAD_MAX) -> None:
        self._streams: dict[tuple[str, int], _Stream] = {}
        self._sequences_max = sequences_max
        self._ahead_max = ahead_max

    def take(self, identity: str | Identity, *, topic: str = "", lane: Hashable = None) -> bool:
        """Return whether the sample is to be used: False for a repeat.

        `lane` is whatever tells the two lanes apart. Raises ValueError when that is no id of a
        sample.
        """
        gateway, epoch, sequence, column, gap = _parsed(identity)
        if column is None:
            other = "take_named" if gap is None else "take_gap"
            raise ValueError(f"{identity} is no id of one sample: use {other}")
        stream = self._stream(gateway, epoch)
        bit = 1 << column
        mask = stream.masks.get(sequence)
        if mask is None:
            mask = self._reopened(stream, sequence)
        if mask & bit:
            stream.repeats += 1
            return False
        stream.masks[sequence] = mask | bit
        stream.samples += 1
        if sequence > stream.fronts.get(lane, 0):
            stream.fronts[lane] = sequence
        if topic:
            _note_order(stream, lane, topic, sequence)
        return True

    def take_named(
        self,
        identity: str | Identity,
        names: Iterable[str],
        *,
        topic: str,
        lane: Hashable = None,
    ) -> list[str]:
        """Return those of a record's samples, by tag name, that are to be used.

        Of one record all have the same topic. Raises ValueError when that is no id of a record.
        """
        parsed = _parsed(identity)
        if parsed.column is not None or parsed.gap is not None:
            raise ValueError(f"{identity} is no id of a whole record")
        known = self._stream(parsed.gateway, parsed.epoch).names.setdefault(topic, {})
        fresh = []
        for name in names:
            bit = known.setdefault(name, len(known))
            if bit > COLUMN_MAX:
                raise ValueError(f"more than {COLUMN_MAX} names on {topic}")
            if self.take(parsed._replace(column=bit), topic=f"{topic}/{name}", lane=lane):
                fresh.append(name)
        return fresh

    def take_gap(
        self, identity: str | Identity, *, device: str, cause: str, scans: int, samples: int
    ) -> bool:
        """Return whether the gap is to be used: False for a repeat.

        What a gap says of its size; 0 and 0: nobody knows it. Raises ValueError for data.
        """
        gateway, epoch, sequence, _, gap = _parsed(identity)
        if gap is None:
            raise ValueError(f"{identity} is no gap: use take")
        stream = self._stream(gateway, epoch)
        if (sequence, gap) in stream.gaps:
            stream.repeats += 1
            return False
        stream.gaps[sequence, gap] = cause in LOST_INSIDE, scans
        if len(stream.gaps) > GAPS_MAX:
            del stream.gaps[next(iter(stream.gaps))]
        if sequence not in stream.gap_at:
            stream.gap_at[sequence] = sequence in stream.spans
        stream.spans.add(sequence)
        lost = stream.lost.setdefault((device, cause), Lost())
        lost.gaps += 1
        lost.scans += scans
        lost.samples += samples
        lost.unknown += scans == samples == 0
        return True

    def samples_up_to(self, gateway: str, epoch: int, sequence: int) -> int:
        """Return how many samples came up to a sequence, which must not lie far back."""
        stream = self._stream(gateway, epoch)
        behind = sum(
            mask.bit_count()
            for masks in (stream.masks, stream.ahead)
            for each, mask in masks.items()
            if each > sequence
        )
        return stream.samples - behind

    def found(self) -> list[Found]:
        """Return what is known of every stream, by gateway and epoch."""
        return [_found(*key, stream) for key, stream in sorted(self._streams.items())]

    def _stream(self, gateway: str, epoch: int) -> _Stream:
        stream = self._streams.get((gateway, epoch))
        if stream is None:
            if len(self._streams) >= STREAMS_MAX:
                raise TooManyStreams(f"more than {STREAMS_MAX} gateways and epochs")
            stream = self._streams[gateway, epoch] = _Stream()
        return stream

    def _reopened(self, stream: _Stream, sequence: int) -> int:
        """Return what is known of a sequence that is not among the masks, and make it one."""
        mask = stream.ahead.pop(sequence, 0)
        if sequence in stream.gap_at:
            stream.gap_at[sequence] = True
        elif not mask and sequence in stream.spans:
            stream.doubtful += 1
        stream.spans.add(sequence)
        if len(stream.masks) >= self._sequences_max:
            self._forget(stream)
        stream.masks[sequence] = mask
        return mask

    def _forget(self, stream: _Stream) -> None:
        passed = min(stream.fronts.values(), default=0)
        if len(stream.ahead) >= self._ahead_max:
            stream.ahead = {each: mask for each, mask in stream.ahead.items() if each > passed}
        step = min(FORGET_STEP, max(1, self._sequences_max // 2))
        for sequence in list(islice(stream.masks, step)):
            mask = stream.masks.pop(sequence)
            if sequence > passed and len(stream.ahead) < self._ahead_max:
                stream.ahead[sequence] = mask


def _parsed(identity: str | Identity) -> Identity:
    return parse_identity(identity) if isinstance(identity, str) else identity


def _note_order(stream: _Stream, lane: Hashable, topic: str, sequence: int) -> None:
    before = stream.newest.get((lane, topic), 0)
    if sequence >= before:
        if before or len(stream.newest) < TOPICS_MAX:
            stream.newest[lane, topic] = sequence
        return
    stream.disorder += 1
    if len(stream.disorder_topics) < EXAMPLES_MAX and topic not in stream.disorder_topics:
        stream.disorder_topics.append(topic)


def _found(gateway: str, epoch: int, stream: _Stream) -> Found:
    missing, told = _untold(stream)
    return Found(
        gateway=gateway,
        epoch=epoch,
        first=stream.spans.lowest,
        last=stream.spans.highest,
        samples=stream.samples,
        repeats=stream.repeats,
        doubtful=stream.doubtful,
        missing=sum(last - first + 1 for first, last in missing) + stream.spans.given_up,
        told=told,
        missing_spans=missing[:EXAMPLES_MAX],
        lost=dict(sorted(stream.lost.items())),
        disorder=stream.disorder,
        disorder_topics=list(stream.disorder_topics),
    )


def _untold(stream: _Stream) -> tuple[list[tuple[int, int]], int]:
    """Return the holes that no gap tells, ascending, and how many sequences gaps tell."""
    named: dict[int, int] = {}
    for (sequence, _), (inside, scans) in stream.gaps.items():
        if inside:
            named[sequence] = named.get(sequence, 0) + scans
    holes = list(stream.spans.holes())
    missing: list[tuple[int, int]] = []
    told = 0
    waiting: list[tuple[int, int]] = []
    at = 0
    for sequence, scans in sorted(named.items()):
        while at < len(holes) and holes[at][1] < sequence:
            waiting.append(holes[at])
            at += 1
        budget = scans if stream.gap_at[sequence] else scans - 1  # Its own sequence is one of them.
        if waiting and waiting[-1][1] == sequence - 1:
            first, last = waiting.pop()
            told += last - first + 1
            budget -= last - first + 1
        while waiting and budget > 0:
            first, last = waiting.pop()
            part = min(budget, last - first + 1)
            told += part
            budget -= part
            if part < last - first + 1:
                waiting.append((first, last - part))
        missing += waiting
        waiting = []
    return missing + holes[at:], told
