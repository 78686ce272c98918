"""Goal: the extra is an extra: without such a device, or without its package, nothing breaks.

Method: the real commands, in fresh interpreters; the package is hidden by a folder that stands
first on the path and raises what a missing one raises.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import collectors
from common.clock import monotonic_s

pytestmark = pytest.mark.process

HOUSE = Path(collectors.__file__).parents[1]
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n\n'
OTHER = (
    '[devices.toy]\nprotocol = "simulated"\n[devices.toy.groups.all]\n'
    'tags = [{ name = "C", address = "counter" }]\n'
)
PRESS = (
    '[devices.press]\nprotocol = "s7plus"\nhost = "192.0.2.40"\nexperimental = true\n'
    f'fingerprint = "{"ab" * 32}"\n[devices.press.groups.all]\n'
    """tags = [{ name = "T", address = '"Press"."T"', type = "REAL" }]\n"""
)


@pytest.fixture
def without_the_package(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose interpreters cannot import s7commplus."""
    hidden = tmp_path / "hidden/s7commplus"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named s7commplus', name='s7commplus')\n"
    )
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(hidden.parent), str(HOUSE)])}


def configured(folder: Path, plant: str) -> list[str]:
    (folder / "ot").mkdir(exist_ok=True)
    (folder / "ot/plant.toml").write_text(GATEWAY + plant)
    return ["--config", str(folder), "--run", str(folder / "run")]


def test_without_such_a_device_the_process_idles_and_needs_no_package(
    tmp_path: Path, without_the_package: dict[str, str]
) -> None:
    options = configured(tmp_path, OTHER)
    line = [sys.executable, "-m", "collectors", "s7plus", *options]
    with subprocess.Popen(line, cwd=HOUSE, env=without_the_package) as process:
        health = tmp_path / "run/health/collector-s7plus.json"
        deadline_s = monotonic_s() + 30
        while not health.exists() or json.loads(health.read_text())["state"] != "idle":
            assert process.poll() is None, "it goes on"
            assert monotonic_s() < deadline_s
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == 0


def test_with_such_a_device_a_missing_package_is_named(
    tmp_path: Path, without_the_package: dict[str, str]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "collectors", "s7plus", *configured(tmp_path, PRESS)],
        cwd=HOUSE,
        env=without_the_package,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 78
    assert "pip install 'tailrace[s7plus]'" in ended.stdout


def test_the_check_warns_and_lets_pass(tmp_path: Path, without_the_package: dict[str, str]) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "collectors", "--check", "--json", *configured(tmp_path, PRESS)],
        cwd=HOUSE,
        env=without_the_package,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    [finding] = json.loads(checked.stdout)
    assert finding["severity"] == "warning"
    assert (finding["place"], finding["where"]) == ("ot/plant.toml:6", "devices.press.protocol")
    assert "experimental" in finding["message"]


def test_people_who_check_are_warned(tmp_path: Path) -> None:
    configured(tmp_path, PRESS)

    checked = subprocess.run(
        [sys.executable, "-m", "console", "check", "--ot", "--config", str(tmp_path)],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "warning: s7plus is experimental" in checked.stdout
