"""One Modbus device: its link on a line that it may share, and its groups read over it."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from collectors.deviceclock import DeviceClock
from collectors.modbus.config import ModbusSettings
from collectors.modbus.line import Line
from collectors.modbus.linesettings import LineSettings
from collectors.modbus.link import Link
from collectors.modbus.reading import GroupReader, Unknowns
from collectors.polling import poll
from common.records import Plan, Scan

_lines: WeakValueDictionary[LineSettings, Line] = WeakValueDictionary()
"""The lines of this process; one lives as long as a device that is configured on it."""


class ModbusSession:
    """One open connection; reads group after group."""

    def __init__(self, collector: "ModbusCollector") -> None:
        self._collector = collector
        settings = collector.settings
        self._groups = [
            GroupReader(group, settings.config.limits, collector.link.read, unknowns=unknowns)
            for group, unknowns in zip(settings.groups, collector.unknowns, strict=True)
        ]

    def scans(self) -> AsyncGenerator[Scan, None]:
        """Yield a scan of each group at its period. Raises SourceUnavailable."""
        groups = self._groups
        return poll(
            self._collector.plans, lambda i: groups[i].scan(), self._collector.count_overruns
        )


class ModbusCollector:
    """One configured device. Building it touches no network."""

    def __init__(self, settings: ModbusSettings, line: Line) -> None:
        self.link = link_of(settings, line)
        self.settings = settings
        self.plans: tuple[Plan, ...] = tuple(group.plan for group in settings.groups)
        self.unknowns = [Unknowns() for _ in settings.groups]
        self.overruns = 0
        self.traffic = self.link.traffic
        self.clock = DeviceClock()

    def count_overruns(self, periods: int) -> None:
        """Add periods that could not be held."""
        self.overruns += periods

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ModbusSession]:
        """Open a session for the length of the block. Raises SourceUnavailable on entry."""
        async with self.link.session():
            yield ModbusSession(self)


def link_of(settings: ModbusSettings, line: Line) -> Link:
    """Return a device's place on a line."""
    config = settings.config
    return Link(
        line,
        name=settings.name,
        unit=config.unit,
        reply_timeout_ms=config.reply_timeout_ms,
        pause_ms=config.pause_ms,
    )


def build_collector(settings: object) -> ModbusCollector:
    """Return the collector of one compiled device. Touches no network."""
    if not isinstance(settings, ModbusSettings):
        raise TypeError(f"compile_device of modbus makes ModbusSettings, found {settings!r}")
    line = _lines.get(settings.line)
    if line is None:
        line = _lines[settings.line] = Line(settings.line)
    return ModbusCollector(settings, line)
