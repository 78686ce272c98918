"""One Modbus TCP device: connection, requests, scans. The only module here that knows pymodbus.

Pinned to pymodbus 3.16: a client object per connection, no retries and no reconnect of its own
(both have holes), and a check of what it lets pass: replies of another function, short replies.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from collectors.deviceclock import DeviceClock
from collectors.modbus.address import Table
from collectors.modbus.config import ModbusSettings
from collectors.modbus.decode import Request, well_formed
from collectors.modbus.reading import GroupReader, Refused, Reply
from collectors.polling import poll
from collectors.resolving import resolved
from collectors.traffic import Traffic
from common.errors import SourceUnavailable
from common.records import Plan, Scan

_FUNCTIONS = {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}

_BYTE_BITS = 8
_SHOWN_BYTES = 16


class _Malformed(ModbusException):
    """The device sent something that is not a reply to a read."""


class Link:
    """One TCP connection to one device. Everything that goes wrong is SourceUnavailable."""

    def __init__(self, settings: ModbusSettings, address: str) -> None:
        config = settings.config
        self._unit = config.unit
        self._timeout_ms = config.reply_timeout_ms
        self._who = f"{settings.name} at {config.host}:{config.port}"
        self._client = AsyncModbusTcpClient(
            address,
            port=config.port,
            timeout=config.reply_timeout_ms / 1000,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._on_connection,
            trace_packet=self._on_packet,
        )
        self._ask = {
            Table.COIL: self._client.read_coils,
            Table.DISCRETE: self._client.read_discrete_inputs,
            Table.HOLDING: self._client.read_holding_registers,
            Table.INPUT: self._client.read_input_registers,
        }

    async def open(self) -> None:
        """Connect. Raises SourceUnavailable."""
        try:
            # Not client.connect(): that returns False and keeps the reason to itself.
            async with asyncio.timeout(self._timeout_ms / 1000):
                await self._client.ctx.call_create()
        except TimeoutError as error:
            raise SourceUnavailable(
                f"{self._who} did not accept a connection within {self._timeout_ms} ms; "
                "check its power, the network and the firewall"
            ) from error
        except OSError as error:
            raise SourceUnavailable(
                f"{self._who} cannot be connected ({error}); check host, port and that the device "
                "has Modbus TCP enabled and a free connection"
            ) from error

    def close(self) -> None:
        """Close the connection. Never waits."""
        self._client.close()

    async def read(self, request: Request) -> Reply:
        """Return `request.count` registers or bits, or the device's refusal."""
        try:
            reply = await self._ask[request.table](
                request.start, count=request.count, device_id=self._unit
            )
        except _Malformed as error:
            raise self._confused(error.string, "a read") from error
        except ConnectionException as error:
            raise SourceUnavailable(
                f"{self._who} closed the connection; check whether it restarted or has too many "
                "clients"
            ) from error
        except ModbusException as error:
            raise SourceUnavailable(
                f"{self._who} did not answer unit {self._unit} within {self._timeout_ms} ms; "
                "check the device and its unit number, or raise reply_timeout_ms"
            ) from error
        return self._checked(reply, request)

    def _checked(self, reply: ModbusPDU, request: Request) -> Reply:
        """Refuse what pymodbus lets pass: measured, it compares neither function nor count."""
        function = _FUNCTIONS[request.table]
        if reply.function_code & 0x7F != function:
            raise self._confused(f"function {reply.function_code & 0x7F}", f"function {function}")
        if isinstance(reply, ExceptionResponse):
            return Refused(reply.exception_code)
        if request.table.holds_bits:
            # A reply carries whole bytes; the rest of the last one is padding.
            whole = -(-request.count // _BYTE_BITS) * _BYTE_BITS
            if len(reply.bits) != whole:
                raise self._confused(f"{len(reply.bits)} bits", f"{whole} bits")
            return reply.bits
        if len(reply.registers) != request.count:
            raise self._confused(f"{len(reply.registers)} registers", f"{request.count} registers")
        return reply.registers

    def _confused(self, got: str, asked: str) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self._who} answered with {got} when asked for {asked}; check that it is a Modbus "
            "TCP device and that no gateway mixes up its replies"
        )

    def _on_connection(self, connected: bool) -> None:  # noqa: FBT001 - pymodbus's signature
        if not connected:
            self._end_wait(ConnectionException("closed by the device"))

    def _on_packet(self, sending: bool, data: bytes) -> bytes:  # noqa: FBT001 - the same
        """Hold back what is no reply to a read: pymodbus would raise inside the event loop."""
        if sending or well_formed(data):
            return data
        self._end_wait(_Malformed(f"bytes {data[:_SHOWN_BYTES].hex(' ')}"))
        return b""

    def _end_wait(self, error: ModbusException) -> None:
        # pymodbus does not tell a waiting request of such things: it would sit out its whole
        # timeout. Its future is the one thing that ends the wait at once.
        waiting = self._client.ctx.response_future
        if not waiting.done():
            waiting.set_exception(error)
            waiting.exception()  # Taken, so that nobody is warned when no request was waiting.


class ModbusSession:
    """One open connection; reads group after group."""

    def __init__(self, link: Link, collector: "ModbusCollector") -> None:
        self._collector = collector
        settings = collector.settings
        self._groups = [
            GroupReader(group, settings.config.limits, link.read) for group in settings.groups
        ]

    def scans(self) -> AsyncGenerator[Scan, None]:
        """Yield a scan of each group at its period. Raises SourceUnavailable."""
        groups = self._groups
        return poll(
            self._collector.plans, lambda i: groups[i].scan(), self._collector.count_overruns
        )


class ModbusCollector:
    """One configured device. Building it touches no network."""

    def __init__(self, settings: ModbusSettings) -> None:
        self.settings = settings
        self.plans: tuple[Plan, ...] = tuple(group.plan for group in settings.groups)
        self.overruns = 0
        self.traffic = Traffic()
        self.clock = DeviceClock()

    def count_overruns(self, periods: int) -> None:
        """Add periods that could not be held."""
        self.overruns += periods

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ModbusSession]:
        """Open a session for the length of the block. Raises SourceUnavailable on entry."""
        link = Link(self.settings, await resolved(self.settings.config.host))
        try:
            await link.open()
            yield ModbusSession(link, self)
        finally:
            link.close()


def build_collector(settings: object) -> ModbusCollector:
    """Return the collector of one compiled device. Touches no network."""
    if not isinstance(settings, ModbusSettings):
        raise TypeError(f"compile_device of modbus makes ModbusSettings, found {settings!r}")
    # pymodbus logs every failed attempt; all of it reaches us as exceptions as well.
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    return ModbusCollector(settings)
