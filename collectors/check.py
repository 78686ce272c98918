"""The OT half of the configuration, checked with the knowledge of every protocol."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from collectors.compiling import HasGroups
from collectors.linting import lint_device, lint_plant, without_ignored
from collectors.registry import PROTOCOLS, caution_of, compiler_of, together_of
from common.codes import caution
from common.config import PLANT_FILE, Document, suggestion
from common.errors import Caution, Finding
from common.plant import Plant, read_plant

NAMES_SHOWN_MAX = 5
CAUTIONS_SHOWN_MAX = 20
"""Of one code, and the last."""
_DEVICE_OF_A_TAG = re.compile(r"devices\.([^.]+)(?=\.groups\.\S+ tag )")


def check_plant(config_dir: Path) -> list[Finding]:
    """Return everything that a person must change or know in ot/, empty when nothing. No network.

    What need not be changed is a `Caution`.
    """
    findings: list[Finding] = []
    plant = read_plant(config_dir, findings)
    if plant is not None:
        check_protocol_names(plant, findings)
        cautions = list(lint_plant(plant))
        devices = {device.name: device for device in plant.devices}
        for protocol in PROTOCOLS:
            compiled = compile_devices(plant, protocol, findings)
            cautions += _experimental(plant, protocol)
            for settings in compiled:
                if isinstance(settings, HasGroups) and settings.groups:
                    device = devices[settings.groups[0].plan.device]
                    cautions += lint_device(plant, device, settings)
        findings += without_ignored(plant, cautions)
    return bounded(folded(findings))


def folded(findings: list[Finding]) -> list[Finding]:
    """Return the findings, those of a template's row once: twenty presses share its mistakes."""
    first: dict[tuple[str, ...], Finding] = {}
    others: dict[tuple[str, ...], list[str]] = {}
    for finding in findings:
        device = _DEVICE_OF_A_TAG.match(finding.where)
        where = finding.where[device.end() :] if device else finding.where
        key = (finding.place, where, finding.message, finding.code)
        if first.setdefault(key, finding) is not finding and device:
            others.setdefault(key, []).append(device[1])
    return [
        replace(each, message=each.message + _more(others.get(key, [])))
        for key, each in first.items()
    ]


def bounded(findings: list[Finding]) -> list[Finding]:
    """Return the findings, of each code's warnings the first, the last and their number."""
    kept: list[Finding] = []
    number: Counter[str] = Counter()
    last: dict[str, Finding] = {}
    for finding in findings:
        if not isinstance(finding, Caution):
            kept.append(finding)
            continue
        number[finding.code] += 1
        last[finding.code] = finding
        if number[finding.code] <= CAUTIONS_SHOWN_MAX:
            kept.append(finding)
    for code, finding in last.items():
        if number[code] > CAUTIONS_SHOWN_MAX:
            text = f"{number[code]:,} warnings of this kind in all, of which this is the last"
            kept.append(replace(finding, message=f"{finding.message}; {text}"))
    return kept


def _more(devices: list[str]) -> str:
    if not devices:
        return ""
    shown = ", ".join(devices[:NAMES_SHOWN_MAX])
    dots = ", …" if len(devices) > NAMES_SHOWN_MAX else ""
    return f"; the same in {len(devices)} more: {shown}{dots}"


def _experimental(plant: Plant, protocol: str) -> list[Caution]:
    text = caution_of(protocol)
    return [
        caution("OT-L12", plant.document.place(where), where, text)
        for device in plant.devices_of(protocol)
        if text and (where := f"devices.{device.name}.protocol")
    ]


def check_protocol_names(plant: Plant, findings: list[Finding]) -> None:
    """Add a finding for each device whose protocol nobody speaks: no process would read it."""
    for device in plant.devices:
        named = device.protocol  # Empty when it is none, which was found before.
        if named and named not in PROTOCOLS:
            text = f"unknown protocol {named!r}{suggestion(named, list(PROTOCOLS))}"
            findings.append(
                plant.document.finding(f"devices.{device.name}.protocol", text, "OT-0105")
            )


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
    return replace(finding, place=document.place(finding.where))
