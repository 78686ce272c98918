"""Goal: whoever asks a machine of the demo to change is refused, and nobody can overlook it.

Method: each machine as a process; its protocol's own client writes, calls, downloads, stops. The
machine answers by a refusal, prints one line, and ends with exit code 1. Everything that only reads
leaves it alone. GatewaySite and `tailrace demo` look for that line at their end.

Seen to bite: with a function taken out of what the meter, the press or the robot refuses, the case
of that name fails: the write is done, and the machine lives on.
"""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.client.client import Client as OpcUaClient
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.pdu.file_message import FileRecord
from snap7 import Client as S7Client
from snap7.error import S7Error
from snap7.type import Block

from demo.children import LOOPBACK, Child
from demo.plant.refusing import refused_in
from demo.plant.robot import NAMESPACE
from tests.process.gateway_site import GatewaySite

pytestmark = pytest.mark.process

WAIT_S = 20.0


@contextmanager
def machine(protocol: str, tmp_path: Path) -> Iterator[tuple[Child, int]]:
    command = [sys.executable, "-m", "demo.plant", protocol]
    with Child(protocol, command, tmp_path / f"{protocol}.log") as child:
        yield child, child.wait_for_port()


def assert_told_and_ended(child: Child, said: str) -> None:
    """The machine has printed one line and ended by itself."""
    with pytest.raises(Exception, match="ended with exit code 1"):
        child.wait_until(lambda: False, WAIT_S)
    assert refused_in(child.log_file) == [said]


MODBUS_WRITES: dict[str, Callable[[AsyncModbusTcpClient], Awaitable[Any]]] = {
    "5": lambda client: client.write_coil(0, value=True),
    "6": lambda client: client.write_register(6, 1),
    "15": lambda client: client.write_coils(0, [True, False]),
    "16": lambda client: client.write_registers(0, [1, 2, 3]),
    "21": lambda client: client.write_file_record([FileRecord(record_data=b"\0\0")]),
    "22": lambda client: client.mask_write_register(address=6, and_mask=0, or_mask=1),
    "23": lambda client: client.readwrite_registers(read_count=1, values=[1]),
    "8": lambda client: client.diag_restart_communication(toggle=True),
}


@pytest.mark.parametrize("function", MODBUS_WRITES)
async def test_the_meter_refuses_every_function_that_writes(tmp_path: Path, function: str) -> None:
    with machine("modbus", tmp_path) as (child, port):
        client = AsyncModbusTcpClient(LOOPBACK, port=port, retries=0)
        assert await client.connect()
        reply = await MODBUS_WRITES[function](client)
        client.close()

        assert reply.exception_code == ExcCodes.ILLEGAL_FUNCTION
        assert_told_and_ended(child, f"Modbus function {function} of unit 1")


async def test_the_meter_refuses_a_function_that_nobody_knows(tmp_path: Path) -> None:
    """0x5A is a vendor's own, by which some PLCs are programmed. It comes in two halves."""
    with machine("modbus", tmp_path) as (child, port):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(bytes.fromhex("0001 0000 0004 01"))
        await writer.drain()
        writer.write(bytes.fromhex("5a 00 02"))
        reply = await asyncio.wait_for(reader.read(100), WAIT_S)
        writer.close()

        assert reply[7] & 0x80, "an exception; pymodbus does not name the function in it"
        assert reply[8] == ExcCodes.ILLEGAL_FUNCTION
        assert_told_and_ended(child, "Modbus function 90 of unit 1")


S7_WRITES: dict[str, Callable[[S7Client], Any]] = {
    "S7 function 0x05, write variables": lambda client: client.db_write(40, 16, bytearray(4)),
    "S7 function 0x28, PLC control": lambda client: client.plc_hot_start(),
    "S7 function 0x29, PLC stop": lambda client: client.plc_stop(),
    "S7 function 0x1D, start upload": lambda client: client.full_upload(Block.DB, 40),
    "S7 function 0x1A, request download": lambda client: client.download(bytearray(80), 40),
    "S7 user data, group 7, function 2": lambda client: client.set_plc_system_datetime(),
    "S7 user data, group 5, function 1": lambda client: client.set_session_password("12345678"),
}


@pytest.mark.parametrize("said", S7_WRITES)
def test_the_press_refuses_every_function_that_changes_it(tmp_path: Path, said: str) -> None:
    with machine("s7", tmp_path) as (child, port):
        client = S7Client()
        client.connect(LOOPBACK, 0, 1, tcp_port=port)
        before = bytes(client.db_read(40, 0, 12))
        with pytest.raises(S7Error):
            S7_WRITES[said](client)
        after = bytes(client.db_read(40, 0, 12))
        client.disconnect()

        assert before == after
        assert_told_and_ended(child, said)


OPCUA_WRITES: dict[str, Callable[[OpcUaClient, ua.NodeId], Awaitable[Any]]] = {
    "Write": lambda client, node: client.get_node(node).write_value(1.0),
    "Call": lambda client, _: client.nodes.server.call_method(
        ua.NodeId(ua.ObjectIds.Server_GetMonitoredItems), 1
    ),
    "AddNodes": lambda client, node: client.nodes.objects.add_object(node.NamespaceIndex, "New"),
    "DeleteNodes": lambda client, node: client.delete_nodes([client.get_node(node)]),
    "HistoryUpdate": lambda client, _: client.uaclient.protocol.send_request(
        ua.HistoryUpdateRequest()
    ),
}


@pytest.mark.parametrize("service", OPCUA_WRITES)
async def test_the_robot_refuses_every_service_that_changes_it(
    tmp_path: Path, service: str
) -> None:
    with machine("opcua", tmp_path) as (child, port):
        client = OpcUaClient(f"opc.tcp://{LOOPBACK}:{port}")
        async with client:
            namespace = await client.get_namespace_index(NAMESPACE)
            node = ua.NodeId("Robot.MotorTemperature", namespace)
            with pytest.raises(ua.UaStatusCodeError) as refused:
                await OPCUA_WRITES[service](client, node)

        assert refused.value.code == ua.StatusCodes.BadUserAccessDenied
        assert_told_and_ended(child, f"OPC UA service {service}")


def test_the_press_takes_no_question_for_a_write(tmp_path: Path) -> None:
    with machine("s7", tmp_path) as (child, port):
        client = S7Client()
        client.connect(LOOPBACK, 0, 1, tcp_port=port)
        client.list_blocks()
        client.get_cpu_info()
        client.get_plc_datetime()
        client.db_read(40, 0, 12)
        client.disconnect()

        assert child.stop() == 0
        assert refused_in(child.log_file) == []


async def write_to_the_meter(port: int) -> None:
    client = AsyncModbusTcpClient(LOOPBACK, port=port, retries=0)
    assert await client.connect()
    await client.write_register(6, 1)
    client.close()


def test_a_site_of_the_tests_fails_when_anything_was_written(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="never asks a machine to change"),
        GatewaySite(tmp_path) as site,
    ):
        asyncio.run(write_to_the_meter(site.ports["meter"]))


@pytest.mark.timeout(240)
def test_the_demo_fails_when_anything_was_written() -> None:
    with tempfile.TemporaryDirectory(prefix="tr-") as name:
        kept = Path(name) / "demo"
        command = [sys.executable, "-u", "-m", "demo", "--keep", str(kept)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
        ) as demo:
            assert demo.stdout is not None
            assert any("every machine speaks" in line for line in demo.stdout)
            plant = (kept / "config/ot/plant.toml").read_text()
            port = re.search(r"port = (\d+)", plant)
            assert port is not None
            asyncio.run(write_to_the_meter(int(port[1])))
            _, said = demo.communicate(timeout=120)

    assert demo.returncode == 1
    assert "somebody asked a machine to change: meter: Modbus function 6 of unit 1" in said
