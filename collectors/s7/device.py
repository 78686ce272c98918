"""One S7, polled: the fewest block reads for each group, at the group's period."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from collectors.deviceclock import DeviceClock
from collectors.planning import Field, Read
from collectors.polling import poll
from collectors.probing import Probes
from collectors.s7.address import Address
from collectors.s7.config import S7Settings
from collectors.s7.decode import decoder
from collectors.s7.link import Link, Refused, Span
from collectors.s7.reading import GroupReads
from collectors.traffic import Traffic
from common.clock import monotonic_ns, now_ns
from common.log import get_log
from common.records import ALL_COLUMNS, Plan, Quality, Scalar, Scan

SPLITS_PER_SCAN = 4
"""Rounds of leaving out what is refused; one is enough unless the PLC changes meanwhile."""
NAMES_SHOWN = 5
"""Of the tags that one line of the log speaks of."""

log = get_log(__name__)


class S7Collector:
    """One configured PLC (contract.py: Collector)."""

    def __init__(self, settings: S7Settings) -> None:
        self._settings = settings
        self._overruns = 0
        self.traffic = Traffic()
        self.clock = DeviceClock()
        self.known_refused: dict[str, set[int]] = {}
        """Group → columns; outlives a connection, so that a state is logged when it changes."""

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
        link = Link(self._settings.config)
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
        self._groups = [
            _Group(
                GroupReads(group, bytes_max=link.bytes_max, gap_max=settings.config.max_gap_bytes),
                link,
                collector.known_refused.setdefault(group.plan.group, set()),
            )
            for group in settings.groups
        ]

    async def scans(self) -> AsyncGenerator[Scan, None]:
        """Yield a scan of each group at its period; a tag that the PLC refuses is Bad in it."""
        plans = self._collector.plans
        polled = poll(plans, lambda i: self._groups[i].read(), self._collector.count_overruns)
        try:
            async for scan in polled:
                yield scan
        finally:
            await polled.aclose()


class _Group:
    """One group on one connection."""

    def __init__(self, reads: GroupReads, link: Link, known_refused: set[int]) -> None:
        self._reads = reads
        self._plan = reads.group.plan
        self._link = link
        self._known_refused = known_refused
        self._decoders = [decoder(address) for address in reads.group.addresses]
        self._misfits: set[int] = set()
        self._reason = ""
        self._probes = Probes()

    async def read(self) -> Scan:
        """Return one scan of every tag. Raises SourceUnavailable."""
        if self._probes.due():
            await self._probe()
        found = await self._memory()
        if self._reads.complete:
            self._probes.settled()
        else:
            self._probes.start()
        read_at_ns, at_ns = now_ns(), monotonic_ns()
        self._log_edges()
        values: list[Scalar] = [None] * len(self._decoders)
        qualities = [Quality.BAD_OUT_OF_RANGE] * len(values)
        for read, memory in found:
            for column, offset in read.fields:
                try:
                    values[column] = self._decoders[column](memory, offset)
                    qualities[column] = Quality.GOOD
                except ValueError as error:
                    qualities[column] = Quality.BAD_TYPE_MISMATCH
                    self._log_misfit(column, error)
        return Scan(
            plan=self._plan.fingerprint,
            read_at_ns=read_at_ns,
            monotonic_ns=at_ns,
            values=values,
            indexes=ALL_COLUMNS,
            qualities=qualities if any(code != Quality.GOOD for code in qualities) else None,
        )

    async def _memory(self) -> list[tuple[Read, bytes]]:
        """Return what every read holds, after leaving out the tags that the PLC refuses."""
        found: list[tuple[Read, bytes]] = []
        for _ in range(SPLITS_PER_SCAN):
            reads = self._reads.reads
            answers = await self._link.read(
                [self._span(read.fields[0].column, read.start, read.length) for read in reads]
            )
            both = list(zip(reads, answers, strict=True))
            found = [(read, answer) for read, answer in both if isinstance(answer, bytes)]
            if len(found) == len(both):
                break
            for read, answer in both:
                if isinstance(answer, Refused):
                    self._reason = answer.reason
                    await self._split(read)
        return found

    async def _split(self, read: Read) -> None:
        """Find the tags because of which a read was refused, and leave them out from now on."""
        fields = self._reads.candidates(read)
        given, end = 0, len(fields)
        while given < end:
            middle = (given + end) // 2
            if await self._is_given(fields[middle]):
                given = middle + 1
            else:
                end = middle
        if given == len(fields):
            self._reads.read_alone(fields)
        else:
            self._reads.refuse(fields[given:])

    async def _is_given(self, field: Field) -> bool:
        span = self._span(field.column, field.start, field.length)
        [answer] = await self._link.read([span])
        return isinstance(answer, bytes)

    def _span(self, column: int, start: int, length: int) -> Span:
        address = self._reads.group.addresses[column]
        return address.area, address.db, start, length

    async def _probe(self) -> None:
        """Ask for the first refused tag of each area; if one is given by now, ask for all.

        What was only given tag by tag is asked for in merged reads again.
        """
        self._reads.merge()
        for field in self._reads.first_refused():
            if await self._is_given(field):
                self._reads.restore()
                return

    def _log_edges(self) -> None:
        refused = set(self._reads.refused)
        areas: dict[str, list[int]] = {}
        for column in sorted(refused - self._known_refused):
            address = self._reads.group.addresses[column]
            areas.setdefault(_area_name(address), []).append(column)
        for area, columns in areas.items():
            self._log(logging.WARNING, self._advice(area, columns), columns, self._reason)
        if back := sorted(self._known_refused - refused):
            self._log(logging.INFO, "the PLC gives these tags now", back, "Good")
        self._known_refused.clear()
        self._known_refused.update(refused)

    def _advice(self, area: str, columns: list[int]) -> str:
        addresses = self._reads.group.addresses
        last_byte = max(addresses[column].start + addresses[column].length for column in columns)
        if any(
            _area_name(address) == area and column not in self._reads.refused
            for column, address in enumerate(addresses)
        ):
            return f"{area} is shorter than {last_byte} bytes; correct the addresses of these tags"
        if addresses[columns[0]].area != "DB":
            return f"the PLC has no area {area} of {last_byte} bytes, or does not permit PUT/GET"
        return (
            f"{area} cannot be read: it is missing, shorter than {last_byte} bytes, has optimised "
            "block access (untick it in the block's attributes), or the CPU does not permit "
            "PUT/GET (CPU properties, Protection)"
        )

    def _log_misfit(self, column: int, error: ValueError) -> None:
        if column not in self._misfits:
            self._misfits.add(column)
            text = f"no {self._plan.columns[column].source_type} at this address; check the tag"
            self._log(logging.WARNING, text, [column], str(error))

    def _log(self, level: int, text: str, columns: list[int], reason: str) -> None:
        names = ", ".join(self._plan.columns[column].name for column in columns[:NAMES_SHOWN])
        more = f" and {len(columns) - NAMES_SHOWN} more" if len(columns) > NAMES_SHOWN else ""
        plan = self._plan
        log.log(level, text, device=plan.device, group=plan.group, tags=names + more, reason=reason)


def build_collector(settings: object) -> S7Collector:
    """Return the collector of one compiled device (contract.py: Build)."""
    if not isinstance(settings, S7Settings):
        raise TypeError(f"expected S7Settings, found {type(settings).__name__}")
    # The runner says in one line what the library would say in many.
    logging.getLogger("snap7").setLevel(logging.CRITICAL + 1)
    return S7Collector(settings)


def _area_name(address: Address) -> str:
    return f"DB{address.db}" if address.area == "DB" else address.area
