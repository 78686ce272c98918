"""Goal: a collector's health file says why its scans stay where they are.

Method: a real sender and a real receiver over a Unix socket; the health detail as it is written.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from collectors.runner import health_detail
from common.handoff import HandoffReceiver, HandoffSender, handoff_address
from common.outbox import Outbox
from common.records import Column, Plan, Scan, ValueType

pytestmark = pytest.mark.process

PLAN = Plan("modbus", "meter", "fast", "Meter", 100, (Column("a", "t", "a", "T", ValueType.INT64),))


class Side:
    """One collector's end, with a scan that waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outbox = Outbox.open(folder / "outbox", "collector-modbus", 1024**2)
        self.sender = HandoffSender(
            address=handoff_address(folder),
            collector="collector-modbus",
            outbox=self.outbox,
            plans=[PLAN],
        )
        self.sender.put(Scan(PLAN.fingerprint, 1, 1, [1]), PLAN)

    def detail(self) -> dict[str, Any]:
        return health_detail([], self.outbox, self.sender)

    async def until(
        self, so: Callable[[], bool], receiver: HandoffReceiver, *, closed: bool = False
    ) -> None:
        for _ in range(500):
            await asyncio.sleep(0.01)
            receiver.receive(wait_s=0, gather_s=0, bytes_max=1_000, closed=closed)
            receiver.acknowledge()
            if so():
                return
        pytest.fail(f"never came true: {self.detail()}")


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    side = Side(tmp_path)
    pump = asyncio.create_task(side.sender.run())
    yield side
    pump.cancel()
    await asyncio.gather(pump, return_exceptions=True)
    side.outbox.close()


async def test_health_tells_a_normalizer_that_is_away_from_a_queue_that_is_full(side: Side) -> None:
    assert side.detail()["handoff"] == "the normalizer does not answer"
    address = handoff_address(side.folder)
    with HandoffReceiver(address=address, committed={}, plans=[]) as receiver:
        await side.until(lambda: side.sender.held, receiver, closed=True)
        said = side.detail()
        await side.until(lambda: side.outbox.depth == 0, receiver)

    assert said["handoff"].startswith("queue full: not reading on")
    assert said["outbox"]["depth"] == 1, "the scan waits here"
    assert side.detail()["handoff"] is None


async def test_health_names_the_groups_that_are_too_large(side: Side) -> None:
    side.sender.put(Scan(PLAN.fingerprint, 1, 1, [bytes(400_000)]), PLAN)

    assert side.detail()["too_large"] == ["meter/fast"]
    assert side.detail()["outbox"]["dropped_scans"] == 1
