"""`tailrace check`: both halves of the configuration, every error at once.

Each half is judged by the room that will read it, in a process of its own, so that the console
never disagrees with what starts later. The console adds what neither half can see: a device or
target that no process in supervisord.conf serves, and a supervisord.conf that would open a port.
"""

import configparser
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from common.config import CLOUD_FILE, read_document, table_at
from common.errors import Finding
from common.places import Places
from common.plant import QueueConfig, read_plant
from console.crossing import topics_beyond
from console.programs import (
    NAME,
    arguments_of,
    programs_of,
    read_supervisor_file,
    supervisor_file,
    unwanted_in,
)
from console.rooms import command, environment

HALVES = {"ot": "collectors", "it": "uplink"}
CHECK_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Told(Finding):
    """A finding as a room tells it."""

    severity: Literal["error", "warning"] = "error"


@dataclass
class Report:
    """What was looked at, and everything that must change."""

    of: dict[str, list[Finding]] = field(
        default_factory=lambda: {"ot": [], "it": [], "supervisord": []}
    )
    """Findings by who owns what must change."""
    warnings: list[Finding] = field(default_factory=list)
    """What must change before long."""
    checked: dict[str, int] = field(default_factory=dict)
    """devices, groups, tags, targets → how many."""
    queue: QueueConfig | None = None
    """How much will be kept, and what goes first; None when that was not looked at."""

    @property
    def findings(self) -> list[Finding]:
        """Everything that must change."""
        return [finding for each in self.of.values() for finding in each]

    @property
    def stops_start(self) -> bool:
        """True when nothing may be started.

        A mistake in it/ is none of these: values are collected and kept until somebody has
        corrected it, and a certificate that expired must not stop an unattended site that had
        its power cut.
        """
        return bool(self.of["ot"] or self.of["supervisord"])

    def document(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        return {
            "findings": self.findings,
            "warnings": self.warnings,
            "checked": self.checked,
            "queue": self.queue,
        }


def check(places: Places, halves: tuple[str, ...] = ("ot", "it")) -> Report:
    """Ask the rooms, in parallel, and add what only the whole shows."""
    line = ("--check", "--json", "--config", str(places.config_dir))
    running = {
        half: subprocess.Popen(
            command(HALVES[half], line),
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for half in halves
    }
    report = Report()
    for half, process in running.items():
        for told in answer(HALVES[half], process):
            (report.warnings if told.severity == "warning" else report.of[half]).append(told)
    programs = _programs(places, report)
    if "ot" in halves:
        _look_at_plant(places, programs, report)
    if "it" in halves:
        _look_at_targets(places, programs, report)
    if halves == tuple(HALVES):
        report.warnings += topics_beyond(places)
    return report


def answer(room: str, process: subprocess.Popen[bytes]) -> list[Told]:
    """Return what a room's check found, or that the check itself failed. Waits 60 s at most."""
    try:
        told, complaint = process.communicate(timeout=CHECK_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        text = f"the check did not finish within {CHECK_TIMEOUT_S:.0f} s"
        return [Told(f"python -m {room} --check", "", text)]
    try:
        findings = msgspec.json.decode(told, type=list[Told])
    except msgspec.MsgspecError:
        findings = None
    # An answer that contradicts the exit code is no answer: never report a broken check as clean.
    if findings is not None:
        failed = any(each.severity == "error" for each in findings)
        if process.returncode == (1 if failed else 0):
            return findings
    last = complaint.decode(errors="replace").strip().rpartition("\n")[2] or "it said nothing"
    text = f"the check itself failed, exit code {process.returncode}: {last}"
    return [*(findings or []), Told(f"python -m {room} --check", "", text)]


def _programs(places: Places, report: Report) -> dict[str, list[str]] | None:
    path = supervisor_file(places)
    findings = report.of["supervisord"]
    try:
        sections = read_supervisor_file(path)
        findings += [Finding(_shown(path, places), *each) for each in unwanted_in(sections)]
        return programs_of(sections)
    except (OSError, ValueError, configparser.Error) as error:
        text = f"cannot be read: {error}".replace("\n", " ")
        findings.append(Finding(_shown(path, places), "", text))
        return None


def _shown(path: Path, places: Places) -> str:
    return NAME if path.parent == places.config_dir else str(path)


def _look_at_plant(places: Places, programs: dict[str, list[str]] | None, report: Report) -> None:
    plant = read_plant(places.config_dir, [])  # Its findings came from the collectors' check.
    if plant is None:
        return
    groups = [group for device in plant.devices for group in device.groups]
    report.checked["devices"] = len(plant.devices)
    report.checked["groups"] = len(groups)
    report.checked["tags"] = sum(len(group.tags) for group in groups)
    report.queue = plant.queue
    if programs is None:
        return
    served = arguments_of("collectors", programs)
    found_bad = {finding.where for finding in report.of["ot"]}
    for device in plant.devices:
        where = f"devices.{device.name}.protocol"
        if device.protocol not in served and where not in found_bad:
            text = _no_program(places, f"reads {device.protocol}", "collector-modbus")
            report.of["ot"].append(plant.document.finding(where, text))


def _look_at_targets(places: Places, programs: dict[str, list[str]] | None, report: Report) -> None:
    document = read_document(places.config_dir, CLOUD_FILE, [])  # As above: the uplink's check.
    if document is None:
        return
    names = list(table_at(document, "targets", []))
    report.checked["targets"] = len(names)
    if programs is None:
        return
    served = arguments_of("uplink", programs)
    for name in names:
        if name not in served:
            text = _no_program(places, f"drains the queue to {name}", "uplink-uns")
            report.of["it"].append(document.finding(f"targets.{name}", text))


def _no_program(places: Places, does: str, block: str) -> str:
    in_use, own = supervisor_file(places), places.config_dir / NAME
    begin = f"in {own}" if in_use == own else f"copy {in_use} to {own} and in it"
    return f"no program {does}: {begin} copy the block [program:{block}] and rename it"
