"""Goal: for every case folder, the device's bytes become exactly the expected values and requests.

Method: the real collector against pymodbus's server on a real socket, which holds what device.toml
says and nothing else:

    [holding]            coil, discrete and input likewise
    0 = "4148 0000"      registers from number 0 on, as the wire has them; of bits "0110"

requests.txt, where there is one, has the requests of the first scan, calculated by hand.
Seen to bite: words in the wrong order, a digit above 9 let through, an array torn, texts as UTF-8.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from collectors.modbus.device import build_collector
from common.records import Scan
from tests.collectors.case_folders import Case, as_text, cases, shown

FOLDER = Path(__file__).with_name("cases")
TABLES = ("coil", "discrete", "holding", "input")
FUNCTIONS = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
NOWHERE = 60_000
"""The server wants something in each table; no case asks for this."""


def table_of(case: Case, table: str) -> list[SimData]:
    blocks: list[SimData] = []
    for number, text in case.device.get(table, {}).items():
        if table in ("coil", "discrete"):
            values: list[int] | list[bool] = [bit == "1" for bit in text.replace(" ", "")]
            kind = DataType.BITS
        else:
            values = [int(word, 16) for word in text.split()]
            kind = DataType.REGISTERS
        blocks.append(SimData(int(number), values=values, datatype=kind))
    if not blocks:
        kind = DataType.BITS if table in ("coil", "discrete") else DataType.REGISTERS
        blocks = [SimData(NOWHERE, values=[0], datatype=kind)]
    return blocks


@asynccontextmanager
async def serving(case: Case, unit: int) -> AsyncIterator[tuple[int, list[str]]]:
    """Serve what the case's device holds; yield the port and the requests as they come."""
    asked: list[str] = []

    def note(sending: bool, pdu: ModbusPDU) -> ModbusPDU:  # noqa: FBT001 - pymodbus's signature
        if not sending:
            asked.append(f"{FUNCTIONS[pdu.function_code]} {pdu.address} {pdu.count}")
        return pdu

    coils, discretes, holdings, inputs = (table_of(case, table) for table in TABLES)
    device = SimDevice(unit, simdata=(coils, discretes, holdings, inputs))
    server = ModbusTcpServer(device, address=("127.0.0.1", 0), trace_pdu=note)
    await server.serve_forever(background=True)
    try:
        yield server.transport.sockets[0].getsockname()[1], asked
    finally:
        await server.shutdown()


@pytest.mark.parametrize("case", cases(FOLDER, failing=False), ids=str)
async def test_the_case_reads_as_expected(tmp_path: Path, case: Case) -> None:
    unit = case.settings(tmp_path, "modbus", host="127.0.0.1", port=1).config.unit
    async with serving(case, unit) as (port, asked):
        settings = case.settings(tmp_path, "modbus", host="127.0.0.1", port=port)
        collector = build_collector(settings)
        scans: list[Scan] = []
        async with collector.connect() as session, aclosing(session.scans()) as running:
            scans.append(await anext(running))
            first = asked.copy()
            scans.append(await anext(running))

    for scan in scans:
        assert as_text(shown(collector.plans, scan)) == as_text(case.expected)
    requests = case.folder / "requests.txt"
    if requests.exists():
        assert first == requests.read_text("utf-8").splitlines()


@pytest.mark.parametrize("case", cases(FOLDER, failing=True), ids=str)
def test_the_case_is_refused_with_an_instruction(tmp_path: Path, case: Case) -> None:
    with pytest.raises(ValueError, match="plant") as refused:
        case.settings(tmp_path, "modbus", host="127.0.0.1", port=1)

    for part in case.errors:
        assert part in str(refused.value)
