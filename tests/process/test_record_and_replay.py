"""Goal: an engineer records a device, and tries another tag table on what it gave.

Method: the real commands on the simulated device.
"""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.console_command import HOUSE, line_of, tailrace

pytestmark = pytest.mark.process

PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme/SiteA"

[devices.press]
protocol = "simulated"
[devices.press.groups.process]
period_ms = 20
tags = [{ name = "Level", address = "sine", deadband = 0.5 }, { name = "Parts", address = "counter" }]

[devices.away]
protocol = "s7"
host = "127.0.0.1"
port = 1
[devices.away.groups.slow]
tags = [{ name = "Gone", address = "DB1.DBW0", type = "INT" }]
"""  # noqa: E501 - as people write them


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot/plant.toml").write_text(PLANT)
    return tmp_path


@pytest.fixture
def shift(config: Path) -> Path:
    """Return a recording of a moment."""
    run = tailrace(config, "record", "press", "--for", "1s")
    assert run.returncode == 0, run.stderr
    assert run.stderr.endswith(" values were recorded\n")
    path = config / "shift.jsonl"
    path.write_text(run.stdout)
    return path


def test_what_was_recorded_is_replayed_under_two_tables(config: Path, shift: Path) -> None:
    scans = len(shift.read_text().splitlines()) - 1
    (config / "new/ot").mkdir(parents=True)
    table = PLANT.replace("deadband = 0.5", "deadband = 0.0")
    (config / "new/ot/plant.toml").write_text(table)

    told = json.loads(tailrace(config, "replay", str(shift), "--json").stdout)
    text = tailrace(config / "new", "replay", str(shift), "--against", str(config))

    assert told["scans"] == scans
    counts = {each["tag"]: (each["read"], each["told"]) for each in told["table"]["tags"]}
    assert counts == {"Level": (scans, 1), "Parts": (scans, scans)}
    assert text.returncode == 0, text.stderr
    assert f"{scans - 1:+,}" in text.stdout
    assert "1 others are the same" in text.stdout


def test_every_value_that_would_be_told_is_shown(config: Path, shift: Path) -> None:
    scans = len(shift.read_text().splitlines()) - 1

    lines = tailrace(config, "replay", str(shift), "--show", "--json").stdout.splitlines()
    text = tailrace(config, "replay", str(shift), "--show").stdout

    shown = [json.loads(line) for line in lines[:-1]]
    assert len(shown) == scans + 1
    assert [each["value"] for each in shown if each["topic"].endswith("Parts")] == list(
        range(1, scans + 1)
    )
    assert json.loads(lines[-1])["scans"] == scans
    assert "Acme/SiteA/press/Parts" in text


def test_ctrl_c_ends_a_recording_that_is_whole(config: Path) -> None:
    with subprocess.Popen(
        line_of(config, "record", "press", "--for", "1h"),
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        first = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=30)

    assert process.returncode == 0
    assert b"values were recorded" in said
    assert all(json.loads(line) for line in [*first, *rest.splitlines()])


@pytest.mark.parametrize(
    ("device", "code", "says"),
    [
        ("away", 3, "127.0.0.1:1"),
        ("pres", 2, "no device 'pres' in ot/plant.toml; did you mean 'press'?"),
        ("s7://127.0.0.1", 2, "a URL names no tags, and a recording is one of tags"),
    ],
)
def test_what_cannot_be_recorded_says_why(config: Path, device: str, code: int, says: str) -> None:
    run = tailrace(config, "record", device, "--for", "1s")

    assert (run.returncode, run.stdout) == (code, "")
    assert says in run.stderr


def test_a_file_that_is_no_recording_says_so(config: Path) -> None:
    run = tailrace(config, "replay", str(config / "ot/plant.toml"))

    assert run.returncode == 1
    assert "ot/plant.toml:2: " in run.stderr
    assert 'a line of a recording begins with {"line":"group" or {"line":"scan"' in run.stderr


def test_a_table_with_anything_wrong_is_not_replayed(config: Path, shift: Path) -> None:
    (config / "new/ot").mkdir(parents=True)
    (config / "new/ot/plant.toml").write_text(PLANT.replace("sine", "sign"))

    run = tailrace(config, "replay", str(shift), "--against", str(config / "new"))

    assert run.returncode == 1
    assert f"{config}/new/ot/plant.toml:" in run.stderr
    assert "unknown pattern 'sign'" in run.stderr
    assert run.stderr.endswith("Nothing was replayed: correct this first.\n")
