"""Goal: what is known of each tag is told once, in time, and never in the way of data.

Method: a far side that is a list, a clock that is a number, and a real queue for what is read.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.queue import Bounds, Cursor, QueueWriter
from common.queue.reader import Tally
from common.records import (
    Column,
    CounterDelta,
    EnumTexts,
    Expression,
    LossClass,
    Plan,
    Record,
    ValueType,
    WindowValue,
)
from tests.unit.common.block_builders import part_of
from tests.unit.uplink.wordings import ASSET, IDENTITY, PLAN, plan_of
from uplink.contract import Answer, Message, Verdict
from uplink.meta import (
    BURST_MAX,
    LOOK_INTERVAL_S,
    LOST_MAX,
    PATIENCE_S,
    PAUSE_S,
    QUIET_NS,
    RATE_PER_S,
    REFUSED_MAX,
    SILENCE_S,
    MetaTelling,
    meta_of,
    meta_topic,
)
from uplink.newest import Newest
from uplink.surroundings import Surroundings

NOW_NS = 1_700_000_000_000_000_000


class FarSide:
    """Keeps what is published until it is answered."""

    def __init__(self) -> None:
        self.room = 100
        self.sent: list[Message] = []
        self.unanswered: list[int] = []
        self.notes: tuple[str, ...] = ()
        self.payload_bytes_max = 10**6
        self.too_large = 10**6

    def rejection(self, message: Message) -> str | None:
        return "too large" if len(message.payload) > self.too_large else None

    def publish(self, message: Message) -> int:
        self.sent.append(message)
        self.unanswered.append(len(self.sent))
        return len(self.sent)

    def exchange(self, wait_s: float) -> list[Answer]:
        raise NotImplementedError(wait_s)

    def close(self) -> None:
        raise NotImplementedError


class World:
    """One uplink's telling of the tags of a queue."""

    def __init__(self, folder: Path) -> None:
        self.queue = QueueWriter.create(folder / "queue", Bounds(capacity_bytes=64 * 1024**2))
        self.cursor = Cursor.open(folder / "queue", "uns", epoch=self.queue.epoch)
        self.newest = Newest()
        self.far = FarSide()
        self.now_s = 0.0
        self.meta = self.telling()

    def telling(self, **more: Any) -> MetaTelling:
        around = Surroundings(IDENTITY, self.queue, self.cursor, self.newest, **more)
        meta = MetaTelling(around)
        meta.connected(self.now_s)
        return meta

    def commit(self, plan: Plan, **more: Any) -> None:
        values: list[Any] = [None] * len(plan.columns)
        bad = [0x80000000] * len(values)
        self.queue.append([part_of(plan, NOW_NS, values, None, bad)], plans=[plan], **more)

    def turn(
        self, verdict: Verdict | None = Verdict.TAKEN, *, later_s: float = 1.0, **more: Any
    ) -> list[str]:
        """Answer everything, let time pass, let it speak; return the topics that were published."""
        for ticket in self.far.unanswered if verdict is not None else ():
            assert verdict is not None
            assert self.meta.answered(ticket, verdict, "denied", self.now_s)
        if verdict is not None:
            self.far.unanswered = []
        self.now_s += later_s
        before = len(self.far.sent)
        self.meta.speak(self.far, self.now_s, **{"caught_up": True, **more})
        return [message.topic for message in self.far.sent[before:]]

    def reconnect(self, blamed: str = "") -> None:
        """End the connection before anything more is answered, and open the next."""
        self.far.unanswered = []
        self.meta.disconnected(blamed, self.now_s)
        self.meta.connected(self.now_s)

    def tell_all(self) -> list[str]:
        told: list[str] = []
        while some := self.turn():
            told += some
        return told


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.cursor.close()
    world.queue.close()


FULL = Column(
    "Zone1/State",
    f"{ASSET}/Zone1/State",
    "DB40.DBW2",
    "INT",
    ValueType.STRING,
    "Cel",
    description="Öl",
    loss_class=LossClass.KEEP,
    minimum=-20.0,
    maximum=120.0,
    clamp_high=200.0,
    transform=EnumTexts(((0, "Stopped"), (1, "Running"))),
    heartbeat_s=60.0,
    semantic_id="0173-1#02-BAA120#008",
)


def test_everything_that_is_known_is_told_and_nothing_that_is_not() -> None:
    levels = ("enterprise", "site", "area", "line")
    plan = Plan("s7", "press", "process", "Press_Machine", 250, (FULL,), levels)

    assert meta_topic(FULL) == f"{ASSET}/_meta/Zone1/State"
    assert json.loads(encoded(plan)) == {
        "topic": f"{ASSET}/Zone1/State",
        "type": "string",
        "unit": "Cel",
        "unece": "CEL",
        "symbol": "°C",
        "description": "Öl",
        "semantic_id": "0173-1#02-BAA120#008",
        "minimum": -20.0,
        "maximum": 120.0,
        "clamp_high": 200.0,
        "texts": ["Stopped", "Running"],
        "heartbeat_s": 60.0,
        "class": "keep",
        "levels": {
            "enterprise": "Acme",
            "site": "SiteA",
            "area": "Stamping",
            "line": "Line1",
        },
        "asset": "Press_Machine",
        "device": "press",
        "group": "process",
        "period_ms": 250,
        "index": 0,
        "plan": plan.fingerprint.hex(),
    }


def encoded(plan: Plan, index: int = 0, *, addresses: bool = False) -> bytes:
    return msgspec.json.encode(meta_of(plan, index, addresses=addresses))


def test_an_address_is_told_only_where_ot_lets_it_be() -> None:
    told = json.loads(encoded(PLAN, addresses=True))

    assert (told["address"], told["source_type"]) == ("DB40.DBD0", "REAL")
    assert "DB40" not in encoded(PLAN).decode()


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (CounterDelta(0, 0), "delta"),
        (Expression("1 + 1"), "expression"),
        (WindowValue("mean", 0, 60.0), "window"),
    ],
)
def test_what_no_device_gives_says_so_and_has_no_address(made: Any, word: str) -> None:
    column = Column("Sum", f"{ASSET}/Sum", "x", "y", ValueType.FLOAT64, made=made)
    plan = Plan("s7", "press", "process", "Press_Machine", 250, (column,))

    told = json.loads(encoded(plan, addresses=True))

    assert told["made"] == word
    assert "address" not in told


def test_every_tag_is_told_once_retained(world: World) -> None:
    world.commit(PLAN)

    told = world.tell_all()

    assert sorted(told) == sorted(meta_topic(column) for column in PLAN.columns)
    assert all(message.retain for message in world.far.sent)
    assert world.turn(later_s=10 * LOOK_INTERVAL_S) == [], "and not again"


def test_they_begin_when_the_data_has_caught_up(world: World) -> None:
    """Seen to bite: without the wait."""
    world.commit(PLAN)

    assert world.turn(caught_up=False) == []
    assert world.turn(caught_up=True) != []


def test_a_backlog_does_not_keep_them_away_for_ever(world: World) -> None:
    world.commit(PLAN)

    assert world.turn(caught_up=False, later_s=PATIENCE_S - 0.1) == []
    assert world.turn(caught_up=False, later_s=0.2) != []


def test_a_few_at_a_time_each_after_the_answers_to_those_before(world: World) -> None:
    """Seen to bite: without waiting for the answers."""
    world.commit(plan_of(*(f"T{n}" for n in range(30))))

    assert len(world.turn()) == BURST_MAX
    assert world.turn(verdict=None) == []
    assert len(world.turn()) == BURST_MAX


def test_no_more_than_the_rate(world: World) -> None:
    """Seen to bite: without the time of the next few."""
    world.commit(plan_of(*(f"T{n}" for n in range(2_000))))

    world.turn()
    told = sum(len(world.turn(later_s=0.001)) for _ in range(1_000))

    assert told <= RATE_PER_S + BURST_MAX


@pytest.mark.parametrize(
    ("room", "caught_up", "most"),
    [(0, True, 0), (1, True, 1), (3, False, 0), (4, False, 1), (12, False, 3), (99, False, 5)],
)
def test_what_waits_for_the_window_is_data(
    world: World,
    room: int,
    caught_up: bool,  # noqa: FBT001 - the case's
    most: int,
) -> None:
    world.commit(plan_of(*(f"T{n}" for n in range(30))))
    world.far.room = room

    assert len(world.turn(caught_up=caught_up, later_s=2 * PATIENCE_S)) == most


def test_each_connection_hears_all_of_it_again(world: World) -> None:
    world.commit(PLAN)
    first = world.tell_all()
    world.turn()

    world.reconnect()

    assert sorted(world.tell_all()) == sorted(first)


def test_a_changed_table_is_told_and_what_is_gone_is_cleared(world: World) -> None:
    """Seen to bite: without clearing."""
    world.commit(plan_of("A", "B", "C"))
    world.tell_all()
    world.commit(plan_of("A", "D"))

    told = world.turn(later_s=LOOK_INTERVAL_S)

    by_topic = {message.topic: message.payload for message in world.far.sent[-len(told) :]}
    assert {topic.rpartition("/")[2] for topic in told} == {"A", "B", "C", "D"}
    assert by_topic[f"{ASSET}/_meta/B"] == by_topic[f"{ASSET}/_meta/C"] == b""
    assert json.loads(by_topic[f"{ASSET}/_meta/A"])["plan"] == plan_of("A", "D").fingerprint.hex()
    world.reconnect()
    assert len(world.tell_all()) == 4, "cleared again: the answers were lost"
    world.reconnect()
    assert len(world.tell_all()) == 2


def test_the_table_that_is_read_is_the_one_that_counts(world: World) -> None:
    """An earlier table that came back is no newer in the catalog, but its records are newer."""
    first, second = plan_of("A"), plan_of("B")
    world.commit(first)
    world.commit(second)
    world.newest.note(Record(3, first, NOW_NS, [1.0]))

    assert world.tell_all() == [f"{ASSET}/_meta/A"]


def test_of_a_group_that_is_no_longer_read_nothing_is_told(world: World) -> None:
    old = Plan("s7", "gone", "process", "Old", 250, plan_of("A").columns)
    tallies = {
        "s7/gone/process": Tally(1, 1, 1, NOW_NS - QUIET_NS - 1),
        "s7/press/process": Tally(1, 1, 1, NOW_NS),
    }
    world.commit(old, tallies=tallies)
    world.commit(plan_of("B"))

    assert world.tell_all() == [f"{ASSET}/_meta/B"]


@pytest.mark.parametrize("verdict", [Verdict.NEVER, Verdict.RETRY])
def test_one_that_is_refused_is_not_tried_again(world: World, verdict: Verdict) -> None:
    world.commit(plan_of("A"))
    world.turn()
    world.turn(verdict)

    world.reconnect()
    assert world.tell_all() == []
    world.commit(plan_of("A", "B"))
    assert len(world.turn(later_s=LOOK_INTERVAL_S)) == 2, "of another table it may be taken"


def test_one_that_is_refused_for_now_is_tried_later(world: World) -> None:
    world.commit(plan_of("A"))
    world.turn()

    assert world.turn(Verdict.LATER, later_s=PAUSE_S - 1) == []
    assert world.turn(later_s=2.0) == [f"{ASSET}/_meta/A"]


def test_a_forbidden_branch_is_left_alone(world: World) -> None:
    """Seen to bite: without the limit every tag is refused on every connection."""
    world.commit(plan_of(*(f"T{n}" for n in range(200))))

    refused = 0
    while some := world.turn(Verdict.NEVER):
        refused += len(some)

    assert refused <= REFUSED_MAX + BURST_MAX


def test_one_that_is_too_large_costs_nothing_but_itself(world: World) -> None:
    world.commit(PLAN)
    world.far.too_large = 1

    assert world.tell_all() == []
    assert not world.meta.speaking


def test_what_was_in_flight_when_the_far_side_blamed_a_message_is_not_sent_again(
    world: World,
) -> None:
    """Seen to bite: without noting it, each connection ends in the same way."""
    world.commit(plan_of("A", "B"))
    assert len(world.turn()) == 2

    world.reconnect("packet too large")

    assert world.tell_all() == []


def test_connections_that_end_each_time_are_not_ended_for_ever(world: World) -> None:
    """A broker may hang up on a topic and say nothing. Seen to bite: without counting."""
    world.commit(plan_of("A"))
    for _ in range(LOST_MAX):
        assert world.turn(None) == [f"{ASSET}/_meta/A"]
        world.reconnect()

    assert world.turn(None, later_s=SILENCE_S - 2) == []
    assert world.turn(None, later_s=3.0) == [f"{ASSET}/_meta/A"]


def test_a_connection_that_heard_something_was_not_ended_by_it(world: World) -> None:
    world.commit(plan_of(*(f"T{n}" for n in range(9))))
    for _ in range(2 * LOST_MAX):
        assert world.turn(None)
        assert world.turn()
        world.reconnect()
