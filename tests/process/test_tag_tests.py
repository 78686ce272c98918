"""Goal: `tailrace test` tells a person what a tag table would publish, without any device.

Method: the real command, with the real rooms behind it, on the tests that docs/testing-tags.md
shows and on tests that fail.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.console_command import HOUSE, tailrace

pytestmark = pytest.mark.process

PAGE = (HOUSE / "docs/testing-tags.md").read_text()


def code_of(page: str, heading: str) -> str:
    """Return the first indented block below a heading of the page."""
    lines = page.split(f"## {heading}\n")[1].splitlines()
    block = []
    for line in lines:
        if line.startswith("    ") or (block and not line.strip()):
            block.append(line[4:])
        elif block:
            break
    return "\n".join(block)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the plant of the page, with its tests."""
    (tmp_path / "ot/tests").mkdir(parents=True)
    (tmp_path / "ot/plant.toml").write_text(code_of(PAGE, "The plant of these examples"))
    (tmp_path / "ot/tests/press.toml").write_text(code_of(PAGE, "A first test"))
    return tmp_path


def test_every_test_of_the_page_passes(config: Path) -> None:
    """Seen to bite: with a plan that knows no deadband every change is told."""
    (config / "ot/tests/more.toml").write_text(code_of(PAGE, "More of what can be tested"))

    run = tailrace(config, "test")

    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"^8 tests in 2 files: all passed in \S+ s$", run.stdout, re.MULTILINE)


def test_a_wrong_deadband_fails_as_the_page_shows(config: Path) -> None:
    plant = config / "ot/plant.toml"
    plant.write_text(plant.read_text().replace("deadband = 0.5", "deadband = 5.0"))

    run = tailrace(config, "test")

    shown = code_of(PAGE, "When a test fails")
    assert run.returncode == 1
    lines, said = shown.rstrip().splitlines()[1:], run.stdout.splitlines()
    assert lines[:-1] == said[:-1]
    assert said[-1].startswith("1 test in 1 file: 0 passed, 1 failed in ")


def test_programs_read_the_same(config: Path) -> None:
    plant = config / "ot/plant.toml"
    plant.write_text(plant.read_text().replace("deadband = 0.5", "deadband = 5.0"))

    run = tailrace(config, "test", "--json")

    shown = json.loads(run.stdout)
    assert run.returncode == 1
    assert (shown["passed"], shown["findings"]) == (False, [])
    (difference,) = shown["tests"][0]["differences"]
    assert difference["tag"] == "Temperature_C"
    assert difference["expected"] == "52.5 ± 0.01  Good"
    assert difference["got"] == "not told"


@pytest.mark.parametrize("word", ["press.toml", "*oil*", "OIL"])
def test_tests_are_picked_by_file_or_name(config: Path, word: str) -> None:
    (config / "ot/tests/bad.toml").write_text("")

    assert tailrace(config, "test", word).returncode == 1, "a file that is wrong stops every run"
    (config / "ot/tests/bad.toml").unlink()
    assert tailrace(config, "test", word).returncode == 0


def test_a_name_that_no_test_has_is_said(config: Path) -> None:
    run = tailrace(config, "test", "nonsense")

    assert run.returncode == 1
    assert f"no test in {config}/ot/tests is called nonsense" in run.stderr


def test_a_gateway_without_tests_is_told_how_to_write_one(config: Path) -> None:
    (config / "ot/tests/press.toml").unlink()

    run = tailrace(config, "test")

    assert run.returncode == 1
    assert run.stderr == (
        f"no tests in {config}/ot/tests; docs/testing-tags.md shows how to write one\n"
    )


def test_the_recording_of_the_page_can_be_replayed(config: Path) -> None:
    text = PAGE.split("## Trying a table")[1]
    shift = config / "shift.jsonl"
    shift.write_text(
        "".join(f"{line.strip()}\n" for line in text.splitlines() if '{"line"' in line)
    )

    run = subprocess.run(
        [sys.executable, "-m", "console", "replay", f"--config={config}", str(shift)],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("2 scans of press, 1.0 s from 2025-11-23 10:15:00Z\n")
    assert "In the tag tables, and not recorded: press/State, press/Force_kN" in run.stdout


def test_nothing_is_run_while_something_is_written_wrongly(config: Path) -> None:
    tests = config / "ot/tests/press.toml"
    tests.write_text(tests.read_text().replace("Temperature_C =", "Temprature_C ="))
    plant = config / "ot/plant.toml"
    plant.write_text(plant.read_text().replace("deadband = 0.5", "deadbnad = 0.5"))

    run = tailrace(config, "test")

    assert run.returncode == 1
    assert "ot/plant.toml:" in run.stdout
    assert "unknown key 'deadbnad'; did you mean 'deadband'?" in run.stdout
    assert "Nothing was run: correct this first.\n" in run.stderr
