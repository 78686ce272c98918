"""What an operator writes of a Modbus device → what its code needs. No foreign library."""

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta

from collectors.compiling import (
    CompiledGroup,
    Resolved,
    ResolvedArray,
    compile_config,
    compile_groups,
)
from collectors.modbus.address import Address, Array, parse
from collectors.modbus.decode import BITS_MAX, REGISTERS_MAX, Limits
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
    registers_max: Annotated[int, Meta(ge=1, le=REGISTERS_MAX)] = REGISTERS_MAX
    """Of one request, for devices that answer fewer than the protocol allows."""
    bits_max: Annotated[int, Meta(ge=1, le=BITS_MAX)] = BITS_MAX
    merge: bool = True
    """False: one request for each tag (an array is one), for devices that give nothing else."""

    @property
    def limits(self) -> Limits:
        """What one request to the device may ask for."""
        return Limits(self.registers_max, self.bits_max, self.max_gap, self.merge)


@dataclass(frozen=True, slots=True)
class ModbusSettings:
    """One device, compiled."""

    name: str
    config: ModbusConfig
    groups: tuple[CompiledGroup[Address], ...]


def compile_device(device: Device, findings: list[Finding]) -> ModbusSettings | None:
    """Return the device's settings, or None after a finding for everything wrong."""
    config = compile_config(ModbusConfig, device, findings)
    groups = compile_groups(device, lambda row: _resolve(row, config), findings)
    if config is None or groups is None:
        return None
    return ModbusSettings(device.name, config, groups)


def _resolve(
    row: TagRow, config: ModbusConfig | None
) -> Resolved[Address] | ResolvedArray[Address]:
    """Return where a tag stands; `config` is None when it is wrong itself, and judges nothing."""
    parsed = parse(row.address, row.type, config.unit if config else None)
    first = parsed.first if isinstance(parsed, Array) else parsed
    registers = 0 if first.table.holds_bits else first.data_type.registers
    if config and registers > config.registers_max:
        raise ValueError(
            f"{first} takes {registers} registers, but one request has at most registers_max = "
            f"{config.registers_max}; raise it, or choose a smaller type"
        )
    if isinstance(parsed, Array):
        return ResolvedArray(
            tuple((str(index), _resolved(element)) for index, element in parsed.elements())
        )
    return _resolved(parsed)


def _resolved(address: Address) -> Resolved[Address]:
    return Resolved(address, str(address), address.source_type, address.data_type.value_type)
