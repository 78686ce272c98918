"""One connection to one PLC: its blocking calls in a thread of their own, every one bounded."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from collectors.blocking import BlockingCalls
from collectors.resolving import resolved
from collectors.s7plus.config import S7PlusConfig
from collectors.s7plus.plc import LOST, Plc, Refused, Symbol, Trust, words
from collectors.s7plus.reading import Place
from collectors.traffic import Traffic
from common.clock import monotonic_s
from common.errors import SourceUnavailable

DISCONNECT_MS = 500

T = TypeVar("T")


class Link:
    """A connection; opened once, closed once, never reopened."""

    def __init__(self, config: S7PlusConfig, traffic: Traffic) -> None:
        self._config = config
        self._traffic = traffic
        self._trust = Trust(ca_file=config.ca_file, fingerprint=config.fingerprint)
        self._plc = Plc(self._trust)
        self._calls = BlockingCalls(f"s7plus-{config.host}", self._plc.cut)

    async def open(self) -> None:
        """Connect, check who answers, and open a session. Raises SourceUnavailable."""
        config = self._config
        address = await resolved(config.host)
        # With an authority the certificate must name the host as it is written, so the library
        # looks the name up once more; a moment ago there was somebody to answer.
        host = config.host if config.ca_file else address
        await self._run(lambda: self._plc.connect(host, config.port), config.connect_timeout_ms)

    async def read(self, places: Sequence[Place]) -> list[bytes | None] | Refused:
        """Return what stands at each place, None where the PLC gives nothing.

        Raises SourceUnavailable when the connection is lost or an answer does not come in time.
        """
        began_s = monotonic_s()
        answer = await self._run(lambda: self._plc.read(places), self._config.reply_timeout_ms)
        self._traffic.answered(monotonic_s() - began_s)
        return answer

    async def browse(self) -> list[Symbol] | Refused:
        """Return every symbol of the program. Raises SourceUnavailable."""
        return await self._run(self._plc.browse, self._config.browse_timeout_ms)

    async def changed(self) -> bool:
        """Return whether the program's blocks are others than at the last browse.

        Raises SourceUnavailable.
        """
        return await self._run(self._plc.changed, self._config.browse_timeout_ms)

    async def close(self) -> None:
        """Say goodbye if the PLC listens; free the thread in any case. Takes at most 2 s."""
        with suppress(SourceUnavailable):
            await self._run(self._plc.close, DISCONNECT_MS)
        self._calls.close()

    async def _run(self, work: Callable[[], T], limit_ms: int) -> T:
        try:
            return await self._calls.run(work, limit_ms / 1000)
        except LOST as error:
            text = words(error, trust=self._trust, limit_ms=limit_ms)
            where = f"{self._config.host}:{self._config.port}"
            raise SourceUnavailable(f"S7 (S7CommPlus) at {where}: {text}") from error
        finally:
            spent = self._plc.spent()
            self._traffic.requests += spent.requests
            self._traffic.bytes_sent += spent.bytes_sent
            self._traffic.received(spent.bytes_received)
