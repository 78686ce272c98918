"""One connection to one S7: a blocking client in a thread of its own, every call bounded.

python-snap7's client is not safe for two threads, waits 5 s for a connection whatever it is told,
and counts its timeouts per packet. So each call has an absolute limit here, and is ended from
outside, by shutting its socket down, when the limit is over or nobody waits for it any more.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from snap7.client import Client
from snap7.error import (
    S7Error,
    S7PacketLostError,
    S7ProtocolError,
    S7StalePacketError,
    S7TimeoutError,
)
from snap7.type import Area

from collectors.resolving import resolved
from collectors.s7.config import S7Config
from common.errors import SourceUnavailable

DISCONNECT_S = 0.5
CUT_STEP_S = 0.02
CUT_STEPS = 50
"""One second in all, until a thread has noticed that its socket is shut down."""
READ_OVERHEAD_BYTES = 18
"""Of a reply, beside the data (S7 read response: 12 header, 2 parameter, 4 item)."""

_AREAS = {"DB": Area.DB, "I": Area.PE, "Q": Area.PA, "M": Area.MK}
_LOST = (S7Error, OSError, struct.error, ValueError, LookupError)
"""The library's own errors, the socket's, and what its parser raises on bytes that are no S7."""

T = TypeVar("T")
Span = tuple[str, int, int, int]
"""Area, data block, first byte, bytes."""


@dataclass(frozen=True)
class Refused:
    """The PLC answered, but does not give this memory."""

    reason: str
    """The library's sentence."""


class Link:
    """A connection; opened once, closed once, never reopened."""

    def __init__(self, config: S7Config) -> None:
        self._config = config
        self._client = Client()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"s7-{config.host}")

    @property
    def bytes_max(self) -> int:
        """Data bytes of one reply, as negotiated."""
        return max(1, self._client.pdu_length - READ_OVERHEAD_BYTES)

    async def open(self) -> None:
        """Connect and negotiate. Raises SourceUnavailable."""
        # By address: the thread must not wait for a name server, Python joins it at exit.
        address = await resolved(self._config.host)
        await self._run(lambda: self._connect(address), self._config.connect_timeout_ms / 1000)

    async def read(self, spans: list[Span]) -> list[bytes | Refused]:
        """Return what each span holds, or why it is refused.

        Raises SourceUnavailable when the connection is lost or an answer does not come in time.
        """
        requests = sum(-(-length // self.bytes_max) for _, _, _, length in spans)
        limit_s = self._config.reply_timeout_ms / 1000 * max(1, requests)
        return await self._run(lambda: [self._read(*span) for span in spans], limit_s)

    async def close(self) -> None:
        """Say goodbye if the PLC listens; free the thread in any case. Takes at most 2 s."""
        with suppress(SourceUnavailable):
            await self._run(self._client.disconnect, DISCONNECT_S)
        self._thread.shutdown(wait=False)

    def _connect(self, address: str) -> None:
        config, client = self._config, self._client
        client.connect(address, config.rack, config.slot, config.port)
        client.max_parallel = 1  # It would send several requests although it negotiated one.
        if client.connection and client.connection.socket:
            client.connection.timeout = config.reply_timeout_ms / 1000
            client.connection.socket.settimeout(config.reply_timeout_ms / 1000)

    def _read(self, area: str, db: int, start: int, length: int) -> bytes | Refused:
        try:
            return bytes(self._client.read_area(_AREAS[area], db, start, length))
        except (S7StalePacketError, S7PacketLostError):
            raise
        except S7ProtocolError as error:
            return Refused(str(error))

    async def _run(self, work: Callable[[], T], limit_s: float) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.shield(future)
        except TimeoutError as error:
            raise self._unavailable(f"gave no answer within {limit_s * 1000:.0f} ms") from error
        except _LOST as error:
            raise self._unavailable(self._words(error)) from error
        finally:
            if not future.done():
                await self._cut(future)

    async def _cut(self, future: "asyncio.Future[T]") -> None:
        """End a call that nobody waits for any more."""
        for _ in range(CUT_STEPS):
            connection = self._client.connection
            if connection and (sock := connection.socket):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            await asyncio.wait([future], timeout=CUT_STEP_S)
            if future.done():
                break
        # Whatever it ended with: the caller was told already.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _unavailable(self, words: str) -> SourceUnavailable:
        return SourceUnavailable(f"S7 at {self._config.host}:{self._config.port}: {words}")

    def _words(self, error: Exception) -> str:
        config, text = self._config, str(error) or type(error).__name__
        if isinstance(error, S7TimeoutError):
            return f"gave no answer within {config.reply_timeout_ms} ms"
        if "refused" in text:
            return "refused the connection; is this the PLC, and is its port right?"
        if "COTP" in text or "closed by peer" in text.lower():
            return (
                f"closed the connection ({text}); check rack = {config.rack}, slot = "
                f"{config.slot} (S7-1200/1500: slot 1, S7-300: slot 2) and its free connections"
            )
        return text
