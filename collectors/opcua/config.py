"""[devices.NAME] with protocol = "opcua": keys, bounds, and what the code needs of them."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

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
from common.config import PLANT_FILE, rejected_secret, suggestion
from common.errors import Finding
from common.plant import Device
from common.tagtable import TagRow

QUEUE_MAX = 1_000
PEM_MARK = b"-----BEGIN "
_DER_MARK = b"\x30"
"""An ASN.1 sequence: every certificate and key begins with it."""
_FILE_BYTES_MAX = 1_000_000
"""Of what is looked at; a certificate or key has a few thousand."""
_SECRETS = ("key_file", "user_key_file", "password_file")
_FILES = ("cert_file", "server_cert_file", "user_cert_file", *_SECRETS)
_UNSAID = (
    'say with `security` how the server is spoken to: "basic256sha256" (or '
    '"aes256_sha256_rsapss", "aes128_sha256_rsaoaep") signs and encrypts, and knows the server by '
    'its certificate; "none" means that anybody on the network can read the values, and change '
    "them on their way"
)

Security = Literal["none", "basic256sha256", "aes128_sha256_rsaoaep", "aes256_sha256_rsapss"]
Mode = Literal["auto", "subscribe", "poll"]
"""auto: subscribe, and poll the groups for which the server has no subscription."""
ServerDeadband = Literal["off", "absolute", "percent"]
"""absolute: the tag table's deadband, as the server counts; percent: of the node's EURange."""
Acceptable = Literal["expired", "host_name", "revocation_unknown", "application_uri"]
"""What of a server's certificate may be let pass (verification.py)."""
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
    security: Security | None = None
    """None is refused: a person decides."""
    security_mode: Literal["sign", "sign_and_encrypt"] = "sign_and_encrypt"
    accept: tuple[Acceptable, ...] = ()
    cert_file: str = ""
    """Ours; without it the gateway makes one itself, and keeps it."""
    key_file: str = ""
    server_cert_file: str = ""
    """The one certificate that the server may show; without it the trust list decides."""
    user: str = ""
    password_file: str = ""
    user_cert_file: str = ""
    """A person's or a machine's, where the server knows its users by certificate."""
    user_key_file: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not work, or would send a password in clear."""
        try:
            port = urlsplit(self.endpoint).port
        except ValueError:
            port = None
        if port is None:
            raise ValueError(f"endpoint {self.endpoint!r} needs a port: opc.tcp://host:4840")
        if self.security is None:
            raise ValueError(_UNSAID)
        for pair in (
            ("cert_file", "key_file"),
            ("user", "password_file"),
            ("user_cert_file", "user_key_file"),
        ):
            if bool(getattr(self, pair[0])) != bool(getattr(self, pair[1])):
                raise ValueError(f"{pair[0]} and {pair[1]} belong together; give both or neither")
        if self.user and self.user_cert_file:
            raise ValueError("user and user_cert_file are two ways to be known; give one")
        if (self.user or self.user_cert_file) and self.security == "none":
            raise ValueError("a user needs an encrypted connection; set security, see sample.toml")


class OpcuaAccess(OpcuaConfig, frozen=True, kw_only=True):
    """The keys of one compiled device, its files found, and where the gateway keeps its own."""

    device: str
    state_dir: Path | None
    """None: nothing may be kept, so only what the files name can be trusted."""


class OpcuaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled OPC UA device."""

    device: str
    config: OpcuaAccess
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
    written = msgspec.structs.asdict(config) | files
    access = OpcuaAccess(**written, device=device.name, state_dir=device.state_dir)
    return OpcuaSettings(device=device.name, config=access, groups=groups)


def keys_of_url(parts: SplitResult) -> dict[str, Any]:
    """Return the device keys that `opc.tcp://host:port/path?key=value` means (inspection.py).

    Without `?security=` the connection is not secured: nobody has said how. Raises ValueError with
    what to write instead.
    """
    known = [key for key in OpcuaConfig.__struct_fields__ if key not in ("endpoint", "accept")]
    keys: dict[str, Any] = {"security": "none"}
    if parts.username or parts.password:
        raise ValueError(
            "a URL holds no user and password, it ends in the shell's history; write "
            "?user=NAME&password_file=FILE&security=basic256sha256"
        )
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key == "accept":
            keys[key] = value.split(",")
        elif key not in known:
            raise ValueError(f"unknown key {key!r} in the URL{suggestion(key, [*known, 'accept'])}")
        else:
            keys[key] = int(value) if value.isdecimal() else value
    port = f":{parts.port}" if parts.port else ":4840"
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if not host:
        raise ValueError("the URL names no host; write opc.tcp://host:4840")
    return {"endpoint": f"opc.tcp://{host}{port}{parts.path}"} | keys


def _resolve(row: TagRow) -> Resolved[NodeAddress] | ResolvedArray[NodeAddress]:
    return resolve_tag(row.address, row.type)


def _usable_files(config: OpcuaConfig, device: Device, findings: list[Finding]) -> bool:
    before = len(findings)
    for key in _FILES:
        if not (name := getattr(config, key)):
            continue
        path, reason = device.folder / name, None
        if key in _SECRETS:
            reason = rejected_secret(path)
        elif not path.is_file():
            reason = "no such file"
        if not reason and key != "password_file":
            reason = _rejected_content(path, private=key in _SECRETS)
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
