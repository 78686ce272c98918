"""Goal: what the demo writes is an ordinary, valid configuration that a newcomer can read.

Method: the house's own loader and the house's own check, the latter as the process it is.
"""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from common.plant import load_plant
from demo.configuration import TEMPLATES, Ports, write_configuration
from demo.pki import make_pki

PORTS = Ports(meter=1502, press=1102, robot=4840, broker=8883)


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    return write_configuration(tmp_path / "config", PORTS, make_pki(tmp_path / "broker"))


def test_the_plant_is_three_machines_of_three_protocols(config_dir: Path) -> None:
    plant = load_plant(config_dir)

    assert {(device.protocol, device.asset) for device in plant.devices} == {
        ("modbus", "Energy_Meter"),
        ("s7", "Press_Machine"),
        ("opcua", "Robot"),
    }
    topics = {tag.topic for d in plant.devices for group in d.groups for tag in group.tags}
    assert "Acme/SiteA/Stamping/Line1/Press_Machine/Temperature_C" in topics
    assert len(topics) == 16


def test_both_halves_pass_the_check_of_their_own_room(config_dir: Path) -> None:
    for room in ("collectors", "uplink"):
        checked = subprocess.run(
            [sys.executable, "-m", room, "--check", "--config", str(config_dir)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_template_is_written_and_every_port_filled_in(config_dir: Path) -> None:
    written = {
        path.relative_to(config_dir) for path in config_dir.rglob("*") if path.suffix != ".key"
    }
    templates = {path.relative_to(TEMPLATES) for path in TEMPLATES.rglob("*") if path.is_file()}

    assert templates <= written
    text = (config_dir / "ot/plant.toml").read_text() + (config_dir / "it/cloud.toml").read_text()
    assert "$" not in text
    assert all(f"{port}" in text for port in (1502, 1102, 4840, 8883))


def test_the_gateway_gets_its_own_key_and_no_other(config_dir: Path) -> None:
    pki = {path.name: stat.S_IMODE(path.stat().st_mode) for path in config_dir.glob("it/pki/*")}

    assert pki == {"ca.pem": 0o600, "gateway.pem": 0o600, "gateway.key": 0o600}
