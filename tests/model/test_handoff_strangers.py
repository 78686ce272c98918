"""Goal: whatever is sent to the normalizer's socket, its state stays small and others unharmed.

Method: the receiving state machine without a socket, told nonsense from names of every kind, while
an honest collector goes on. Its whole state is weighed by walking through it, so that no field can
be forgotten here.
"""

import random
from collections import deque
from typing import Any

import msgspec
import pytest

from common.handoff.receiving import PLANS_KNOWN_MAX, Delivery, Receiving
from common.handoff.wire import COLLECTORS_MAX, COUNTS, HELLO, SCAN, VERSION, Hello
from common.outbox import GroupCount
from common.records import Column, Plan, Position, ValueType

KNOWN = b"p" * 16
NAMES = [
    b"a", b"b", b"c", b"collector-modbus", b"x" * 64, b"x" * 65, b"", b"\0\1\2\3\4", b"\xff" * 8,
    b"a/b", b"../c", b"a b", b"a\nb",
]  # fmt: skip
NUMBERS = [0, 1, 2, 3, 7, 8, 2**32, 2**63, 2**64 - 1]
WEIGHT_MAX = 2_000
"""Objects. Measured here: 1,224 at the most."""


def weight(thing: Any, seen: set[int] | None = None) -> int:
    """Return how many objects hang on a thing."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type):
        return 0
    seen.add(id(thing))
    inner: list[Any] = []
    if isinstance(thing, dict):
        inner = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        inner = list(thing)
    elif hasattr(thing, "__dict__"):
        inner = list(vars(thing).values())
    return 1 + sum(weight(each, seen) for each in inner)


def plan_of(number: int) -> Plan:
    column = Column("t", "Acme/t", "a", "T", ValueType.INT64)
    return Plan("simulated", "press", f"g{number}", "Press", 100, (column,))


def nonsense(choose: random.Random) -> list[bytes]:
    """Return a message that is nearly one of ours, or is one at the wrong moment."""
    number = lambda: choose.choice([*NUMBERS, choose.randrange(50)])  # noqa: E731 - a draw
    plan = plan_of(choose.randrange(10**6))
    kind = choose.choice([b"H", b"S", b"C", b"P", b"P", b"A", b"Z", b""])
    match kind:
        case b"H":
            version = choose.choice([VERSION] * 8 + [1, 3, 65_535])
            body = [HELLO.pack(*Hello(version, *(number() for _ in range(5))))]
        case b"S":
            fingerprint = choose.choice([KNOWN, plan.fingerprint, bytes(16)])
            body = [SCAN.pack(*(number() for _ in range(5)), fingerprint), b"payload"]
        case b"C":
            groups = [GroupCount(b"k", "a", "b", 1, 1)] * choose.randrange(3)
            body = [COUNTS.pack(*(number() for _ in range(4))), msgspec.msgpack.encode(groups)]
        case b"P":
            body = [plan.fingerprint, choose.choice([plan.encoded, b"", b"\xc1", bytes(100)])]
        case _:
            body = [choose.randbytes(choose.randrange(60))]
    if choose.random() < 0.2:
        body[choose.randrange(len(body))] = choose.randbytes(choose.randrange(60))
    if choose.random() < 0.1:
        body += [b"", choose.randbytes(5)]
    return [kind, *body]


@pytest.mark.parametrize("seed", range(4))
def test_nonsense_grows_nothing_and_disturbs_nobody(seed: int) -> None:
    choose = random.Random(seed)
    receiving = Receiving(committed={"honest": Position(5, 0)}, plans=[KNOWN])
    receiving.hear([b"honest", b"H", HELLO.pack(*Hello(VERSION, 5, 1, 0, 1, 1))])
    taken: list[int] = []
    heaviest = 0
    for step in range(20_000):
        name = choose.choice(NAMES + [f"n{choose.randrange(500)}".encode()] * 8)
        receiving.replies.clear()
        receiving.hear([name, *nonsense(choose)])
        assert len(receiving.replies) <= 1, "one answer at most, however small the message"
        if step % 100 == 0:
            header = SCAN.pack(5, step // 100 + 1, 1, 1, 1, KNOWN)
            delivery = receiving.hear([b"honest", b"S", header, b""])
            assert isinstance(delivery, Delivery)
            taken.append(delivery.sequence)
        if step % 1_000 == 0:
            receiving.acknowledge()
            heaviest = max(heaviest, weight(receiving))

    assert taken == list(range(1, 201)), "the honest one went on"
    assert heaviest < WEIGHT_MAX


def talk(receiving: Receiving, name: bytes, sequence: int, plan: Plan) -> Delivery | None:
    """Bring a scan and its plan, as a collector does."""
    hello = Hello(VERSION, 9, 1, sequence, 1, sequence)
    receiving.hear([name, b"H", HELLO.pack(*hello)])
    scan = [name, b"S", SCAN.pack(9, sequence, 1, 1, 1, plan.fingerprint), b""]
    found = receiving.hear(scan)
    if found is None:
        receiving.hear([name, b"P", plan.fingerprint, plan.encoded])
        receiving.hear([name, b"H", HELLO.pack(*hello)])
        found = receiving.hear(scan)
    assert found is None or isinstance(found, Delivery)
    return found


def test_collectors_that_never_stop_changing_are_held_within_limits() -> None:
    """Well-formed all of it: every name, every epoch, every plan and every run is another one.

    Seen to bite: without the limit on any one of names, refusals, ended epochs and hopeless
    plans, the weight grows past every bound.
    """
    receiving = Receiving(committed={}, plans=[])
    for number in range(COLLECTORS_MAX - 1):
        assert talk(receiving, b"c%d" % number, 1, plan_of(number))
    for number in range(3_000):
        name = b"c%d" % (number % 40)
        epoch = Hello(VERSION, number + 10, 1, 0, number, 1)
        receiving.hear([name, b"H", HELLO.pack(*epoch)])
        missing = plan_of(number)
        header = SCAN.pack(number + 10, 1, 1, 1, 1, missing.fingerprint)
        receiving.hear([name, b"S", header, b""])
        receiving.hear([name, b"P", missing.fingerprint, b""])
        receiving.hear([b"new%d" % number, b"H", HELLO.pack(*epoch)])
        receiving.hear([b"old%d" % number, b"H", HELLO.pack(1, 0, 0, 0, 0, 0)])
        receiving.acknowledge()
        receiving.replies.clear()

    assert weight(receiving) < WEIGHT_MAX


def test_plans_that_one_run_has_not_are_remembered_up_to_a_limit() -> None:
    receiving = Receiving(committed={}, plans=[])
    receiving.hear([b"c", b"H", HELLO.pack(*Hello(VERSION, 9, 1, 0, 1, 1))])
    for number in range(1, 5_000):
        plan = plan_of(number)
        scan = [b"c", b"S", SCAN.pack(9, number, 1, 1, 1, plan.fingerprint), b""]
        assert receiving.hear(scan) is None
        receiving.hear([b"c", b"P", plan.fingerprint, b""])
        assert isinstance(receiving.hear(scan), Delivery), "it comes without, and becomes a gap"
        receiving.acknowledge()
        receiving.replies.clear()

    assert weight(receiving) < WEIGHT_MAX


@pytest.mark.parametrize("oldest", [0, 2**64 - 1])
def test_numbers_out_of_range_are_no_reason_to_stop(oldest: int) -> None:
    """Seen to bite: a hello whose oldest scan is 0 ended the normalizer with a struct.error."""
    receiving = Receiving(committed={}, plans=[KNOWN])
    receiving.hear([b"c", b"H", HELLO.pack(*Hello(VERSION, 9, oldest, 2**64 - 1, 1, 1))])
    receiving.hear([b"c", b"S", SCAN.pack(9, 2**64 - 1, oldest, 1, 1, KNOWN), b""])
    receiving.acknowledge()

    assert len(receiving.replies) <= 3


def test_more_plans_than_are_remembered_are_asked_for_again() -> None:
    known = [number.to_bytes(16, "big") for number in range(PLANS_KNOWN_MAX)]
    receiving = Receiving(committed={}, plans=known)
    assert talk(receiving, b"c", 1, plan_of(1))
    receiving.acknowledge()
    receiving.replies.clear()
    receiving.hear([b"c", b"S", SCAN.pack(9, 2, 1, 1, 1, known[7]), b""])

    assert [reply[1:] for reply in receiving.replies] == [(b"W", known[7])]
    assert weight(receiving) < WEIGHT_MAX


def test_a_plan_whose_names_are_none_is_not_taken() -> None:
    """Device and group are keys elsewhere, joined by a slash."""
    receiving = Receiving(committed={}, plans=[])
    assert talk(receiving, b"c", 1, msgspec.structs.replace(plan_of(1), device="a/b"))

    assert receiving.arrived_plans == {}
