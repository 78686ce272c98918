"""Goal: from a collector's outbox to the commit, every scan exactly once, in order, or counted.

Method: the real sender and the real receiver over a real Unix socket, driven step by step by a
seed: either side crashes at any of the instants that matter (after receiving, after committing,
before acknowledging), the outbox is reopened, and the committed list is compared with what was
put. Seen to bite: acknowledging before the commit loses scans in most seeds; a receiver that
forgets its committed positions shows scans twice. What the protocol does in every other situation
is tested without sockets (test_handoff_streams.py, test_handoff_stories.py).
"""

import asyncio
import random
import time
from pathlib import Path

import pytest

from common.handoff import (
    Counts,
    Delivery,
    HandoffReceiver,
    HandoffSender,
    handoff_address,
)
from common.handoff.sender import SILENCE_MAX_S
from common.outbox import Outbox
from common.records import Column, Plan, Position, Scan, ValueType, decode_scan

pytestmark = pytest.mark.process

PLAN = Plan("modbus", "meter", "fast", "Meter", 100, (Column("a", "t", "a", "T", ValueType.INT64),))
OTHER = Plan(
    "modbus", "meter", "slow", "Meter", 900, (Column("b", "u", "b", "T", ValueType.INT64),)
)


class Far:
    """The normalizer's side with a list for a queue: crash it, and only the list remains."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.committed: list[int] = []
        self.positions: dict[str, Position] = {}
        self.plans: set[bytes] = set()
        self.repeats = 0
        self.full = False
        self.counts: dict[tuple[str, str], tuple[int, int]] = {}
        self.receiver: HandoffReceiver | None = None

    def start(self) -> None:
        self.receiver = HandoffReceiver(
            address=handoff_address(self.run_dir), committed=self.positions, plans=self.plans
        )
        self.receiver.__enter__()

    def crash(self) -> None:
        if self.receiver is not None:
            self.repeats += self.receiver.repeats
            self.receiver.__exit__()
            self.receiver = None

    async def step(self, crash_at: str = "", patience: int = 1) -> None:
        if self.receiver is None:
            self.start()
        assert self.receiver is not None
        for _ in range(patience):
            await asyncio.sleep(0.002)  # The other side lives in this event loop.
            deliveries = self.receiver.receive(
                wait_s=0.001, gather_s=0.001, bytes_max=100_000, closed=self.full
            )
            if deliveries:
                break
        if crash_at == "received":
            # Long enough for anything said too early to leave the process.
            time.sleep(0.01)  # noqa: ASYNC251 - a dying process waits for nobody
            return self.crash()
        if deliveries:
            for each in deliveries:
                self._commit(each)
            self.plans |= self.receiver.arrived_plans.keys()
        if crash_at == "committed":
            return self.crash()
        if deliveries:
            self.receiver.acknowledge()
        return None

    def _commit(self, each: Delivery | Counts) -> None:
        if isinstance(each, Counts):
            for told in each.groups:
                self.counts[told.device, told.group] = (told.scans, told.samples)
            return
        assert self.receiver is not None
        assert each.plan in self.plans | self.receiver.arrived_plans.keys()
        self.committed += decode_scan(each.payload).values[:1]
        self.positions[each.collector] = Position(each.epoch, each.sequence)


class Near:
    """The collector's side: crash it, and only the outbox's file remains."""

    def __init__(
        self, run_dir: Path, outbox: str = "outbox", silence_max_s: float = SILENCE_MAX_S
    ) -> None:
        self.run_dir = run_dir
        self.silence_max_s = silence_max_s
        self.folder = run_dir / outbox
        self.put_count = 0
        self.start()

    def start(self) -> None:
        self.outbox = Outbox.open(self.folder, "modbus", 1024**2)
        self.sender = HandoffSender(
            address=handoff_address(self.run_dir),
            collector="modbus",
            outbox=self.outbox,
            plans=[PLAN, OTHER],
            silence_max_s=self.silence_max_s,
        )
        self.task = asyncio.get_running_loop().create_task(self.sender.run())

    def put(self, count: int) -> None:
        for _ in range(count):
            plan = PLAN if self.put_count % 3 else OTHER
            self.sender.put(Scan(plan.fingerprint, 1, 1, [self.put_count]), plan)
            self.put_count += 1

    async def crash(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.outbox.close()

    async def restart(self) -> None:
        await self.crash()
        self.start()


async def wait_for_all(near: Near, far: Far, deadline_s: float = 20) -> None:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + deadline_s
    while near.outbox.depth and loop.time() < until_s:
        await far.step()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("seed", range(5))
async def test_every_scan_is_committed_once_whoever_crashes(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    near, far = Near(tmp_path), Far(tmp_path)
    for _ in range(40):
        match choose.randrange(8):
            case 0:
                await near.restart()
            case 1:
                far.crash()
            case 2:
                await far.step(crash_at="received", patience=80)
            case 3:
                await far.step(crash_at="committed", patience=80)
            case 4 | 5:
                near.put(choose.randint(1, 400))
            case _:
                await far.step(patience=choose.randint(1, 50))
        await asyncio.sleep(choose.choice([0, 0.001, 0.02]))
    await wait_for_all(near, far)

    assert far.committed == list(range(near.put_count)), "all, once, in order"
    assert near.outbox.depth == 0, "and the collector knows it"
    await near.crash()
    far.crash()


async def test_a_slow_commit_causes_no_repeats(tmp_path: Path) -> None:
    """A disk that takes a second must not be answered with everything once more."""
    near, far = Near(tmp_path), Far(tmp_path)
    await far.step()
    near.put(50)
    for _ in range(20):
        await asyncio.sleep(0.05)  # The receiver is busy; the sender asks, and waits.
    await wait_for_all(near, far)

    assert far.committed == list(range(50))
    assert far.receiver is not None
    assert far.receiver.repeats == 0
    await near.crash()
    far.crash()


async def test_a_normalizer_away_for_long_costs_the_oldest_scans_only(tmp_path: Path) -> None:
    near, far = Near(tmp_path), Far(tmp_path)
    near.put(30_000)
    dropped = near.outbox.dropped_scans
    await wait_for_all(near, far)

    assert dropped > 0, "the outbox is bounded"
    assert far.committed == list(range(dropped, 30_000)), "the newest are all there"
    await near.crash()
    far.crash()


async def test_a_window_lost_with_the_normalizer_does_not_stay_full(tmp_path: Path) -> None:
    """A whole window is under way when it dies, and is dropped from the outbox before it is back.

    Seen to bite: with only the committed sequences leaving the window, nothing is ever sent again.
    """
    near, far = Near(tmp_path), Far(tmp_path)
    await far.step(patience=100)
    near.put(300)
    for _ in range(20):
        await asyncio.sleep(0.005)
    far.crash()
    near.put(30_000)
    await wait_for_all(near, far)

    assert near.outbox.depth == 0, "it flows again"
    assert far.committed[-1] == near.put_count - 1
    await near.crash()
    far.crash()


async def test_another_version_is_refused_in_words_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = Near(tmp_path), Far(tmp_path)
    with monkeypatch.context() as newer:
        newer.setattr("common.handoff.receiving.VERSION", 3)
        far.start()
        near.put(5)
        for _ in range(20):
            await far.step()
            await asyncio.sleep(0.02)
        reasons = [str(getattr(record, "fields", {})) for record in caplog.records]
        assert any("speaks version 2, normalizer 3" in reason for reason in reasons)
        assert "speaks version 2, normalizer 3" in (near.sender.trouble or "")
        assert far.committed == []
        far.crash()
    await near.restart()
    await wait_for_all(near, far)

    assert far.committed == list(range(5))
    await near.crash()
    far.crash()


async def test_a_full_queue_holds_a_collector_until_there_is_room(tmp_path: Path) -> None:
    near, far = Near(tmp_path), Far(tmp_path)
    near.put(10)
    await wait_for_all(near, far)
    far.full = True
    near.put(500)
    for _ in range(100):
        await far.step()
        await asyncio.sleep(0.002)
    assert near.sender.held
    assert near.sender.reachable, "it is full, not away"
    assert "queue full" in (near.sender.trouble or "")
    assert len(far.committed) == 10
    far.full = False
    await wait_for_all(near, far)

    assert far.committed == list(range(510)), "all, once, in order"
    assert far.receiver is not None
    assert far.receiver.repeats == 0
    assert near.sender.trouble is None
    await near.crash()
    far.crash()


async def test_a_group_whose_scans_are_all_too_large_is_counted(tmp_path: Path) -> None:
    near, far = Near(tmp_path), Far(tmp_path)
    near.sender.put(Scan(OTHER.fingerprint, 1, 1, [bytes(400_000)]), OTHER)
    near.put(2)
    await wait_for_all(near, far)
    for _ in range(100):
        await far.step()
        if far.counts:
            break

    assert far.counts[OTHER.device, OTHER.group] == (2, 2), "the one too large, and put's first"
    assert near.outbox.too_large == {"meter/slow"}
    await near.crash()
    far.crash()


async def test_two_collectors_of_one_name_never_mix_their_streams(tmp_path: Path) -> None:
    """Which needs a broken lock: the second began an outbox of its own, and goes on alone.

    ZeroMQ leaves the first one's connection open and unheard, so it connects anew and takes the
    name back, then the second does, and so on. Seen to bite: without the end of epochs, scans of
    the first come between those of the second; without connecting anew, it is never told why.
    """
    one, far = Near(tmp_path, silence_max_s=0.5), Far(tmp_path)
    one.put(50)
    await wait_for_all(one, far)
    two = Near(tmp_path, outbox="another", silence_max_s=0.5)
    two.put_count = 1_000
    two.put(50)
    for _ in range(50):
        await far.step()
    one.put(50)
    await wait_for_all(two, far)
    for _ in range(2_000):
        two.put(1)
        await far.step()
        await asyncio.sleep(0.002)
        if "has taken" in (one.sender.trouble or ""):
            break
    why = one.sender.trouble or ""
    await one.crash()
    await wait_for_all(two, far)

    assert far.committed[:50] == list(range(50))
    assert far.committed[50:] == list(range(1_000, two.put_count)), "no scan of the first in it"
    assert "stop one of the two" in why
    await two.crash()
    far.crash()
