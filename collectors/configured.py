"""What each collector is, or would be, started with (common/configured.py)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from collectors.check import check_protocol_names, compile_devices
from collectors.compiling import HasGroups
from collectors.registry import PROTOCOLS
from common.configured import Configured, ConfiguredPart, digest_of
from common.errors import ConfigError, Finding
from common.plant import Device, Plant, load_plant
from common.records import Plan


def process_of(protocol: str) -> str:
    """Return the name of the process that reads a protocol's devices."""
    return f"collector-{protocol}"


def configured_of(plant: Plant, protocol: str, compiled: Sequence[object]) -> Configured:
    """Return what the collector of one protocol is started with; `compiled`: all its devices."""
    devices = zip(plant.devices_of(protocol), compiled, strict=True)
    parts = {device.name: _part(plant, device, settings) for device, settings in devices}
    return Configured(process_of(protocol), parts)


def configured_now(config_dir: Path) -> list[Configured]:
    """Return what every collector would be started with. Raises ConfigError. No network."""
    plant = load_plant(config_dir)
    findings: list[Finding] = []
    check_protocol_names(plant, findings)
    compiled = {each: compile_devices(plant, each, findings) for each in PROTOCOLS}
    if findings:
        raise ConfigError(findings)
    return [configured_of(plant, each, compiled[each]) for each in PROTOCOLS]


def _part(plant: Plant, device: Device, settings: object) -> ConfiguredPart:
    plans: list[Plan] = []
    if isinstance(settings, HasGroups):
        plans = [group.plan for group in settings.groups]
    encoded = [plan.encoded for plan in plans]
    rows = [(group.name, [tag.row for tag in group.tags]) for group in device.groups]
    files = list(_files_named(device.settings.items(), device.folder))
    digest = digest_of(
        device.settings, files, device.source_time, plant.gateway.clock, rows, encoded
    )
    return ConfiguredPart(digest, encoded)


def _files_named(settings: Iterable[tuple[str, object]], folder: Path) -> Iterable[bytes]:
    """Yield what the files hold that a device's keys name: another certificate is a change too."""
    for key, value in sorted(settings):
        if key.endswith("_file") and isinstance(value, str) and value:
            try:
                yield (folder / value).read_bytes()
            except OSError:
                yield b""  # What is wrong with it, its own protocol says.
