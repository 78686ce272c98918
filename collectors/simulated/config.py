"""What an operator writes of a simulated device → what its code needs. No foreign library."""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import SplitResult

import msgspec
from msgspec import Meta

from collectors.compiling import CompiledGroup, Resolved, compile_config, compile_groups
from collectors.simulated.address import Address, parse_address
from common.errors import Finding
from common.plant import Device
from common.tagtable import TagRow


class SimulatedConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a device with protocol = "simulated"; sample.toml beside this file shows them."""

    sine_period_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 60.0
    sine_peak: Annotated[float, Meta(ge=0, le=1e9)] = 1.0


@dataclass(frozen=True, slots=True)
class SimulatedSettings:
    """One device, compiled."""

    config: SimulatedConfig
    groups: tuple[CompiledGroup[Address], ...]


def compile_device(device: Device, findings: list[Finding]) -> SimulatedSettings | None:
    """Return the device's settings, or None after a finding for everything wrong."""
    config = compile_config(SimulatedConfig, device, findings)
    groups = compile_groups(device, _resolve, findings)
    if config is None or groups is None:
        return None
    return SimulatedSettings(config, groups)


def keys_of_url(parts: SplitResult) -> dict[str, Any]:
    """Return the device's keys that a URL means: none. Raises ValueError for any that it has."""
    if parts.netloc or parts.path.strip("/") or parts.query:
        raise ValueError("a simulated device has no host and no path: write simulated://")
    return {}


def _resolve(row: TagRow) -> Resolved[Address]:
    address = parse_address(row.address, row.type)
    return Resolved(address, str(address), str(address.value_type), address.value_type)
