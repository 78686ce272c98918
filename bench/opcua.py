"""Question: how many changes a second of an OPC UA server are followed, and at what cost.

A server in a process of its own changes every item at every period, to the period's number; the
collector, with the house's own loop, follows. Each column must count up by one: what is skipped is
lost, and is either counted by the collector as well or a fault of ours.
"""

import asyncio
import resource
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from bench.end_to_end import cpu_s
from collectors.opcua.config import OpcuaSettings, compile_device
from collectors.opcua.device import build_collector
from collectors.runner import DeviceState, keep_collecting
from common.clock import monotonic_s
from common.errors import Finding
from common.plant import load_plant
from common.records import Plan, Scan
from demo.children import Child

LOADS = ((10_000, 1_000), (1_000, 100), (10_000, 500))
"""(items, period in ms)"""
WARM_UP_S, MEASURED_S, FIRST_WITHIN_S = 5.0, 20.0, 60.0


def settings_of(folder: Path, port: int, items: int, period_ms: int) -> OpcuaSettings:
    """Return the settings of a device with so many items."""
    (folder / "ot").mkdir()
    rows = [f"V{n},ns=2;i={n + 1},Double" for n in range(items)]
    (folder / "ot" / "tags.csv").write_text("\n".join(["name,address,type", *rows]) + "\n")
    (folder / "ot" / "plant.toml").write_text(
        '[gateway]\nid = "bench"\nroot = "Bench/Site"\n'
        '[devices.server]\nprotocol = "opcua"\nsecurity = "none"\n'
        f'endpoint = "opc.tcp://127.0.0.1:{port}"\n'
        f"queue_size = 10\nreply_timeout_ms = 10000\n[devices.server.groups.all]\n"
        f'period_ms = {period_ms}\ntags = "tags.csv"\n'
    )
    findings: list[Finding] = []
    settings = compile_device(load_plant(folder).devices[0], findings)
    if settings is None:
        sys.exit("\n".join(map(str, findings)))
    return settings


class Account:
    """What arrived, and what was skipped."""

    def __init__(self, items: int) -> None:
        self.changes = self.skipped = 0
        self.first = asyncio.Event()
        self._last = [0.0] * items

    def take(self, scan: Scan, _: Plan) -> None:
        """Count a scan."""
        last = self._last
        indexes = scan.indexes if scan.indexes is not None else range(len(last))
        for index, value in zip(indexes, scan.values, strict=True):
            if value is not None:
                if last[index]:
                    self.skipped += int(value - last[index]) - 1
                last[index] = value
        self.changes += len(scan.values)
        self.first.set()


def own_cpu_s() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def follow(settings: OpcuaSettings, server_pid: int, items: int, period_ms: int) -> str:
    """Return one line of figures."""
    account = Account(items)
    state = DeviceState(build_collector(settings))
    collecting = asyncio.create_task(keep_collecting(state, account.take))
    async with asyncio.timeout(FIRST_WITHIN_S):
        await account.first.wait()
    await asyncio.sleep(WARM_UP_S)
    begun_s, account.changes, account.skipped = monotonic_s(), 0, 0
    own, theirs = own_cpu_s(), cpu_s(server_pid)
    await asyncio.sleep(MEASURED_S)
    took_s = monotonic_s() - begun_s
    own, theirs = own_cpu_s() - own, cpu_s(server_pid) - theirs
    collecting.cancel()
    with suppress(asyncio.CancelledError):
        await collecting
    expected = items * took_s * 1000 / period_ms
    return (
        f"{items:>6} items, {period_ms:>5} ms: {account.changes / took_s:>7.0f} changes/s"
        f" ({account.changes / expected:.1%} of what changed), {account.skipped} skipped,"
        f" {state.collector.overruns} overruns counted; CPU client {own / took_s:.1%}"
        f" ({own / max(1, account.changes) * 1e6:.1f} us/change), server {theirs / took_s:.1%}"
    )


def measure(items: int, period_ms: int) -> str:
    """Return one line of figures of a load."""
    command = [sys.executable, "-m", "bench.opcua_server", str(period_ms / 1000)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Child("server", command, folder / "server.log")
        with server:
            settings = settings_of(folder, server.wait_for_port(), items, period_ms)
            return asyncio.run(follow(settings, server.pid, items, period_ms))


def main() -> None:
    """Print a line for each load."""
    print("OPC UA, every item changing at every period")
    for items, period_ms in LOADS:
        print(f"  {measure(items, period_ms)}", flush=True)
