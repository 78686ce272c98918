"""Goal: one run of the check shows everything wrong in ot/, each with file, line and advice.

Method: a plant with one fault of each kind, checked by the real command.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import collectors

ROOT = Path(collectors.__file__).parents[1]
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'

FAULTY = (
    GATEWAY
    + """
[devices.meter]
protocol = "modbus"
host = "192.0.2.10"
prt = 1502
unit = 300
[devices.meter.groups.power]
tags = "tags/meter.csv"

[devices.robot]
protocol = "modbuss"
[devices.robot.groups.pose]
tags = [{ name = "X", address = "holding:0:INT16" }]

[devices.toy]
protocol = "simulated"
[devices.toy.groups.all]
tags = [{ name = "Recipe", address = "constant:abc", scale = 2.0 }]
"""
)
TAGS = "name,address,type\nPower,holding:0,FLOAT31\nVoltage,100,INT16\nGood,40001,INT16\n"


def check(config_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "collectors", "--check", "--config", str(config_dir)]
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    (tmp_path / "ot/tags").mkdir(parents=True)
    (tmp_path / "ot/plant.toml").write_text(FAULTY, encoding="utf-8")
    (tmp_path / "ot/tags/meter.csv").write_text(TAGS, encoding="utf-8")
    return tmp_path


@pytest.mark.process
def test_every_fault_is_found_at_once_with_its_place(faulty: Path) -> None:
    checked = check(faulty, "--json")

    findings = json.loads(checked.stdout)
    assert checked.returncode == 1, checked.stderr
    assert [(each["place"], each["where"]) for each in findings] == [
        ("ot/plant.toml:14", "devices.robot.protocol"),
        ("ot/plant.toml:8", "devices.meter.prt"),
        ("ot/plant.toml:9", "devices.meter.unit"),
        ("ot/tags/meter.csv:2", "devices.meter.groups.power tag Power"),
        ("ot/tags/meter.csv:3", "devices.meter.groups.power tag Voltage"),
        ("ot/plant.toml:21", "devices.toy.groups.all tag Recipe"),
    ]
    texts = [each["message"] for each in findings]
    assert "did you mean 'modbus'" in texts[0]
    assert "did you mean 'port'" in texts[1]
    assert "<= 255, found 300" in texts[2]
    assert "did you mean 'FLOAT" in texts[3]
    assert "does not say which table" in texts[4]
    assert "need a number" in texts[5]


@pytest.mark.process
def test_people_get_one_line_per_finding(faulty: Path) -> None:
    checked = check(faulty)

    lines = checked.stdout.splitlines()
    assert len(lines) == 6
    assert lines[1].startswith("ot/plant.toml:8: devices.meter.prt: unknown key 'prt'")
    assert checked.stderr == ""


@pytest.mark.process
@pytest.mark.parametrize(("options", "output"), [((), ""), (("--json",), "[]\n")])
def test_a_good_plant_is_met_with_silence(
    tmp_path: Path, options: tuple[str, ...], output: str
) -> None:
    (tmp_path / "ot").mkdir()
    good = FAULTY.replace("prt = 1502\nunit = 300\n", "").replace("modbuss", "modbus")
    good = good.replace('tags = "tags/meter.csv"', 'tags = [{ name = "P", address = "coil:0" }]')
    good = good.replace('protocol = "modbus"\n[', 'protocol = "modbus"\nhost = "meter2"\n[')
    good = good.replace(", scale = 2.0", "")
    (tmp_path / "ot/plant.toml").write_text(good, encoding="utf-8")

    checked = check(tmp_path, *options)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, output, "")


@pytest.mark.process
def test_a_missing_plant_is_a_finding_not_a_crash(tmp_path: Path) -> None:
    checked = check(tmp_path)

    assert checked.returncode == 1
    assert checked.stdout.startswith("ot/plant.toml: no such file")
