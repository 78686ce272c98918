"""The IT half of the configuration, it/cloud.toml: which far sides there are and how to reach them.

No foreign library and no network here, so that `tailrace check` can run it anywhere. Everything
that is wrong is found at once.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from common.clock import now_ns
from common.config import (
    CLOUD_FILE,
    PLANT_FILE,
    Document,
    build,
    read_document,
    readable,
    suggestion,
    table_at,
)
from common.errors import Caution, ConfigError, Finding
from common.plant import GatewayConfig, Name
from uplink.certificates import validity_of
from uplink.files import wrong_files
from uplink.registry import LIBRARIES, PAYLOADS, SESSION_KINDS, TARGETS
from uplink.settings import TargetConfig, TargetSettings, resolved_settings
from uplink.targets.kafka_config import KafkaConfig
from uplink.targets.mqtt_config import MqttConfig, wrong_name

CONFIGS: dict[str, type[TargetConfig]] = {"mqtt": MqttConfig, "kafka": KafkaConfig}
"""`kind` → the keys of its table; the kinds are those of registry.TARGETS."""
TARGETS_MAX = 16

_HELP = 'The IT half of the configuration lives there: [targets.uns] kind = "mqtt", host = …'


@dataclass(frozen=True, slots=True)
class ValidityFinding(Finding):
    """When a certificate is valid. Stops nothing: the clock may be wrong, and the broker judges."""

    severity: str = "error"
    """`warning` while there is time left to renew it."""

    def __str__(self) -> str:
        """One line, as any finding, that says when it is only a warning."""
        mark = "warning: " if self.severity == "warning" else ""
        return f"{mark}{Finding.__str__(self)}"


def is_error(finding: Finding) -> bool:
    """Return whether a check that found this has failed."""
    return not isinstance(finding, (Caution, ValidityFinding)) or finding.severity == "error"


def check_cloud(config_dir: Path) -> list[Finding]:
    """Return everything that a person must change in it/, now or soon; empty when nothing."""
    findings: list[Finding] = []
    read_targets(config_dir, "", findings)
    return findings


def load_target(config_dir: Path, target: str, gateway: str) -> TargetSettings | None:
    """Return the settings of one target, None when it/cloud.toml does not have it.

    Raises ConfigError with every finding about the file as a whole and about this target; what is
    wrong with another target is the business of its own process, and whether a certificate is
    valid is for the broker to say.
    """
    findings: list[Finding] = []
    targets = read_targets(config_dir, gateway, findings)
    own = f"targets.{target}"
    mine = [
        finding
        for finding in findings
        if not isinstance(finding, (Caution, ValidityFinding))
        and (not finding.where.startswith("targets.") or _within(finding.where, own))
    ]
    if mine:
        raise ConfigError(mine)
    return targets.get(target)


def load_gateway(config_dir: Path) -> GatewayConfig:
    """Return [gateway] of ot/plant.toml alone: a wrong tag table must not stop the drain.

    Raises ConfigError.
    """
    findings: list[Finding] = []
    document = read_document(config_dir, PLANT_FILE, findings)
    gateway = None
    if document is not None:
        table = document.tables.get("gateway", {})
        gateway = build(GatewayConfig, table, document, "gateway", findings)
    if gateway is None:
        raise ConfigError(findings)
    return gateway


def read_targets(
    config_dir: Path, gateway: str, findings: list[Finding]
) -> dict[str, TargetSettings]:
    """Read every target, adding a finding for each thing wrong."""
    document = read_document(config_dir, CLOUD_FILE, findings, help_text=_HELP)
    if document is None:
        return {}
    findings += [
        document.finding(key, f"unknown table {key!r}; known here: targets")
        for key in document.tables
        if key != "targets"
    ]
    tables = table_at(document, "targets", findings)
    if len(tables) > TARGETS_MAX:
        text = f"{len(tables)} targets; {TARGETS_MAX} at most"
        findings.append(document.finding("targets", text))
    found = (
        (name, _target(config_dir, gateway, document, name, table, findings))
        for name, table in tables.items()
    )
    return {name: settings for name, settings in found if settings is not None}


def _target(
    config_dir: Path,
    gateway: str,
    document: Document,
    name: str,
    table: Any,
    findings: list[Finding],
) -> TargetSettings | None:
    where = f"targets.{name}"
    before = len(findings)
    try:
        msgspec.convert(name, Name)
    except msgspec.ValidationError as error:
        findings.append(document.finding(where, f"target name: {readable(error)}"))
    if isinstance(table, dict):
        _check_choice(document, where, "kind", table, tuple(TARGETS), findings)
        _check_choice(document, where, "payload", table, tuple(PAYLOADS), findings)
        _check_library(document, where, table, findings)
        _check_spoken(document, where, table, findings)
    config = build(_config_of(table), table, document, where, findings)
    if config is None:
        return None
    folder = (config_dir / document.name).parent
    settings = resolved_settings(name, gateway, config, folder)
    for key, text in wrong_files(settings):
        findings.append(document.finding(f"{where}.{key}", text))
    if isinstance(config, MqttConfig) and (name_text := wrong_name(settings)):
        findings.append(document.finding(f"{where}.client_id", name_text))
    usable = len(findings) == before
    if found := _validity_finding(settings, document, f"{where}.cert_file"):
        findings.append(found)
    for key, text in config.cautions():
        place = f"{where}.{key}"
        findings.append(Caution(document.place(place), place, text))
    return settings if usable else None


def _config_of(table: Any) -> type[TargetConfig]:
    """Return the keys of a table's kind; of an unknown kind those of a broker, the usual one."""
    kind = table.get("kind") if isinstance(table, dict) else None
    return CONFIGS.get(kind, MqttConfig) if isinstance(kind, str) else MqttConfig


def _check_choice(
    document: Document,
    where: str,
    key: str,
    table: dict[str, Any],
    known: tuple[str, ...],
    findings: list[Finding],
) -> None:
    written = table.get(key)
    if isinstance(written, str) and written not in known:
        text = f"unknown {key} {written!r}{suggestion(written, list(known))}"
        findings.append(document.finding(f"{where}.{key}", text))


def _check_spoken(
    document: Document, where: str, table: dict[str, Any], findings: list[Finding]
) -> None:
    """Find a profile with sessions of its own at a kind of far side that does not speak it."""
    payload, kind = table.get("payload"), table.get("kind")
    spoken = SESSION_KINDS.get(payload, kind) if isinstance(payload, str) else kind
    if spoken != kind:
        text = f"payload {payload!r} is spoken by kind {spoken!r} alone"
        findings.append(document.finding(f"{where}.payload", text))


def _check_library(
    document: Document, where: str, table: dict[str, Any], findings: list[Finding]
) -> None:
    """Find a kind whose library is not installed; it is looked for, not imported."""
    kind = table.get("kind")
    library = LIBRARIES.get(kind) if isinstance(kind, str) else None
    if library is not None and find_spec(library) is None:
        text = f"needs the package {library}; install it: pip install 'tailrace[{kind}]'"
        findings.append(document.finding(f"{where}.kind", text))


def _validity_finding(
    settings: TargetSettings, document: Document, where: str
) -> ValidityFinding | None:
    """Return what must be said of the time in which the certificate is valid, None if nothing."""
    if settings.cert_file is None:
        return None
    try:
        validity = validity_of(settings.cert_file)
    except (OSError, ValueError):
        return None  # Found already.
    now = datetime.fromtimestamp(now_ns() / 1e9, UTC)
    text, severity = validity.unusable(now), "error"
    if text is None:
        text, severity = validity.ends_soon(now), "warning"
    if text is None:
        return None
    message = f"{settings.cert_file} {text}"
    return ValidityFinding(document.place(where), where, message, severity=severity)


def _within(where: str, own: str) -> bool:
    return where == own or where.startswith(f"{own}.")
