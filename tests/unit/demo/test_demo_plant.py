"""Goal: each machine of the line speaks its protocol, counts steadily, and ends when told.

Method: the real server as a process, read by its protocol's own client library.
"""

import asyncio
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from asyncua.client.client import Client as OpcUaClient
from asyncua.common.subscription import DataChangeEvent
from pymodbus.client import AsyncModbusTcpClient
from snap7 import Client as S7Client

from demo.children import LOOPBACK, Child
from demo.plant import meter, press, robot
from demo.plant.pace import counts, wave

pytestmark = pytest.mark.process

COUNT_EVERY_MS = 20
WAIT_S = 20.0


@contextmanager
def machine(protocol: str, tmp_path: Path) -> Iterator[tuple[Child, int]]:
    every = ["--count-every-ms", str(COUNT_EVERY_MS)]
    command = [sys.executable, "-m", "demo.plant", protocol, *every]
    with Child(protocol, command, tmp_path / f"{protocol}.log") as child:
        yield child, child.wait_for_port()


async def reaches(read: Callable[[], Awaitable[int]], count: int) -> list[int]:
    """Return what was read until `count` was reached."""
    seen: list[int] = []
    async with asyncio.timeout(WAIT_S):
        while not seen or seen[-1] < count:
            seen.append(await read())
            await asyncio.sleep(COUNT_EVERY_MS / 4_000)
    return seen


def assert_counts_by_one(seen: list[int]) -> None:
    assert seen == sorted(seen), "a counter never goes back"
    assert len(set(seen)) > 20, "it moves while we look"


async def test_the_meter_is_read_over_modbus_tcp(tmp_path: Path) -> None:
    with machine("modbus", tmp_path) as (_, port):
        client = AsyncModbusTcpClient(LOOPBACK, port=port, retries=0)
        assert await client.connect()

        async def registers(first: int, count: int) -> bytes:
            reply = await client.read_holding_registers(first, count=count, device_id=meter.UNIT)
            assert not reply.isError()
            return struct.pack(f">{count}H", *reply.registers)

        async def pulses() -> int:
            return int(struct.unpack(">I", await registers(meter.PULSES, 2))[0])

        assert_counts_by_one(await reaches(pulses, await pulses() + 50))
        power_kw, voltage_v, energy_wh, count, frequency = struct.unpack(
            ">ffIIH", await registers(0, 9)
        )
        client.close()

    assert 33 <= power_kw <= 51
    assert 396 <= voltage_v <= 402
    assert energy_wh == 1_200_000 + meter.WH_PER_COUNT * count, "both counters move together"
    assert 4_997 <= frequency <= 5_003


async def test_the_press_is_read_over_s7(tmp_path: Path) -> None:
    with machine("s7", tmp_path) as (_, port):
        client = S7Client()
        client.connect(LOOPBACK, 0, 1, tcp_port=port)

        async def strokes() -> int:
            return int(struct.unpack(">I", client.db_read(press.BLOCK, press.STROKES, 4))[0])

        assert_counts_by_one(await reaches(strokes, await strokes() + 50))
        memory = bytes(client.db_read(press.BLOCK, 0, press.BLOCK_BYTES))
        client.disconnect()

    assert 57 <= struct.unpack_from(">f", memory, press.TEMPERATURE)[0] <= 65
    assert memory[press.STATES] == press.RUNNING_AND_GUARD_CLOSED
    assert 1_810 <= struct.unpack_from(">h", memory, press.PRESSURE)[0] <= 1_890
    assert 595 <= struct.unpack_from(">f", memory, press.FORCE)[0] <= 645


async def test_the_robot_reports_every_cycle_over_opc_ua(tmp_path: Path) -> None:
    with machine("opcua", tmp_path) as (_, port):
        async with OpcUaClient(f"opc.tcp://{LOOPBACK}:{port}") as client:
            namespace = await client.get_namespace_index(robot.NAMESPACE)

            def node(name: str) -> str:
                return f"ns={namespace};s=Robot.{name}"

            values = await client.read_values(
                [client.get_node(node(name)) for name in ("Program", "Joint1", "MotorTemperature")]
            )
            subscription = await client.create_subscription(20, None, queue_maxsize=1_000)
            cycles = client.get_node(node("Cycles"))
            await subscription.subscribe_data_change(cycles, queuesize=100)
            seen: list[int] = []
            async with asyncio.timeout(WAIT_S):
                async for event in subscription:
                    assert isinstance(event, DataChangeEvent)
                    seen.append(event.value)
                    if len(seen) == 50:
                        break

    program, joint_deg, motor_cel = values
    assert program == "RUNNING"
    assert -85 <= joint_deg <= 85
    assert 45 <= motor_cel <= 51
    assert seen == list(range(seen[0], seen[0] + 50)), "no count is left out"


@pytest.mark.parametrize("protocol", ["modbus", "s7", "opcua"])
def test_a_machine_ends_on_sigterm_with_exit_code_0(tmp_path: Path, protocol: str) -> None:
    with machine(protocol, tmp_path) as (child, _):
        assert child.stop() == 0


async def test_counts_are_never_skipped_even_when_late() -> None:
    seen = []
    async for count in counts(1):
        if count == 1:
            await asyncio.sleep(0.05)  # late for about fifty counts
        seen.append(count)
        if count == 100:
            break

    assert seen == list(range(1, 101))


def test_a_wave_stays_within_its_swing() -> None:
    values = [wave(elapsed_s / 10, 61.0, 4.0, 47.0) for elapsed_s in range(10_000)]

    assert (round(min(values), 1), round(max(values), 1)) == (57.0, 65.0)
