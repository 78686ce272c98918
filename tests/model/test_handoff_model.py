"""Goal: from a collector's outbox to the commit, every scan exactly once, in order, or counted.

Method: the real sender and the real receiver over a real Unix socket, driven step by step by a
seed: either side crashes at any of the instants that matter (after receiving, after committing,
before acknowledging), the outbox is reopened, and the committed list is compared with what was
put. Seen to bite: acknowledging before the commit loses scans in most seeds; a receiver that
forgets its committed positions shows scans twice.
"""

import asyncio
import random
import time
from pathlib import Path

import pytest

from common.handoff import Delivery, HandoffReceiver, HandoffSender, handoff_address
from common.outbox import Outbox
from common.records import Column, Plan, Position, Scan, ValueType, decode_scan

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
            deliveries = self.receiver.receive(wait_s=0.001, gather_s=0.001, bytes_max=100_000)
            if deliveries:
                break
        if crash_at == "received":
            # Long enough for anything said too early to leave the process.
            time.sleep(0.01)  # noqa: ASYNC251 - a dying process waits for nobody
            return self.crash()
        if deliveries:
            for delivery in (each for each in deliveries if isinstance(each, Delivery)):
                assert delivery.plan in self.plans | self.receiver.arrived_plans.keys()
                self.committed += decode_scan(delivery.payload).values
                position = Position(delivery.epoch, delivery.sequence)
                self.positions[delivery.collector] = position
            self.plans |= self.receiver.arrived_plans.keys()
        if crash_at == "committed":
            return self.crash()
        if deliveries:
            self.receiver.acknowledge()
        return None


class Near:
    """The collector's side: crash it, and only the outbox's file remains."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.put_count = 0
        self.start()

    def start(self) -> None:
        self.outbox = Outbox.open(self.run_dir / "outbox", "modbus", 1024**2)
        self.sender = HandoffSender(
            address=handoff_address(self.run_dir),
            collector="modbus",
            outbox=self.outbox,
            plans=[PLAN, OTHER],
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


@pytest.mark.process
@pytest.mark.parametrize("seed", range(8))
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


@pytest.mark.process
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


@pytest.mark.process
async def test_a_normalizer_away_for_long_costs_the_oldest_scans_only(tmp_path: Path) -> None:
    near, far = Near(tmp_path), Far(tmp_path)
    near.put(30_000)
    dropped = near.outbox.dropped_scans
    await wait_for_all(near, far)

    assert dropped > 0, "the outbox is bounded"
    assert far.committed == list(range(dropped, 30_000)), "the newest are all there"
    await near.crash()
    far.crash()


@pytest.mark.process
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


@pytest.mark.process
async def test_a_plan_that_was_asked_for_in_vain_is_asked_for_again(tmp_path: Path) -> None:
    """The collector dies between the question and its answer, at the start of a new epoch.

    Seen to bite: without a fresh complaint after each hello, the stream stands still.
    """
    near, far = Near(tmp_path), Far(tmp_path)
    near.put(3)
    await wait_for_all(near, far)
    await near.crash()
    (tmp_path / "outbox" / "modbus.ring").unlink()
    far.plans.clear()
    far.crash()
    near.start()
    near.put(1)
    assert far.receiver is None
    far.start()
    assert far.receiver is not None
    deaf, near.sender._on_wanted = near.sender._on_wanted, lambda _: None  # type: ignore[method-assign]  # noqa: SLF001 - dies before it answers
    for _ in range(100):
        await far.step()
    near.sender._on_wanted = deaf  # type: ignore[method-assign]  # noqa: SLF001 - its successor
    await near.restart()
    await wait_for_all(near, far)

    assert near.outbox.depth == 0
    assert far.committed == [0, 1, 2, 3]
    await near.crash()
    far.crash()


@pytest.mark.process
async def test_another_version_is_refused_in_words_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = Near(tmp_path), Far(tmp_path)
    with monkeypatch.context() as newer:
        newer.setattr("common.handoff.receiver.VERSION", 2)
        far.start()
        near.put(5)
        for _ in range(20):
            await far.step()
            await asyncio.sleep(0.02)
        reasons = [str(getattr(record, "fields", {})) for record in caplog.records]
        assert any("speaks version 1, normalizer 2" in reason for reason in reasons)
        assert far.committed == []
        far.crash()
    await near.restart()
    await wait_for_all(near, far)

    assert far.committed == list(range(5))
    await near.crash()
    far.crash()
