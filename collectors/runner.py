"""Keeping devices read: the whole reconnect policy of the house, once, and one process's life."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Never

from collectors.contract import Collector
from collectors.timing import GatewayClock, Timing
from common.backoff import outage_delays_s
from common.clock import monotonic_ns, now_ns
from common.errors import SourceUnavailable
from common.handoff import HandoffSender
from common.health import INTERVAL_S, write_health
from common.log import get_log
from common.outbox import Outbox
from common.records import Plan, Quality, Scan
from common.sourcetimes import AS_THE_DEVICE_SAYS

FIRST_DELAY_S = 0.5
EAGER_MOST_DELAY_S, EAGER_S = 4.0, 600.0
"""Most devices that are away are being restarted: for this long each is tried every 2 to 4 s."""
MOST_DELAY_S = 30.0
DRAIN_S = 3.0
"""What is unacknowledged after this time stays in the outbox for the next process."""

log = get_log(__name__)

Forward = Callable[[Scan, Plan], None]
"""Takes responsibility for a scan before it returns; never blocks."""


def reconnect_delays_s() -> Iterator[float]:
    """Yield the waits between attempts to reach one device."""
    return outage_delays_s(
        FIRST_DELAY_S, eager_most_s=EAGER_MOST_DELAY_S, eager_s=EAGER_S, most_s=MOST_DELAY_S
    )


def _as_it_says() -> Timing:
    return Timing(AS_THE_DEVICE_SAYS, GatewayClock(marked=False))


@dataclass
class DeviceState:
    """What the health file says of one device, and what its times are worth."""

    collector: Collector
    timing: Timing = field(default_factory=_as_it_says)
    state: str = "connecting"
    """`connecting` until the first outcome, then `good` or `away`."""
    since_ns: int = field(default_factory=now_ns)
    last_scan_at_ns: int | None = None
    """Of the last scan that the device itself gave."""
    scans: int = 0
    samples: int = 0
    error: str | None = None
    """Why the device is away, in a sentence; None while it is not."""

    @property
    def device(self) -> str:
        """The device's name."""
        return self.collector.plans[0].device

    def detail(self) -> dict[str, Any]:
        """Return the device's part of the health file."""
        return {
            "state": self.state,
            "since_ns": self.since_ns,
            "last_scan_at_ns": self.last_scan_at_ns,
            "scans": self.scans,
            "samples": self.samples,
            "overruns": self.collector.overruns,
            "error": self.error,
            **self.collector.traffic.detail(),
            **self.collector.clock.detail(),
            "groups": {plan.group: plan.period_ms for plan in self.collector.plans},
        }

    def turn(self, state: str, error: str | None = None) -> bool:
        """Take a new state; return True when it is another one: the edge to log."""
        changed = state != self.state
        self.error = error
        if changed:
            self.state, self.since_ns = state, now_ns()
        return changed


async def keep_collecting(
    device: DeviceState,
    forward: Forward,
    delays_s: Callable[[], Iterator[float]] = reconnect_delays_s,
) -> Never:
    """Forward every scan of one device until cancelled. An absent device is not an error here.

    There is no await between a scan's arrival and its forwarding, so that cancellation loses
    none. When the device is lost (or not there at the start) one scan of each group without
    values and of quality BadNoCommunication is forwarded, so that its consumers need not guess.
    """
    plans = {plan.fingerprint: plan for plan in device.collector.plans}
    delays = delays_s()
    while True:
        try:
            async with device.collector.connect() as session, aclosing(session.scans()) as scans:
                async for scan in scans:
                    _on_scan(device, scan)
                    settled = device.timing.settled(scan, device.collector.clock)
                    forward(settled, plans[scan.plan])
                    delays = delays_s()
        except SourceUnavailable as error:
            if device.turn("away", str(error)):
                log.warning("source is away", device=device.device, error=error)
                for plan in device.collector.plans:
                    absent = device.timing.settled(absent_scan(plan), device.collector.clock)
                    forward(absent, plan)
        # A session that simply ends is over as well, and must not be reopened in a tight loop.
        await asyncio.sleep(next(delays))


def _on_scan(device: DeviceState, scan: Scan) -> None:
    device.scans += 1
    device.samples += len(scan.values)
    device.last_scan_at_ns = scan.read_at_ns
    was_away = device.state == "away"
    away_s = (now_ns() - device.since_ns) // 1_000_000_000
    if device.turn("good") and was_away:
        log.info("source is back", device=device.device, after_s=away_s)


def absent_scan(plan: Plan) -> Scan:
    """Return a scan that says of every tag: nobody can reach it."""
    return Scan(
        plan=plan.fingerprint,
        read_at_ns=now_ns(),
        monotonic_ns=monotonic_ns(),
        values=[None] * len(plan.scanned),
        qualities=[Quality.BAD_NO_COMMUNICATION] * len(plan.scanned),
    )


async def collect(
    devices: list[DeviceState], sender: HandoffSender, outbox: Outbox, run_dir: Path, process: str
) -> None:
    """Read every device, each as its own task, until cancelled; then drain and close.

    A device that is away delays no other. An error that is not SourceUnavailable is a bug and
    ends the process, with everything it had read handed over or in the outbox.
    """

    def tell(state: str) -> None:
        write_health(run_dir, process, state, health_detail(devices, outbox, sender))

    async def tell_every_second() -> Never:
        while True:
            tell("waiting" if sender.trouble else "running" if devices else "idle")
            await asyncio.sleep(INTERVAL_S)

    async with asyncio.TaskGroup() as house:
        pump = house.create_task(sender.run())
        try:
            async with asyncio.TaskGroup() as readers:
                readers.create_task(tell_every_second())
                for device in devices:
                    readers.create_task(keep_collecting(device, sender.put))
        finally:
            # Nobody reads any more; the pump still runs, so that the last scans get through.
            tell("stopping")
            await sender.drain(timeout_s=DRAIN_S)
            pump.cancel()


def health_detail(
    devices: list[DeviceState], outbox: Outbox, sender: HandoffSender
) -> dict[str, Any]:
    """Return what the collector's health file says beside its state."""
    return {
        "devices": {device.device: device.detail() for device in devices},
        "outbox": {
            "depth": outbox.depth,
            "dropped_scans": outbox.dropped_scans,
            "epoch": outbox.epoch,
            "sequence": outbox.sequence,
        },
        "handoff": sender.trouble,
        "too_large": sorted(outbox.too_large),
    }
