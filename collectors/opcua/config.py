"""[devices.NAME] with protocol = "opcua": keys, bounds, and what the code needs of them."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from collectors.compiling import (
    CompiledGroup,
    Resolved,
    ResolvedArray,
    compile_config,
    compile_groups,
)
from collectors.opcua.address import NodeAddress, resolve_tag
from common.config import PLANT_FILE, rejected_secret
from common.errors import Finding
from common.plant import Device
from common.tagtable import TagRow

QUEUE_MAX = 1_000
PEM_MARK = b"-----BEGIN "
_DER_MARK = b"\x30"
"""An ASN.1 sequence: every certificate and key begins with it."""
_FILE_BYTES_MAX = 1_000_000
"""Of what is looked at; a certificate or key has a few thousand."""
_FILES = ("cert_file", "key_file", "server_cert_file", "password_file")

Security = Literal["none", "basic256sha256", "aes128_sha256_rsaoaep", "aes256_sha256_rsapss"]
Mode = Literal["auto", "subscribe", "poll"]
"""auto: subscribe, and poll the groups for which the server has no subscription."""
ServerDeadband = Literal["off", "absolute", "percent"]
"""absolute: the tag table's deadband, as the server counts; percent: of the node's EURange."""
IntervalMs = Annotated[int, Meta(ge=10, le=3_600_000)]


class OpcuaConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of an OPC UA device; sample.toml beside this file shows each of them."""

    endpoint: Annotated[str, Meta(pattern=r"^opc\.tcp://[^/@]+(/.*)?$", max_length=1_024)]
    reply_timeout_ms: Annotated[int, Meta(ge=100, le=60_000)] = 2_000
    publishing_interval_ms: IntervalMs | None = None
    """None: the period of the group."""
    sampling_interval_ms: Annotated[int, Meta(ge=0, le=3_600_000)] | None = None
    """None: the publishing interval; 0: as fast as the server can."""
    queue_size: Annotated[int, Meta(ge=1, le=QUEUE_MAX)] | None = None
    """Values of a tag that the server keeps between publications; None: as many as it samples."""
    mode: Mode = "auto"
    server_deadband: ServerDeadband = "off"
    server_deadband_percent: Annotated[float, Meta(gt=0, le=100)] = 1.0
    """Of the node's EURange, under server_deadband = "percent"."""
    items_per_call: Annotated[int, Meta(ge=1, le=10_000)] = 500
    """Items created, or values read, by one request at most; the server may take fewer."""
    security: Security = "none"
    cert_file: str = ""
    key_file: str = ""
    server_cert_file: str = ""
    """The one certificate that the server may show."""
    user: str = ""
    password_file: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not work, or would send a password in clear."""
        try:
            port = urlsplit(self.endpoint).port
        except ValueError:
            port = None
        if port is None:
            raise ValueError(f"endpoint {self.endpoint!r} needs a port: opc.tcp://host:4840")
        missing = [key for key in _FILES[:3] if not getattr(self, key)]
        if self.security != "none" and missing:
            raise ValueError(f"security = {self.security!r} needs {', '.join(missing)} as well")
        if self.user and self.security == "none":
            raise ValueError("user needs an encrypted connection; set security, see sample.toml")
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file belong together; give both or neither")


class OpcuaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled OPC UA device."""

    device: str
    config: OpcuaConfig
    groups: tuple[CompiledGroup[NodeAddress], ...]

    def intervals(self, group: CompiledGroup[NodeAddress]) -> tuple[float, float, int]:
        """Return publishing interval in ms, sampling interval in ms, and queue size of a group."""
        config = self.config
        publishing_ms = config.publishing_interval_ms or group.plan.period_ms
        sampling_ms = config.sampling_interval_ms
        if sampling_ms is None:
            sampling_ms = publishing_ms
        fitting = -(-publishing_ms // sampling_ms) if sampling_ms else 1
        return publishing_ms, sampling_ms, config.queue_size or min(max(1, fitting), QUEUE_MAX)


def compile_device(device: Device, findings: list[Finding]) -> OpcuaSettings | None:
    """Return the device's settings, or None after a finding for everything wrong (contract.py)."""
    config = compile_config(OpcuaConfig, device, findings)
    groups = compile_groups(device, _resolve, findings)
    if config is None or groups is None or not _usable_files(config, device, findings):
        return None
    files = {key: str(device.folder / name) for key in _FILES if (name := getattr(config, key))}
    config = msgspec.structs.replace(config, **files)
    return OpcuaSettings(device=device.name, config=config, groups=groups)


def _resolve(row: TagRow) -> Resolved[NodeAddress] | ResolvedArray[NodeAddress]:
    return resolve_tag(row.address, row.type)


def _usable_files(config: OpcuaConfig, device: Device, findings: list[Finding]) -> bool:
    before = len(findings)
    for key in _FILES:
        if not (name := getattr(config, key)):
            continue
        path, reason = device.folder / name, None
        if key in ("key_file", "password_file"):
            reason = rejected_secret(path)
        elif not path.is_file():
            reason = "no such file"
        if not reason and key != "password_file":
            reason = _rejected_content(path, private=key == "key_file")
        if reason:
            where = f"devices.{device.name}.{key}"
            findings.append(Finding(PLANT_FILE, where, f"{name}: {reason}"))
    return len(findings) == before


def _rejected_content(path: Path, *, private: bool) -> str | None:
    """Return why a certificate or key cannot be what it should be, by its beginning."""
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if PEM_MARK not in content:
        is_der = content.startswith(_DER_MARK)
        return None if is_der else "is neither PEM nor DER; export the file anew"
    if private and b"ENCRYPTED" in content:
        return (
            "has a passphrase, and nobody is there to type it; write it without one: "
            f"openssl pkey -in {path.name} -out {path.name}.new, then chmod 600 and rename it"
        )
    wanted = b"PRIVATE KEY-----" if private else b"-----BEGIN CERTIFICATE-----"
    if wanted not in content:
        return f"holds no {'private key' if private else 'certificate'}; check which file it is"
    return None
