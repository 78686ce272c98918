"""What an operator writes of a Modbus device → what its code needs. No foreign library."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult

import msgspec
from msgspec import Meta

from collectors.compiling import (
    CompiledGroup,
    Resolved,
    ResolvedArray,
    compile_config,
    compile_groups,
)
from collectors.modbus.address import Address, Array, parse
from collectors.modbus.decode import BITS_MAX, REGISTERS_MAX, Limits
from collectors.modbus.linesettings import (
    SERIAL,
    TCP_PORT,
    TLS_PORT,
    ByteSize,
    LineSettings,
    Parity,
    StopBits,
    Transport,
    tls_context,
)
from collectors.modbus.url import keys_of_url as _keys_of_url
from common.config import PLANT_FILE, rejected_secret
from common.errors import Finding
from common.plant import Device
from common.tagtable import TagRow

_SERIAL_KEYS = ("serial", "baudrate", "parity", "stopbits", "bytesize")
_FILE_KEYS = ("ca_file", "server_cert_file", "cert_file", "key_file")
_TLS_KEYS = ("server_name", *_FILE_KEYS)
_HOST_KEYS = ("host", "port", "share")

Host = Annotated[str, Meta(max_length=253, pattern=r"^[A-Za-z0-9_.:%-]*$")]
File = Annotated[str, Meta(max_length=1_024)]


class ModbusConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of a device with protocol = "modbus"; sample.toml beside this file shows them."""

    transport: Transport = "tcp"
    host: Host = ""
    port: Annotated[int, Meta(ge=1, le=65_535)] | None = None
    """None: 502, or 802 with TLS."""
    share: bool = True
    """One connection for all devices of the same host and port; False: one for this alone."""
    serial: Annotated[str, Meta(max_length=255, pattern=r"^(/.*)?$")] = ""
    baudrate: Annotated[int, Meta(ge=300, le=4_000_000)] = 19_200
    parity: Parity = "E"
    stopbits: StopBits = 1
    bytesize: ByteSize | None = None
    """None: 8, or 7 with ASCII. These four are what MODBUS over Serial Line V1.02 starts from."""
    ca_file: File = ""
    server_cert_file: File = ""
    """The one certificate that the device may show, instead of an authority and a name."""
    server_name: Host = ""
    """In the device's certificate; empty: `host`."""
    cert_file: File = ""
    key_file: File = ""
    unit: Annotated[int, Meta(ge=0, le=255)] = 1
    """The unit identifier; of interest on serial lines, and where a gateway to them answers."""
    reply_timeout_ms: Annotated[int, Meta(ge=10, le=60_000)] = 1_000
    """For one reply, and for the connection. A device that is silent longer is away."""
    pause_ms: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """The line is left alone so long before each request to this device."""
    max_gap: Annotated[int, Meta(ge=0, le=124)] = 16
    """Registers that may be read along without need to save a request; bits count a sixteenth."""
    registers_max: Annotated[int, Meta(ge=1, le=REGISTERS_MAX)] = REGISTERS_MAX
    """Of one request, for devices that answer fewer than the protocol allows."""
    bits_max: Annotated[int, Meta(ge=1, le=BITS_MAX)] = BITS_MAX
    merge: bool = True
    """False: one request for each tag (an array is one), for devices that give nothing else."""

    @property
    def limits(self) -> Limits:
        """What one request to the device may ask for."""
        return Limits(self.registers_max, self.bits_max, self.max_gap, self.merge)

    def __post_init__(self) -> None:
        """A transport has either a host or a port of this box, and TLS knows whom to trust."""
        if self.transport in SERIAL and not self.serial:
            raise ValueError(
                f'transport = "{self.transport}" needs serial = "/dev/ttyUSB0"; over the network '
                f'it is transport = "{self.transport}-over-tcp"'
            )
        if self.transport not in SERIAL and not self.host:
            raise ValueError("missing required key 'host'")
        if self.transport in SERIAL and not 1 <= self.unit <= 247:  # noqa: PLR2004 - V1.02, 2.2
            raise ValueError(f"unit must be 1 to 247 on a serial line, found {self.unit}")
        if self.transport == "tls" and bool(self.ca_file) == bool(self.server_cert_file):
            raise ValueError(
                'transport = "tls" needs ca_file, the authority of the device\'s certificate, or '
                "server_cert_file, that certificate itself; not both"
            )
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file belong together: give both or neither")


@dataclass(frozen=True, slots=True)
class ModbusSettings:
    """One device, compiled."""

    name: str
    config: ModbusConfig
    line: LineSettings
    groups: tuple[CompiledGroup[Address], ...]


def compile_device(device: Device, findings: list[Finding]) -> ModbusSettings | None:
    """Return the device's settings, or None after a finding for everything wrong."""
    config = compile_config(ModbusConfig, device, findings)
    groups = compile_groups(device, lambda row: resolve(row, config), findings)
    if config is None or groups is None or not _keys_belong(config, device, findings):
        return None
    config = _with_defaults(config)
    line = _line(config, device)
    if line.transport == "tls" and not _usable_files(line, device, findings):
        return None
    return ModbusSettings(device.name, config, line, groups)


def check_together(compiled: Sequence[object], findings: list[Finding]) -> None:
    """Add a finding for each device that contradicts another one on its line."""
    first_on: dict[tuple[str, str], ModbusSettings] = {}
    for settings in compiled:
        assert isinstance(settings, ModbusSettings)  # noqa: S101 - what compile_device makes
        first = first_on.setdefault(settings.line.identity, settings)
        for each in fields(LineSettings):
            here, there = (getattr(one.line, each.name) for one in (settings, first))
            if here != there:
                text = (
                    f"device {first.name} is on the same line, {first.line.place}, with "
                    f"{each.name} = {str(there)!r}, found {str(here)!r}; make them the same"
                )
                where = f"devices.{settings.name}.{each.name}"
                findings.append(Finding(PLANT_FILE, where, text))


def resolve(row: TagRow, config: ModbusConfig | None) -> Resolved[Address] | ResolvedArray[Address]:
    """Return where a tag stands; `config` is None when it is wrong itself, and judges nothing."""
    parsed = parse(row.address, row.type, config.unit if config else None)
    first = parsed.first if isinstance(parsed, Array) else parsed
    registers = 0 if first.table.holds_bits else first.data_type.registers
    if config and registers > config.registers_max:
        raise ValueError(
            f"{first} takes {registers} registers, but one request has at most registers_max = "
            f"{config.registers_max}; raise it, or choose a smaller type"
        )
    if isinstance(parsed, Array):
        return ResolvedArray(
            tuple((str(index), _resolved(element)) for index, element in parsed.elements())
        )
    return _resolved(parsed)


def _resolved(address: Address) -> Resolved[Address]:
    return Resolved(address, str(address), address.source_type, address.data_type.value_type)


def keys_of_url(parts: SplitResult) -> dict[str, Any]:
    """Return the device keys that a URL means. Raises ValueError with what to write instead."""
    return _keys_of_url(parts, ModbusConfig)


def _keys_belong(config: ModbusConfig, device: Device, findings: list[Finding]) -> bool:
    """Add a finding for each key that another transport has."""
    foreign: tuple[str, ...] = _HOST_KEYS if config.transport in SERIAL else _SERIAL_KEYS
    if config.transport != "tls":
        foreign += _TLS_KEYS
    wrong = [key for key in foreign if key in device.settings]
    for key in wrong:
        text = f'transport = "{config.transport}" has no {key}; remove it, or set transport'
        findings.append(Finding(PLANT_FILE, f"devices.{device.name}.{key}", text))
    return not wrong


def _with_defaults(config: ModbusConfig) -> ModbusConfig:
    return msgspec.structs.replace(
        config,
        port=config.port or (TLS_PORT if config.transport == "tls" else TCP_PORT),
        bytesize=config.bytesize or (7 if config.transport == "ascii" else 8),
        server_name=(config.server_name or config.host) if config.transport == "tls" else "",
    )


def _line(config: ModbusConfig, device: Device) -> LineSettings:
    if config.transport in SERIAL:
        return LineSettings(
            config.transport,
            serial=config.serial,
            baudrate=config.baudrate,
            parity=config.parity,
            stopbits=config.stopbits,
            bytesize=config.bytesize or 8,
        )

    def file(name: str) -> Path | None:
        return device.folder / name if name else None

    return LineSettings(
        config.transport,
        host=config.host,
        port=config.port or TCP_PORT,
        server_name=config.server_name,
        ca_file=file(config.ca_file),
        server_cert_file=file(config.server_cert_file),
        cert_file=file(config.cert_file),
        key_file=file(config.key_file),
        only_for="" if config.share else device.name,
    )


def _usable_files(line: LineSettings, device: Device, findings: list[Finding]) -> bool:
    """Add a finding for each file that TLS could not use."""
    before = len(findings)

    def wrong(key: str, text: str) -> None:
        findings.append(Finding(PLANT_FILE, f"devices.{device.name}.{key}", text))

    for key in _FILE_KEYS:
        path: Path | None = getattr(line, key)
        if path is None:
            continue
        reason = rejected_secret(path) if key == "key_file" else None
        if reason is None and not path.is_file():
            reason = "no such file"
        if reason:
            wrong(key, f"{path.name}: {reason}")
    if len(findings) == before:
        try:
            tls_context(line)
        except ssl.SSLError as error:
            pair = error.reason == "KEY_VALUES_MISMATCH"
            key = "key_file" if line.cert_file else "ca_file"
            text = "is not the key of cert_file" if pair else "holds no PEM that can be used"
            wrong(key, f"{text} ({error.reason or error})")
        except OSError as error:
            wrong("transport", f"its files cannot be read ({error.strerror})")
    return len(findings) == before
