"""The IT half of the configuration, it/cloud.toml: which far sides there are and how to reach them.

No foreign library and no network here, so that `tailrace check` can run it anywhere. Everything
that is wrong is found at once.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from common.clock import now_ns
from common.config import (
    CLOUD_FILE,
    PLANT_FILE,
    Document,
    build,
    read_document,
    readable,
    rejected_secret,
    suggestion,
    table_at,
)
from common.errors import ConfigError, Finding
from common.plant import GatewayConfig, Name
from uplink.certificates import validity_of

KINDS = ("mqtt",)
PAYLOADS = ("uns",)
TARGETS_MAX = 16
IN_FLIGHT_MAX = 1_000

_HELP = 'The IT half of the configuration lives there: [targets.uns] kind = "mqtt", host = …'

File = Annotated[str, Meta(max_length=4_096)]
Text = Annotated[str, Meta(max_length=256)]
Host = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]
OptionalHost = Annotated[str, Meta(max_length=253, pattern=r"^[A-Za-z0-9._:-]*$")]
Port = Annotated[int, Meta(ge=1, le=65_535)]


class TargetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[targets.NAME]: one far side. The commented sample is uplink/sample.toml."""

    kind: str
    host: Host
    port: Port = 8883
    client_id: Annotated[str, Meta(max_length=128)] = ""
    """Empty: tailrace-<gateway>-<target>. Two clients of one id push each other out for ever."""
    server_name: OptionalHost = ""
    """The name that the broker's certificate must carry, where it is not `host`."""
    ca_file: File = ""
    """Empty: the certificate authorities of the operating system."""
    cert_file: File = ""
    key_file: File = ""
    user: Text = ""
    password_file: File = ""
    keepalive_s: Annotated[int, Meta(ge=5, le=3_600)] = 15
    in_flight_max: Annotated[int, Meta(ge=1, le=IN_FLIGHT_MAX)] = 100
    """Messages published and not yet acknowledged; the broker's Receive Maximum may lower it."""
    connect_timeout_s: Annotated[float, Meta(ge=0.5, le=60)] = 5.0
    reply_timeout_s: Annotated[float, Meta(ge=1, le=600)] = 20.0
    payload: str = "uns"

    def __post_init__(self) -> None:
        """A certificate without its key proves nothing, a password needs a user."""
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together: give both or neither")
        if self.password_file and not self.user:
            raise ValueError("password_file needs user")


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
    return not isinstance(finding, ValidityFinding) or finding.severity == "error"


@dataclass(frozen=True)
class TargetSettings:
    """One target as the code uses it: every path absolute, every default filled in."""

    name: str
    config: TargetConfig
    client_id: str
    server_name: str
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
    password_file: Path | None


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
        if not isinstance(finding, ValidityFinding)
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
        _check_choice(document, where, "kind", table, KINDS, findings)
        _check_choice(document, where, "payload", table, PAYLOADS, findings)
    config = build(TargetConfig, table, document, where, findings)
    if config is None:
        return None
    base = (config_dir / document.name).parent

    def resolved(file: str) -> Path | None:
        return base / file if file else None

    settings = TargetSettings(
        name=name,
        config=config,
        client_id=config.client_id or f"tailrace-{gateway}-{name}",
        server_name=config.server_name or config.host,
        ca_file=resolved(config.ca_file),
        cert_file=resolved(config.cert_file),
        key_file=resolved(config.key_file),
        password_file=resolved(config.password_file),
    )
    for key, text in _wrong_files(settings):
        findings.append(document.finding(f"{where}.{key}", text))
    usable = len(findings) == before
    if found := _validity_finding(settings, document, f"{where}.cert_file"):
        findings.append(found)
    return settings if usable else None


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


def _wrong_files(settings: TargetSettings) -> list[tuple[str, str]]:
    """Return (key, what is wrong) for every file that could not be used."""
    wrong: list[tuple[str, str]] = []
    ca_file, cert_file, key_file = settings.ca_file, settings.cert_file, settings.key_file
    for key, secret in (("key_file", key_file), ("password_file", settings.password_file)):
        if secret is not None and (text := rejected_secret(secret)):
            wrong.append((key, f"{secret} {text}"))
    if ca_file is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
        except ssl.SSLError:
            wrong.append(("ca_file", f"{ca_file} holds no PEM certificate"))
        except OSError as error:
            wrong.append(("ca_file", f"{ca_file} cannot be read: {error.strerror}"))
    if cert_file is None or key_file is None:
        return wrong
    if text := _wrong_certificate(cert_file):
        wrong.append(("cert_file", f"{cert_file} {text}"))
    elif key_file.exists():  # Else it was found above.
        wrong += _wrong_pair(cert_file, key_file)
    return wrong


def _wrong_certificate(cert_file: Path) -> str | None:
    try:
        validity_of(cert_file)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:
        return str(error)
    return None


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


def _wrong_pair(cert_file: Path, key_file: Path) -> list[tuple[str, str]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # An empty password instead of a question on the terminal for an encrypted key.
        context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return [("key_file", f"{key_file} is not the key of {cert_file}")]
        text = f"{key_file} is not a PEM private key without a passphrase ({error.reason})"
        return [("key_file", text)]
    except OSError as error:
        return [("key_file", f"{key_file} cannot be read: {error.strerror}")]
    return []


def _within(where: str, own: str) -> bool:
    return where == own or where.startswith(f"{own}.")
