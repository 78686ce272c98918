"""Goal: a server that shares neither code nor author with us is read, on TCP and on RTU.

Method: libmodbus, the C library, serves in a process of its own; every table, the longest requests
and an address that it does not have.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from common.records import Quality
from tests.collectors.modbus.modbus_peers import collectors_of, reading, relayed_ptys
from tests.collectors.modbus.test_modbus_lines import on, on_port

METER = Path(__file__).with_name("libmodbus_meter.py")


@asynccontextmanager
async def served(library: str, transport: str, path: str = "") -> AsyncIterator[int]:
    command = [sys.executable, str(METER), library, transport, *([path] if path else [])]
    process = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield int(await asyncio.to_thread(process.stdout.readline))
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        process.stdout.close()


@pytest.mark.process
@pytest.mark.parametrize("transport", ["tcp", "rtu"])
async def test_a_server_of_libmodbus_is_read_in_every_table(
    tmp_path: Path, libmodbus: str, transport: str
) -> None:
    async with AsyncExitStack() as stack:
        if transport == "rtu":
            theirs, ours = await stack.enter_async_context(relayed_ptys())
            await stack.enter_async_context(served(libmodbus, transport, theirs))
            keys = on_port(ours, 1)
        else:
            keys = on(await stack.enter_async_context(served(libmodbus, transport)), 1)
        rows = [
            '{ name = "H", address = "holding:0:UINT16[125]" }',
            '{ name = "I", address = "input:75:UINT16[125]" }',
            '{ name = "C", address = "coil:0:BOOL[200]" }',
            '{ name = "D", address = "discrete:1:BOOL[17]" }',
            '{ name = "Absent", address = "holding:200:UINT16" }',
        ]
        built = collectors_of(
            tmp_path,
            f'[devices.meter]\nprotocol = "modbus"\n{keys}\n'
            f"[devices.meter.groups.all]\nperiod_ms = 50\ntags = [{', '.join(rows)}]\n",
        )
        async with reading(built) as plant:
            await plant.until(lambda: len(plant.scans["meter"]) >= 3)

    for scan in plant.scans["meter"][:3]:
        assert scan.values[:125] == [1000 + number for number in range(125)]
        assert scan.values[125:250] == [2000 + number for number in range(75, 200)]
        assert scan.values[250:450] == [number % 3 == 0 for number in range(200)]
        assert scan.values[450:467] == [number % 2 == 0 for number in range(1, 18)]
        assert scan.qualities is not None
        assert scan.qualities[:-1] == [Quality.GOOD] * 467
        assert scan.qualities[-1] == Quality.BAD_OUT_OF_RANGE
