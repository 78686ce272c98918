"""The closed table of protocols. A process imports only the protocol that it runs."""

from importlib import import_module
from types import ModuleType

from collectors.contract import Build, CheckTogether, Compile
from collectors.inspection import Inspect, ReadSource
from common.config import PLANT_FILE
from common.errors import ConfigError, Finding

PROTOCOLS = {
    "modbus": "collectors.modbus",
    "s7": "collectors.s7",
    "opcua": "collectors.opcua",
    "s7plus": "collectors.s7plus",
    "simulated": "collectors.simulated",
}
"""Name in plant.toml → package with config.compile_device and device.build_collector."""

EXPERIMENTAL = {"s7plus"}
"""Those whose config.py says in EXPERIMENTAL what is to be known before they are used."""

SOURCES = {"s7": "collectors.s7.blocksource"}
"""Protocol whose devices are programmed in texts that declare tags → what reads such a text."""


def compiler_of(protocol: str) -> Compile:
    """Return the protocol's `compile_device`; needs no foreign library."""
    compile_device: Compile = import_module(f"{PROTOCOLS[protocol]}.config").compile_device
    return compile_device


def caution_of(protocol: str) -> str | None:
    """Return what a person should know who configures an experimental protocol; None for others."""
    if protocol not in EXPERIMENTAL:
        return None
    text: str = import_module(f"{PROTOCOLS[protocol]}.config").EXPERIMENTAL
    return text


def together_of(protocol: str) -> CheckTogether | None:
    """Return the protocol's `check_together`; None where its devices have nothing in common."""
    config = import_module(f"{PROTOCOLS[protocol]}.config")
    check_together: CheckTogether | None = getattr(config, "check_together", None)
    return check_together


def builder_of(protocol: str) -> Build:
    """Return the protocol's `build_collector`. Raises ConfigError when its library is missing."""
    build_collector: Build = _with_library(protocol, "device").build_collector
    return build_collector


def inspect_of(protocol: str) -> Inspect:
    """Return the protocol's `inspect`. Raises ConfigError when its library is missing."""
    inspect: Inspect = _with_library(protocol, "inspector").inspect
    return inspect


def source_reader_of(protocol: str) -> ReadSource | None:
    """Return the protocol's `tags_of_source`, which needs no library; None where there is none."""
    if protocol not in SOURCES:
        return None
    tags_of_source: ReadSource = import_module(SOURCES[protocol]).tags_of_source
    return tags_of_source


def _with_library(protocol: str, module: str) -> ModuleType:
    try:
        return import_module(f"{PROTOCOLS[protocol]}.{module}")
    except ModuleNotFoundError as error:
        text = f"needs the package {error.name!r}; install it: pip install 'tailrace[{protocol}]'"
        raise ConfigError([Finding(PLANT_FILE, f"protocol {protocol}", text)]) from error
