"""Goal: a server that is killed comes back with every tag, soon, and with the last value it held.

Method: a real server process, killed with SIGKILL and started again on its port ten times, each
time with its namespaces in another order and with other values; the real runner, with its own
waits. A proxy that is cut for the subscriptions that outlive a connection.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from opcua_proxy import proxy
from opcua_server import URI, Plc, double

from collectors.opcua.config import OpcuaSettings
from collectors.opcua.device import build_collector
from collectors.runner import DeviceState, keep_collecting
from common.records import Plan, Quality, Scan

Compile = Callable[..., OpcuaSettings]
Rows = dict[str, list[tuple[Any, int]]]
"""Tag → (value, quality), as they came."""
SERVER = Path(__file__).parent / "opcua_server.py"
TAGS, RESTARTS, BACK_WITHIN_S = 20, 10, 10.0


class Followed:
    """A device kept read by the house's own loop, and everything it gave."""

    def __init__(self, settings: OpcuaSettings) -> None:
        self.rows: Rows = {}
        self._news = asyncio.Event()
        self.state = DeviceState(build_collector(settings))

    def _forward(self, scan: Scan, plan: Plan) -> None:
        indexes = scan.indexes if scan.indexes is not None else range(len(plan.columns))
        qualities = scan.qualities or [Quality.GOOD] * len(scan.values)
        for index, value, quality in zip(indexes, scan.values, qualities, strict=True):
            self.rows.setdefault(plan.columns[index].name, []).append((value, quality))
        self._news.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Followed"]:
        task = asyncio.create_task(keep_collecting(self.state, self._forward))
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def last(self) -> dict[str, tuple[Any, int]]:
        return {name: rows[-1] for name, rows in self.rows.items()}

    async def until(self, enough: Callable[[], bool], within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while not enough():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def server(
    port: int, shift: int, values: list[float]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Serve `values` in a process of its own, after `shift` other namespaces, until killed."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SERVER),
        json.dumps({"port": port, "shift": shift, "values": values}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        assert await child.stdout.readline(), "the server came up"
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        await child.wait()


async def told(child: asyncio.subprocess.Process, values: list[float]) -> None:
    """Have the server write values, and wait until it has."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(values).encode() + b"\n")
    assert await child.stdout.readline() == b"written\n"


@pytest.mark.process
@pytest.mark.timeout(240)
async def test_a_server_killed_ten_times_with_moved_namespaces_is_back_with_its_last_values(
    compiled: Compile,
) -> None:
    """Seen to bite: with the namespaces of the first life kept, the second never comes back."""
    port = Plc().port
    rows = [(f"T{n}", f"nsu={URI};s=T{n}", "Double") for n in range(TAGS)]
    settings = compiled(f"opc.tcp://127.0.0.1:{port}", *rows)
    loop = asyncio.get_running_loop()
    back_s: list[float] = []

    async with Followed(settings).running() as followed:
        for life in range(RESTARTS + 1):
            first = [1000.0 * life + n for n in range(TAGS)]
            final = [value + 0.5 for value in first]
            async with server(port, life % 4, first) as child:
                up_at_s = loop.time()
                expected = {f"T{n}": (first[n], Quality.GOOD) for n in range(TAGS)}
                await followed.until(lambda want=expected: followed.last() == want, BACK_WITHIN_S)
                back_s.append(loop.time() - up_at_s)
                await told(child, final)
                expected = {f"T{n}": (final[n], Quality.GOOD) for n in range(TAGS)}
                await followed.until(lambda want=expected: followed.last() == want, 10)
            # Killed, with the address still held by nobody; the loss is told of every tag.
            lost = {f"T{n}": (None, Quality.BAD_NO_COMMUNICATION) for n in range(TAGS)}
            await followed.until(lambda want=lost: followed.last() == want, 10)

    assert len(back_s) == RESTARTS + 1
    assert max(back_s) < BACK_WITHIN_S, back_s


def hand_over_for_good(plc: Plc) -> None:
    """Have the server publish to whoever took a subscription over.

    asyncua's transfer leaves it waiting for publish requests of the lost connection.
    """
    assert plc.server is not None
    service = plc.server.iserver.subscription_service
    transfer = service.transfer_subscriptions

    async def transferred(params: Any, session_id: object, callback: Any) -> Any:
        for subscription_id in params.SubscriptionIds:
            subscription = service.subscriptions[subscription_id]
            subscription.pub_request_callback = callback.__self__.get_publish_request
        return await transfer(params, session_id, callback)

    service.transfer_subscriptions = transferred


@pytest.mark.parametrize("for_good", [False, True])
async def test_what_changed_while_the_network_was_cut_is_delivered_after_it(
    plc: Plc, compiled: Compile, *, for_good: bool
) -> None:
    """Asyncua's server keeps what nobody acknowledged, and gives it to whoever takes over.

    It goes on as it should only where it is mended: otherwise it stays silent, or answers requests
    of the lost connection, until the subscription is replaced.

    Seen to bite: without taking over, A's row goes from 2 to 5.
    """
    await plc.start({"A": double(1.0), "B": double(7.0)})
    assert plc.server is not None
    subscriptions = plc.server.iserver.subscription_service.subscriptions
    if for_good:
        hand_over_for_good(plc)
    async with proxy(plc.port) as between:
        settings = compiled(
            between.endpoint,
            ("A", f"nsu={URI};s=A", "Double"),
            ("B", f"nsu={URI};s=B", "Double"),
            queue_size=10,
        )
        async with Followed(settings).running() as followed:
            await followed.until(lambda: len(followed.rows) == 2, 10)
            await plc.set("A", double(2.0))
            await followed.until(lambda: followed.last()["A"][0] == 2.0, 10)
            before = set(subscriptions)
            await between.cut()
            await followed.until(lambda: followed.last()["B"][0] is None, 10)
            for value in (3.0, 4.0, 5.0):
                await plc.set("A", double(value))
            between.up = True
            good = ((5.0, Quality.GOOD), (7.0, Quality.GOOD))
            await followed.until(lambda: tuple(followed.last().values()) == good, 15)
            await plc.set("B", double(8.0))
            await followed.until(lambda: followed.last()["B"][0] == 8.0, 20)
            after = set(subscriptions)

    values = [value for value, _ in followed.rows["A"]]
    assert values[:6] == [1.0, 2.0, None, 3.0, 4.0, 5.0], "the cut is marked, and bridged"
    assert followed.rows["B"][1] == (None, Quality.BAD_NO_COMMUNICATION)
    assert (7.0, Quality.GOOD) in followed.rows["B"][2:], "what did not change is told again"
    assert (before == after) == for_good, "the old subscription goes on, or another is made"
