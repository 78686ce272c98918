"""What `tailrace read` and `tailrace browse` ask of a Modbus device, over a line of their own."""

import re
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from collectors.inspection import Found, Guess, Reading
from collectors.modbus.address import NUMBERS, Address, Array, Table, parse
from collectors.modbus.config import ModbusSettings
from collectors.modbus.decode import Item, Request, plan_requests
from collectors.modbus.device import link_of
from collectors.modbus.framing import Query
from collectors.modbus.guessing import guess
from collectors.modbus.line import Line
from collectors.modbus.link import FUNCTIONS, Link
from collectors.modbus.reading import Refused, Reply
from common.clock import monotonic_s
from common.records import Quality

GUESSED_REGISTERS = 4
SCANNED_MAX = 1_000
"""Items of one `browse`; of those that the device does not have, each costs up to two requests."""

_ILLEGAL_ADDRESS = 2
_ILLEGAL_VALUE = 3
_DIGITS = {Table.COIL: 0, Table.DISCRETE: 1, Table.INPUT: 3, Table.HOLDING: 4}
_MEANINGS = {
    1: "illegal function: the device has no such table; try another of holding, input, coil, "
    "discrete",
    _ILLEGAL_ADDRESS: "illegal address: the device has nothing there, or not so much of it",
    _ILLEGAL_VALUE: "illegal value: the device does not give so many at once; set registers_max",
    4: "device failure: it has the value and cannot give it; see the device's own diagnosis",
    5: "acknowledge: it is busy with a long request; ask again later",
    6: "busy: ask again later",
    8: "memory parity error: see the device's own diagnosis",
    10: "gateway path unavailable: check the gateway's serial settings and its unit table",
    11: "the unit behind the gateway does not answer: check the unit number, its wiring and power",
}
"""MODBUS Application Protocol Specification V1.1b3, section 7."""
_RANGE = re.compile(r"(?P<table>[a-z]+):(?P<first>\d{1,5})-(?P<last>\d{1,5})")


class ModbusInspector:
    """One open connection, for questions of a person."""

    def __init__(self, settings: ModbusSettings, link: Link) -> None:
        self._settings = settings
        self._link = link

    async def read(self, address: str, type_text: str) -> list[Reading]:
        """Return what stands at an address; of an array one reading for each element."""
        parsed, note = self._parsed(address, type_text)
        elements = (
            [each for _, each in parsed.elements()] if isinstance(parsed, Array) else [parsed]
        )
        limits = self._settings.config.limits
        readings: dict[int, Reading] = {}
        for request in plan_requests([Item(*each) for each in enumerate(elements)], limits):
            asked_at_s = monotonic_s()
            reply = await self._ask(request.table, request.start, request.count)
            reply_s = monotonic_s() - asked_at_s
            if isinstance(reply, Refused):
                note = await self._refusal(request, reply)
            readings |= self._shown(request, reply, reply_s, note)
        return [readings[column] for column in sorted(readings)]

    async def guess(self, address: str) -> list[Guess]:
        """Return the registers from an address on as every type and order they could be."""
        parsed, _ = self._parsed(address, "")
        first = parsed.first if isinstance(parsed, Array) else parsed
        if first.table.holds_bits or first.bit is not None:
            raise ValueError(f"{first.place} is a single bit: there is nothing to guess")
        reply: Reply = Refused(_ILLEGAL_ADDRESS)
        for quantity in (GUESSED_REGISTERS, 2, 1):
            if first.number + quantity <= NUMBERS:
                reply = await self._ask(first.table, first.number, quantity)
                if not isinstance(reply, Refused):
                    return guess([int(register) for register in reply])
        assert isinstance(reply, Refused)  # noqa: S101 - or it was returned
        raise ValueError(f"{first.place} is refused: {_meaning(reply.code)}")

    async def browse(self, under: str) -> AsyncGenerator[Found, None]:
        """Yield every item of a range that the device gives, `under` being holding:0-99.

        Raises ValueError without one: Modbus has no way to ask what there is; and when the device
        refuses more than single items of it.
        """
        found = _RANGE.fullmatch(under.strip())
        if not found or found["table"] not in list(Table):
            raise ValueError(
                "a Modbus device cannot list what it has. Read its manual's table and try an "
                "address, `tailrace read DEVICE holding:0 --guess`; or have a range scanned: "
                "`tailrace browse DEVICE holding:0-99` (or input, coil, discrete)"
            )
        table, first, last = Table(found["table"]), int(found["first"]), int(found["last"])
        if not first <= last < NUMBERS or last - first >= SCANNED_MAX:
            raise ValueError(
                f"{under}: the range goes from low to high, up to {NUMBERS - 1}, and has at most "
                f"{SCANNED_MAX} items"
            )
        limits = self._settings.config.limits
        step = limits.bits_max if table.holds_bits else limits.registers_max
        waiting = [(start, min(step, last + 1 - start)) for start in range(first, last + 1, step)][
            ::-1
        ]
        while waiting:
            start, quantity = waiting.pop()
            reply = await self._ask(table, start, quantity)
            if not isinstance(reply, Refused):
                for number, value in enumerate(reply, start):
                    yield Found(
                        name=f"{table}_{number}",
                        address=f"{table}:{number}",
                        type="BOOL" if table.holds_bits else "UINT16",
                        description=_both_forms(table, number),
                        value=value,
                    )
            elif reply.code not in (_ILLEGAL_ADDRESS, _ILLEGAL_VALUE):
                raise ValueError(f"{under} is refused: {_meaning(reply.code)}")
            elif quantity > 1:
                half = quantity // 2
                waiting += [(start + half, quantity - half), (start, half)]

    def _parsed(self, address: str, type_text: str) -> tuple[Address | Array, str]:
        """Return the address and, where no type was given, a note on the one assumed."""
        unit = self._settings.config.unit
        try:
            return parse(address, type_text, unit), ""
        except ValueError:
            if type_text:
                raise
            try:
                assumed = parse(address, "UINT16", unit)
            except ValueError:
                assumed = None
            if assumed is None:
                raise
            return assumed, "no type was given: shown as UINT16; --guess shows all that it could be"

    async def _ask(self, table: Table, start: int, quantity: int) -> Reply:
        unit = self._settings.config.unit
        return await self._link.ask(Query(unit, FUNCTIONS[table], start, quantity))

    async def _refusal(self, request: Request, refused: Refused) -> str:
        """Return what a refusal means; of an illegal address, whether its neighbours answer."""
        note = f"exception {refused.code}, {_meaning(refused.code)}"
        if refused.code != _ILLEGAL_ADDRESS:
            return note
        answering = [
            f"{request.table}:{number}"
            for number in (request.start - 1, request.start + 1)
            if 0 <= number <= NUMBERS - request.count
            and not isinstance(await self._ask(request.table, number, request.count), Refused)
        ]
        if answering:
            note += (
                f"; {' and '.join(answering)} answer{'' if len(answering) > 1 else 's'}: does the "
                "manual count from the other end of 0 and 1?"
            )
        return note

    def _shown(
        self, request: Request, reply: Reply, reply_s: float, note: str
    ) -> dict[int, Reading]:
        """Return a reading for each column of a request."""
        refused = isinstance(reply, Refused)
        values = [None] * len(request.columns) if refused else request.decode(reply)  # type: ignore[arg-type]
        addresses = {item.column: item.address for item in request.items}
        shown = {}
        for column, value in zip(request.columns, values, strict=True):
            address = addresses[column]
            quality = Quality.GOOD if value is not None else Quality.BAD_DECODING_ERROR
            shown[column] = Reading(
                address=address.place,
                source_type=address.source_type,
                wire=self._wire(request, address),
                value=value,
                quality=reply.quality if isinstance(reply, Refused) else quality,
                raw=None if isinstance(reply, Refused) else _raw(request, address, reply),
                reply_s=reply_s,
                note=note,
            )
        return shown

    def _wire(self, request: Request, address: Address) -> str:
        kind = request.table if request.table.holds_bits else "register"
        return (
            f"unit {self._settings.config.unit}, function {FUNCTIONS[request.table]}, {kind} "
            f"{request.start} (0x{request.start:04x}), count {request.count}; "
            f"{_both_forms(address.table, address.number)}"
        )


def _both_forms(table: Table, number: int) -> str:
    """Return the number as manuals count and as it is on the wire."""
    return f"{_DIGITS[table]}{number + 1:05d} = {table} {number}"


def _raw(request: Request, address: Address, reply: Sequence[int] | Sequence[bool]) -> bytes:
    """Return a value's own bytes, in the order of the wire; of a bit in a table, 0 or 1."""
    at = address.number - request.start
    if request.table.holds_bits:
        return bytes([reply[at]])
    own = reply[at : at + address.data_type.registers]
    return struct.pack(f">{len(own)}H", *own)


def _meaning(code: int) -> str:
    return _MEANINGS.get(code, "which the protocol does not know; see the device's manual")


@asynccontextmanager
async def inspect(settings: object) -> AsyncIterator[ModbusInspector]:
    """Connect for the length of the block. Raises SourceUnavailable on entry."""
    if not isinstance(settings, ModbusSettings):
        raise TypeError(f"compile_device of modbus makes ModbusSettings, found {settings!r}")
    link = link_of(settings, Line(settings.line))
    async with link.session():
        yield ModbusInspector(settings, link)
