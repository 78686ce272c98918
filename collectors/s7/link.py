"""One connection to one S7: a blocking ISO connection in a thread of its own, every call bounded.

python-snap7 brings ISO-on-TCP (TPKT and COTP); the S7 messages on it are pdu.py's. Its connection
is not safe for two threads and counts its timeouts per packet. So each call has a thread and an
absolute limit (collectors/blocking.py), and is ended by shutting its socket down.

One request is under way at a time, each with a reference of its own. A request that is not answered
in time ends the connection, so that its late reply is never taken for another's; a reply with a
reference that is not the request's (a device that answers twice) is passed over.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from snap7.connection import ISOTCPConnection
from snap7.error import S7Error, S7TimeoutError

from collectors.blocking import BlockingCalls
from collectors.resolving import resolved
from collectors.s7.config import S7Config
from collectors.s7.packing import Limits
from collectors.s7.pdu import (
    Item,
    NotS7,
    memory_of,
    negotiated_pdu_bytes,
    read_request,
    reference_of,
    setup_request,
)
from collectors.s7.refusals import NOT_AVAILABLE, Refused
from collectors.traffic import Traffic
from common.clock import monotonic_s
from common.errors import SourceUnavailable

DISCONNECT_S = 0.5
STRANGE_REPLIES_MAX = 3
"""Answers to what was not asked, passed over while one request waits for its own."""
FRAME_BYTES = 7
"""TPKT and COTP around an S7 message."""

_LOST = (S7Error, OSError, struct.error, ValueError, LookupError)
"""The library's own errors, the socket's, NotS7, and what a parser raises on bytes that are no
S7."""

T = TypeVar("T")
Build = Callable[[int], bytes]
"""Reference → request."""


class Link:
    """A connection; opened once, closed once, never reopened."""

    def __init__(self, config: S7Config, traffic: Traffic) -> None:
        self._config = config
        self._traffic = traffic
        self._connection: ISOTCPConnection | None = None
        self._calls = BlockingCalls(f"s7-{config.host}", self._cut)
        self._reference = 0
        self._answered_at_s: float | None = None
        self.limits = Limits(config.pdu_bytes_max, config.items_max)
        """Of a request, as negotiated and as learned."""
        self.reply_s = 0.0
        """Of the last request."""

    async def open(self) -> None:
        """Connect and negotiate. Raises SourceUnavailable."""
        config = self._config
        # By address: the thread must not wait for a name server, Python joins it at exit.
        address = await resolved(config.host)
        self._connection = ISOTCPConnection(
            address, config.port, config.calling_tsap, config.called_tsap
        )
        await self._run(self._connect, config.connect_timeout_ms / 1000)
        reply = await self.exchange(lambda ref: setup_request(ref, config.pdu_bytes_max))
        pdu_bytes = self._checked(lambda: negotiated_pdu_bytes(reply, config.pdu_bytes_max))
        if isinstance(pdu_bytes, Refused):
            raise self._unavailable(f"refuses to communicate, {pdu_bytes}; check {config.way}")
        self.limits = Limits(pdu_bytes, config.items_max)

    async def ask(self, items: Sequence[Item]) -> list[bytes | Refused]:
        """Return what each item holds, or why it is refused; all of them in one request.

        Raises SourceUnavailable when the connection is lost or an answer does not come in time.
        """
        reply = await self.exchange(lambda reference: read_request(reference, items))
        found = self._checked(lambda: memory_of(reply, items))
        return found if len(items) == 1 else await self._one_by_one(items, found)

    async def _one_by_one(
        self, items: Sequence[Item], found: list[bytes | Refused]
    ) -> list[bytes | Refused]:
        """Ask again for each item of a request that was refused as a whole.

        A device that gives them all then is asked for one item at a time from now on.
        """
        whole = found[0]
        if not isinstance(whole, Refused) or not whole.whole_request or whole.code == NOT_AVAILABLE:
            return found
        first = await self.ask(items[:1])
        if first == [whole]:
            return found
        answers = first + [answer for item in items[1:] for answer in await self.ask([item])]
        if all(isinstance(answer, bytes) for answer in answers):
            self.limits = self.limits._replace(items_max=1)
        return answers

    async def exchange(self, build: Build) -> bytes:
        """Return the reply to one request. Raises SourceUnavailable."""
        await self._pause()
        self._reference = self._reference % 0xFFFF + 1
        request, reference = build(self._reference), self._reference
        self._traffic.asked(len(request) + FRAME_BYTES)
        limit_s = self._config.reply_timeout_ms / 1000
        reply, self.reply_s = await self._run(lambda: self._turn(request, reference), limit_s)
        self._traffic.answered(self.reply_s)
        return reply

    async def close(self) -> None:
        """Say goodbye if the PLC listens; free the thread in any case. Takes at most 2 s."""
        if self._connection is not None:
            with suppress(SourceUnavailable):
                await self._run(self._connection.disconnect, DISCONNECT_S)
        self._calls.close()

    async def _pause(self) -> None:
        if self._config.pause_ms and self._answered_at_s is not None:
            ready_at_s = self._answered_at_s + self._config.pause_ms / 1000
            await asyncio.sleep(max(0.0, ready_at_s - monotonic_s()))

    def _connect(self) -> None:
        connection, config = self._opened(), self._config
        connection.connect(config.connect_timeout_ms / 1000)
        connection.timeout = config.reply_timeout_ms / 1000
        if connection.socket:
            connection.socket.settimeout(config.reply_timeout_ms / 1000)

    def _turn(self, request: bytes, reference: int) -> tuple[bytes, float]:
        """Send, and return the reply and how long it took. Runs in the thread."""
        connection, asked_at_s = self._opened(), monotonic_s()
        connection.send_data(request)
        for _ in range(STRANGE_REPLIES_MAX + 1):
            reply = connection.receive_data()
            self._answered_at_s = monotonic_s()
            self._traffic.received(len(reply) + FRAME_BYTES)
            if reference_of(reply) == reference:
                return reply, self._answered_at_s - asked_at_s
        raise NotS7(f"{STRANGE_REPLIES_MAX + 1} answers to questions that were not asked")

    def _opened(self) -> ISOTCPConnection:
        if self._connection is None:
            raise NotS7("nothing: the connection was never opened")
        return self._connection

    async def _run(self, work: Callable[[], T], limit_s: float) -> T:
        try:
            return await self._calls.run(work, limit_s)
        except TimeoutError as error:
            raise self._unavailable(f"gave no answer within {limit_s * 1000:.0f} ms") from error
        except _LOST as error:
            raise self._unavailable(self._words(error, limit_s)) from error

    def _cut(self) -> None:
        """End the call that is under way; the thread comes back with an error."""
        if self._connection and (sock := self._connection.socket):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _checked(self, parse: Callable[[], T]) -> T:
        try:
            return parse()
        except NotS7 as error:
            raise self._unavailable(self._words(error, 0)) from error

    def _unavailable(self, words: str) -> SourceUnavailable:
        return SourceUnavailable(f"S7 at {self._config.host}:{self._config.port}: {words}")

    def _words(self, error: Exception, limit_s: float) -> str:
        text = str(error) or type(error).__name__
        if isinstance(error, S7TimeoutError) or "timed out" in text:
            return f"gave no answer within {limit_s * 1000:.0f} ms"
        if isinstance(error, NotS7):
            return f"answered what no S7 answers: {text}"
        if "refused" in text:
            return "refused the connection; is this the PLC, and is its port right?"
        if "COTP" in text or "closed by peer" in text.lower() or "reset by peer" in text.lower():
            return (
                f"closed the connection ({text}); check {self._config.way} (S7-1200/1500: slot 1, "
                "S7-300: slot 2, LOGO!: its TSAPs), and whether the PLC has a connection free"
            )
        return text
