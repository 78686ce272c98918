"""A Modbus server in a process of its own, to be stopped and continued: pymodbus's, not ours.

    python meter_process.py tcp|rtu-over-tcp|ascii-over-tcp|udp      prints its port
    python meter_process.py rtu|ascii PATH                           prints a line when it listens

Holding register n of unit u holds 1000 * u + n, for units 1 and 2 and n up to 999.
"""

import asyncio
import sys

from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusUdpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def devices() -> list[SimDevice]:
    return [
        SimDevice(
            unit,
            simdata=[
                SimData(
                    0,
                    values=[1000 * unit + number for number in range(1000)],
                    datatype=DataType.REGISTERS,
                )
            ],
        )
        for unit in (1, 2)
    ]


async def serve(transport: str, path: str) -> None:
    framer = {"rtu": FramerType.RTU, "ascii": FramerType.ASCII}.get(
        transport.partition("-")[0], FramerType.SOCKET
    )
    place = ("127.0.0.1", 0)
    if path:
        server = ModbusSerialServer(devices(), framer=framer, port=path, baudrate=115_200)
    elif transport == "udp":
        server = ModbusUdpServer(devices(), address=place)
    else:
        server = ModbusTcpServer(devices(), framer=framer, address=place)
    await server.serve_forever(background=True)
    if path:
        print(0, flush=True)  # noqa: T201 - the parent waits for it
    elif transport == "udp":
        print(server.transport.get_extra_info("sockname")[1], flush=True)  # noqa: T201 - the same
    else:
        print(server.transport.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the same
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], *(sys.argv[2:] or [""])))
