"""One Modbus group on one connection: its requests, what the device makes of them, its scans."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from collectors.compiling import CompiledGroup
from collectors.modbus.address import Address
from collectors.modbus.decode import Item, Limits, Request, fields_of
from collectors.planning import Read
from collectors.polling import whole_scan
from collectors.probing import Probes
from collectors.splitting import Answer, Survey
from collectors.taglog import log_tags
from common.clock import monotonic_ns, now_ns
from common.log import get_log
from common.records import Plan, Quality, Scalar, Scan, quality_name

log = get_log(__name__)

# MODBUS Application Protocol Specification V1.1b3, section 7.
_QUALITIES = {
    1: Quality.BAD_CONFIGURATION_ERROR,  # illegal function: the device has no such table
    2: Quality.BAD_OUT_OF_RANGE,  # illegal address
    3: Quality.BAD_OUT_OF_RANGE,  # illegal value: some answer this to a range they do not have
    10: Quality.BAD_NO_COMMUNICATION,  # gateway path unavailable
    11: Quality.BAD_NO_COMMUNICATION,  # the unit behind the gateway does not answer
}
_ANSWERS = {
    1: Answer.UNSUPPORTED,
    2: Answer.REFUSED,
    3: Answer.REFUSED,
    4: Answer.REFUSED,  # device failure: of the hardware behind one register, it may be
}
_WRONG = (Quality.BAD_OUT_OF_RANGE, Quality.BAD_CONFIGURATION_ERROR)
"""What says that a tag's address is wrong, and not that the device has a bad moment."""
_BUSY = (5, 6)
"""Acknowledged, but it takes time; busy. The specification asks to send it again later."""

BUSY_PAUSE_S = 0.1
"""Before a busy device is asked a second time, once in a scan; a period at most."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The device answered a read by an exception."""

    code: int

    @property
    def quality(self) -> int:
        """What it means for the tags that were asked for."""
        return _QUALITIES.get(self.code, Quality.BAD_DEVICE_FAILURE)


Reply = Sequence[int] | Sequence[bool] | Refused
Ask = Callable[[Request], Awaitable[Reply]]


class _Columns:
    """The values and qualities of one scan, while its replies come in."""

    def __init__(self, plan: Plan) -> None:
        self.values: list[Scalar] = [None] * len(plan.scanned)
        self.qualities = [Quality.GOOD] * len(plan.scanned)

    def take(self, request: Request, reply: Reply) -> Answer:
        """Store what the device answered."""
        if isinstance(reply, Refused):
            for column in request.columns:
                # A refused merge says nothing against a value that came by itself.
                if self.values[column] is None:
                    self.qualities[column] = reply.quality
            return _ANSWERS.get(reply.code, Answer.FAILED)
        for column, value in zip(request.columns, request.decode(reply), strict=True):
            self.values[column] = value
            self.qualities[column] = (
                Quality.GOOD if value is not None else Quality.BAD_DECODING_ERROR
            )
        return Answer.GIVEN


class Unknowns:
    """Tags of one group that the device does not know; outlives a connection, to log edges only."""

    def __init__(self) -> None:
        self._columns: set[int] = set()

    def note(self, plan: Plan, values: Sequence[Scalar], qualities: Sequence[int]) -> None:
        """Log which tags the device refuses by now, and which it gives again."""
        refused = {
            column: code
            for column, code in enumerate(qualities)
            if code in _WRONG and values[column] is None
        }
        if refused.keys() == self._columns:
            return
        for code in dict.fromkeys(refused.values()):
            fresh = [c for c in refused if refused[c] == code and c not in self._columns]
            if fresh:
                text = "the device does not give these tags; check their addresses"
                log_tags(log, logging.WARNING, text, plan, fresh, reason=quality_name(code))
        if back := sorted(self._columns - refused.keys()):
            log_tags(log, logging.INFO, "the device gives these tags now", plan, back)
        self._columns = set(refused)


class GroupReader:
    """One group on one connection."""

    def __init__(
        self,
        group: CompiledGroup[Address],
        limits: Limits,
        ask: Ask,
        new_probes: Callable[[], Probes] = Probes,
        unknowns: Unknowns | None = None,
    ) -> None:
        self._unknowns = unknowns or Unknowns()
        self._plan = group.plan
        self._addresses = dict(enumerate(group.addresses))
        self._ask = ask
        fields = fields_of(map(Item._make, self._addresses.items()))
        self._survey = Survey(fields, limits.plan, new_probes)
        self._requests: dict[Read, Request] = {}
        """Compiled, of all reads of the scan before."""
        self._qualities = [Quality.BAD_WAITING_FOR_INITIAL_DATA] * len(group.addresses)
        self._busy_pause_s = min(BUSY_PAUSE_S, group.plan.period_ms / 1000)
        self._patient = True
        """In this scan a busy device may be waited for."""

    async def scan(self) -> Scan:
        """Return one scan of every tag; those that the device refuses are Bad.

        Raises SourceUnavailable.
        """
        columns = _Columns(self._plan)
        self._patient = True
        reads = self._survey.begin()
        for column in self._survey.left_out:
            columns.qualities[column] = self._qualities[column]
        compiled, self._requests = self._requests, {}
        while reads:
            answers = []
            for read in reads:
                request = compiled.get(read) or Request(read, self._addresses)
                self._requests[read] = request
                reply = await self._patiently(request)
                answers.append((read, columns.take(request, reply)))
            reads = self._survey.heard(answers)
        self._qualities = columns.qualities
        self._unknowns.note(self._plan, columns.values, columns.qualities)
        return whole_scan(self._plan, now_ns(), monotonic_ns(), columns.values, columns.qualities)

    async def _patiently(self, request: Request) -> Reply:
        """Return the device's reply; of a busy one the second, once in a scan."""
        reply = await self._ask(request)
        if self._patient and isinstance(reply, Refused) and reply.code in _BUSY:
            self._patient = False
            await asyncio.sleep(self._busy_pause_s)
            reply = await self._ask(request)
        return reply
