"""[devices.NAME] with protocol = "s7": keys, bounds, and what the code needs of them."""

from typing import Annotated

import msgspec
from msgspec import Meta

from collectors.compiling import CompiledGroup, Resolved, compile_config, compile_groups
from collectors.s7.address import Address, parse_address
from common.errors import Finding
from common.plant import Device
from common.tagtable import TagRow

TimeoutMs = Annotated[int, Meta(ge=50, le=60_000)]


class S7Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of an S7 device; sample.toml beside this file shows each of them."""

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    port: Annotated[int, Meta(ge=1, le=65_535)] = 102
    rack: Annotated[int, Meta(ge=0, le=7)] = 0
    slot: Annotated[int, Meta(ge=0, le=31)] = 1
    """1 for S7-1200 and S7-1500, 2 for S7-300; as the hardware configuration says for S7-400."""
    connect_timeout_ms: Annotated[int, Meta(ge=50, le=5_000)] = 3_000
    """The library itself gives up after 5 s."""
    reply_timeout_ms: TimeoutMs = 1_000
    """One request, one reply."""
    max_gap_bytes: Annotated[int, Meta(ge=0, le=900)] = 32
    """Bytes that no tag needs, read along rather than asked for around."""


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


def _resolve(row: TagRow) -> Resolved[Address]:
    address = parse_address(row.address, row.type)
    return Resolved(address, str(address), address.type_name, address.data_type.value_type)
