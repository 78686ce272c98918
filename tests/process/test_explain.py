"""Goal: `tailrace explain` shows the whole chain of a tag, whatever of the gateway runs.

Method: the real command beside a real collector and normalizer on the simulated device; then with
nothing running, and with a device that is away.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from common.clock import monotonic_s
from common.errors import QueueUnusable
from common.health import read_health
from common.queue import QueueReader
from tests.process.console_command import HOUSE, tailrace

pytestmark = pytest.mark.process

PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme/SiteA"

[devices.press]
protocol = "simulated"
[devices.press.groups.process]
period_ms = 100
tags = [
    { name = "Level", address = "constant:21.5", unit = "cm", source_unit = "m", scale = 2.0, deadband = 1.0 },
    { name = "Door", address = "constant:5", type = "int64", bits = "2" },
    { name = "Parts", address = "counter", counter = "resets" },
    { name = "Twice", expression = "Level * 2", unit = "cm" },
    { name = "Speed", expression = "rate(Level)" },
    { name = "Both", expression = "Level * Extra" },
    { name = "Mean", expression = "mean(Level, 60)" },
]

[devices.helper]
protocol = "simulated"
asset = "press"
[devices.helper.groups.slow]
tags = [{ name = "Extra", address = "constant:2" }]

[devices.away]
protocol = "s7"
host = "127.0.0.1"
port = 1
[devices.away.groups.slow]
tags = [{ name = "Gone", address = "DB1.DBW0", type = "INT" }]
"""  # noqa: E501 - as people write them


@pytest.fixture
def site() -> Iterator[Path]:
    """Return a configuration, in a folder that leaves room for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        for name, text in (("ot/plant.toml", PLANT), ("it/cloud.toml", "[targets.uns]\n")):
            (Path(folder) / name).parent.mkdir()
            (Path(folder) / name).write_text(text)
        yield Path(folder)


def options(site: Path) -> list[str]:
    return [f"--config={site}", f"--run={site / 'run'}", f"--data={site / 'data'}"]


@contextmanager
def running(site: Path) -> Iterator[None]:
    """Run a collector and a normalizer for the length of the block."""
    (site / "run").mkdir(mode=0o700, exist_ok=True)
    (site / "data").mkdir(exist_ok=True)
    lines = (["normalizer"], ["collectors", "simulated"])
    rooms = [
        subprocess.Popen(
            [sys.executable, "-m", *line, *options(site)], cwd=HOUSE, stderr=subprocess.DEVNULL
        )
        for line in lines
    ]
    try:
        until_told(site)
        yield
    finally:
        for room in rooms:
            room.terminate()
        for room in rooms:
            room.wait(30)


def until_told(site: Path) -> None:
    deadline_s = monotonic_s() + 60
    while monotonic_s() < deadline_s:
        try:
            reader = QueueReader.open(site / "data/queue")
        except QueueUnusable:
            continue
        last = reader.last_sequence()
        reader.close()
        told = read_health(site / "run").get("collector-simulated")
        devices = told.detail["devices"] if told else {"press": {"state": "silent"}}
        if last and all(device["state"] == "good" for device in devices.values()):
            return
    raise AssertionError("nothing was committed and said within 60 s")


def asked(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask for an explanation."""
    return tailrace(site, "explain", *options(site)[1:], *words)


def explained(site: Path, *words: str) -> dict[str, Any]:
    run = asked(site, "--json", *words)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_beside_a_running_gateway_every_part_of_the_chain_is_there(site: Path) -> None:
    with running(site):
        found = explained(site, "press/Level")
        twice, speed = explained(site, "Twice"), explained(site, "Speed")
        mean, total = explained(site, "Mean"), explained(site, "Parts/total")
        door, both = explained(site, "Door"), explained(site, "Both")
        text = asked(site, "Level").stdout

    assert found["device_state"] == "good"
    assert found["table"][1] == "m to cm: * 100 + 0"
    assert [(each["what"], each["value"]) for each in found["steps"]] == [
        ("raw", 21.5),
        ("* 200 + 0", 4300.0),
    ]
    assert found["filter"]["outcome"] == "unchanged"
    assert found["filter"]["why"].startswith("the same as 4300 (told ")
    assert (found["last"]["value"], found["last"]["sequence"]) == (4300.0, 1)
    assert [each["state"] for each in found["targets"]] == ["not begun"]
    payload = json.loads(found["messages"][0]["payload"])
    assert (payload["value"], payload["id"].split(":")[-2:]) == (4300.0, ["1", "0"])
    assert (twice["inputs"][0]["value"], twice["steps"][0]["value"]) == (4300.0, 8600.0)
    assert twice["filter"]["outcome"] == "unchanged"
    assert "need the reading before" in speed["live_note"]
    assert mean["window"]["readings"] is not None
    assert total["last"]["value"] >= 0
    assert [each["value"] for each in door["steps"]] == [5, True]
    assert "  published  4300 cm  Good" in text
    assert [each["tag"] for each in both["inputs"]] == ["Level", "Extra"], "of two devices"
    assert both["steps"][0]["value"] == 8600.0


def test_with_nothing_running_it_says_what_is_missing(site: Path) -> None:
    found = explained(site, "Level")
    offline = explained(site, "Level", "--offline")

    assert found["device_state"] == "no collector reads it at this moment"
    assert "no queue at" in found["last_note"]
    assert found["steps"][-1]["value"] == 4300.0
    assert "the gateway does not run, and tells whatever it reads first" in found["filter"]["why"]
    assert (offline["live_note"], offline["steps"]) == ("no device was asked (--offline)", [])


def test_after_the_gateway_stopped_its_queue_still_speaks(site: Path) -> None:
    with running(site):
        pass
    plant = (site / "ot/plant.toml").read_text()
    (site / "ot/plant.toml").write_text(plant.replace("deadband = 1.0", "deadband = 2.0"))

    found = explained(site, "Level", "--offline")

    assert found["last"]["value"] == 4300.0
    assert found["last"]["earlier_table"] == ["deadband: 1 → 2"]


def test_a_device_that_is_away_is_said_and_the_rest_is_shown(site: Path) -> None:
    run = asked(site, "Gone", "--timeout", "5s")

    assert run.returncode == 0
    assert "not read  " in run.stdout
    assert "127.0.0.1:1" in run.stdout
    assert "rule  every change" in run.stdout


def test_a_name_that_nothing_has_is_wrong_usage(site: Path) -> None:
    run = asked(site, "Levle")

    assert run.returncode == 2
    assert run.stderr == "no tag or topic 'Levle'; did you mean 'Level'?\n"


def test_without_a_configuration_the_reason_is_told(tmp_path: Path) -> None:
    run = asked(tmp_path, "Level")

    assert run.returncode == 2
    assert "no device could be understood:\not/plant.toml: no such file" in run.stderr
