"""What is known of each tag, retained on `<asset>/_meta/<tag>`: for those who read a value's name.

    {"topic":"Acme/SiteA/L1/Press/Temperature_C","type":"float64","unit":"Cel","unece":"CEL",
     "description":"Oil temperature","minimum":-20.0,"maximum":120.0,"class":"normal",
     "levels":{"enterprise":"Acme","site":"SiteA","line":"L1"},"asset":"Press","device":"press",
     "group":"process","period_ms":250,"index":0,"plan":"9f2c…"}

Told of the tags of all groups that are read, once for each connection and when a table has changed.
A tag that is gone has its message cleared, as far as this process has told it. It stands in a
branch of its own, so that `Site/#` can leave it out by `_meta`.

These messages are nobody's records, as the status is not: one that is refused is not tried again,
and is logged once. They begin when the connection has caught up with the queue (or after
PATIENCE_S), RATE_PER_S of them, a few at a time, each few after the answers to those before: what
waits for the window is data.
"""

from collections import deque
from collections.abc import Iterator
from math import isfinite
from typing import NamedTuple

import msgspec

from common.log import get_log
from common.queue import QueueReader
from common.records import (
    Column,
    CounterDelta,
    CounterTotal,
    EnumTexts,
    Expression,
    Plan,
    WindowValue,
)
from common.units import unit_named
from uplink.contract import JSON, Connection, Message, Verdict
from uplink.newest import Newest, newest_plans
from uplink.surroundings import Surroundings

LOOK_INTERVAL_S = 10.0
"""Between looks for tables that have changed."""
PATIENCE_S = 10.0
RATE_PER_S = 200.0
BURST_MAX = 5
WINDOW_SHARE = 4
"""At most a fourth of the room that the answers have left."""
PAUSE_S = 60.0
"""After a refusal for now."""
REFUSED_MAX = 20
"""In a row: then nothing more is told on this connection; the branch may be forbidden."""
LOST_MAX = 3
"""Connections in a row that ended, without a reason, before anything of this was answered."""
SILENCE_S = 600.0
"""After those: a broker may hang up on a topic that is too deep for it, and say nothing."""
QUIET_DAYS = 7
QUIET_NS = QUIET_DAYS * 86_400 * 1_000_000_000
"""A group of which nothing came for so long, while others came, is no longer read."""

_MADE = {CounterDelta: "delta", CounterTotal: "total", Expression: "expression"}

log = get_log(__name__)


class TagMeta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one tag. Fields are only added; what is not known is left out."""

    topic: str
    """Where its values are, in the profile `uns`; in every profile, what it is called."""
    type: str
    """bool, int64, uint64, float64, string or bytes."""
    unit: str = ""
    """UCUM code, where the unit is known; else as it was written."""
    unece: str = ""
    """Common code of UNECE Recommendation 20."""
    symbol: str = ""
    """The unit, for people."""
    description: str = ""
    semantic_id: str = ""
    minimum: float | None = None
    maximum: float | None = None
    """A value beyond is Uncertain."""
    clamp_low: float | None = None
    clamp_high: float | None = None
    """A value beyond is held there, and Uncertain."""
    texts: list[str] = []
    """What a state may be called."""
    made: str = ""
    """`delta`, `total`, `expression` or `window`, where no device gives the value."""
    deadband: float | None = None
    deadband_percent: float | None = None
    min_interval_ms: int | None = None
    heartbeat_s: float | None = None
    """Why it is silent, and how long: docs/tag-tables.md."""
    loss_class: str = msgspec.field(default="", name="class")
    levels: dict[str, str] = {}
    """Name of level → level above the asset."""
    asset: str = ""
    device: str = ""
    group: str = ""
    period_ms: int = 0
    address: str = ""
    source_type: str = ""
    """As the device's protocol writes them; only where [gateway] publish_addresses is set."""
    index: int
    """As in the `id` of its samples, while `plan` is the plan."""
    plan: str
    """Fingerprint of the group's table, in hexadecimal: the version of all this."""


class _Tag(NamedTuple):
    """One column of one plan."""

    plan: Plan
    column: int

    @property
    def key(self) -> tuple[bytes, int]:
        return self.plan.fingerprint, self.column


class MetaTelling:
    """What one uplink tells of the tags, across connections."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._reader = surroundings.reader
        self._newest = surroundings.newest
        self._addresses = surroundings.publish_addresses
        self._tags: dict[str, _Tag] = {}
        """By topic of their message: those that are read."""
        self._told: dict[str, tuple[bytes, int]] = {}
        """On this connection."""
        self._kept: set[str] = set()
        """Topics at which the far side may have something of ours."""
        self._refused: dict[str, tuple[bytes, int]] = {}
        self._due: deque[str] = deque()
        self._in_flight: dict[int, str] = {}
        self._plans: set[bytes] = set()
        self._look_at_s = 0.0
        self._begin_at_s = 0.0
        self._next_at_s = 0.0
        self._begun = False
        self._refusals = 0
        self._lost = 0
        self._silent_until_s = 0.0
        self._logged = False

    @property
    def speaking(self) -> bool:
        """True while a message is in flight."""
        return bool(self._in_flight)

    def connected(self, now_s: float) -> None:
        """Begin anew: the far side may have forgotten everything."""
        self._told.clear()
        self._plans = set()
        self._due.clear()
        self._look_at_s, self._begin_at_s = now_s, now_s + PATIENCE_S
        self._begun, self._refusals = False, 0

    def disconnected(self, blamed: str, now_s: float) -> None:
        """Forget what was in flight; one of it may be why the far side cut us off."""
        for topic in self._in_flight.values() if blamed else ():
            self._refuse(topic, blamed)
        self._lost += bool(self._in_flight) and not blamed
        if self._lost >= LOST_MAX:
            self._lost, self._silent_until_s = 0, now_s + SILENCE_S
            self._tell_once(next(iter(self._in_flight.values())), "the connection ends each time")
        self._in_flight.clear()

    def wants_to_speak(self, now_s: float) -> bool:
        """Return whether there may be something to publish now."""
        silent = self._refusals >= REFUSED_MAX or now_s < self._silent_until_s
        if self._in_flight or silent:
            return False
        return now_s >= self._look_at_s or (bool(self._due) and now_s >= self._next_at_s)

    def speak(self, connection: Connection, now_s: float, *, caught_up: bool) -> None:
        """Publish a few, when it is time and the window has room."""
        self._begun = self._begun or caught_up or now_s >= self._begin_at_s
        if not self._begun or not self.wants_to_speak(now_s):
            return
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_INTERVAL_S
            self._look()
        if not self._due or now_s < self._next_at_s:
            return
        room = connection.room
        most = min(BURST_MAX, max(room // WINDOW_SHARE, min(room, 1) if caught_up else 0))
        count = 0
        while self._due and count < most:
            count += self._publish(connection, self._due.popleft())
        self._next_at_s = now_s + count / RATE_PER_S

    def answered(self, ticket: int, verdict: Verdict, reason: str, now_s: float) -> bool:
        """Account for an answer; return False when it is not for one of these messages."""
        topic = self._in_flight.pop(ticket, None)
        if topic is None:
            return False
        if verdict is Verdict.TAKEN:
            self._refusals = self._lost = 0
            if topic in self._tags:
                self._kept.add(topic)
            else:
                self._kept.discard(topic)
        elif verdict is Verdict.LATER:
            self._told.pop(topic, None)
            self._due.appendleft(topic)
            self._next_at_s = now_s + PAUSE_S
        else:
            self._refuse(topic, reason)
        return True

    def _look(self) -> None:
        """Find out which tags are read, and what is to be told of them."""
        plans = plans_read(self._reader, self._newest)
        fingerprints = {plan.fingerprint for plan in plans}
        if fingerprints == self._plans:
            return
        self._plans = fingerprints
        self._tags = {
            meta_topic(column): _Tag(plan, index)
            for plan in plans
            for index, column in enumerate(plan.columns)
        }
        gone = [topic for topic in self._kept if topic not in self._tags]
        new = [
            topic
            for topic, tag in self._tags.items()
            if tag.key not in (self._told.get(topic), self._refused.get(topic))
        ]
        self._due = deque([*gone, *new])

    def _publish(self, connection: Connection, topic: str) -> bool:
        """Publish one; return False when it cannot be."""
        tag = self._tags.get(topic)
        payload = self._payload(tag) if tag is not None else b""
        message = Message(topic, payload, retain=True, content_type=JSON if payload else "")
        rejection = connection.rejection(message)
        if rejection is not None:
            self._refuse(topic, rejection)
            return False
        self._in_flight[connection.publish(message)] = topic
        if tag is not None:
            self._told[topic] = tag.key
        return True

    def _payload(self, tag: _Tag) -> bytes:
        return msgspec.json.encode(meta_of(tag.plan, tag.column, addresses=self._addresses))

    def _refuse(self, topic: str, reason: str) -> None:
        """Do not try this one again."""
        self._refusals += 1
        if topic in self._tags:
            self._refused[topic] = self._tags[topic].key
        else:
            self._kept.discard(topic)
        self._tell_once(topic, reason)

    def _tell_once(self, topic: str, reason: str) -> None:
        if not self._logged:
            self._logged = True
            log.warning(
                "what is known of a tag was refused; nothing is said of others that are",
                topic=topic,
                reason=reason,
            )


def meta_topic(column: Column) -> str:
    """Return where what is known of a tag is told."""
    return f"{column.topic.removesuffix(column.name)}_meta/{column.name}"


def meta_of(plan: Plan, index: int, *, addresses: bool) -> TagMeta:
    """Return what is known of one column of a plan; its address only where that may be told."""
    column = plan.columns[index]
    unit = unit_named(column.unit) if column.unit else None
    transform = column.transform
    return TagMeta(
        topic=column.topic,
        type=column.value_type,
        unit=column.unit,
        unece=unit.unece if unit else "",
        symbol=unit.symbol if unit else "",
        description=column.description,
        semantic_id=column.semantic_id,
        minimum=_limit(column.minimum),
        maximum=_limit(column.maximum),
        clamp_low=_limit(column.clamp_low),
        clamp_high=_limit(column.clamp_high),
        texts=[text for _, text in transform.texts] if isinstance(transform, EnumTexts) else [],
        made=_made(column),
        deadband=column.deadband or None,
        deadband_percent=column.deadband_percent or None,
        min_interval_ms=column.min_interval_ms or None,
        heartbeat_s=column.heartbeat_s or None,
        loss_class=column.loss_class,
        levels=plan.location,
        asset=plan.asset,
        device=plan.device,
        group=plan.group,
        period_ms=plan.period_ms,
        address=column.address if addresses and column.made is None else "",
        source_type=column.source_type if addresses and column.made is None else "",
        index=index,
        plan=plan.fingerprint.hex(),
    )


def plans_read(reader: QueueReader, newest: Newest) -> list[Plan]:
    """Return the plan of every group that is read: the newest that is known of it.

    Of a group of which no record was met yet that is the one that came to the catalog last.
    """
    quiet = set(_quiet_groups(reader))
    plans = newest_plans(reader, newest)
    return [plan for plan in plans if (plan.device, plan.group) not in quiet]


def _quiet_groups(reader: QueueReader) -> Iterator[tuple[str, str]]:
    """Yield the groups of which nothing has come for long, by the newest of all groups."""
    last_at_ns: dict[tuple[str, str], int] = {}
    for name, tally in reader.tallies().items():
        _, device, group = name.split("/", 2)
        last_at_ns[device, group] = max(tally.last_at_ns, last_at_ns.get((device, group), 0))
    latest_ns = max(last_at_ns.values(), default=0)
    for device_group, at_ns in last_at_ns.items():
        if latest_ns - at_ns > QUIET_NS:
            yield device_group


def _limit(value: float) -> float | None:
    return value if isfinite(value) else None


def _made(column: Column) -> str:
    if column.made is None:
        return ""
    return "window" if isinstance(column.made, WindowValue) else _MADE[type(column.made)]
