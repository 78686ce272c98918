"""Goal: what the state machines of the handoff do in situations that a random walk seldom meets.

Method: the two machines without sockets, on the wires of handoff_world.py, one story per test.
Some are counter-examples that hypothesis found; their docstrings say so.
"""

from collections.abc import Iterator

import msgspec
import pytest

from common.handoff.receiving import PLANS_WAITING_BYTES_MAX, Counts, Delivery, Receiving
from common.handoff.sending import IDLE_S
from common.handoff.wire import (
    ANSWER,
    COLLECTORS_MAX,
    COUNTS,
    HELLO,
    SCAN,
    VERSION,
    Answer,
    Hello,
)
from common.outbox import GroupCount, group_key_hash
from common.records import Column, Plan, Position, ValueType
from tests.model.handoff_world import (
    OVERSIZED_BYTES,
    SCANS_MAX,
    WIRE_MESSAGES_MAX,
    World,
    plan_of,
    scans_under_way,
)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    try:
        yield world
        world.heal()
    finally:
        world.remove()


def settle(world: World, rounds: int = 8) -> None:
    for _ in range(rounds):
        world.one_round(0.35)


def exchange(world: World, rounds: int = 8) -> None:
    """Let both sides speak and listen while no time passes at all."""
    for _ in range(rounds):
        world.one_round(0)


def test_what_is_heard_and_not_committed_stays_with_the_collector(world: World) -> None:
    """Seen to bite: acknowledged when heard, it is lost with the normalizer that heard it."""
    world.put("a", 1, 30)
    exchange(world)
    world.put("a", 1, 30)
    world.far_hears()
    world.time_passes(0.35)
    world.near_hears()
    assert world.outbox.depth == 1
    world.far_crashes()
    settle(world)

    assert [put.number for put in world.durable.committed] == [0, 1]


# What is sent again, and what never is


def test_hellos_that_waited_long_for_their_answers_repeat_nothing(world: World) -> None:
    """A slow commit, and scans put meanwhile.

    Seen to bite: each answer compared with the newest `sent`, instead of that of its own hello,
    sends everything again.
    """
    world.put("a", 1, 30)
    exchange(world)
    for _ in range(3):
        world.put("a", 1, 30)
        world.time_passes(0.35)
    world.far_hears()
    while world.to_near:
        world.near_hears(1)
    assert scans_under_way(world) == [], "nothing is sent again"
    world.commit()
    world.acknowledge()
    exchange(world)

    assert [put.number for put in world.durable.committed] == [0, 1, 2, 3]
    assert world.receiving.repeats == 0


def test_a_new_process_sends_what_has_not_arrived_and_nothing_else(world: World) -> None:
    """What its predecessor sent is not committed yet, but has arrived.

    Seen to bite: beginning after what is committed repeats the window.
    """
    world.put("a", 1, 30)
    exchange(world)
    world.put("a", 1, 30)
    world.near_crashes(arrive=1)
    world.put("a", 1, 30)
    world.far_hears()
    world.near_hears()
    world.commit()
    world.acknowledge()
    exchange(world)

    assert len(world.durable.committed) == 3
    assert world.receiving.repeats == 0


def test_several_answers_that_prove_one_loss_repeat_it_once(world: World) -> None:
    """Seen to bite: without the number of the greeting, each answer begins the window again."""
    exchange(world)
    for _ in range(SCANS_MAX):
        world.put("a", 1, 30)
    world.connection_breaks(to_far=0, to_near=0)
    for _ in range(4):
        world.time_passes(0.35)
    world.far_hears()
    while world.to_near:
        world.near_hears(1)

    assert scans_under_way(world) == [1, 2, 3, 4], "once, although four answers prove the loss"


def test_what_the_ring_dropped_while_the_queue_was_full_repeats_nothing_else(world: World) -> None:
    """Found by hypothesis.

    A scan not taken while the queue was full is dropped from the ring. Those that follow are
    taken; the proof that the first is missing came after them, and had them sent once more.
    """
    world.put("a", 1, 30)
    exchange(world)
    world.closed = True
    world.put("a", 1, 200)
    world.far_hears()
    while len(world.to_far) < WIRE_MESSAGES_MAX:
        world.time_passes(0.35)  # Until no more fits into the wire, not even a scan.
    for _ in range(12):
        world.put("a", 1, 200)
    assert world.outbox.oldest > 2
    world.closed = False
    world.far_hears()
    world.near_speaks()
    settle(world)

    assert world.outbox.depth == 0
    assert world.receiving.repeats == 0


def test_a_whole_window_dropped_on_both_sides_does_not_stand_still(world: World) -> None:
    """Found by hypothesis.

    Nothing of the window is left to be sent again; as long as it counted as under way, nothing
    else was sent either.
    """
    exchange(world)
    world.closed = True
    for _ in range(3):
        world.put("a", 1, 200)
    world.far_hears()
    world.to_near.clear()
    world.closed = False
    for _ in range(12):
        world.put("a", 1, 200)
    settle(world, 20)

    assert world.outbox.depth == 0
    assert world.durable.committed[-1].number == 14


def test_a_normalizer_that_hangs_is_never_sent_more_than_a_window(world: World) -> None:
    """The ring drops, again and again, what is under way.

    Seen to bite: with scans leaving the window when the ring drops them, ZeroMQ's buffers take
    whatever a collector reads, up to gigabytes.
    """
    exchange(world)
    for _ in range(200):
        world.put("a", 1, 200)
        world.time_passes(0.35)

    assert len(scans_under_way(world)) <= SCANS_MAX
    world.to_far.clear()  # Its memory is gone with it.
    world.far_crashes()
    settle(world, 20)
    assert world.durable.committed[-1].number == 199, "and it flows again"


# Plans


def test_a_plan_is_brought_without_waiting_for_any_timer(world: World) -> None:
    """Seen to bite: without the hello behind the plan, the scan waits for the next silence."""
    exchange(world, 1)
    world.put("a", 1, 30)
    exchange(world)

    assert [put.number for put in world.durable.committed] == [0]


def test_a_plan_that_was_lost_once_is_asked_of_the_next_process(world: World) -> None:
    """Seen to bite: a plan noted as hopeless for good costs every later scan under it."""
    world.put("a", 1, 30)
    world.configured = {"b": 0}
    world.plans_are_lost()
    world.near_crashes()
    settle(world)
    assert world.durable.committed == [], "nobody can read it"
    world.configured = {"a": 0}
    world.near_crashes()
    world.put("a", 1, 30)
    settle(world)

    assert [put.number for put in world.durable.committed] == [1]
    assert world.arrived((world.epoch, "a")).scans == 2, "and the first is counted as missing"


def greet(receiving: Receiving, name: str, epoch: int = 7, run: int = 1, sent: int = 0) -> None:
    hello = Hello(VERSION, epoch, 1, sent, run, 1)
    assert receiving.hear([name.encode(), b"H", HELLO.pack(*hello)]) is None


def scan_of(sequence: int, plan: bytes, epoch: int = 7) -> list[bytes]:
    return [b"S", SCAN.pack(epoch, sequence, 1, sequence, sequence, plan), b"payload"]


def replies(receiving: Receiving) -> list[tuple[bytes, bytes]]:
    found = [(name, kind) for name, kind, *_ in receiving.replies]
    receiving.replies.clear()
    return found


def test_a_plan_outlives_the_acknowledgement_of_what_did_not_need_it() -> None:
    """Counts that add nothing to the queue come between another collector's plan and its scan.

    Seen to bite: forgotten with their acknowledgement, the plan never gets committed.
    """
    receiving = Receiving(committed={}, plans=[])
    plan = plan_of("a", 0)
    greet(receiving, "one")
    greet(receiving, "two")
    assert receiving.hear([b"one", *scan_of(1, plan.fingerprint)]) is None
    assert replies(receiving)[-1] == (b"one", b"W")
    receiving.hear([b"one", b"P", plan.fingerprint, plan.encoded])
    groups = msgspec.msgpack.encode([])
    assert isinstance(receiving.hear([b"two", b"C", COUNTS.pack(7, 0, 1, 1), groups]), Counts)
    receiving.acknowledge()
    assert isinstance(receiving.hear([b"one", *scan_of(1, plan.fingerprint)]), Delivery)

    assert list(receiving.arrived_plans) == [plan.fingerprint], "to commit with its scan"
    receiving.acknowledge()
    assert receiving.arrived_plans == {}, "and with nothing after it"


def large_plan(number: int) -> Plan:
    column = Column("a", "t", "a", "T", ValueType.INT64, description="x" * 5_000_000)
    return Plan("modbus", "meter", f"group{number}", "Meter", 100, (column,))


def test_plans_without_scans_do_not_pile_up() -> None:
    """A collector gone wrong asks for one plan after the other, and needs none of them."""
    receiving = Receiving(committed={}, plans=[])
    greet(receiving, "one")
    for number in range(20):
        plan = large_plan(number)
        greet(receiving, "one")
        receiving.hear([b"one", *scan_of(1, plan.fingerprint)])
        receiving.hear([b"one", b"P", plan.fingerprint, plan.encoded])
        held_bytes = sum(len(plan.encoded) for plan in receiving.arrived_plans.values())
        assert held_bytes <= PLANS_WAITING_BYTES_MAX

    assert isinstance(receiving.hear([b"one", *scan_of(1, plan.fingerprint)]), Delivery)
    first = large_plan(0)
    greet(receiving, "one")
    assert receiving.hear([b"one", *scan_of(2, first.fingerprint)]) is None
    assert replies(receiving)[-1] == (b"one", b"W"), "what had to go is asked for again"


def test_a_plan_nobody_asked_for_is_not_kept() -> None:
    receiving = Receiving(committed={}, plans=[])
    greet(receiving, "one")
    plan = plan_of("a", 0)
    receiving.hear([b"one", b"P", plan.fingerprint, plan.encoded])

    assert receiving.arrived_plans == {}


# A full queue


def test_a_full_queue_costs_one_answer_and_no_repeats(world: World) -> None:
    """Seen to bite: a sender that goes on while held sends a window with every hello."""
    exchange(world)
    world.closed = True
    world.put("a", 1, 30)
    world.put("a", 1, 30)
    world.far_hears()
    answers = [frames[0] for frames in world.to_near]
    world.near_hears()
    assert answers == [b"F"], "one answer, however many scans came"
    assert world.sending.held
    for _ in range(50):
        world.put("a", 1, 30)
        world.time_passes(0.35)
        assert world.sending.silence_s(world.now_s) < IDLE_S, "it is full, not away"
        assert scans_under_way(world) == [], "nothing is sent while held"
        world.far_hears()
        world.near_hears()
    assert world.receiving.repeats == 0


def test_room_in_the_queue_is_told_at_once(world: World) -> None:
    """Seen to bite: without the invitation a collector notices with its next hello only."""
    exchange(world)
    world.closed = True
    for _ in range(SCANS_MAX + 3):
        world.put("a", 1, 30)
    settle(world)
    assert world.durable.committed == []
    world.closed = False
    exchange(world, 12)

    assert len(world.durable.committed) == SCANS_MAX + 3, "although no time has passed"
    assert world.receiving.repeats == 0


def test_a_normalizer_that_starts_with_a_full_queue_says_so(world: World) -> None:
    exchange(world)
    world.put("a", 1, 30)
    world.closed = True
    world.far_crashes()
    settle(world)

    assert world.sending.held
    assert world.durable.committed == []


# Counts


def told(world: World) -> list[bytes]:
    return [frames[0] for _, _, frames in world.to_far if frames[0] == b"C"]


def test_a_group_whose_every_scan_is_too_large_is_counted(world: World) -> None:
    exchange(world)
    for _ in range(3):
        world.put("a", 5, OVERSIZED_BYTES)
        world.put("b", 1, 30)
    exchange(world)
    assert world.arrived((world.epoch, "a")).samples == 5, "the first at once"
    world.time_passes(61)
    exchange(world)

    assert world.arrived((world.epoch, "a")).samples == 15
    assert [put.group for put in world.durable.committed] == ["b"] * 3, "undisturbed"


def test_a_group_that_goes_on_losing_is_told_of_once_a_minute(world: World) -> None:
    exchange(world)
    sent = 0
    for _ in range(600):
        world.put("a", 5, OVERSIZED_BYTES)
        world.time_passes(0.35)
        sent += len(told(world))
        exchange(world, 1)

    assert 3 <= sent <= 5, "210 s"


def test_counts_are_told_behind_the_last_scan_only(world: World) -> None:
    """Before, they would say that those scans are missing which are still to come."""
    exchange(world)
    for _ in range(SCANS_MAX + 1):
        world.put("a", 1, 30)
    world.put("a", 5, OVERSIZED_BYTES)

    assert len(scans_under_way(world)) == SCANS_MAX
    assert told(world) == []


def test_counts_of_a_new_process_are_not_taken_for_those_of_the_one_before(world: World) -> None:
    """Each process numbers its own from 1."""
    exchange(world)
    world.put("a", 5, OVERSIZED_BYTES)
    exchange(world)
    world.near_crashes()
    world.put("a", 5, OVERSIZED_BYTES)
    settle(world)

    assert world.arrived((world.epoch, "a")).samples == 10


def test_counts_under_way_to_a_normalizer_that_hangs_are_not_told_again(world: World) -> None:
    """Seen to bite: repeated by a timer, they fill ZeroMQ's buffers."""
    exchange(world)
    for _ in range(100):
        world.put("a", 5, OVERSIZED_BYTES)
        world.time_passes(3.5)

    assert told(world) == [b"C"]


def test_counts_that_got_lost_are_told_again(world: World) -> None:
    exchange(world)
    world.put("a", 5, OVERSIZED_BYTES)
    assert told(world) == [b"C"]
    world.connection_breaks(to_far=0, to_near=0)
    settle(world, 20)

    assert world.arrived((world.epoch, "a")).samples == 5


def test_what_is_dropped_while_counts_are_under_way_is_told_too(world: World) -> None:
    """Seen to bite: taking what is dropped now for what the counts had told."""
    exchange(world)
    world.put("a", 5, OVERSIZED_BYTES)
    world.put("a", 5, OVERSIZED_BYTES)
    exchange(world)
    world.time_passes(61)
    exchange(world)

    assert world.arrived((world.epoch, "a")).samples == 10


def test_counts_that_were_heard_and_not_committed_are_told_to_the_next(world: World) -> None:
    """Seen to bite: confirmed when heard, they are lost with the normalizer that heard them."""
    exchange(world)
    world.put("a", 5, OVERSIZED_BYTES)
    world.far_hears()
    world.near_hears()
    world.far_crashes()
    settle(world, 20)

    assert world.arrived((world.epoch, "a")).samples == 5


def test_a_group_taken_out_of_the_configuration_is_known_by_its_hash(world: World) -> None:
    world.put("a", 5, OVERSIZED_BYTES)
    world.configured = {"b": 0}
    world.near_crashes()
    settle(world)

    key = group_key_hash("press", "a")
    assert world.durable.nameless == {(world.epoch, key): (1, 5)}


def test_counts_that_are_not_counts_are_not_taken() -> None:
    receiving = Receiving(committed={}, plans=[])
    greet(receiving, "one")
    header = COUNTS.pack(7, 0, 1, 1)
    bad = [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([GroupCount(b"k", "a/b", "c", 1, 1)]),
        msgspec.msgpack.encode([GroupCount(b"k", "a", "b", -1, 1)]),
        msgspec.msgpack.encode([GroupCount(b"k", "a", "b", 1, 1)] * 1_025),
    ]

    assert [receiving.hear([b"one", b"C", header, encoded]) for encoded in bad] == [None] * 5


# Epochs, runs and versions


def test_nothing_of_an_ended_epoch_is_taken_whatever_its_order() -> None:
    """Two collectors of one name, which only a broken lock allows: their streams do not mix.

    Seen to bite: an epoch that may come back is taken from its beginning a second time.
    """
    receiving = Receiving(committed={}, plans=[b"p" * 16])
    greet(receiving, "one", epoch=7)
    assert isinstance(receiving.hear([b"one", *scan_of(1, b"p" * 16)]), Delivery)
    greet(receiving, "one", epoch=8)
    receiving.acknowledge()
    receiving.replies.clear()
    greet(receiving, "one", epoch=7)
    assert replies(receiving) == [(b"one", b"R")]
    assert receiving.hear([b"one", *scan_of(1, b"p" * 16)]) is None
    counts = [b"one", b"C", COUNTS.pack(7, 0, 1, 1), msgspec.msgpack.encode([])]
    assert receiving.hear(counts) is None

    delivery = receiving.hear([b"one", *scan_of(1, b"p" * 16, epoch=8)])
    assert isinstance(delivery, Delivery)
    assert (delivery.epoch, delivery.sequence) == (8, 1)


def test_a_scan_before_any_greeting_is_asked_to_greet() -> None:
    """Both have to know that they speak the same version; a known name alone does not tell."""
    positions = {"one": Position(7, 4)}
    receiving = Receiving(committed=positions, plans=[b"p" * 16])
    assert receiving.hear([b"one", *scan_of(5, b"p" * 16)]) is None

    assert replies(receiving) == [(b"one", b"G")]


def test_who_is_refused_keeps_its_scans_until_it_is_welcome(world: World) -> None:
    exchange(world)
    world.mismatch = True
    world.far_crashes()
    world.put("a", 1, 30)
    settle(world)
    assert world.sending.refused
    world.put("a", 1, 30)
    assert scans_under_way(world) == []
    world.mismatch = False
    world.far_crashes()
    world.time_passes(3.1)
    exchange(world)

    assert not world.sending.refused
    assert len(world.durable.committed) == 2


def test_an_answer_to_the_process_before_moves_nothing(world: World) -> None:
    """Seen to bite: an earlier epoch's position acknowledges scans that were never sent."""
    exchange(world)
    world.put("a", 1, 30)
    world.put("a", 1, 30)
    exchange(world)
    stale = Answer(world.runs, 9, 2, 2, 2, 0)
    world.begin_new_epoch(lambda ring: ring.__setitem__(8, ring[8] ^ 0xFF))
    world.put("a", 1, 30)
    world.sending.hear([b"H", ANSWER.pack(*stale)], world.now_s)

    assert world.outbox.depth == 1


def test_a_ring_that_is_an_old_copy_begins_a_new_epoch(world: World) -> None:
    """Somebody put an earlier file back.

    Its numbers would be given out twice: without a new epoch, the scans under them pass for
    repeats, and are lost silently.
    """
    exchange(world)
    world.put("a", 1, 30)
    copy = bytes(world.ring)
    for _ in range(5):
        world.put("a", 1, 30)
    settle(world)
    assert len(world.durable.committed) == 6
    world.ring[:] = copy
    world.near_crashes()
    epoch = world.outbox.epoch
    settle(world)
    assert world.outbox.epoch != epoch
    world.epoch = world.outbox.epoch
    world.put("a", 1, 30)
    settle(world)

    assert world.durable.committed[-1].number == 6


@pytest.mark.parametrize("version", [0, 1, 3])
def test_any_other_version_is_refused_in_words(version: int) -> None:
    """The body of version 1 was shorter, and that of a later one may be anything."""
    receiving = Receiving(committed={}, plans=[])
    body = version.to_bytes(2, "little") + bytes(24)
    for frames in ([body], [body + bytes(16)], [body, b"more"]):
        receiving.hear([b"one", b"H", *frames])
    refusals = [(frames[1], frames[2].decode()) for frames in receiving.replies]

    text = f"collector speaks version {version}, normalizer 2: update both"
    assert refusals == [(b"R", text)] * 3


# Names


def test_the_place_of_a_collector_that_never_brought_a_scan_goes_to_the_next() -> None:
    """Seen to bite: with every name kept, 64 wrong ones lock all others out."""
    receiving = Receiving(committed={}, plans=[b"p" * 16])
    greet(receiving, "real")
    assert isinstance(receiving.hear([b"real", *scan_of(1, b"p" * 16)]), Delivery)
    for number in range(1_000):
        greet(receiving, f"babble{number}")
    receiving.replies.clear()
    greet(receiving, "late")
    assert replies(receiving) == [(b"late", b"H")]

    assert isinstance(receiving.hear([b"late", *scan_of(1, b"p" * 16)]), Delivery)
    assert isinstance(receiving.hear([b"real", *scan_of(2, b"p" * 16)]), Delivery)


def test_more_collectors_than_there_can_be_are_refused() -> None:
    receiving = Receiving(committed={}, plans=[b"p" * 16])
    for number in range(COLLECTORS_MAX):
        greet(receiving, f"c{number}")
        assert isinstance(receiving.hear([f"c{number}".encode(), *scan_of(1, b"p" * 16)]), Delivery)
    receiving.replies.clear()
    greet(receiving, "one-more")

    assert replies(receiving) == [(b"one-more", b"R")]
