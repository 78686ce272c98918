"""What `tailrace read` and `tailrace browse` show of an S7, over a connection of its own.

A PLC has few connections; this one is open for the length of the question.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from collectors.inspection import Found, Guess, Reading
from collectors.s7.address import COUNTED_AREAS, Address, Array
from collectors.s7.config import S7Settings
from collectors.s7.decode import decoder, misfit_quality
from collectors.s7.dialects import parse_address
from collectors.s7.guessing import GUESSED_BYTES, guesses, text_bytes
from collectors.s7.link import Link
from collectors.s7.packing import pack
from collectors.s7.pdu import Item
from collectors.s7.refusals import Refused
from collectors.s7.userdata import (
    NotAnswered,
    block_numbers,
    blocks_follow_up,
    blocks_of,
    blocks_request,
    size_bytes,
    size_request,
)
from collectors.traffic import Traffic
from common.errors import SourceUnavailable
from common.records import Quality

BLOCK_LIST_PARTS_MAX = 100
"""Of a list of data blocks; each part is one reply."""
_LENGTHS = (1, 2, 4, 8, 12, GUESSED_BYTES)
"""What is asked for, in one request, to see how much memory is behind a place."""
_PLACE_TYPES = ("", "BYTE", "WORD", "DWORD")
"""What a place without a type is read as, to know where it is."""
_NO_LIST = (
    "this PLC does not list its data blocks ({}); S7-1200 and S7-1500 never do: write the "
    "addresses from TIA Portal (a block's column Offset), have them written from its source "
    "(--from, docs/reading-devices.md), or browse the PLC's OPC UA server"
)

T = TypeVar("T")


@asynccontextmanager
async def inspect(settings: object) -> AsyncIterator["S7Inspector"]:
    """Connect for the length of the block (inspection.py: Inspect)."""
    if not isinstance(settings, S7Settings):
        raise TypeError(f"expected S7Settings, found {type(settings).__name__}")
    link = Link(settings.config, Traffic())
    try:
        await link.open()
        yield S7Inspector(link)
    finally:
        await link.close()


class S7Inspector:
    """One open connection to one PLC (inspection.py: Inspector)."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def read(self, address: str, type_text: str) -> list[Reading]:
        """Return what stands at an address, of an array each element (inspection.py)."""
        place = parse_address(address, type_text)
        first = place.first if isinstance(place, Array) else place
        last = place.last if isinstance(place, Array) else place
        start = first.first_byte
        whole = Item(first.area, first.db, start, last.first_byte + last.length - start)
        memory, reply_s = await self._memory(whole)
        if isinstance(memory, Refused):
            return [_refused(first, memory, whole, reply_s)]
        elements = [each for _, each in place.elements()] if isinstance(place, Array) else [place]
        return [_reading(each, memory, each.first_byte - start, reply_s) for each in elements]

    async def guess(self, address: str) -> list[Guess]:
        """Return the bytes at an address as every type that they could be.

        A type in the address is not looked at. Raises ValueError when nothing is there.
        """
        place = _place(address)
        lengths = (COUNTED_AREAS[place.area],) if place.area in COUNTED_AREAS else _LENGTHS
        answers = await self._ask_lengths(place, lengths)
        memory = _longest(answers)
        if not memory:
            why = answers[0] if isinstance(answers[0], Refused) else Refused(0)
            raise ValueError(f"{address!r} holds nothing: {_advice(place, why)} [{why}]")
        # A text says itself how long it is.
        texts = [each for each in text_bytes(memory) if len(memory) < each < GUESSED_BYTES]
        more = _longest(await self._ask_lengths(place, texts))
        return guesses(place, max(memory, more, key=len))

    async def browse(self, under: str) -> AsyncGenerator[Found, None]:
        """Yield the data blocks with their sizes; `under` may name one, `DB40`.

        S7-300 and S7-400 list their blocks. Raises ValueError for a PLC that does not.
        """
        wanted = under.strip().upper()
        for number in await self._block_numbers():
            if wanted not in ("", f"DB{number}"):
                continue
            size = await self._question(partial(size_request, db=number), size_bytes)
            shown = "" if isinstance(size, NotAnswered) else f"data block of {size} bytes"
            array = f"BYTE[{size}]" if isinstance(size, int) and size else ""
            yield Found(
                name=f"DB{number}",
                address=f"DB{number}.DBB0",
                type=array,
                description=shown or f"its size is not told ({size})",
                readable=bool(array),
            )

    async def _block_numbers(self) -> list[int]:
        listed = b""
        ask: Callable[[int], bytes] = blocks_request
        for _ in range(BLOCK_LIST_PARTS_MAX):
            part = await self._question(ask, blocks_of)
            if isinstance(part, NotAnswered):
                raise ValueError(_NO_LIST.format(part)) from part  # noqa: TRY004 - no type, a PLC
            listed += part[0]
            if part[1] is None:
                return block_numbers(listed)
            ask = partial(blocks_follow_up, sequence=part[1])
        raise ValueError(_NO_LIST.format(f"a list of more than {BLOCK_LIST_PARTS_MAX} parts"))

    async def _question(
        self, build: Callable[[int], bytes], parse: Callable[[bytes], T]
    ) -> T | NotAnswered:
        """Ask beside memory; a PLC that says nothing at all is one that does not answer."""
        try:
            return parse(await self._link.exchange(build))
        except NotAnswered as error:
            return error
        except SourceUnavailable as error:
            return NotAnswered(str(error))

    async def _memory(self, item: Item) -> tuple[bytes | Refused, float]:
        """Return what an item holds, in as many parts as it needs, and the longest reply time."""
        step = self._link.limits.piece_bytes
        step -= step % COUNTED_AREAS.get(item.area, 1)
        end = item.start + item.length
        parts = [
            item._replace(start=start, length=min(step, end - start))
            for start in range(item.start, end, step)
        ]
        found, reply_s = b"", 0.0
        for part in parts:
            [answer] = await self._link.ask([part])
            reply_s = max(reply_s, self._link.reply_s)
            if isinstance(answer, Refused):
                return answer, reply_s
            found += answer
        return found, reply_s

    async def _ask_lengths(self, place: Address, lengths: Sequence[int]) -> list[bytes | Refused]:
        """Return what so many bytes at a place hold, each by itself."""
        most = self._link.limits.piece_bytes
        start = place.first_byte
        return await self._ask(
            [Item(place.area, place.db, start, each) for each in lengths if each <= most]
        )

    async def _ask(self, items: Sequence[Item]) -> list[bytes | Refused]:
        """Return what each item holds, in as few requests as they fit."""
        found: dict[int, bytes | Refused] = {}
        for request in pack([item.length for item in items], self._link.limits):
            answers = await self._link.ask([items[index] for index in request])
            found |= dict(zip(request, answers, strict=True))
        return [found[index] for index in range(len(items))]


def _longest(answers: Sequence[bytes | Refused]) -> bytes:
    return max((each for each in answers if isinstance(each, bytes)), key=len, default=b"")


def _place(address: str) -> Address:
    """Return where an address is, whatever its type. Raises ValueError."""
    refused: ValueError | None = None
    for type_text in _PLACE_TYPES:
        try:
            place = parse_address(address, type_text)
        except ValueError as error:
            refused = refused or error
        else:
            return place.first if isinstance(place, Array) else place
    raise refused or ValueError(address)


def _wire(address: Address, code: str) -> str:
    item = Item(address.area, address.db, address.first_byte, address.length)
    bit = f", bit {address.bit}" if address.type_name == "BOOL" else ""
    return f"{item}{bit}; {code}"


def _reading(address: Address, memory: bytes, offset: int, reply_s: float) -> Reading:
    value, quality, note = None, Quality.GOOD, ""
    try:
        value = decoder(address)(memory, offset)
    except ValueError as error:
        quality = misfit_quality(error)
        note = f"these bytes are no {address.kind}: {error}; try --guess"
    return Reading(
        address=address.place,
        source_type=address.kind,
        wire=_wire(address, "item code 0xFF"),
        value=value,
        quality=quality,
        raw=memory[offset : offset + address.length],
        reply_s=reply_s,
        note=note,
    )


def _refused(address: Address, why: Refused, item: Item, reply_s: float) -> Reading:
    return Reading(
        address=address.place,
        source_type=address.kind,
        wire=f"{item}; {why.shown}",
        value=None,
        quality=why.quality,
        reply_s=reply_s,
        note=f"{why}: {_advice(address, why)}",
    )


def _advice(address: Address, why: Refused) -> str:
    last_byte = address.first_byte + address.length
    return why.advice(address.area_name, last_byte=last_byte, readable=False)
