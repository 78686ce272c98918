"""Goal: a scan that was read and did not arrive is always a gap, with its exact size."""

import random

import pytest

from common.handoff import Counts, Delivery, GroupCount
from common.outbox import group_key_hash
from common.queue import Account
from common.records import Column, Gap, Plan, ValueType
from normalizer.accounts import Accounts

PLAN = Plan("modbus", "meter", "fast", "Meter", 100, (Column("a", "t", "a", "T", ValueType.INT64),))


def delivery(scan_count: int, sample_count: int, epoch: int = 1) -> Delivery:
    return Delivery("modbus", epoch, scan_count, scan_count, sample_count, b"", b"")


def test_consecutive_scans_leave_no_gap() -> None:
    accounts = Accounts({})

    assert accounts.enter(delivery(1, 10), PLAN, 100, 10) == []
    assert accounts.enter(delivery(2, 20), PLAN, 200, 10) == []


def test_a_jump_is_a_gap_between_the_neighbours() -> None:
    accounts = Accounts({})
    accounts.enter(delivery(1, 10), PLAN, 100, 10)

    gaps = accounts.enter(delivery(5, 48), PLAN, 500, 10)

    assert gaps == [Gap("meter", "fast", "outbox-full", 100, 500, scans=3, samples=28)]


def test_scans_lost_before_the_very_first_that_arrived_count_too() -> None:
    assert Accounts({}).enter(delivery(4, 40), PLAN, 400, 10) == [
        Gap("meter", "fast", "outbox-full", 400, 400, scans=3, samples=30)
    ]


def test_a_queue_begun_anew_claims_no_loss_that_it_cannot_know() -> None:
    accounts = Accounts({}, queue_epoch=100)

    gaps = accounts.enter(delivery(1_000, 10_000, epoch=50), PLAN, 400, 10)

    assert gaps == [Gap("meter", "fast", "queue-new", 400, 400, scans=0, samples=0)]
    assert accounts.enter(delivery(1_003, 10_030, epoch=50), PLAN, 500, 10) == [
        Gap("meter", "fast", "outbox-full", 400, 500, scans=2, samples=20)
    ], "from here on it knows"


def test_a_device_that_moved_to_another_collector_is_counted_by_itself() -> None:
    accounts = Accounts({})
    other = delivery(1, 5)._replace(collector="s7", epoch=9)

    for _ in range(3):
        before = accounts.changed.get("modbus/meter/fast")
        scans = before.scans + 1 if before else 1
        assert accounts.enter(delivery(scans, scans * 10), PLAN, 1, 10) == []
    assert accounts.enter(other, PLAN, 2, 5) == []
    assert accounts.enter(delivery(4, 40), PLAN, 3, 10) == []


def test_an_arrived_but_unusable_scan_is_missing_itself() -> None:
    accounts = Accounts({})
    accounts.enter(delivery(1, 10), PLAN, 100, 10)

    gaps = accounts.enter(delivery(2, 20), PLAN, 200, 0)

    assert gaps == [Gap("meter", "fast", "scan-damaged", 100, 200, scans=1, samples=10)]
    assert accounts.enter(delivery(3, 30), PLAN, 300, 10) == [], "booked once"


def test_a_lost_outbox_is_a_gap_of_unknown_size() -> None:
    accounts = Accounts({})
    accounts.enter(delivery(9, 90, epoch=1), PLAN, 100, 10)

    gaps = accounts.enter(delivery(1, 10, epoch=2), PLAN, 900, 10)

    assert gaps == [Gap("meter", "fast", "outbox-lost", 100, 900, scans=0, samples=0)]


def test_a_clock_set_back_never_makes_a_gap_end_before_it_begins() -> None:
    accounts = Accounts({})
    accounts.enter(delivery(1, 10), PLAN, 900, 10)

    (gap,) = accounts.enter(delivery(3, 30), PLAN, 100, 10)

    assert (gap.first_at_ns, gap.last_at_ns) == (100, 900)


def test_read_equals_arrived_plus_missing_whatever_is_lost_and_whenever_it_restarts() -> None:
    choose = random.Random(7)
    accounts = Accounts({})
    arrived = missing = total = 0
    for scan in range(1, 2_000):
        size = choose.randint(1, 9)
        total += size
        if choose.random() < 0.3:
            continue
        arrived += size
        gaps = accounts.enter(delivery(scan, total), PLAN, scan, size)
        missing += sum(gap.samples for gap in gaps)
        if choose.random() < 0.1:
            accounts = Accounts(accounts.changed)
            accounts.committed()
    missing += sum(g.samples for g in accounts.enter(delivery(2_000, total + 1), PLAN, 2_000, 1))

    assert arrived + missing == total


def counts(scans: int, samples: int, *, named: bool, epoch: int = 1) -> Counts:
    device, group = ("meter", "fast") if named else ("", "")
    key = group_key_hash("meter", "fast")
    return Counts("modbus", epoch, (GroupCount(key, device, group, scans, samples),))


@pytest.mark.parametrize("named", [True, False])
def test_what_was_lost_after_a_groups_last_scan_is_booked_by_the_counts(named: bool) -> None:  # noqa: FBT001 - drawn
    """Also when the group is no longer configured, and only its hash is left in the outbox."""
    accounts = Accounts({})
    accounts.enter(delivery(1, 10), PLAN, 100, 10)

    gaps = accounts.enter_counts(counts(4, 40, named=named), 900)

    assert gaps == [Gap("meter", "fast", "outbox-full", 100, 900, scans=3, samples=30)]
    assert accounts.enter_counts(counts(4, 40, named=named), 950) == [], "once"
    assert accounts.enter(delivery(5, 50), PLAN, 1_000, 10) == []


def test_a_group_of_which_nothing_ever_arrived_is_booked_by_its_name() -> None:
    accounts = Accounts({})

    (gap,) = accounts.enter_counts(counts(4, 40, named=True), 900)

    assert (gap.scans, gap.samples) == (4, 40)
    assert Accounts({}).enter_counts(counts(4, 40, named=False), 900) == []


def test_counts_from_before_a_queue_was_begun_anew_claim_nothing_that_is_not_known() -> None:
    """Seen to bite: everything that the collector ever read was booked as lost."""
    accounts = Accounts({}, queue_epoch=100)

    (gap,) = accounts.enter_counts(counts(1_000, 10_000, named=True, epoch=50), 900)

    assert (gap.cause, gap.scans, gap.samples) == ("queue-new", 0, 0)
    (later,) = accounts.enter_counts(counts(1_002, 10_020, named=True, epoch=50), 950)
    assert (later.cause, later.samples) == ("outbox-full", 20), "from here on it knows"


def test_counts_of_a_new_epoch_end_the_one_before() -> None:
    accounts = Accounts({})
    accounts.enter(delivery(9, 90), PLAN, 100, 10)

    gaps = accounts.enter_counts(counts(2, 20, named=True, epoch=2), 900)

    assert [(gap.cause, gap.samples) for gap in gaps] == [("outbox-lost", 0), ("outbox-full", 20)]


def test_the_ledger_balances_whatever_is_lost() -> None:
    choose = random.Random(3)
    accounts = Accounts({})
    total = Account()
    scans = samples = entered = 0
    for at_ns in range(1, 500):
        size = choose.randint(1, 9)
        scans, samples = scans + 1, samples + size
        match choose.randrange(4):
            case 0:
                continue
            case 1:
                accounts.enter_counts(counts(scans, samples, named=True), at_ns)
            case 2:
                accounts.enter(delivery(scans, samples), PLAN, at_ns, 0)
            case _:
                reported = choose.randint(0, size)
                entered += reported
                accounts.enter(delivery(scans, samples), PLAN, at_ns, size, reported)
        for change in accounts.ledger.values():
            total += change
        accounts.committed()
    accounts.enter_counts(counts(scans, samples, named=True), 500)
    for change in accounts.ledger.values():
        total += change

    assert total.collected == samples
    assert total.collected - total.unchanged - total.lost_samples == entered
