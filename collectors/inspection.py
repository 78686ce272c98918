"""What `tailrace read` and `tailrace browse` show of a device: asked once, kept nowhere.

An inspector opens a connection of its own beside the running collector, asks, and closes it. It
reads, like everything in this room.
"""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One address, read once. Of an array there is one for each element."""

    address: str
    """Canonical, without the type."""
    source_type: str
    """The protocol's name of the type, `REAL` or `FLOAT32@CDAB`."""
    wire: str
    """What was asked, in the protocol's own terms: `unit 1, function 3, register 0 (0x0000), 2`."""
    value: Any
    """Decoded; None where there is none to show."""
    quality: int
    """OPC UA status code."""
    raw: bytes | None = None
    """The value as the device sent it; None where the protocol sends typed values."""
    reply_s: float
    """From the request to its whole reply."""
    source_at_ns: int | None = None
    """The device's own time of the value, UTC."""
    note: str = ""
    """What a person should know or do next: an exception's meaning, a neighbour that answers."""


class Guess(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes at an address, taken for one type and order."""

    source_type: str
    value: Any
    plausible: bool
    """False for what no sensor shows: NaN, 1e-38, a text of control characters."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a device offers to be read: a row of the tag table in the making."""

    name: str
    """As a tag may be called: levels joined by `/`, without what a topic cannot hold."""
    address: str
    type: str
    """For the `type` column; empty where the address says it all."""
    unit: str = ""
    description: str = ""
    readable: bool = True
    value: Any = None
    """As it is now, where it came along; None otherwise."""


class Inspector(Protocol):
    """One open connection, for questions of a person."""

    async def read(self, address: str, type_text: str) -> list[Reading]:
        """Return what stands at an address.

        A refusal by the device is a Reading with a Bad quality and a note. Raises ValueError with
        a sentence for an address that cannot be, SourceUnavailable when the connection is lost.
        """
        ...

    async def guess(self, address: str) -> list[Guess]:
        """Return the bytes at an address as every type and order that they could be.

        Raises ValueError where the protocol's values carry their type: there is nothing to guess.
        """
        ...

    def browse(self, under: str) -> AsyncGenerator[Found, None]:
        """Yield what the device offers, below a node or area; `under` is empty for all of it.

        Raises ValueError when the protocol cannot list anything, with what to do instead.
        """
        ...


class Inspect(Protocol):
    """`inspect` in a protocol's inspector.py: compiled settings → a connection to ask."""

    def __call__(self, settings: object) -> AbstractAsyncContextManager[Inspector]:
        """Connect for the length of the block. Raises SourceUnavailable on entry."""
        ...


class ReadSource(Protocol):
    """`tags_of_source`: a text of a PLC's program → the tags that it declares. Pure."""

    def __call__(self, text: str, db: int | None = None) -> list[Found]:
        """Return them in the text's order; `db` is the block's number, where it is not said.

        Raises ValueError with the line and what to do.
        """
        ...
