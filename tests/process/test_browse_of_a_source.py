"""Goal: the source of a data block becomes a tag table without a PLC, or it is said where it fails.

Method: the real command, with a device that nobody listens for; the table that it writes is taken
by the real check. Seen to bite: the optimised access of another block in the same
file taken for this one's, a source that is no UTF-8 refused, and its byte order mark left in.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

HOUSE = Path(__file__).resolve().parents[2]
PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme/SiteA"

[devices.press]
protocol = "s7"
host = "192.0.2.20"
[devices.press.groups.process]
tags = "tags/press.csv"

[devices.meter]
protocol = "modbus"
host = "192.0.2.30"
[devices.meter.groups.all]
tags = [{ name = "Power", address = "holding:0:INT16" }]
"""
SOURCE = """\
TYPE "Motor"
VERSION : 0.1
   STRUCT
      On : Bool;
      Speed : Int;   // in 1/min
   END_STRUCT;
END_TYPE

DATA_BLOCK "Press"
{ S7_Optimized_Access := 'FALSE' }
VERSION : 0.1
NON_RETAIN
   STRUCT
      Temperature : Real;   // Oil temperature, °C
      Motors : Array[1..2] of "Motor";
      Recipe : String[20];
   END_STRUCT;
BEGIN
END_DATA_BLOCK

DATA_BLOCK "Other"
{ S7_Optimized_Access := 'TRUE' }
   STRUCT
      A : Bool;
   END_STRUCT;
BEGIN
END_DATA_BLOCK
"""
TABLE = """\
name,address,type,unit,description
Temperature,DB40.DBD0:REAL,,,"Oil temperature, °C"
Motors/1/On,DB40.DBX4.0:BOOL,,,
Motors/1/Speed,DB40.DBW6:INT,,,in 1/min
Motors/2/On,DB40.DBX8.0:BOOL,,,
Motors/2/Speed,DB40.DBW10:INT,,,in 1/min
Recipe,DB40.DBB12:STRING(20),,,
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration whose tag table is still to be written, beside a block's source."""
    (tmp_path / "ot/tags").mkdir(parents=True)
    (tmp_path / "ot/plant.toml").write_text(PLANT)
    (tmp_path / "Press.db").write_text(SOURCE, "utf-8-sig")
    return tmp_path


def browse(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the verb to its end, in the folder that has the source."""
    return console(config, "browse", *words)


def console(config: Path, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "console", verb, f"--config={config}", *words],
        cwd=config,
        env={"PYTHONPATH": str(HOUSE), "PYTHONUTF8": "0", "LC_ALL": "C"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("device", ["press", "s7://192.0.2.20"])
def test_a_source_becomes_a_tag_table_that_the_check_takes(config: Path, device: str) -> None:
    browsed = browse(config, device, "--from", "Press.db", "--db", "40", "--csv")
    (config / "ot/tags/press.csv").write_text(browsed.stdout, "utf-8")
    checked = console(config, "check", "--ot", "--json")

    assert (browsed.returncode, browsed.stdout, browsed.stderr) == (0, TABLE, "")
    told = json.loads(checked.stdout)
    assert told["checked"]["tags"] == 7
    assert told["findings"] == []


def test_a_source_in_the_code_page_of_step_7_is_read_and_narrowed(config: Path) -> None:
    (config / "Press.db").write_text(SOURCE, "cp1252")

    words = ("--from", "Press.db", "--db", "40", "--filter", "temperature", "--json")
    browsed = browse(config, "press", *words)

    assert browsed.returncode == 0, browsed.stderr
    (found,) = map(json.loads, browsed.stdout.splitlines())
    assert found["description"] == "Oil temperature, °C"
    assert found["value"] is None


@pytest.mark.parametrize(
    ("change", "words", "code", "said"),
    [
        (("'FALSE'", "'TRUE'"), ("--db=40",), 1, "Press.db: line 10: the block has optimised"),
        (("'FALSE'", "'TRUE'"), ("--db=40",), 1, "docs/s7-1500-over-opcua.md"),
        (("Recipe : String", "Recipe : Strnig"), ("--db=40",), 1, "Press.db: line 16: Strnig"),
        (("Recipe : ", "Recipe "), ("--db=40",), 1, "Press.db: line 16: expected ':'"),
        (("", ""), (), 1, "does not say the block's number; give it, such as --db 40"),
        (("", ""), ("--from=Pres.db",), 2, "Pres.db cannot be read: No such file"),
        (("", ""), ("--db=40", "DB40"), 2, "narrow it by --filter"),
    ],
)
def test_what_gives_no_addresses_is_told_with_file_line_and_the_way_out(
    config: Path, change: tuple[str, str], words: tuple[str, ...], code: int, said: str
) -> None:
    (config / "Press.db").write_text(SOURCE.replace(*change), "utf-8")

    browsed = browse(config, "press", "--from=Press.db", *words, "--csv")

    assert browsed.returncode == code, browsed.stdout + browsed.stderr
    assert said in browsed.stderr
    assert "Traceback" not in browsed.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("meter", "--from", "Press.db"), "--from reads sources of s7, and the device is modbus"),
        (("press", "--db", "40"), "name the source: --from"),
    ],
)
def test_a_source_is_asked_for_where_there_is_one(
    config: Path, words: tuple[str, ...], said: str
) -> None:
    browsed = browse(config, *words)

    assert browsed.returncode == 2, browsed.stdout
    assert said in browsed.stderr
