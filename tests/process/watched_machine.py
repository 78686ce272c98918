"""A machine of the demo behind a line that is watched, and how a collector is told of it."""

import sys
from pathlib import Path
from typing import Self

from demo.children import Child, free_port
from tests.process.wire_watch import WireWatch

PERIOD_MS = 100
_TAGS = {
    "modbus": '{ name = "Power_kW", address = "holding:0:FLOAT32" },'
    '{ name = "Pulses", address = "holding:6:UINT32" }',
    "s7": '{ name = "Temperature_C", address = "DB40.DBD12:REAL" },'
    '{ name = "Strokes", address = "DB40.DBD16:UDINT" }',
    "opcua": '{ name = "Joint1_deg", address = "nsu=urn:tailrace:demo:robot;s=Robot.Joint1", '
    'type = "Double" },'
    '{ name = "Cycles", address = "nsu=urn:tailrace:demo:robot;s=Robot.Cycles", type = "Int64" }',
}
MISSING_TAGS = {
    "modbus": '{ name = "Nothing", address = "holding:60:INT16" }',
    "s7": '{ name = "Nothing", address = "DB41.DBW0:INT" }',
    "opcua": '{ name = "Nothing", address = "nsu=urn:tailrace:demo:robot;s=No", type = "Int64" }',
}
"""What no machine has: the collector looks for the tag that is to blame."""


def device_toml(name: str, protocol: str, port: int, more_tags: str = "", keys: str = "") -> str:
    """Return a device as plant.toml has it: the machine's tags, and more where given."""
    where = f'host = "127.0.0.1"\nport = {port}\n'
    if protocol == "opcua":
        where = f'endpoint = "opc.tcp://127.0.0.1:{port}/"\nsecurity = "none"\n'
    return (
        f'[devices.{name}]\nprotocol = "{protocol}"\n{where}{keys}\n'
        f"[devices.{name}.groups.all]\nperiod_ms = {PERIOD_MS}\n"
        f"tags = [{_TAGS[protocol]}, {more_tags}]\n"
    )


class WatchedMachine:
    """`with` starts machine and line. The machine keeps its port when it is started anew."""

    def __init__(self, name: str, protocol: str, folder: Path, *, late_s: float = 3.0) -> None:
        self.name = name
        self.protocol = protocol
        port = free_port()
        options = ["--port", str(port), "--count-every-ms", "50"]
        command = [sys.executable, "-m", "demo.plant", protocol, *options]
        self.machine = Child(name, command, folder / f"{name}.log", port=port)
        self.watch = WireWatch(protocol, port, late_s=late_s)

    def toml(self, more_tags: str = "", keys: str = "") -> str:
        """Return the device as plant.toml has it."""
        return device_toml(self.name, self.protocol, self.watch.port, more_tags, keys)

    def __enter__(self) -> Self:
        self.machine.start()
        self.watch.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.__exit__()
        self.machine.stop()
