"""One Modbus group on one connection: which requests it takes, when some of them are refused.

One bad address spoils a merged read. A refused read is therefore asked in halves until the tags
to blame stand alone, and stays split while it must:

* some tags given, some refused: the split is kept, each scan sees when a refused tag is given
* every tag given (the device just does not like what lies between them, or had been starting):
  the merged read is tried again after 1 s, then ever more rarely, at most every 60 s
* every tag refused (the device starts, or knows none of them): the merged read is kept, with one
  tag of it in turn beside it, so that the scan after the device is ready is whole again
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from collectors.modbus.decode import Request, halves, plan_requests
from collectors.probing import Probes
from common.clock import monotonic_ns, now_ns
from common.records import Plan, Quality, Scalar, Scan

# MODBUS Application Protocol Specification V1.1b3, section 7.
_ILLEGAL_ADDRESS = 2
_ILLEGAL_VALUE = 3
_QUALITIES = {
    1: Quality.BAD_CONFIGURATION_ERROR,  # illegal function: the device has no such table
    _ILLEGAL_ADDRESS: Quality.BAD_OUT_OF_RANGE,
    _ILLEGAL_VALUE: Quality.BAD_OUT_OF_RANGE,  # some answer this to a range they do not have
    10: Quality.BAD_NO_COMMUNICATION,  # gateway path unavailable
    11: Quality.BAD_NO_COMMUNICATION,  # the unit behind the gateway does not answer
}


@dataclass(frozen=True, slots=True)
class Refused:
    """The device answered a read by an exception."""

    code: int


Reply = Sequence[int] | Sequence[bool] | Refused
Read = Callable[[Request], Awaitable[Reply]]


class _Columns:
    """The values and qualities of one scan, while its replies come in."""

    def __init__(self, plan: Plan) -> None:
        self.values: list[Scalar] = [None] * len(plan.scanned)
        self.qualities = [Quality.GOOD] * len(plan.scanned)

    def take(self, request: Request, reply: Reply) -> bool:
        """Store what the device answered; return whether it gave the values."""
        if isinstance(reply, Refused):
            quality = _QUALITIES.get(reply.code, Quality.BAD_DEVICE_FAILURE)
            for column in request.columns:
                self.qualities[column] = quality
            return False
        for column, value in zip(request.columns, request.decode(reply), strict=True):
            self.values[column] = value
            self.qualities[column] = Quality.GOOD
        return True


class _MergedRead:
    """One request as it was compiled, and the smaller ones that stand for it while they must."""

    def __init__(self, whole: Request, gap_max: int, read: Read) -> None:
        self._whole = whole
        self._gap_max = gap_max
        self._read = read
        self._parts = [whole]
        self._all_refused = False
        self._turn = 0
        """Item that is asked by itself next, while all of them are refused."""
        self._all_given = False
        self._merging = Probes()

    async def take(self, columns: _Columns) -> None:
        """Read into `columns`. Raises SourceUnavailable."""
        whole, parts = self._whole, self._parts
        if self._all_given and self._merging.due():
            parts = [whole]
        if parts == [whole]:
            reply = await self._read(whole)
            if columns.take(whole, reply):
                self._parts, self._all_refused, self._all_given = parts, False, False
                self._merging.settled()
                return
            if not _divisible(whole, reply):
                return
            if self._all_refused and not await self._one_is_given():
                return
            parts = halves(whole, self._gap_max)
        given, refused = await self._settle(parts, columns)
        self._all_refused, self._all_given = not given, not refused
        self._parts = [whole] if self._all_refused else given + refused
        if self._all_given:
            self._merging.start()

    async def _settle(
        self, parts: list[Request], columns: _Columns
    ) -> tuple[list[Request], list[Request]]:
        """Read parts, in halves where refused; return the requests given, and those refused."""
        given: list[Request] = []
        refused: list[Request] = []
        waiting = parts[::-1]
        while waiting:
            request = waiting.pop()
            reply = await self._read(request)
            if columns.take(request, reply):
                given.append(request)
            elif _divisible(request, reply):
                waiting += halves(request, self._gap_max)[::-1]
            else:
                refused.append(request)
        return given, refused

    async def _one_is_given(self) -> bool:
        self._turn = (self._turn + 1) % len(self._whole.items)
        [alone] = plan_requests([self._whole.items[self._turn]], self._gap_max)
        return not isinstance(await self._read(alone), Refused)


def _divisible(request: Request, reply: Reply) -> bool:
    refused = isinstance(reply, Refused) and reply.code in (_ILLEGAL_ADDRESS, _ILLEGAL_VALUE)
    return refused and len(request.items) > 1


class GroupReader:
    """One group on one connection."""

    def __init__(self, plan: Plan, requests: Sequence[Request], gap_max: int, read: Read) -> None:
        self._plan = plan
        self._reads = [_MergedRead(request, gap_max, read) for request in requests]

    async def scan(self) -> Scan:
        """Return one scan of every tag; those that the device refuses are Bad.

        Raises SourceUnavailable.
        """
        columns = _Columns(self._plan)
        for read in self._reads:
            await read.take(columns)
        return Scan(
            plan=self._plan.fingerprint,
            read_at_ns=now_ns(),
            monotonic_ns=monotonic_ns(),
            values=columns.values,
            qualities=columns.qualities if any(columns.qualities) else None,
        )
