"""One group on one connection: ask, find what is refused, decode, and say what changed."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from collectors.planning import Field, Read
from collectors.polling import whole_scan
from collectors.probing import Probes
from collectors.s7.decode import decoder, misfit_quality
from collectors.s7.link import Link
from collectors.s7.reading import Answer, GroupReads, Requests, requests_for, singly
from collectors.s7.refusals import NOT_AVAILABLE, Refused
from collectors.taglog import log_tags
from common.clock import monotonic_ns, now_ns
from common.log import get_log
from common.records import Quality, Scalar, Scan

SPLITS_PER_SCAN = 4
"""Rounds of leaving out what is refused; one is enough unless the PLC changes meanwhile."""
SEARCH_WIDTH = 20
"""Tags of a refused read that are asked for at once, singly."""

log = get_log(__name__)


@dataclass
class Known:
    """What was said of a group already; outlives a connection, so that only a change is logged."""

    refused: set[int] = field(default_factory=set)
    """Columns that the PLC does not give."""
    misfits: set[int] = field(default_factory=set)
    """Columns whose bytes were no value of their type."""


class GroupReader:
    """Makes the scans of one group."""

    def __init__(self, reads: GroupReads, link: Link, known: Known) -> None:
        self._reads = reads
        self._plan = reads.group.plan
        self._link = link
        self._known = known
        self._decoders = [decoder(address) for address in reads.group.addresses]
        self._probes = Probes()

    async def read(self) -> Scan:
        """Return one scan of every tag. Raises SourceUnavailable."""
        if self._probes.due():
            await self._probe()
        found = await self._memory()
        self._reads.limit(self._link.limits)
        if self._reads.complete:
            self._probes.settled()
        else:
            self._probes.start()
        read_at_ns, at_ns = now_ns(), monotonic_ns()
        self._log_edges()
        values: list[Scalar] = [None] * len(self._decoders)
        qualities: list[int] = [Quality.BAD_OUT_OF_RANGE] * len(values)
        for column, refused in self._reads.refused.items():
            qualities[column] = refused.quality
        for read, memory in found:
            for column, offset in read.fields:
                values[column], qualities[column] = self._decoded(column, memory, offset)
        return whole_scan(self._plan, read_at_ns, at_ns, values, qualities)

    def _decoded(self, column: int, memory: bytes, offset: int) -> tuple[Scalar, int]:
        try:
            return self._decoders[column](memory, offset), Quality.GOOD
        except ValueError as error:
            if column not in self._known.misfits:
                self._known.misfits.add(column)
                kind = self._plan.columns[column].source_type
                text = f"no {kind} at this address; check the tag"
                log_tags(log, logging.WARNING, text, self._plan, [column], reason=error)
            return None, misfit_quality(error)

    async def _memory(self) -> list[tuple[Read, bytes]]:
        """Return what every read holds, after leaving out the tags that the PLC refuses."""
        found: list[tuple[Read, bytes]] = []
        for _ in range(SPLITS_PER_SCAN):
            planned = self._reads.planned
            answers = list(zip(planned.reads, await self._ask(planned), strict=True))
            found = [(read, answer) for read, answer in answers if isinstance(answer, bytes)]
            if len(found) == len(answers):
                break
            for read, answer in answers:
                if isinstance(answer, Refused):
                    await self._split(read, answer)
        return found

    async def _ask(self, planned: Requests) -> list[Answer]:
        return planned.joined([await self._link.ask(items) for items in planned.items])

    async def _ask_singly(self, fields: Sequence[Field]) -> list[Answer]:
        return await self._ask(requests_for(singly(fields), self._link.limits))

    async def _split(self, read: Read, refused: Refused) -> None:
        """Find the tags because of which a read was refused, and leave them out from now on.

        An area of an S7 can mostly be read from its first byte to its last. So of the tags sorted
        by where they end the first ones are given and the rest is not: one request after the other
        asks for tags across what is uncertain, until so few are left that each is asked for.
        """
        fields = self._reads.candidates(read)
        if len(fields) == 1 or refused.code == NOT_AVAILABLE:
            self._reads.refuse({field.column: refused for field in fields})
            return
        given, end = 0, len(fields)
        while end - given > SEARCH_WIDTH:
            picks = [given + (end - given) * pick // SEARCH_WIDTH for pick in range(SEARCH_WIDTH)]
            answers = await self._ask_singly([fields[pick] for pick in picks])
            good = [isinstance(answer, bytes) for answer in answers]
            if sorted(good, reverse=True) != good:
                break  # No border: the memory has a hole.
            first_bad = good.index(False) if False in good else len(picks)
            given = picks[first_bad - 1] + 1 if first_bad else given
            end = picks[first_bad] if first_bad < len(picks) else end
        await self._leave_out(fields, given, end, refused)

    async def _leave_out(self, fields: list[Field], given: int, end: int, refused: Refused) -> None:
        """Ask for the fields from `given` to `end` singly; those behind were found refused."""
        answers = await self._ask_singly(fields[given:end])
        found = {
            field.column: answer
            for field, answer in zip(fields[given:end], answers, strict=True)
            if isinstance(answer, Refused)
        }
        found |= {field.column: refused for field in fields[end:]}
        if found:
            self._reads.refuse(found)
        else:
            self._reads.read_alone(fields)

    async def _probe(self) -> None:
        """Ask for the first refused tag of each area; if one is given by now, ask for all.

        What was only given tag by tag is asked for in merged reads again.
        """
        self._reads.merge()
        fields = self._reads.first_refused()
        if any(isinstance(answer, bytes) for answer in await self._ask_singly(fields)):
            self._reads.restore()

    def _log_edges(self) -> None:
        refused = self._reads.refused
        areas: dict[tuple[str, Refused], list[int]] = {}
        for column in sorted(set(refused) - self._known.refused):
            name = self._reads.group.addresses[column].area_name
            areas.setdefault((name, refused[column]), []).append(column)
        for (area, reason), columns in areas.items():
            text = self._advice(area, reason, columns)
            log_tags(log, logging.WARNING, text, self._plan, columns, reason=reason)
        if back := sorted(self._known.refused - set(refused)):
            text = "the PLC gives these tags now"
            log_tags(log, logging.INFO, text, self._plan, back, reason="Good")
        self._known.refused = set(refused)

    def _advice(self, area: str, reason: Refused, columns: list[int]) -> str:
        addresses = self._reads.group.addresses
        ends = [addresses[column].first_byte + addresses[column].length for column in columns]
        readable = any(
            address.area_name == area and column not in self._reads.refused
            for column, address in enumerate(addresses)
        )
        return reason.advice(area, last_byte=max(ends), readable=readable)
