"""What an operator writes of a Modbus device → what its code needs. No foreign library."""

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from collectors.compiling import CompiledGroup, Resolved, compile_config, compile_groups
from collectors.modbus.address import Address, parse_address
from common.errors import Finding
from common.plant import Device
from common.tagtable import TagRow


class ModbusConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a device with protocol = "modbus"; sample.toml beside this file shows them."""

    host: Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9_.:%-]+$")]
    port: Annotated[int, Meta(ge=1, le=65_535)] = 502
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    """The unit identifier; of interest where a gateway to serial lines answers."""
    reply_timeout_ms: Annotated[int, Meta(ge=10, le=60_000)] = 1_000
    """For one reply, and for the connection. A device that is silent longer is away."""
    max_gap: Annotated[int, Meta(ge=0, le=124)] = 16
    """Registers that may be read along without need to save a request; bits count a sixteenth."""


@dataclass(frozen=True, slots=True)
class ModbusSettings:
    """One device, compiled."""

    name: str
    config: ModbusConfig
    groups: tuple[CompiledGroup[Address], ...]


def compile_device(device: Device, findings: list[Finding]) -> ModbusSettings | None:
    """Return the device's settings, or None after a finding for everything wrong."""
    config = compile_config(ModbusConfig, device, findings)
    groups = compile_groups(device, _resolve, findings)
    if config is None or groups is None:
        return None
    return ModbusSettings(device.name, config, groups)


def _resolve(row: TagRow) -> Resolved[Address]:
    address = parse_address(row.address, row.type)
    return Resolved(address, str(address), address.source_type, address.data_type.value_type)
