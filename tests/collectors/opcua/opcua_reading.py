"""Reading from a collector in tests: scans bounded in time, and the last row of every tag."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

from collectors.opcua.config import OpcuaSettings
from collectors.opcua.device import OpcuaCollector, build_collector
from common.records import Quality, Scan, decode_scan, encode_scan

Row = tuple[Any, int]
"""(value, quality)."""


class Reader:
    """A collector, its scans, and the last row of each tag."""

    def __init__(self, collector: OpcuaCollector, scans: AsyncGenerator[Scan, None]) -> None:
        self.collector, self._scans = collector, scans
        self._plans = {plan.fingerprint: plan for plan in collector.plans}
        self.rows: dict[str, Row] = {}
        self.history: dict[str, list[Row]] = {}
        self.times: dict[str, int | None] = {}

    async def until(self, enough: Callable[[dict[str, Row]], bool]) -> dict[str, Row]:
        """Take scans until the rows are enough; return them."""
        while not enough(self.rows):
            scan = await anext(self._scans)
            assert decode_scan(encode_scan(scan)) == scan, "what is yielded can be handed over"
            columns = self._plans[scan.plan].columns
            indexes = scan.indexes if scan.indexes is not None else range(len(columns))
            qualities = scan.qualities or [Quality.GOOD] * len(scan.values)
            times = scan.source_at_ns or [None] * len(scan.values)
            for index, value, quality, at in zip(
                indexes, scan.values, qualities, times, strict=True
            ):
                name = columns[index].name
                self.rows[name] = (value, quality)
                self.times[name] = at
                self.history.setdefault(name, []).append((value, quality))
        return self.rows

    async def all(self) -> dict[str, Row]:
        """Take scans until every tag has a row."""
        names = {column.name for plan in self._plans.values() for column in plan.columns}
        return await self.until(lambda rows: names <= rows.keys())


@asynccontextmanager
async def reader_of(
    settings: OpcuaSettings, collector: OpcuaCollector | None = None
) -> AsyncIterator[Reader]:
    """Connect, and read; bounded as a whole."""
    collector = collector or build_collector(settings)
    async with (
        asyncio.timeout(30),
        collector.connect() as session,
        aclosing(session.scans()) as scans,
    ):
        yield Reader(collector, scans)
