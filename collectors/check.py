"""The OT half of the configuration, checked with the knowledge of every protocol."""

from dataclasses import dataclass
from pathlib import Path

from collectors.registry import PROTOCOLS, caution_of, compiler_of, together_of
from common.config import PLANT_FILE, Document, suggestion
from common.errors import Finding
from common.plant import Plant, read_plant


@dataclass(frozen=True, slots=True)
class Caution(Finding):
    """What a person should know, and need not change. Stops nothing."""

    severity: str = "warning"
    """For `tailrace check`, which reads the findings as JSON."""

    def __str__(self) -> str:
        """One line, as any finding, that says that it is only a warning."""
        return f"warning: {Finding.__str__(self)}"


def check_plant(config_dir: Path) -> list[Finding]:
    """Return everything that a person must change or know in ot/, empty when nothing. No network.

    What need not be changed is a `Caution`.
    """
    findings: list[Finding] = []
    plant = read_plant(config_dir, findings)
    if plant is not None:
        check_protocol_names(plant, findings)
        for protocol in PROTOCOLS:
            compile_devices(plant, protocol, findings)
            findings += _cautions(plant, protocol)
    return findings


def _cautions(plant: Plant, protocol: str) -> list[Finding]:
    text = caution_of(protocol)
    return [
        Caution(plant.document.place(where), where, text)
        for device in plant.devices_of(protocol)
        if text and (where := f"devices.{device.name}.protocol")
    ]


def check_protocol_names(plant: Plant, findings: list[Finding]) -> None:
    """Add a finding for each device whose protocol nobody speaks: no process would read it."""
    for device in plant.devices:
        written = plant.document.tables["devices"][device.name].get("protocol")
        if isinstance(written, str) and written not in PROTOCOLS:
            text = f"unknown protocol {written!r}{suggestion(written, list(PROTOCOLS))}"
            findings.append(plant.document.finding(f"devices.{device.name}.protocol", text))


def compile_devices(plant: Plant, protocol: str, findings: list[Finding]) -> list[object]:
    """Return the compiled settings of the protocol's devices that have nothing wrong."""
    devices = plant.devices_of(protocol)
    if not devices:
        return []
    compile_device = compiler_of(protocol)
    own: list[Finding] = []
    compiled = [
        settings for device in devices if (settings := compile_device(device, own)) is not None
    ]
    if check_together := together_of(protocol):
        check_together(compiled, own)
    findings.extend(with_line(finding, plant.document) for finding in own)
    return compiled


def with_line(finding: Finding, document: Document) -> Finding:
    """Add the line to a finding about a key: protocols are not shown the document."""
    if finding.place != PLANT_FILE:
        return finding
    return Finding(document.place(finding.where), finding.where, finding.message)
