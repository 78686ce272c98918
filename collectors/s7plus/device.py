"""One S7-1200 or S7-1500, polled by symbol: the fewest reads for each group, at its period."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from collectors.deviceclock import DeviceClock
from collectors.polling import poll, whole_scan
from collectors.probing import Probes
from collectors.s7plus.config import EXPERIMENTAL, S7PlusSettings
from collectors.s7plus.decode import decoder
from collectors.s7plus.link import Link
from collectors.s7plus.plc import Refused
from collectors.s7plus.reading import GroupReads, Known
from collectors.taglog import log_tags
from collectors.traffic import Traffic
from common.clock import monotonic_ns, monotonic_s, now_ns
from common.log import get_log
from common.records import Plan, Quality, Scalar, Scan

REFUSALS_MAX = 100
"""Of whole reads in one scan. A PLC that gives nothing at all is not asked for every tag of it."""
PROBED_MAX = 50
"""Refused tags that are asked for again at a time; if one is given, all are."""

log = get_log(__name__)


class S7PlusCollector:
    """One configured PLC (contract.py: Collector)."""

    def __init__(self, settings: S7PlusSettings) -> None:
        self._settings = settings
        self._overruns = 0
        self.traffic = Traffic()
        self.clock = DeviceClock()
        self.known_problems: dict[str, dict[int, str]] = {}
        """Group → column → problem; outlives a connection, so that changes are logged."""
        self.known_refusal = ""
        """Why the PLC does not list its symbols; empty while it does."""

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
    async def connect(self) -> AsyncIterator["S7PlusSession"]:
        """Connect to the PLC and look its symbols up; see contract.py."""
        link = Link(self._settings.config, self.traffic)
        try:
            await link.open()
            session = S7PlusSession(self, link, self._settings)
            await session.look_up()
            yield session
        finally:
            await link.close()


class S7PlusSession:
    """One open connection (contract.py: Session)."""

    def __init__(self, collector: S7PlusCollector, link: Link, settings: S7PlusSettings) -> None:
        self._collector = collector
        self._link = link
        self._device = settings.device
        self._check_s = settings.config.layout_check_ms / 1000
        self._check_at_s = monotonic_s() + self._check_s
        self._groups = [
            _Group(
                GroupReads(group),
                link,
                collector.known_problems.setdefault(group.plan.group, {}),
            )
            for group in settings.groups
        ]
        self._symbolic = any(group.reads.symbolic for group in self._groups)

    async def look_up(self) -> None:
        """Find where every symbol stands now. Raises SourceUnavailable."""
        if not self._symbolic:
            return
        found = await self._link.browse()
        refusal = found.reason if isinstance(found, Refused) else ""
        if refusal and refusal != self._collector.known_refusal:
            log.warning("the PLC does not list its symbols", device=self._device, reason=refusal)
        self._collector.known_refusal = refusal
        listed = [] if isinstance(found, Refused) else found
        known: Known = {symbol.name: (symbol.place, symbol.plc_type) for symbol in listed}
        for group in self._groups:
            group.reads.resolve(known)
        self._check_at_s = monotonic_s() + self._check_s

    async def scans(self) -> AsyncGenerator[Scan, None]:
        """Yield a scan of each group at its period; a tag that the PLC refuses is Bad in it."""
        polled = poll(self._collector.plans, self._read, self._collector.count_overruns)
        try:
            async for scan in polled:
                yield scan
        finally:
            await polled.aclose()

    async def _read(self, group: int) -> Scan:
        # Before the read: what follows a download is then of symbols that were looked up anew.
        if self._symbolic and monotonic_s() >= self._check_at_s:
            self._check_at_s = monotonic_s() + self._check_s
            if await self._link.changed():
                log.info("the PLC's program has changed; symbols looked up", device=self._device)
                await self.look_up()
        return await self._groups[group].read()


class _Group:
    """One group on one connection."""

    def __init__(self, reads: GroupReads, link: Link, known_problems: dict[int, str]) -> None:
        self.reads = reads
        self._plan = reads.group.plan
        self._link = link
        self._known_problems = known_problems
        self._decoders = [decoder(address.type_name) for address in reads.group.addresses]
        self._misfits: set[int] = set()
        self._reason = ""
        """Why the last read was refused as a whole."""
        self._refusals = 0
        """Of whole reads, in this scan."""
        self._probes = Probes()

    async def read(self) -> Scan:
        """Return one scan of every tag. Raises SourceUnavailable."""
        probed = self.reads.restore(PROBED_MAX) if self._probes.due() else []
        found: dict[int, bytes] = {}
        self._reason, self._refusals = "", 0
        for batch in list(self.reads.batches):
            if self._refusals < REFUSALS_MAX:
                await self._ask(batch, found)
        if missing := [
            column for batch in self.reads.batches for column in batch if column not in found
        ]:
            self.reads.refuse(missing, self._reason)
        if self.reads.refused:
            self._probes.start()
        else:
            self._probes.settled()
        read_at_ns, at_ns = now_ns(), monotonic_ns()
        self._log_edges()
        values, qualities = self._decoded(found)
        if any(column in found for column in probed):
            self.reads.restore()
        return whole_scan(self._plan, read_at_ns, at_ns, values, qualities)

    async def _ask(self, columns: list[int], found: dict[int, bytes]) -> None:
        """Read some columns into `found`; what is refused as a whole is asked for in halves."""
        places = [place for column in columns if (place := self.reads.places[column])]
        answer = await self._link.read(places)
        if not isinstance(answer, Refused):
            both = zip(columns, answer, strict=True)
            found.update({column: memory for column, memory in both if memory is not None})
            return
        self._reason = answer.reason
        self._refusals += 1
        if len(columns) > 1 and self._refusals < REFUSALS_MAX:
            middle = len(columns) // 2
            await self._ask(columns[:middle], found)
            await self._ask(columns[middle:], found)

    def _decoded(self, found: dict[int, bytes]) -> tuple[list[Scalar], list[int]]:
        values: list[Scalar] = [None] * len(self._decoders)
        qualities = list(self.reads.qualities)
        for column, memory in found.items():
            try:
                values[column] = self._decoders[column](memory)
                qualities[column] = Quality.GOOD
            except ValueError as error:
                qualities[column] = Quality.BAD_TYPE_MISMATCH
                self._log_misfit(column, error)
        return values, qualities

    def _log_edges(self) -> None:
        problems = self.reads.problems
        new: dict[str, list[int]] = {}
        for column, problem in problems.items():
            if self._known_problems.get(column) != problem:
                new.setdefault(problem, []).append(column)
        for problem, columns in new.items():
            log_tags(log, logging.WARNING, problem, self._plan, columns)
        if back := sorted(self._known_problems.keys() - problems.keys()):
            log_tags(log, logging.INFO, "the PLC gives these tags now", self._plan, back)
        self._known_problems.clear()
        self._known_problems.update(problems)

    def _log_misfit(self, column: int, error: ValueError) -> None:
        if column not in self._misfits:
            self._misfits.add(column)
            text = f"no {self._plan.columns[column].source_type} at this address ({error})"
            log_tags(log, logging.WARNING, text, self._plan, [column])


def build_collector(settings: object) -> S7PlusCollector:
    """Return the collector of one compiled device (contract.py: Build)."""
    if not isinstance(settings, S7PlusSettings):
        raise TypeError(f"expected S7PlusSettings, found {type(settings).__name__}")
    log.warning(EXPERIMENTAL, device=settings.device)
    return S7PlusCollector(settings)
