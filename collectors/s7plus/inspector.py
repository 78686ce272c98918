"""What `tailrace read` and `tailrace browse` ask of an S7-1200 or S7-1500 (inspection.py)."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from collectors.inspection import Found, Guess, Reading
from collectors.s7plus.address import (
    NAME_OF,
    TYPES,
    Address,
    library_name,
    parse_addresses,
    written_name,
)
from collectors.s7plus.config import S7PlusSettings
from collectors.s7plus.decode import decoder
from collectors.s7plus.link import Link
from collectors.s7plus.plc import Refused, Symbol
from collectors.s7plus.reading import PLC_TAG_AREAS, Known, found_at
from collectors.traffic import Traffic
from common.clock import monotonic_s
from common.records import Quality

TOPIC_MARKS = str.maketrans({"[": "/", ",": "/", "]": None})
"""An element becomes a level: `Zones[3]` → `Zones/3`."""


class S7PlusInspector:
    """One open connection, for questions of a person."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._symbols: list[Symbol] | None = None

    async def read(self, address: str, type_text: str) -> list[Reading]:
        """Return what stands at an address; see inspection.py."""
        parsed = parse_addresses(address, type_text or await self._type_of(address))
        addresses = [each for _, each in parsed] if isinstance(parsed, list) else list(parsed)
        known: Known = {}
        if any(each.symbol for each in addresses):
            known = {each.name: (each.place, each.plc_type) for each in await self._listed()}
        return [await self._reading(each, known) for each in addresses]

    async def guess(self, address: str) -> list[Guess]:
        """Raise ValueError: a symbol carries its type."""
        raise ValueError(
            f"{address}: a symbol has its type in the PLC, there is nothing to guess; "
            "tailrace browse shows it"
        )

    async def browse(self, under: str) -> AsyncGenerator[Found, None]:
        """Yield every readable variable, or those below `under`: `"Press"` or `"Press"."Motor"`."""
        below = library_name(under) if under.startswith('"') else under
        listed = await self._listed()
        if not listed:
            raise ValueError(
                "the PLC lists no symbols (no program, or a firmware whose symbols the library "
                "cannot read); read over the PLC's own OPC UA server instead"
            )
        for symbol in listed:
            name = _without_area(symbol.name)
            if below and not (name == below or name.startswith((f"{below}.", f"{below}["))):
                continue
            yield Found(
                name=_topic(name),
                address=written_name(name),
                type=NAME_OF.get(symbol.plc_type, ""),
                readable=symbol.plc_type in NAME_OF,
                description="" if symbol.plc_type in NAME_OF else f"{symbol.plc_type} is not read",
            )

    async def _listed(self) -> list[Symbol]:
        if self._symbols is None:
            found = await self._link.browse()
            self._symbols = [] if isinstance(found, Refused) else found
        return self._symbols

    async def _type_of(self, address: str) -> str:
        """Return the PLC's own type of a symbol, empty where there is none to know."""
        written = address.strip()
        if ":" in written or not written.startswith('"'):
            return ""
        name = library_name(written)
        types = {_without_area(each.name): each.plc_type for each in await self._listed()}
        return NAME_OF.get(types.get(name, ""), "")

    async def _reading(self, address: Address, known: Known) -> Reading:
        found = found_at(address, known)
        place = address.access or (found[0] if found else ())
        if not place:
            note = "the PLC lists no such symbol; tailrace browse shows those it has"
            return _shown(address, Quality.BAD_NODE_ID_UNKNOWN, note=note)
        if found and found[1] not in TYPES[address.type_name].plc_names:
            note = f"is a {NAME_OF.get(found[1], found[1])} in the PLC"
            return _shown(address, Quality.BAD_TYPE_MISMATCH, note=note)
        began_s = monotonic_s()
        answer = await self._link.read([place])
        reply_s = monotonic_s() - began_s
        wire = "GetMultiVariables " + ".".join(f"{number:X}" for number in place)
        raw, note = (None, answer.reason) if isinstance(answer, Refused) else (answer[0], "")
        quality, value = Quality.GOOD, None
        if raw is None:
            quality, note = Quality.BAD_OUT_OF_RANGE, note or "the PLC gives no value here"
        else:
            try:
                value = decoder(address.type_name)(raw)
            except ValueError as error:
                quality, note = Quality.BAD_TYPE_MISMATCH, str(error)
        shown = _shown(address, quality, wire=wire, note=note)
        return msgspec.structs.replace(shown, value=value, raw=raw, reply_s=reply_s)


@asynccontextmanager
async def inspect(settings: object) -> AsyncIterator[S7PlusInspector]:
    """Connect for the length of the block (inspection.py: Inspect)."""
    if not isinstance(settings, S7PlusSettings):
        raise TypeError(f"expected S7PlusSettings, found {type(settings).__name__}")
    link = Link(settings.config, Traffic())
    try:
        await link.open()
        yield S7PlusInspector(link)
    finally:
        await link.close()


def _shown(address: Address, quality: int, *, note: str, wire: str = "not asked") -> Reading:
    """Return a reading that has no value yet."""
    return Reading(
        address=address.written,
        source_type=address.type_name,
        wire=wire,
        value=None,
        quality=quality,
        reply_s=0.0,
        note=note,
    )


def _without_area(name: str) -> str:
    area, _, rest = name.partition(".")
    return rest if area in PLC_TAG_AREAS else name


def _topic(name: str) -> str:
    """Return a name as a tag may be called: levels joined by `/`."""
    levels = name.translate(TOPIC_MARKS).replace(".", "/").split("/")
    kept = (
        "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in level)
        for level in levels
    )
    return "/".join(level.lstrip("_") or "x" for level in kept)
