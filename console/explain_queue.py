"""What the queue holds of one tag, and who has had it."""

from typing import NamedTuple

from common.clock import now_ns
from common.errors import QueueUnusable
from common.health import read_health
from common.places import Places
from common.queue import Cursor, QueueReader
from common.queue.cutoff import spans_of
from common.records import REPEATED_MASK, TIME_MARKS, Column, GapRecord, Plan, Record, is_repeated
from console.accounts import UplinkAccount, account
from console.explain_found import TargetState
from console.queue_targets import targets_of

FIRST_SPAN = 256
"""Sequences looked at first, from the newest back; then four times as many, and so on."""
LOOK_BACK_MAX = 2_000_000
"""Sequences: some seconds. What was last told longer ago is not found, which is said."""


class Told(NamedTuple):
    """One sample of the queue."""

    record: Record
    place: int
    """Among the record's values."""
    number: int
    """Of the column in the record's plan: the index of the sample's identity."""

    @property
    def column(self) -> Column:
        """As its plan has it."""
        return self.record.plan.columns[self.number]

    @property
    def code(self) -> int:
        """Its quality, without the marks of a repetition and of its time: none is compared."""
        code = self.record.qualities[self.place] if self.record.qualities else 0
        code &= ~TIME_MARKS
        return code & ~REPEATED_MASK if is_repeated(code) else code

    @property
    def repeated(self) -> bool:
        """Whether it was told before, and only told again."""
        codes = self.record.qualities
        return codes is not None and is_repeated(codes[self.place])

    @property
    def source_at_ns(self) -> int | None:
        """The device's own time of it."""
        times = self.record.source_at_ns
        return times[self.place] if times else None


def last_told(reader: QueueReader, topic: str) -> Told | None:
    """Return the newest sample of a topic, looking back LOOK_BACK_MAX sequences at most.

    Blocks that hold none of its plans are not unpacked.
    """
    up_to, first = reader.last_sequence(), reader.summary().first_sequence
    least = max(first, up_to - LOOK_BACK_MAX)
    span = FIRST_SPAN
    places: dict[bytes, int | None] = {}
    while first and up_to >= least:
        after = max(least - 1, up_to - span)
        found = _newest_in(reader, topic, after, up_to, places)
        if found is not None:
            return found
        up_to, span = after, span * 4
    return None


def _newest_in(
    reader: QueueReader, topic: str, after: int, up_to: int, places: dict[bytes, int | None]
) -> Told | None:
    blocks = []
    for first, last, header in reader.headers(after=after):
        if first > up_to:
            break
        if header is not None and any(
            _index(reader.plan_by_id(each.plan_id), topic, places) is not None
            for each in header.plans
        ):
            blocks.append((max(after, first - 1), min(up_to, last)))
    for begin, end in reversed(blocks):
        for record in reversed(reader.read(after=begin, up_to=end, records_max=end - begin)):
            if isinstance(record, GapRecord):
                continue
            index = _index(record.plan, topic, places)
            if index is not None and (place := _place(record, index)) is not None:
                return Told(record, place, index)
    return None


def _index(plan: Plan, topic: str, places: dict[bytes, int | None]) -> int | None:
    """Return the column of a topic in a plan, None when it has none."""
    if plan.fingerprint not in places:
        topics = [column.topic for column in plan.columns]
        places[plan.fingerprint] = topics.index(topic) if topic in topics else None
    return places[plan.fingerprint]


def _place(record: Record, index: int) -> int | None:
    if record.indexes is None:
        return index
    return record.indexes.index(index) if index in record.indexes else None


def told_since(reader: QueueReader, topic: str, since_ns: int) -> int:
    """Return how many samples of a topic were read at or after an instant; bounded as above."""
    up_to, first = reader.last_sequence(), reader.summary().first_sequence
    places: dict[bytes, int | None] = {}
    count = 0
    for begin, end, header in reader.headers(after=max(first - 1, up_to - FIRST_SPAN * 64)):
        if header is None or header.last_at_ns < since_ns:
            continue
        for record in reader.read(after=begin - 1, up_to=end, records_max=end - begin + 1):
            if isinstance(record, Record) and record.read_at_ns >= since_ns:
                index = _index(record.plan, topic, places)
                count += index is not None and _place(record, index) is not None
    return count


def states(places: Places, reader: QueueReader, told: Told) -> list[TargetState]:
    """Return what each target has of a sample."""
    health = read_health(places.run_dir)
    found = []
    cut = spans_of(reader.cut_offs())
    for each in targets_of(places, reader):
        sequence = told.record.sequence
        has = each.has(sequence)
        reason = _set_aside(places, each.target, told) if has else None
        state = "set aside" if reason else "acknowledged" if has else "waiting"
        if not has and not (each.holds_back and each.begun):
            state = "not begun" if each.holds_back else "not configured"
        if any(span.first <= sequence <= span.last for span in cut.get(each.target, ())):
            state = "cut off"
        ack_ns = account(health.get(f"uplink-{each.target}"), UplinkAccount).last_ack_at_ns
        found.append(
            TargetState(
                target=each.target,
                acknowledged=each.acknowledged,
                state=state,
                behind=0 if has else max(0, sequence - each.acknowledged),
                last_ack_age_s=None if ack_ns is None else max(0.0, (now_ns() - ack_ns) / 1e9),
                reason=reason,
            )
        )
    return found


def _set_aside(places: Places, target: str, told: Told) -> str | None:
    """Return why a sample was refused for good, None when it was not."""
    try:
        cursor = Cursor.open_existing(places.queue_dir, target)
    except QueueUnusable:
        return None  # Whose cursor this is says so in `tailrace queue stat`.
    try:
        letters = cursor.set_aside()
    finally:
        cursor.close()
    wanted = (told.record.sequence, told.number)
    return next((each.reason for each in letters if (each.sequence, each.index) == wanted), None)
