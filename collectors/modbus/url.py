"""A device without configuration: what a URL of `tailrace read` means. No foreign library.

    modbus://10.0.0.5/3                      TCP, port 502, unit 3; the unit may be left out (1)
    modbus+udp://10.0.0.5:1502/3             and likewise tls, rtu-over-tcp, ascii-over-tcp
    modbus+rtu:///dev/ttyUSB0?unit=3&baudrate=9600&parity=N        a serial line; likewise ascii
    modbus+tls://meter.local/1?ca_file=pki/ca.pem&reply_timeout_ms=300

Behind the question mark stands any key of a device, as plant.toml has it.
"""

from typing import Any, get_args
from urllib.parse import SplitResult, parse_qsl, unquote

import msgspec

from collectors.modbus.linesettings import SERIAL, Transport
from common.config import expected, suggestion

_TRANSPORTS: tuple[str, ...] = get_args(Transport)


def keys_of_url(parts: SplitResult, config: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the keys of `config` that a URL means. Raises ValueError with what to write."""
    _, _, transport = parts.scheme.partition("+")
    transport = transport or "tcp"
    if transport not in _TRANSPORTS:
        raise ValueError(
            f"unknown transport {transport!r}{suggestion(transport, list(_TRANSPORTS))}; write "
            "modbus://host:port/unit, or modbus+TRANSPORT:// with one of "
            f"{', '.join(_TRANSPORTS)}"
        )
    keys: dict[str, Any] = {"transport": transport}
    keys |= _port_of(parts, transport) if transport in SERIAL else _host_of(parts, transport)
    return keys | _written_out(parts.query, config)


def _port_of(parts: SplitResult, transport: str) -> dict[str, Any]:
    if parts.netloc:
        raise ValueError(
            f"modbus+{transport} is a serial port of this box: write "
            f"modbus+{transport}:///dev/ttyUSB0?unit=1&baudrate=9600; over the network it is "
            f"modbus+{transport}-over-tcp://{parts.netloc}{parts.path}"
        )
    if not parts.path.strip("/"):
        raise ValueError(f"name the port: modbus+{transport}:///dev/ttyUSB0?unit=1&baudrate=9600")
    return {"serial": unquote(parts.path)}


def _host_of(parts: SplitResult, transport: str) -> dict[str, Any]:
    scheme = "modbus" if transport == "tcp" else f"modbus+{transport}"
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{error}; write {scheme}://host:port/unit") from error
    if not host or parts.username is not None:
        raise ValueError(f"write {scheme}://host:port/unit, such as {scheme}://10.0.0.5:502/1")
    keys: dict[str, Any] = {"host": host}
    if port is not None:
        keys["port"] = port
    if unit := parts.path.strip("/"):
        if not unit.isdecimal():
            raise ValueError(f"behind the port stands the unit, a number, found {unit!r}")
        keys["unit"] = int(unit)
    return keys


def _written_out(query: str, config: type[msgspec.Struct]) -> dict[str, Any]:
    known = {each.name: each.type for each in msgspec.structs.fields(config)}
    keys: dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise ValueError(f"unknown key {key!r}{suggestion(key, list(known))}")
        try:
            keys[key] = msgspec.convert(text, known[key], strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(f"{key}: {expected(error, known[key])}, found {text!r}") from error
    return keys
