"""One S7, polled: the fewest requests for each group, at the group's period."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from collectors.deviceclock import OBSERVE_EVERY_S, DeviceClock
from collectors.polling import poll
from collectors.s7.config import S7Settings
from collectors.s7.group import GroupReader, Known
from collectors.s7.link import Link
from collectors.s7.reading import GroupReads
from collectors.s7.userdata import CLOCK_STEP_NS, NotAnswered, clock_ns, clock_request
from collectors.traffic import Traffic
from common.clock import monotonic_s, now_ns
from common.log import get_log
from common.records import Plan, Scan

CLOCK_FAILURES_MAX = 2
"""A connection lost over the question may be chance once; a second time the PLC cannot take it."""

log = get_log(__name__)


class S7Collector:
    """One configured PLC (contract.py: Collector)."""

    def __init__(self, settings: S7Settings) -> None:
        self._settings = settings
        self._overruns = 0
        self.traffic = Traffic()
        self.clock = DeviceClock()
        self.known: dict[str, Known] = {}
        """By group."""
        self.clock_attempts = CLOCK_FAILURES_MAX if settings.config.read_clock else 0
        """Questions for the PLC's time that may still fail."""

    @property
    def plans(self) -> tuple[Plan, ...]:
        """One plan per group."""
        return tuple(group.plan for group in self._settings.groups)

    @property
    def overruns(self) -> int:
        """Periods that could not be held."""
        return self._overruns

    def count_overruns(self, periods: int) -> None:
        """Add periods that could not be held."""
        self._overruns += periods

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["S7Session"]:
        """Connect to the PLC for the length of the block; see contract.py."""
        link = Link(self._settings.config, self.traffic)
        try:
            await link.open()
            yield S7Session(self, link, self._settings)
        finally:
            await link.close()


class S7Session:
    """One open connection (contract.py: Session)."""

    def __init__(self, collector: S7Collector, link: Link, settings: S7Settings) -> None:
        self._collector = collector
        self._link = link
        self._device = settings.device
        self._clock_at_s = monotonic_s()
        config = settings.config
        self._groups = [
            GroupReader(
                GroupReads(
                    group, limits=link.limits, gap_max=config.max_gap_bytes, merge=config.merge
                ),
                link,
                collector.known.setdefault(group.plan.group, Known()),
            )
            for group in settings.groups
        ]

    async def scans(self) -> AsyncGenerator[Scan, None]:
        """Yield a scan of each group at its period; a tag that the PLC refuses is Bad in it."""
        polled = poll(self._collector.plans, self._read, self._collector.count_overruns)
        try:
            async for scan in polled:
                yield scan
        finally:
            await polled.aclose()

    async def _read(self, group: int) -> Scan:
        scan = await self._groups[group].read()
        if self._collector.clock_attempts and monotonic_s() >= self._clock_at_s:
            await self._observe_clock()
        return scan

    async def _observe_clock(self) -> None:
        """Ask for the PLC's time; never again when it does not tell."""
        collector = self._collector
        collector.clock_attempts -= 1  # Some PLCs say nothing, and the connection is lost.
        asked_at_ns = now_ns()
        reply = await self._link.exchange(clock_request)
        try:
            device_at_ns = clock_ns(reply)
        except NotAnswered as error:
            collector.clock_attempts = 0
            text = "the PLC does not tell its time (S7-1200/1500 never do); set read_clock = false"
            log.warning(text, device=self._device, reason=error)
            return
        collector.clock_attempts = CLOCK_FAILURES_MAX
        if collector.clock.observe(device_at_ns, asked_at_ns, now_ns(), CLOCK_STEP_NS):
            log.warning("the PLC's clock jumped", device=self._device)
        self._clock_at_s = monotonic_s() + OBSERVE_EVERY_S


def build_collector(settings: object) -> S7Collector:
    """Return the collector of one compiled device (contract.py: Build)."""
    if not isinstance(settings, S7Settings):
        raise TypeError(f"expected S7Settings, found {type(settings).__name__}")
    # The runner says in one line what the library would say in many.
    logging.getLogger("snap7").setLevel(logging.CRITICAL + 1)
    return S7Collector(settings)
