"""One simulated device: it never fails, and its values follow from the clock and the scan count.

In a real protocol this is the one module that knows the protocol's library. There, `connect`
opens the connection within a bounded time, `_read_group` asks the device, and both turn every
error of the library into SourceUnavailable, with a text that says who, what and what to check.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from collectors.deviceclock import DeviceClock
from collectors.polling import poll
from collectors.simulated.address import Address
from collectors.simulated.config import SimulatedSettings
from collectors.traffic import Traffic
from common.clock import monotonic_ns, now_ns
from common.records import Plan, Scalar, Scan

_NS_PER_S = 1_000_000_000


class SimulatedSession:
    """One open session; reads group after group."""

    def __init__(self, collector: "SimulatedCollector") -> None:
        self._collector = collector

    def scans(self) -> AsyncGenerator[Scan, None]:
        """Yield a scan of each group at its period."""
        collector = self._collector
        return poll(collector.plans, self._read_group, collector.count_overruns)

    async def _read_group(self, group: int) -> Scan:
        return self._collector.read(group, monotonic_ns())


class SimulatedCollector:
    """One configured device. Building it touches no network."""

    def __init__(self, settings: SimulatedSettings) -> None:
        self._config = settings.config
        self._addresses = [group.addresses for group in settings.groups]
        self._counts = [0] * len(settings.groups)
        self.plans: tuple[Plan, ...] = tuple(group.plan for group in settings.groups)
        self.overruns = 0
        self.traffic = Traffic()
        self.clock = DeviceClock()

    def count_overruns(self, periods: int) -> None:
        """Add periods that could not be held."""
        self.overruns += periods

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[SimulatedSession]:
        """Open a session for the length of the block. This one is never refused."""
        yield SimulatedSession(self)

    def read(self, group: int, at_ns: int) -> Scan:
        """Return the group's values at a monotonic instant, and count the scan."""
        self._counts[group] += 1
        values = [
            self.value(address, self._counts[group], at_ns) for address in self._addresses[group]
        ]
        return Scan(
            plan=self.plans[group].fingerprint,
            read_at_ns=now_ns(),
            monotonic_ns=at_ns,
            values=values,
        )

    def value(self, address: Address, count: int, at_ns: int) -> Scalar:
        """Return what the pattern gives at a monotonic instant, with the `count`th reading."""
        if address.pattern == "counter":
            return count
        if address.pattern == "constant":
            return address.value
        turns = at_ns / _NS_PER_S / self._config.sine_period_s
        return self._config.sine_peak * math.sin(2 * math.pi * turns)


def build_collector(settings: object) -> SimulatedCollector:
    """Return the collector of one compiled device. Touches no network."""
    if not isinstance(settings, SimulatedSettings):
        raise TypeError(f"compile_device of simulated makes SimulatedSettings, found {settings!r}")
    return SimulatedCollector(settings)
