"""Goal: what a PLC holds and what is configured give exactly what the case folder says.

Method: each folder of cases/ with a real snap7 server. device.toml has the memory of each data
block and area as hexadecimal text; T and C are words, one for each timer and counter.
"""

from pathlib import Path
from typing import Any

import pytest
from s7_reading import reading
from s7_server import Plc
from snap7.type import SrvArea

from tests.collectors.case_folders import Case, as_text, cases, shown

CASES = Path(__file__).with_name("cases")
AREAS = {
    "I": SrvArea.PE,
    "Q": SrvArea.PA,
    "M": SrvArea.MK,
    "T": SrvArea.TM,
    "C": SrvArea.CT,
}


def start(plc: Plc, held: dict[str, Any]) -> None:
    """Let the server hold what device.toml says, and nothing else."""
    memory = {name: bytearray(bytes.fromhex(text)) for name, text in held.items()}
    plc.areas = {AREAS[name]: area for name, area in memory.items() if name in AREAS}
    plc.start({int(name[2:]): area for name, area in memory.items() if name not in AREAS})


@pytest.mark.parametrize("case", cases(CASES, failing=False), ids=str)
async def test_what_the_plc_holds_is_what_comes_out(case: Case, tmp_path: Path, s7: Plc) -> None:
    start(s7, case.device)
    settings = case.settings(tmp_path, "s7", host="127.0.0.1", port=s7.port)

    async with reading(settings) as scans:
        scan = await anext(scans)

    found = shown([group.plan for group in settings.groups], scan)
    assert as_text(found) == as_text(case.expected)


@pytest.mark.parametrize("case", cases(CASES, failing=True), ids=str)
def test_what_cannot_be_is_answered_by_what_is_right(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"devices\.case") as refused:
        case.settings(tmp_path, "s7", host="127.0.0.1")

    for part in case.errors:
        assert part in str(refused.value)
