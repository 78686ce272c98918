"""[devices.NAME] with protocol = "s7plus": keys, bounds, and what the code needs of them."""

import re
import ssl
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl

import msgspec
from msgspec import Meta

from collectors.compiling import (
    CompiledGroup,
    Resolved,
    ResolvedArray,
    compile_config,
    compile_groups,
)
from collectors.s7plus.address import TYPES, Address, parse_addresses
from common.config import PLANT_FILE
from common.errors import Finding
from common.plant import Device
from common.tagtable import TagRow

EXPERIMENTAL = (
    "s7plus is experimental: it speaks a protocol that was reverse engineered, and was never run "
    "on hardware here; the PLC's own OPC UA server is the better way (docs/s7-1500-over-opcua.md)"
)
_FINGERPRINT_DIGITS = 64
_URL_KEYS = ("experimental", "fingerprint", "ca_file")
_URL = "s7plus://192.0.2.40?experimental=true&fingerprint=AB12…"

TimeoutMs = Annotated[int, Meta(ge=50, le=5_000)]
"""The library itself gives up after 5 s without a byte."""


class S7PlusConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of an S7-1200 or S7-1500; sample.toml beside this file shows each of them."""

    host: Annotated[str, Meta(min_length=1, max_length=255)]
    """With `ca_file` the name or address that the certificate must name."""
    port: Annotated[int, Meta(ge=1, le=65_535)] = 102
    experimental: bool = False
    ca_file: str = ""
    """PEM: who signed the PLC's certificate, or that certificate itself."""
    fingerprint: str = ""
    """SHA-256 of the only certificate that the PLC may show, hexadecimal."""
    connect_timeout_ms: TimeoutMs = 3_000
    """From the first packet to the session."""
    reply_timeout_ms: TimeoutMs = 1_000
    """One request, one reply."""
    browse_timeout_ms: Annotated[int, Meta(ge=1_000, le=300_000)] = 30_000
    """To fetch the symbols, all requests together."""
    layout_check_ms: Annotated[int, Meta(ge=1_000, le=3_600_000)] = 10_000
    """How often the PLC is asked whether its blocks have changed."""

    def __post_init__(self) -> None:
        """Refuse what was not wanted on purpose, and whatever would trust anybody."""
        wrong: list[str] = []
        if not self.experimental:
            wrong.append(f"{EXPERIMENTAL}; to use it nevertheless write experimental = true")
        if not (self.ca_file or self.fingerprint):
            wrong.append(
                "needs ca_file or fingerprint, or any machine could answer as this PLC; export "
                "the PLC's certificate from TIA Portal and write its SHA-256 fingerprint"
            )
        if self.fingerprint and not _digits(self.fingerprint):
            wrong.append(
                f"fingerprint {self.fingerprint!r} has not the {_FINGERPRINT_DIGITS} hexadecimal "
                "digits of a SHA-256"
            )
        if wrong:
            raise ValueError("; ".join(wrong))


class S7PlusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled S7-1200 or S7-1500."""

    device: str
    config: S7PlusConfig
    groups: tuple[CompiledGroup[Address], ...]


def compile_device(device: Device, findings: list[Finding]) -> S7PlusSettings | None:
    """Return the device's settings, or None after a finding for everything wrong (contract.py)."""
    config = compile_config(S7PlusConfig, device, findings)
    groups = compile_groups(device, _resolve, findings)
    if config is None or groups is None:
        return None
    if config.ca_file:
        path = device.folder / config.ca_file
        if reason := _rejected_authority(path):
            where = f"devices.{device.name}.ca_file"
            findings.append(Finding(PLANT_FILE, where, f"{config.ca_file}: {reason}"))
            return None
        config = msgspec.structs.replace(config, ca_file=str(path))
    config = msgspec.structs.replace(config, fingerprint=_digits(config.fingerprint))
    return S7PlusSettings(device=device.name, config=config, groups=groups)


def keys_of_url(parts: SplitResult) -> dict[str, Any]:
    """Return the keys that `s7plus://host:port?experimental=true&fingerprint=…` means.

    Raises ValueError with what to write instead.
    """
    keys: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = [key for key in keys if key not in _URL_KEYS]
    if not parts.hostname or parts.path.strip("/") or unknown or parts.username:
        raise ValueError(f"write it as {_URL}")
    if "experimental" in keys:
        if keys["experimental"] not in ("true", "false"):
            raise ValueError(f"experimental is true or false: {_URL}")
        keys["experimental"] = keys["experimental"] == "true"
    if parts.port is not None:
        keys["port"] = parts.port
    return {"host": parts.hostname, **keys}


def _resolve(row: TagRow) -> Resolved[Address] | ResolvedArray[Address]:
    found = parse_addresses(row.address, row.type)
    if isinstance(found, list):
        return ResolvedArray(tuple((index, _resolved(each)) for index, each in found))
    return _resolved(found[0])


def _resolved(address: Address) -> Resolved[Address]:
    value_type = TYPES[address.type_name].value_type
    return Resolved(address, str(address), address.type_name, value_type)


def _digits(fingerprint: str) -> str:
    """Return the hexadecimal digits alone, empty when they are not those of a SHA-256."""
    digits = re.sub(r"[:\s-]", "", fingerprint).lower()
    return digits if re.fullmatch(rf"[0-9a-f]{{{_FINGERPRINT_DIGITS}}}", digits) else ""


def _rejected_authority(path: Path) -> str | None:
    """Return why nobody can be known by this file."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return "holds no certificate in PEM; convert it: openssl x509 -inform der -in FILE"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
