"""What `python -m collectors.asking` tells the console: one JSON object a line, as it comes.

The console starts the question as a process, shows what is told, and ends with its exit code:

    connected  once, when the device took the connection
    busy       every half second for as long as nothing else is told
    reading    one address, read once · guess · found    the answers
    wrong      one address that cannot be asked; the others are
    lost       while watching: the connection is lost, and will be tried again
    refusal    last, and nothing follows: why there is no answer, or no more of it
"""

import math
from typing import Any, Literal

import msgspec

EXIT_OF = {"found": 1, "usage": 2, "unreachable": 3}
"""Kind of refusal → exit code, the same as everywhere in the console."""


BROWSING = "browsing"
"""What a question does that finds one thing after another."""


class Connected(
    msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="told", tag="connected"
):
    """The device is there."""

    device: str
    protocol: str
    after_s: float


class Busy(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="told", tag="busy"):
    """Nothing to show yet; the question goes on."""

    doing: str
    """`connecting to …`, `asking …`."""
    for_s: float


class ReadingTold(
    msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="told", tag="reading"
):
    """One address, read once; of an array one for each element."""

    asked: str
    """As the person wrote it: the name of a tag, or an address."""
    tag: str = ""
    """Its name in the tag table; empty when an address was asked for."""
    address: str
    type: str
    wire: str
    """What was asked, in the protocol's own terms."""
    raw: str | None = None
    """The bytes of the value in hexadecimal; None where the protocol sends typed values."""
    value: Any = None
    """Decoded. What JSON cannot hold is text: `NaN`, `Infinity`, bytes in hexadecimal."""
    scaled: Any = None
    """As it is published: value * scale + offset; None where no tag says so."""
    unit: str = ""
    """Of `scaled`; of the value where the tag has no scale."""
    quality: int = 0
    """OPC UA status code."""
    read_at_ns: int
    reply_s: float
    source_at_ns: int | None = None
    note: str = ""


class GuessTold(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="told", tag="guess"):
    """The bytes at an address, taken for one type and order."""

    asked: str
    type: str
    value: Any = None
    plausible: bool = False


class FoundTold(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="told", tag="found"):
    """One thing that can be read: a row of the tag table in the making."""

    name: str
    address: str
    type: str = ""
    unit: str = ""
    description: str = ""
    readable: bool = True
    value: Any = None


class Wrong(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="told", tag="wrong"):
    """An address that cannot be asked, and what to write instead."""

    asked: str
    text: str


class Lost(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="told", tag="lost"):
    """The connection is lost; it is tried again after a pause."""

    text: str


class Refusal(msgspec.Struct, kw_only=True, omit_defaults=True, tag_field="told", tag="refusal"):
    """Why there is no answer."""

    kind: Literal["found", "usage", "unreachable"]
    text: str


Told = Connected | Busy | ReadingTold | GuessTold | FoundTold | Wrong | Lost | Refusal


def encode(told: Told) -> bytes:
    """Return the line, with its end."""
    return msgspec.json.encode(told, enc_hook=str) + b"\n"


decode = msgspec.json.Decoder(Told).decode
"""A line → what it tells. Raises msgspec.DecodeError."""


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it, without losing what it was."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    return value
