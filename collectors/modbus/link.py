"""One device on its line: each read sent, waited for, checked, and counted.

Where replies do not name their request (RTU, ASCII), one that comes after its time must not be
taken for the next one. They come in the order of the requests. So after a request that got no reply
a *fence* is asked first: a read of another length than every reply that is still owed. Once it is
answered, whatever was owed has come, or never will.

    asked   A: 2 registers, no reply in time      B: 2 registers
    fenced  A: 2 registers, no reply in time      fence: 1 register      B: 2 registers
                            late reply of A ──────────▲ told by its length, dropped
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count

from collectors.modbus.address import Table
from collectors.modbus.checks import checked
from collectors.modbus.decode import Request
from collectors.modbus.framing import BIT_FUNCTIONS, Awaited, Malformed, OutOfStep, Query
from collectors.modbus.line import Line
from collectors.modbus.reading import Refused, Reply
from collectors.modbus.transports import Channel
from collectors.traffic import Traffic
from common.clock import monotonic_s
from common.errors import SourceUnavailable

FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}

_UNREACHED = (10, 11)
"""Gateway path unavailable; gateway target device failed to respond."""
_TRANSACTIONS = 65_536
_ASCII_CHARACTERS = 2
"""For each byte."""


class Link:
    """A device's place on its line. Everything that goes wrong is SourceUnavailable."""

    def __init__(
        self, line: Line, *, name: str, unit: int, reply_timeout_ms: int, pause_ms: int
    ) -> None:
        self._line = line
        self._name = name
        self._unit = unit
        self._owed: set[tuple[int, int]] = set()
        self.traffic = Traffic()
        self.reply_timeout_s = reply_timeout_ms / 1000
        self.pause_s = pause_ms / 1000
        self.answering = False
        self.unanswered = 0
        self.unreached = False
        self.told = False
        self.losses_seen = 0
        self._patience_s = self.reply_timeout_s
        line.members.add(self)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Have the line open for the length of the block. Raises SourceUnavailable on entry."""
        await self._line.enter(self)
        try:
            yield
        finally:
            self._line.leave(self)

    async def read(self, request: Request) -> Reply:
        """Return `request.count` registers or bits, or the device's refusal."""
        function = FUNCTIONS[request.table]
        reply = await self.ask(Query(self._unit, function, request.start, request.count))
        if unreached(reply):
            raise self.unavailable(
                f"is not reached by its gateway: no answer of unit {self._unit}; check the unit "
                "number, its wiring and power, and the gateway's serial settings"
            )
        return reply

    async def ask(self, query: Query) -> Reply:
        """Return what a query gives, or the device's refusal. Raises SourceUnavailable."""
        async with self._line.turn(self) as channel:
            began_s = monotonic_s()
            try:
                return await self._understood(channel, query)
            except TimeoutError as error:
                if not self._line.framing.ordered and channel.received:
                    self._line.lose("sent only a part of a reply; check the network")
                else:
                    self._line.unanswered(self, monotonic_s() - began_s)
                raise self.unavailable(
                    f"did not answer unit {self._unit} within {self._patience_s * 1000:.0f} ms; "
                    "check the device and its unit number, or raise reply_timeout_ms"
                ) from error
            except Malformed as error:
                reason = (
                    f"answered with {error}; check that it is a Modbus "
                    f"{self._line.settings.transport.upper()} device and that no gateway mixes up "
                    "its replies"
                )
                if isinstance(error, OutOfStep):
                    self._line.lose(reason)
                else:
                    self._line.unanswered(self, monotonic_s() - began_s)
                raise self.unavailable(reason) from error

    def unavailable(self, reason: str) -> SourceUnavailable:
        """Return the reason as a sentence about the device, and remember that it was told."""
        self.told = True
        return SourceUnavailable(f"{self._name} at {self._line.settings.place} {reason}")

    async def _understood(self, channel: Channel, query: Query) -> Reply:
        """Ask; once more where a disturbed frame is no wonder."""
        try:
            return await self._fenced(channel, query)
        except OutOfStep:
            raise
        except Malformed:
            if not self._line.framing.ordered:
                raise
        return await self._fenced(channel, query)

    async def _fenced(self, channel: Channel, query: Query) -> Reply:
        if self._owed:
            await self._exchange(channel, fence(query, self._owed))
            self._owed.clear()
        return await self._exchange(channel, query)

    async def _exchange(self, channel: Channel, query: Query) -> Reply:
        """Send one request and return the reply to it. Raises TimeoutError, Malformed, LineLost."""
        line = self._line
        await line.rest(channel, self.pause_s)
        line.transaction = (line.transaction + 1) % _TRANSACTIONS
        awaited = Awaited(query, line.transaction, frozenset(self._owed))
        frame = line.framing.frame(awaited)
        self._patience_s = line.timeout_s(self)
        timeout_s = self._patience_s + self._transmission_s(frame, query)
        answered = False
        self.traffic.asked(len(frame))
        asked_at_s = monotonic_s()
        try:
            channel.send(frame)
            async with asyncio.timeout(timeout_s):
                while (pdu := line.framing.take(channel.received, awaited)) is None:
                    await channel.more()
            reply = checked(pdu, query)
            answered = True
        finally:
            line.used(orderly=answered)
            self.traffic.received(channel.take_count())
            if line.framing.ordered and not answered:
                self._owed.add(query.shape)
        reply_s = monotonic_s() - asked_at_s
        self.traffic.answered(reply_s)
        if unreached(reply):
            line.unreached(self, reply_s)
        else:
            line.answered(self, reply_s)
        return reply

    def _transmission_s(self, frame: bytes, query: Query) -> float:
        """How long question and answer are on a serial line; 0 elsewhere."""
        characters = 2 * len(frame) + _ASCII_CHARACTERS * query.data_bytes
        return characters * self._line.settings.character_s


def unreached(reply: Reply) -> bool:
    """Tell whether a gateway answered in the place of a unit that it does not reach."""
    return isinstance(reply, Refused) and reply.code in _UNREACHED


def fence(query: Query, owed: set[tuple[int, int]]) -> Query:
    """Return a read at the query's place whose reply has a length of its own.

    The shortest that will do: mostly it lies within the query, and the device knows the place.
    """
    shapes = owed | {query.shape}
    return next(each for each in _longer_and_longer(query) if each.shape not in shapes)


def _longer_and_longer(query: Query) -> Iterator[Query]:
    step = 8 if query.function in BIT_FUNCTIONS else 1
    return (query._replace(quantity=1 + step * further) for further in count())
