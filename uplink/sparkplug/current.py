"""What the gateway knows now, whatever has been delivered: what a birth certificate states.

A tag that changes once a month was told long ago, and its record is no longer in the queue. So the
newest value of every tag is kept beside the cursor as well, a few times an hour and on leaving;
a process that starts begins with it, and reads the end of the queue for what has changed since.

In the cursor's notes
    sparkplug-newest    msgpack: [sequence, [[fingerprint, [[column, read_at_ns, value, quality,
                        source_at_ns], …]], …]]; left out when it is larger than KEPT_BYTES_MAX

Limits
    LOOK_BACK_RECORDS of the queue are read for a birth; a value that changed before them, and after
    it was kept last, is told as it was kept.
"""

from typing import Any

import msgspec

from common.clock import monotonic_s
from common.log import get_log
from common.queue import Cursor, QueueReader
from common.records import Plan, Record
from uplink.newest import Newest, NewestSample, newest_plans
from uplink.sparkplug.book import Metric

NOTE = "sparkplug-newest"
KEPT_BYTES_MAX = 4 * 1024**2
KEEP_INTERVAL_S = 900.0
LOOK_BACK_RECORDS = 1_024

log = get_log(__name__)


class _Sample(msgspec.Struct, frozen=True, array_like=True):
    column: int
    read_at_ns: int
    value: Any
    quality: int
    source_at_ns: int | None


class _Group(msgspec.Struct, frozen=True, array_like=True):
    plan: bytes
    samples: list[_Sample]


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    sequence: int
    epoch: int
    groups: list[_Group]


class Current:
    """The newest plan of every group and the newest sample of every tag."""

    def __init__(self, reader: QueueReader, newest: Newest, cursor: Cursor) -> None:
        self._reader = reader
        self._newest = newest
        self._cursor = cursor
        self._looked_at = 0
        self._keep_at_s = monotonic_s() + KEEP_INTERVAL_S
        self._begin()

    def look(self) -> None:
        """Follow the queue to its end, so that a birth tells what is true now."""
        last = self._reader.last_sequence()
        after = max(self._looked_at, last - LOOK_BACK_RECORDS)
        while after < last:
            found = self._reader.read(after=after, up_to=last)
            for record in found:
                if isinstance(record, Record):
                    self._newest.note(record)
            after = found[-1].sequence if found else last
        self._looked_at = last

    def plans(self) -> list[Plan]:
        """Return the newest plan of every group."""
        return newest_plans(self._reader, self._newest)

    def sample(self, told: Metric) -> NewestSample | None:
        """Return what is newest of a metric, None when nothing is known."""
        return self._newest.of(told.plan)[told.number]

    def samples(self, plan: Plan) -> list[NewestSample]:
        """Return what is newest of the tags that a plan's device gives, as far as it is known."""
        found = self._newest.of(plan)[: len(plan.scanned)]
        return [each for each in found if each is not None]

    def keep_when_due(self) -> None:
        """Keep what is newest when KEEP_INTERVAL_S have passed since the last time."""
        if monotonic_s() >= self._keep_at_s:
            self.keep()

    def keep(self) -> None:
        """Keep what is newest beside the cursor."""
        self._keep_at_s = monotonic_s() + KEEP_INTERVAL_S
        groups = [
            _Group(
                plan.fingerprint,
                [
                    _Sample(i, each.read_at_ns, each.value, each.quality, each.source_at_ns)
                    for i, each in enumerate(self._newest.of(plan))
                    if each is not None
                ],
            )
            for plan in self._newest.plans()
        ]
        kept = msgspec.msgpack.encode(_Kept(self._looked_at, self._reader.epoch, groups))
        if len(kept) <= KEPT_BYTES_MAX:
            self._cursor.keep_note(NOTE, kept)

    def _begin(self) -> None:
        """Take in what was kept, as older than anything that the queue will tell."""
        note = self._cursor.note(NOTE)
        if note is None:
            return
        try:
            kept = msgspec.msgpack.decode(note, type=_Kept)
        except msgspec.DecodeError as error:
            log.warning("what was kept of the newest values cannot be read", error=error)
            return
        if kept.epoch == self._reader.epoch:
            self._looked_at = kept.sequence
        plans = {plan.fingerprint: plan for plan in self._reader.plans()}
        for group in kept.groups:
            if plan := plans.get(group.plan):
                self._take_in(plan, group.samples)

    def _take_in(self, plan: Plan, samples: list[_Sample]) -> None:
        width = len(plan.columns)
        for each in samples:
            if each.column < width:
                self._newest.note(
                    Record(
                        0,
                        plan,
                        each.read_at_ns,
                        [each.value],
                        [each.column],
                        [each.quality],
                        [each.source_at_ns],
                    )
                )
