"""Goal: a device is kept read through its absences, and no device delays another.

Method: the real loop on collectors that follow a script, one entry per connection.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest

from collectors.deviceclock import DeviceClock
from collectors.runner import DeviceState, keep_collecting, reconnect_delays_s
from collectors.traffic import Traffic
from common.errors import SourceUnavailable
from common.records import Column, Plan, Quality, Scan, ValueType


def plan_of(device: str, group: str) -> Plan:
    column = Column("T", f"Acme/{device}/T", "counter", "int64", ValueType.INT64)
    return Plan("simulated", device, group, device, 1_000, (column, column))


class Script:
    """A collector whose every connection gives some scans and then fails, or waits for ever."""

    def __init__(self, device: str, connections: list[list[int] | str], groups: int = 1) -> None:
        self.plans = tuple(plan_of(device, f"group-{number}") for number in range(groups))
        self.overruns = 0
        self.traffic = Traffic()
        self.clock = DeviceClock()
        self.attempts = 0
        self.open_sessions = 0
        self.done = asyncio.Event()
        self._connections = iter(connections)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Script"]:
        self.attempts += 1
        self._now = next(self._connections, None)
        if self._now is None:
            self.done.set()
            await asyncio.Event().wait()
        if isinstance(self._now, str):
            raise SourceUnavailable(self._now)
        self.open_sessions += 1
        try:
            yield self
        finally:
            self.open_sessions -= 1

    async def scans(self) -> AsyncGenerator[Scan, None]:
        for value in self._now:
            yield Scan(self.plans[0].fingerprint, value, 0, [value, value])
            await asyncio.sleep(0)
        raise SourceUnavailable("cable pulled")


def no_delays() -> Iterator[float]:
    while True:
        yield 0.0


async def run_script(script: Script) -> tuple[list[tuple[Scan, Plan]], DeviceState]:
    """Run until every scripted connection is used up."""
    forwarded: list[tuple[Scan, Plan]] = []
    state = DeviceState(script)
    task = asyncio.create_task(
        keep_collecting(state, lambda scan, plan: forwarded.append((scan, plan)), no_delays)
    )
    await asyncio.wait_for(script.done.wait(), 5)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return forwarded, state


def edges(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "collectors.runner"]


async def test_a_lost_device_is_reported_once_and_its_return_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    script = Script("press", [[1, 2], "refused", "refused", "refused", [3]])

    forwarded, state = await run_script(script)

    assert edges(caplog) == ["source is away", "source is back", "source is away"]
    assert [scan.values[0] for scan, _ in forwarded] == [1, 2, None, 3, None]
    assert state.scans == 3, "a scan that says nobody answered is not the device's"
    assert script.open_sessions == 0, "every session was closed"


async def test_an_absence_is_one_scan_without_values_for_every_group() -> None:
    forwarded, state = await run_script(Script("press", ["no route", "no route"], groups=3))

    assert [plan.group for _, plan in forwarded] == ["group-0", "group-1", "group-2"]
    for scan, plan in forwarded:
        assert scan.plan == plan.fingerprint
        assert scan.values == [None, None]
        assert scan.qualities == [Quality.BAD_NO_COMMUNICATION] * 2
    assert state.detail()["state"] == "away"
    assert state.detail()["error"] == "no route", "also when it was never there"


async def test_a_connection_that_gives_no_scan_does_not_count_as_a_return(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    forwarded, _ = await run_script(Script("press", [[], [], []]))

    assert edges(caplog) == ["source is away"]
    assert len(forwarded) == 1


async def test_waits_grow_while_the_device_is_away_and_begin_anew_after_a_good_scan() -> None:
    drawn: list[int] = []

    def counted() -> Iterator[float]:
        for number in range(100):
            drawn.append(number)
            yield 0.0

    script = Script("press", ["away", "away", "away", [1], "away", "away"])
    task = asyncio.create_task(
        keep_collecting(DeviceState(script), lambda _scan, _plan: None, counted)
    )
    await asyncio.wait_for(script.done.wait(), 5)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert drawn == [0, 1, 2, 0, 1, 2]


def test_a_device_is_tried_every_few_seconds_for_ten_minutes_and_then_every_half_minute() -> None:
    """Seen to bite: with the waits growing to half a minute at once, the tenth is 29 s."""
    delays = reconnect_delays_s()
    waits = [next(delays) for _ in range(400)]
    eager = list(itertools.takewhile(lambda wait: wait <= 4, waits))

    assert 0.25 <= waits[0] <= 0.5
    assert 596 <= sum(eager) <= 608, "whoever is back within ten minutes is read within seconds"
    assert all(15 <= wait <= 30 for wait in waits[len(eager) + 3 :]), "a dead one costs little"


async def test_a_dead_device_delays_no_other() -> None:
    """The dead one hangs inside connect; the other's scans must come all the same."""
    dead, alive = Script("dead", []), Script("alive", [[1, 2, 3]])
    forwarded: list[str] = []

    def forward(scan: Scan, plan: Plan) -> None:
        assert scan.values
        forwarded.append(plan.device)

    tasks = [
        asyncio.create_task(keep_collecting(DeviceState(each), forward, no_delays))
        for each in (dead, alive)
    ]
    await asyncio.wait_for(alive.done.wait(), 5)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert forwarded.count("alive") == 4
    assert dead.attempts == 1


async def test_a_bug_in_one_device_is_not_swallowed() -> None:
    script = Script("press", [[1]])

    def forward(scan: Scan, _plan: Plan) -> None:
        if scan.values[0] is not None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(keep_collecting(DeviceState(script), forward, no_delays), 5)

    assert script.open_sessions == 0
