"""The profile `sparkplug`: the samples of an asset as the metrics of a DDATA, in Protocol Buffers.

A parcel is as many records as fit the bytes of a message, worded as one message for each device
that is among them. A message is made of metrics alone: publication time and `seq` are added when
it is published (targets/sparkplug.py), because they are those of the wire and not of the data.

    metric    alias, or name · timestamp, ms UTC · is_historical · value or is_null · properties

What is Good needs no property; otherwise `Quality` and `reason` say what the value is worth, and
`clock`, `source_time`, `repeat` what is known of its time (uplink/sparkplug/judging.py). A gap is
the metric `Gap` of the node: text, the same JSON object as in the profile `uns`.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from common.records import GapRecord, Plan, Quality, Record
from uplink.contract import Manner, Message, Parcel
from uplink.payloads.parts import PerPlan, has_texts
from uplink.payloads.uns import GAP_INDEX, NS_PER_MS, UnsWording
from uplink.settings import PayloadConfig
from uplink.sparkplug.births import GAP, GAP_ALIAS
from uplink.sparkplug.book import Book, Metric
from uplink.sparkplug.judging import judged, quality_field
from uplink.sparkplug.naming import Names
from uplink.sparkplug.wire import (
    DOUBLE_TAG,
    HISTORICAL,
    METRIC_TAG,
    NULL,
    TIMESTAMP_TAG,
    DataType,
    MetricField,
    metric,
    number_field,
    text_field,
    value_field,
    varint,
)
from uplink.surroundings import Identity

SAMPLE_BYTES = 30
"""Of one metric with an alias, a number and nothing else, at most."""
NAME_BYTES = 64
"""More for one that is told by its name; tag names are rarely longer."""
JUDGED_BYTES = 200
"""More for one that has properties; all of them, and the longest name of a status code."""
TEXT_FACTOR = 4
"""Bytes of UTF-8 per character, at most."""
_DOUBLE_BYTES = 9
_TOGETHER_MAX = 1_000
"""Doubles packed in one call."""


class Piece(NamedTuple):
    """Some samples of one record, all of them usually."""

    record: Record
    start: int
    stop: int


class SparkplugWording:
    """The profile for one gateway; `book` is what its target's session is registered in."""

    def __init__(self, book: Book, identity: Identity) -> None:
        self.book = book
        self._gaps = UnsWording(identity)
        self._texts = PerPlan(has_texts)
        self._tellings: dict[bytes, _Telling] = {}
        self._tellings_of = -1
        self._laid_out: tuple[tuple[Record | GapRecord, ...], list[list[Piece]]] = ((), [])

    def parcels(self, records: Sequence[Record | GapRecord], manner: Manner) -> Iterator[Parcel]:
        """As many records as fit one message together; a gap is alone."""
        gathered: list[Record | GapRecord] = []
        size = 0
        for record in records:
            own = 0 if isinstance(record, GapRecord) else self._size(record)
            alone = isinstance(record, GapRecord)
            if gathered and (alone or size + own > manner.payload_bytes_max):
                yield self._parcel(tuple(gathered), manner)
                gathered, size = [], 0
            if alone:
                yield Parcel((record,), 1, manner)
            else:
                gathered.append(record)
                size += own
        if gathered:
            yield self._parcel(tuple(gathered), manner)

    def _parcel(self, records: tuple[Record | GapRecord, ...], manner: Manner) -> Parcel:
        return Parcel(records, len(self._layout(records, manner)), manner)

    def index(self, parcel: Parcel, number: int) -> int:
        """Return the plan column of a message with one sample, else its number; a gap's below 0."""
        first = parcel.records[0]
        if isinstance(first, GapRecord):
            return GAP_INDEX - first.number
        pieces = self._layout(parcel.records, parcel.manner)[number]
        record, start, stop = pieces[0]
        if len(pieces) == 1 and stop - start == 1:
            return start if record.indexes is None else record.indexes[start]
        return number

    def message(self, parcel: Parcel, number: int) -> Message:
        """Return the metrics of message `number`. Nothing in it can make it unwordable."""
        first = parcel.records[0]
        historical = parcel.manner.historical
        if isinstance(first, GapRecord):
            return self._gap(parcel, first)
        pieces = self._layout(parcel.records, parcel.manner)[number]
        for piece in pieces:  # First of all: a plan never met may change how others are told.
            self._telling(piece.record.plan)
        told: list[tuple[int, bytes]] = []
        for piece in pieces:
            if not historical:
                self.book.watch(piece.record)
            telling = self._telling(piece.record.plan)
            told += telling.told(piece, HISTORICAL if historical else b"")
        if not historical:
            told.sort(key=_at_ms)  # Stable, and nothing to do for most: they come in order.
        topic = self._telling(pieces[0].record.plan).topic
        return self._message(topic, b"".join([content for _, content in told]))

    def _message(self, topic: str, content: bytes) -> Message:
        return Message(topic, content, retain=False, headers=self.book.mark, content_type="")

    def _telling(self, plan: Plan) -> "_Telling":
        metrics = None
        if plan.fingerprint not in self._tellings:
            metrics = self.book.metrics_of(plan)
        if self._tellings_of != self.book.changes:
            self._tellings.clear()
            self._tellings_of = self.book.changes
            metrics = self.book.metrics_of(plan)
        if metrics is not None:
            names = self.book.names
            self._tellings[plan.fingerprint] = _Telling(
                names.topic("DDATA", names.device(plan)), metrics
            )
        return self._tellings[plan.fingerprint]

    def _layout(self, records: tuple[Record | GapRecord, ...], manner: Manner) -> list[list[Piece]]:
        """Return which samples stand in which message: by device, none larger than allowed."""
        if self._laid_out[0] is records:
            return self._laid_out[1]
        found: list[list[Piece]] = []
        open_at: dict[str, tuple[int, int]] = {}
        for record in records:
            if isinstance(record, GapRecord):
                continue
            device = self.book.names.device(record.plan)
            for piece, size in self._pieces(record, manner.payload_bytes_max):
                at, filled = open_at.get(device, (-1, 0))
                if at < 0 or filled + size > manner.payload_bytes_max:
                    at, filled = len(found), 0
                    found.append([])
                found[at].append(piece)
                open_at[device] = at, filled + size
        self._laid_out = records, found
        return found

    def _pieces(self, record: Record, bytes_max: int) -> Iterator[tuple[Piece, int]]:
        whole = self._size(record)
        count = len(record.values)
        if whole <= bytes_max or count <= 1:
            yield Piece(record, 0, count), whole
            return
        # So few that even the longest text in each would fit, as far as one alone does.
        longest = max((len(v) for v in record.values if isinstance(v, str | bytes)), default=0)
        each = SAMPLE_BYTES + NAME_BYTES + JUDGED_BYTES + TEXT_FACTOR * longest
        together = max(1, bytes_max // each)
        for start in range(0, count, together):
            stop = min(count, start + together)
            yield Piece(record, start, stop), (stop - start) * each

    def _size(self, record: Record) -> int:
        """Return how many bytes the samples of a record take, rather more than less."""
        count = len(record.values)
        size = count * (SAMPLE_BYTES if self.book.with_aliases else SAMPLE_BYTES + NAME_BYTES)
        if record.qualities is not None:
            size += JUDGED_BYTES * sum(map(bool, record.qualities))
        if not all_finite(record.values):
            size += JUDGED_BYTES * sum(judged(each, 0)[1] != 0 for each in record.values)
        if self._texts.of(record.plan):
            texts = sum(len(each) for each in record.values if isinstance(each, str | bytes))
            size += TEXT_FACTOR * texts
        return size

    def _gap(self, parcel: Parcel, record: GapRecord) -> Message:
        named = number_field(MetricField.ALIAS, GAP_ALIAS)
        if not self.book.tells_aliases:
            named = text_field(MetricField.NAME, GAP)
        said = self._gaps.message(Parcel((record,), 1, parcel.manner), 0).payload
        content = metric(
            b"".join(
                (
                    named,
                    number_field(MetricField.TIMESTAMP, record.gap.last_at_ns // NS_PER_MS),
                    HISTORICAL if parcel.manner.historical else b"",
                    value_field(DataType.STRING, said.decode()),
                )
            )
        )
        return self._message(self.book.names.topic("NDATA"), content)


class _Telling:
    """How the columns of one plan are told in one session."""

    def __init__(self, topic: str, metrics: list[Metric]) -> None:
        self.topic = topic
        self._metrics = metrics
        self._named = [
            number_field(MetricField.ALIAS, each.alias)
            if each.alias is not None
            else text_field(MetricField.NAME, each.name)
            for each in metrics
        ]
        alike = len({len(each) for each in self._named}) == 1
        self._numbers = alike and all(each.datatype is DataType.DOUBLE for each in metrics)
        self._heads: dict[int, list[bytes]] = {}

    def told(self, piece: Piece, historical: bytes) -> list[tuple[int, bytes]]:
        """Return (time in ms, bytes) of the samples, those of one time together."""
        record, start, stop = piece
        if record.source_at_ns is not None:
            return [self._one(record, at, historical) for at in range(start, stop)]
        at_ms = record.read_at_ns // NS_PER_MS
        stamp = TIMESTAMP_TAG + varint(at_ms) + historical
        whole = stop - start == len(record.values)
        values = record.values if whole else record.values[start:stop]
        if self._numbers and record.qualities is None and all_finite(values):
            return [(at_ms, self._doubles(values, record, start, stamp))]
        return [
            (at_ms, b"".join([self._one(record, i, historical)[1] for i in range(start, stop)]))
        ]

    def _doubles(self, values: list[Any], record: Record, start: int, stamp: bytes) -> bytes:
        """Return the metrics of doubles, all Good and of one time: the usual case, in one call."""
        length = len(self._named[0]) + len(stamp) + _DOUBLE_BYTES
        heads = self._heads.get(length)
        if heads is None:
            head = METRIC_TAG + varint(length)
            heads = self._heads[length] = [head + each for each in self._named]
        if record.indexes is not None:
            heads = [heads[i] for i in record.indexes[start : start + len(values)]]
        elif len(values) != len(heads):
            heads = heads[start : start + len(values)]
        stamp += DOUBLE_TAG
        parts = []
        for first in range(0, len(values), _TOGETHER_MAX):
            some = values[first : first + _TOGETHER_MAX]
            row: list[Any] = [stamp] * (3 * len(some))
            row[0::3] = heads[first : first + len(some)]
            row[2::3] = some
            parts.append(_packer(len(some), len(heads[0]), len(stamp))(*row))
        return b"".join(parts)

    def _one(self, record: Record, at: int, historical: bytes) -> tuple[int, bytes]:
        index = at if record.indexes is None else record.indexes[at]
        source_ns = None if record.source_at_ns is None else record.source_at_ns[at]
        at_ms = (record.read_at_ns if source_ns is None else source_ns) // NS_PER_MS
        code = Quality.GOOD if record.qualities is None else record.qualities[at]
        value, code = judged(record.values[at], code)
        told = NULL
        if value is not None:
            try:
                told = value_field(self._metrics[index].datatype, value)
            except (ValueError, TypeError, OverflowError):
                # Its tag has another type now, and this value has no place in that.
                code = code if code & Quality.BAD else Quality.BAD_TYPE_MISMATCH
        stamp = TIMESTAMP_TAG + varint(at_ms) + historical
        judgement = quality_field(code) if code else b""
        return at_ms, metric(self._named[index] + stamp + told + judgement)


def all_finite(values: list[Any]) -> bool:
    """Return whether these are numbers, and their sum too; false for a few that would do."""
    try:
        return isfinite(sum(values))
    except (TypeError, OverflowError):
        return False


@lru_cache(maxsize=512)
def _packer(count: int, head_bytes: int, stamp_bytes: int) -> Any:
    return struct.Struct("<" + f"{head_bytes}s{stamp_bytes}sd" * count).pack


def _at_ms(told: tuple[int, bytes]) -> int:
    return told[0]


def build_wording(config: PayloadConfig, identity: Identity) -> SparkplugWording:
    """Return the profile `sparkplug` for one gateway."""
    names = Names(config.sparkplug, identity)
    return SparkplugWording(Book(names, aliases=config.sparkplug.aliases), identity)
