"""Goal: what a PLC holds and what is configured give exactly what the case says.

Method: case_folders.py; device.toml lists blocks with their variables, each with the library's name
of its type, its type on the wire and its bytes.
"""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
from s7commplus.protocol import DataType
from s7commplus.typeinfo import Softdatatype
from s7plus_server import Block, Plc, Variable, identity

from collectors.s7plus.address import TYPES
from collectors.s7plus.device import build_collector
from tests.collectors.case_folders import Case, as_text, cases, shown

FOLDER = Path(__file__).with_name("cases")


def blocks(case: Case) -> dict[int, Block]:
    return {
        block["number"]: Block(
            block["name"],
            {
                each["name"]: Variable(
                    Softdatatype[each["kind"]],
                    DataType[each["wire"]],
                    bytes.fromhex(each["memory"]),
                    each["lid"],
                    each.get("array", False),
                )
                for each in block.get("variables", [])
            },
            [bytes.fromhex(memory) for memory in block.get("zones", [])],
        )
        for block in case.device["blocks"]
    }


@pytest.mark.parametrize("case", cases(FOLDER, failing=False), ids=str)
async def test_a_case_is_read(case: Case, plc: Plc, tmp_path: Path) -> None:
    plc.blocks = blocks(case)
    plc.run()
    settings = case.settings(tmp_path, "s7plus", host="127.0.0.1", port=plc.port)
    collector = build_collector(settings)

    async with asyncio.timeout(20), collector.connect() as session, aclosing(session.scans()) as it:
        scan = await anext(it)

    assert as_text(shown(collector.plans, scan)) == as_text(case.expected)


@pytest.mark.parametrize("case", cases(FOLDER, failing=True), ids=str)
def test_a_case_is_refused_by_the_check(case: Case, tmp_path: Path) -> None:
    identity(tmp_path / "ot/pki")

    with pytest.raises(ValueError, match=r"devices\.case") as refused:
        case.settings(tmp_path, "s7plus", host="192.0.2.40")

    assert [part for part in case.errors if part not in str(refused.value)] == []


def test_one_case_has_every_type() -> None:
    [case] = [each for each in cases(FOLDER, failing=False) if str(each) == "every-type"]

    assert {name.partition("_")[0] for name in case.expected} == set(TYPES)
