"""Goal: whatever happens to a device, what a collector sends it only reads.

Method: the real collector process and a real server; a line between them decodes every request.
The device is lost in four ways and comes back each time, and one of its tags does not exist, so
that connecting, reading, searching for the bad tag, probing and closing are all on the record.

Seen to bite: a collector that wrote one register half a second after it had connected fails the
Modbus case ("function 6"). In the second test the protocol's own client writes through the line.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from os import kill
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client as OpcUaClient
from pymodbus.client import AsyncModbusTcpClient
from snap7 import Client as S7Client
from snap7.error import S7Error

from demo.children import LOOPBACK
from demo.plant.robot import NAMESPACE
from tests.process.collector_rig import CollectorRig
from tests.process.watched_machine import MISSING_TAGS, WatchedMachine
from tests.process.wire_watch import Spoil

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

KEYS = {
    "modbus": "reply_timeout_ms = 500",
    "s7": "reply_timeout_ms = 500\nconnect_timeout_ms = 1000",
    "opcua": "reply_timeout_ms = 1000",
}
EXPECTED = {
    "modbus": {"function 3"},
    "s7": {"connect", "setup communication", "ReadVar"},
    "opcua": {
        *("Hello", "OpenSecureChannel", "CreateSession", "ActivateSession", "Read"),
        *("CreateSubscription", "CreateMonitoredItems", "Publish"),
    },
}
"""Without these the record would not be one of a life."""


def lose_and_find(rig: CollectorRig, device: WatchedMachine, lose: Callable[[], object]) -> None:
    """Take the device away, wait until the collector knows, give it back, wait again."""
    before = len(rig.scans(device.name))
    lose()
    rig.wait_for_state(device.name, "away", 60)
    device.machine.start()
    device.watch.spoil = Spoil.NOTHING
    if device.machine.running:
        with suppress(OSError):
            kill(device.machine.pid, signal.SIGCONT)
    device.watch.listen()
    rig.wait_for_state(device.name, "good", 60)
    rig.wait_for(lambda: len(rig.scans(device.name)) > before, 20, "scans again")


@pytest.mark.parametrize("protocol", ["modbus", "s7", "opcua"])
def test_a_collector_only_reads_through_losses_and_returns(tmp_path: Path, protocol: str) -> None:
    with WatchedMachine("unit", protocol, tmp_path) as device:
        try:
            live_through_everything(device, tmp_path)
        finally:  # A machine that is written to ends: this is then the reason for what was missed.
            assert device.watch.writes() == {}
        sent = device.watch.histogram()

    assert EXPECTED[protocol] <= sent.keys(), sent
    assert device.watch.connections >= 5


def live_through_everything(device: WatchedMachine, folder: Path) -> None:
    toml = device.toml(MISSING_TAGS[device.protocol], KEYS[device.protocol])
    with CollectorRig(folder, device.protocol, toml) as rig:
        rig.wait_for(lambda: len(rig.scans("unit")) > 20, 30, "scans")
        for spoil in (Spoil.GARBAGE, Spoil.RESET):
            lose_and_find(rig, device, lambda spoil=spoil: spoiled(device, spoil))
        lose_and_find(rig, device, device.watch.cut)
        lose_and_find(rig, device, device.machine.kill)
        rig.stop()


def spoiled(device: WatchedMachine, spoil: Spoil) -> None:
    device.watch.spoil = spoil


async def modbus_writes(port: int) -> None:
    client = AsyncModbusTcpClient(LOOPBACK, port=port, retries=0)
    assert await client.connect()
    await client.write_registers(0, [1, 2])
    client.close()


async def s7_writes(port: int) -> None:
    def work() -> None:
        client = S7Client()
        client.connect(LOOPBACK, 0, 1, tcp_port=port)
        with suppress(S7Error):
            client.db_write(40, 16, bytearray(4))
        with suppress(S7Error):
            client.plc_stop()
        client.disconnect()

    await asyncio.to_thread(work)


async def opcua_writes(port: int) -> None:
    async with OpcUaClient(f"opc.tcp://{LOOPBACK}:{port}") as client:
        namespace = await client.get_namespace_index(NAMESPACE)
        node = client.get_node(ua.NodeId("Robot.Cycles", namespace))
        for work in (node.write_value(1), client.nodes.server.call_method(ua.NodeId(11492), 1)):
            with suppress(ua.UaStatusCodeError):
                await work


WRITERS: dict[str, tuple[Callable[[int], Awaitable[Any]], dict[str, int]]] = {
    "modbus": (modbus_writes, {"function 16": 1}),
    "s7": (s7_writes, {"WriteVar": 1, "function 0x29": 1}),
    "opcua": (opcua_writes, {"Write": 1, "Call": 1}),
}


@pytest.mark.parametrize("protocol", WRITERS)
async def test_a_client_that_writes_is_seen(tmp_path: Path, protocol: str) -> None:
    writer, seen = WRITERS[protocol]
    with WatchedMachine("unit", protocol, tmp_path) as device:
        await writer(device.watch.port)

        assert device.watch.writes() == seen
