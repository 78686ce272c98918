"""[devices.NAME] with protocol = "s7": keys, bounds, and what the code needs of them."""

import re
import urllib.parse
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from collectors.compiling import (
    CompiledGroup,
    Resolved,
    ResolvedArray,
    compile_config,
    compile_groups,
)
from collectors.s7.address import Address, Array
from collectors.s7.dialects import parse_address
from collectors.s7.packing import ITEMS_MAX
from common.errors import Finding
from common.plant import Device
from common.tagtable import TagRow

TimeoutMs = Annotated[int, Meta(ge=50, le=60_000)]
Tsap = (
    Annotated[int, Meta(ge=0, le=0xFFFF)]
    | Annotated[str, Meta(pattern=r"^[0-9A-Fa-f]{2}\.[0-9A-Fa-f]{2}$")]
)
"""0x0200, or "02.00" as the engineering programs show it."""
RACK_MAX = 7
SLOT_MAX = 31


class ConnectionType(StrEnum):
    """What kind of partner we say we are; a PLC keeps connections free for each."""

    PG = "pg"
    OP = "op"
    BASIC = "basic"


class S7Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of an S7 device; sample.toml beside this file shows each of them."""

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    port: Annotated[int, Meta(ge=1, le=65_535)] = 102
    rack: Annotated[int, Meta(ge=0, le=RACK_MAX)] = 0
    slot: Annotated[int, Meta(ge=0, le=SLOT_MAX)] = 1
    """1 for S7-1200 and S7-1500, 2 for S7-300; as the hardware configuration says for S7-400."""
    connection_type: ConnectionType = ConnectionType.PG
    local_tsap: Tsap = 0x0100
    remote_tsap: Tsap | None = None
    """In place of rack, slot and connection type: of a LOGO! 0x0200 or what its program says."""
    connect_timeout_ms: Annotated[int, Meta(ge=50, le=5_000)] = 3_000
    reply_timeout_ms: TimeoutMs = 1_000
    """One request, one reply."""
    pause_ms: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Between a reply and the next request, for a device that is easily overburdened."""
    max_gap_bytes: Annotated[int, Meta(ge=0, le=900)] = 32
    """Bytes that no tag needs, read along rather than asked for around."""
    merge: bool = True
    """False: every tag is an item of its own, for a device whose memory has holes."""
    items_max: Annotated[int, Meta(ge=1, le=ITEMS_MAX)] = ITEMS_MAX
    """Of one request; 1 for a device that answers only single reads."""
    pdu_bytes_max: Annotated[int, Meta(ge=112, le=960)] = 480
    """What is asked for; the PLC may grant less. S7-1500 and large S7-400 grant 960."""
    read_clock: bool = False
    """Ask the PLC for its time now and then. S7-300 and S7-400 answer; S7-1200 and S7-1500 do not,
    nor does a value need it."""

    @property
    def called_tsap(self) -> int:
        """The PLC's end of the connection."""
        if self.remote_tsap is not None:
            return _tsap(self.remote_tsap)
        kind = list(ConnectionType).index(self.connection_type) + 1
        return kind << 8 | self.rack << 5 | self.slot

    @property
    def calling_tsap(self) -> int:
        """Our end of the connection."""
        return _tsap(self.local_tsap)

    @property
    def way(self) -> str:
        """How the PLC is addressed behind its host, as the configuration says it."""
        if self.remote_tsap is not None:
            return f"remote_tsap = 0x{self.called_tsap:04X}"
        return f"rack = {self.rack}, slot = {self.slot}"


class S7Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled S7."""

    device: str
    config: S7Config
    groups: tuple[CompiledGroup[Address], ...]


def compile_device(device: Device, findings: list[Finding]) -> S7Settings | None:
    """Return the device's settings, or None after a finding for everything wrong (contract.py)."""
    config = compile_config(S7Config, device, findings)
    groups = compile_groups(device, _resolve, findings)
    if config is None or groups is None:
        return None
    return S7Settings(device=device.name, config=config, groups=groups)


def keys_of_url(parts: urllib.parse.SplitResult) -> dict[str, Any]:
    """Return the keys of s7://host[:port][/rack/slot] or s7://host?remote_tsap=02.00.

    The query may hold any key of a device. Raises ValueError with what to write instead.
    """
    shape = "write s7://HOST/RACK/SLOT or s7://HOST?remote_tsap=02.00"
    if not parts.hostname:
        raise ValueError(f"{parts.geturl()!r} names no host; {shape}")
    keys: dict[str, Any] = {"host": parts.hostname}
    if parts.port is not None:
        keys["port"] = parts.port
    place = [each for each in parts.path.split("/") if each]
    if len(place) not in (0, 2) or not all(re.fullmatch(r"\d{1,3}", each) for each in place):
        raise ValueError(f"{parts.path!r} is no /RACK/SLOT; {shape}, S7-1200 and S7-1500: /0/1")
    keys |= {name: int(each) for name, each in zip(("rack", "slot"), place, strict=False)}
    known = [each.encode_name for each in msgspec.structs.fields(S7Config)]
    for name, written in urllib.parse.parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"{name!r} is no key of an S7; there are {', '.join(known)}")
        keys[name] = _value(written)
    return keys


def _value(written: str) -> Any:
    if re.fullmatch(r"0[xX][0-9A-Fa-f]{1,4}|\d{1,6}", written):
        return int(written, 0) if written.lower().startswith("0x") else int(written)
    return {"true": True, "false": False}.get(written.lower(), written)


def _tsap(written: int | str) -> int:
    return int(written.replace(".", ""), 16) if isinstance(written, str) else written


def _resolve(row: TagRow) -> Resolved[Address] | ResolvedArray[Address]:
    place = parse_address(row.address, row.type)
    if isinstance(place, Array):
        return ResolvedArray(tuple((index, _resolved(each)) for index, each in place.elements()))
    return _resolved(place)


def _resolved(address: Address) -> Resolved[Address]:
    return Resolved(address, str(address), address.type_name, address.data_type.value_type)
