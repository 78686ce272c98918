"""The closed table of protocols. A process imports only the protocol that it runs."""

from importlib import import_module

from collectors.contract import Build, Compile
from common.config import PLANT_FILE
from common.errors import ConfigError, Finding

PROTOCOLS = {
    "modbus": "collectors.modbus",
    "s7": "collectors.s7",
    "opcua": "collectors.opcua",
    "simulated": "collectors.simulated",
}
"""Name in plant.toml → package with config.compile_device and device.build_collector."""


def compiler_of(protocol: str) -> Compile:
    """Return the protocol's `compile_device`; needs no foreign library."""
    compile_device: Compile = import_module(f"{PROTOCOLS[protocol]}.config").compile_device
    return compile_device


def builder_of(protocol: str) -> Build:
    """Return the protocol's `build_collector`. Raises ConfigError when its library is missing."""
    try:
        build_collector: Build = import_module(f"{PROTOCOLS[protocol]}.device").build_collector
    except ModuleNotFoundError as error:
        text = f"needs the package {error.name!r}; install it: pip install 'tailrace[{protocol}]'"
        raise ConfigError([Finding(PLANT_FILE, f"protocol {protocol}", text)]) from error
    return build_collector
