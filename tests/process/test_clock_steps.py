"""Goal: a clock that is set, forwards or back, by a day or by decades, costs no sample.

Method: a whole small gateway under libfaketime (clocked_gateway.py); its clock is stepped while it
runs, and while one of its processes is away. Afterwards each group's own count of scans must have
arrived without a hole, without a repeat and in order, and ledger and tallies must agree.

What it cannot show: a monotonic clock that misbehaves, the times that devices give themselves, and
a reboot with a wrong clock, after which up to 30 days of absence are believed (aging.py).

Seen to bite: timers that read the system's clock stop the health files. A queue that reads its age
from it, or believes it between two processes of one boot, drops its backlog. A gap that takes its
two times as they come ends before it begins.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from common.queue import Cursor, QueueReader
from common.queue.cursor import CLAIM_RECORDS
from common.queue.verifying import verify
from tests.process.clocked_gateway import DAY_S, GROUPS, ClockedGateway, FakedClock, to_1970
from tests.process.normalizer_rig import NormalizerRig
from tests.process.queue_judge import complaints_of

pytestmark = pytest.mark.process

Faketime = Callable[[Path], Mapping[str, str]]
AGE_MAX = "age_max_days = 0.001"
"""86 s: a day's step would leave nothing, if age were read from the system's clock."""
MAINTAINED_S = 1.0
"""The queue looks after itself four times a second."""


async def test_steps_of_the_clock_lose_nothing_double_nothing_and_keep_the_order(
    tmp_path: Path, faketime: Faketime
) -> None:
    steps = (DAY_S, 0, -DAY_S, to_1970(), 0, 40 * 365 * DAY_S, -3_600, 0)
    async with ClockedGateway(tmp_path, faketime, queue=AGE_MAX) as gateway:
        await gateway.lives()
        for offset_s in steps:
            gateway.clock.set(offset_s)
            await gateway.lives()
            await gateway.is_fresh()
        await gateway.drained()

    assert_all_counted_and_in_order(gateway)
    assert gaps_of(gateway) == [], "nothing is missing, and nothing was dropped for its age"
    assert_books_balance(gateway)
    for group in GROUPS:
        told = [i for i in gateway.stepped if gateway.arrived[i][0] == f"Count_{group}"]
        assert len(told) == len(steps), "each step is marked, on the scan that shows it"


@pytest.mark.parametrize("killed", [False, True], ids=["running", "away"])
async def test_a_backlog_is_not_thrown_away_because_the_clock_was_set(
    tmp_path: Path, faketime: Faketime, *, killed: bool
) -> None:
    """Far more of it than a target's claim, and nobody takes any: all of it could go for its age.

    The clock is set while the normalizer runs, or while it is away.
    """
    clock = FakedClock(tmp_path, faketime)
    rig = NormalizerRig(tmp_path, queue=AGE_MAX, environment=clock.environment)
    async with rig.tended(), rig.collector() as feeder:
        await feeder.feed(2 * CLAIM_RECORDS)
        await feeder.acknowledged()
        for offset_s in (0, DAY_S, 2 * DAY_S, to_1970(), -DAY_S, 40 * 365 * DAY_S, 0):
            if killed:
                rig.process.kill()
            clock.set(offset_s)
            await feeder.feed(100)
            await feeder.acknowledged()
            await asyncio.sleep(MAINTAINED_S)
    rig.close()

    assert rig.gaps() == []
    assert complaints_of(rig) == []


async def test_every_process_may_come_back_at_another_time(
    tmp_path: Path, faketime: Faketime
) -> None:
    async with ClockedGateway(tmp_path, faketime, queue=AGE_MAX) as gateway:
        await gateway.lives()
        for offset_s in (DAY_S, to_1970(), 0):
            gateway.clock.set(offset_s)
            for name in gateway.processes:
                gateway.kill(name)
            await gateway.lives()
            await gateway.is_fresh()
        await gateway.drained()

    for group in GROUPS:
        assert runs_from_one(counts(gateway, group)) == 4, "each collector counted from 1 on"
    assert gaps_of(gateway) == []
    assert_books_balance(gateway)


async def test_a_gateway_that_boots_in_1970_collects_and_delivers_once_its_clock_is_set(
    tmp_path: Path, faketime: Faketime
) -> None:
    """Its certificate is not valid yet in 1970: the broker is met later, the device at once."""
    async with ClockedGateway(tmp_path, faketime, queue=AGE_MAX) as gateway:
        gateway.clock.set(to_1970())
        for name in gateway.processes:
            gateway.kill(name)
        await gateway.lives(100)
        assert not gateway.arrived, "a broker whose certificate is not valid yet is not trusted"
        gateway.clock.set(0)
        await gateway.lives()
        await gateway.drained()

    assert gaps_of(gateway) == []
    assert_books_balance(gateway)


async def test_a_gap_over_a_step_of_the_clock_never_ends_before_it_begins(
    tmp_path: Path, faketime: Faketime
) -> None:
    """A reboot loses the outbox and the time: what is missing lies between today and 1970."""
    async with ClockedGateway(tmp_path, faketime, queue=AGE_MAX) as gateway:
        await gateway.lives()
        gateway.clock.set(to_1970())
        gateway.forget_the_outbox()
        await gateway.lives()
        gateway.clock.set(0)
        gateway.forget_the_outbox()
        await gateway.lives()
        await gateway.drained()

    gaps = [value for name, value in gateway.arrived.values() if name == "gap"]
    assert {gap["cause"] for gap in gaps} == {"outbox-lost"}
    assert len(gaps) == 2 * len(GROUPS), "once for each group and reboot"
    assert all(gap["first_ms"] < gap["last_ms"] for gap in gaps)
    for group in GROUPS:
        assert runs_from_one(counts(gateway, group)) == 3


def runs_from_one(found: list[int]) -> int:
    """Return how many times the numbers begin at 1; between they count on without a hole."""
    wrong = [(a, b) for a, b in itertools.pairwise([0, *found]) if b not in (a + 1, 1)]
    assert wrong == [], "each scan, once, in the order of reading"
    return found.count(1)


def counts(gateway: ClockedGateway, group: str) -> list[int]:
    return [value for name, value in gateway.arrived.values() if name == f"Count_{group}"]


def assert_all_counted_and_in_order(gateway: ClockedGateway) -> None:
    for group in GROUPS:
        found = counts(gateway, group)
        assert runs_from_one(found) == 1
        assert len(found) > 10, "the device was read"
    sequences = [int(identity.split(":")[2]) for identity in gateway.arrived]
    assert sequences == sorted(sequences), "and all groups together in the order of the queue"


def gaps_of(gateway: ClockedGateway) -> list[object]:
    """Return the gaps that arrived."""
    return [value for name, value in gateway.arrived.values() if name == "gap"]


def assert_books_balance(gateway: ClockedGateway) -> None:
    reader = QueueReader.open(gateway.data_dir / "queue")
    cursor = Cursor.open_existing(gateway.data_dir / "queue", "uns")
    ledger, found = reader.ledger(cursor.position), verify(reader)
    tallies = {key.rpartition("/")[2]: each.scans for key, each in reader.tallies().items()}
    cursor.close()
    reader.close()

    assert found.sound, f"ledger and blocks agree: {found.differences} {found.damaged}"
    assert ledger.total.unexplained == 0
    assert ledger.total.queued == 0
    assert ledger.total.lost == {}
    assert tallies == {group: len(counts(gateway, group)) for group in GROUPS}
