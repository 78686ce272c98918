"""Goal: `tailrace demo` shows the whole product working, says so honestly, and leaves nothing.

Method: the demo as a user starts it, without a terminal; its lines, its exit code, and what is
left of its processes and its folder.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.clock import monotonic_s

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

RUN_TIMEOUT_S = 200.0
FIRST_VALUE = re.compile(r"; the first value came \d+\.\d s after the gateway's", re.MULTILINE)
MACHINES = ("Energy_Meter/Power_kW", "Press_Machine/Temperature_C", "Robot/Program_State")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: Unix sockets live in it, pytest's own is too long for them."""
    with tempfile.TemporaryDirectory(prefix="tr-") as name:
        yield Path(name)


def command(*options: str) -> list[str]:
    return [sys.executable, "-u", "-m", "demo", *options]


def run_demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*options),
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )


@contextmanager
def running_demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a demo that has shown its first values."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(command(), stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        assert any(FIRST_VALUE.search(line) for line in demo.stdout), "values flow"
        yield demo


def still_alive(folder: Path) -> list[str]:
    """Return the command lines of the processes that know `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            environment = (process / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(process.name) != os.getpid() and str(folder) in line + environment:
            found.append(line)
    return found


def wait_until_gone(folder: Path) -> None:
    until_s = monotonic_s() + 20
    while (alive := still_alive(folder)) and monotonic_s() < until_s:
        time.sleep(0.1)
    assert alive == [], "no orphan"


def test_the_demo_shows_values_of_all_three_machines_and_ends(folder: Path) -> None:
    demo = run_demo(folder, "--seconds", "15")

    assert demo.returncode == 0, demo.stdout + demo.stderr
    for topic in MACHINES:
        assert re.search(rf"^ *\+\d+\.\d s  {topic} .* Good$", demo.stdout, re.MULTILINE), topic
    assert FIRST_VALUE.search(demo.stdout)
    assert "16 of 16 tags Good" in demo.stdout
    assert list(folder.glob("tailrace-demo-*")) == [], "the folder is removed"
    assert still_alive(folder) == [], "no orphan"


def test_the_demo_proves_that_an_outage_loses_nothing(folder: Path) -> None:
    demo = run_demo(folder, "--seconds", "15", "--outage", "5")

    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "WAN cut for 5 s" in demo.stdout
    depths = [
        int(n.replace(",", ""))
        for n in re.findall(r"  queue depth ([\d,]+)$", demo.stdout, re.MULTILINE)
    ]
    assert len(depths) >= 2
    assert depths == sorted(depths), "the queue grows while the WAN is away"
    assert depths[-1] > 0
    waiting = re.search(r"WAN is back; ([\d,]+) samples wait", demo.stdout)
    assert waiting is not None
    assert f"backlog arrived: all {waiting[1]} waiting samples, none missing" in demo.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_in_order(folder: Path, number: signal.Signals) -> None:
    with running_demo(folder) as demo:
        demo.send_signal(number)
        rest, _ = demo.communicate(timeout=RUN_TIMEOUT_S)

    assert demo.returncode == 0, rest
    assert still_alive(folder) == [], "no orphan"
    assert list(folder.glob("tailrace-demo-*")) == [], "the folder is removed"


def test_a_killed_demo_takes_its_processes_with_it(folder: Path) -> None:
    with running_demo(folder) as demo:
        demo.kill()

    wait_until_gone(folder)


def test_a_broken_gateway_is_a_failure_with_the_end_of_its_log(folder: Path) -> None:
    """The gateway is broken as an engineer could break it: by a tag that no device can have."""
    broken = (
        "import sys, pathlib, shutil, demo.configuration as c\n"
        "files = pathlib.Path(sys.argv.pop(1))\n"
        "shutil.copytree(c.TEMPLATES, files)\n"
        "c.TEMPLATES = files\n"
        "table = files / 'ot/tags/press.csv'\n"
        "table.write_text(table.read_text().replace('DB40.DBD12', 'DB40.WRONG'))\n"
        "from demo.__main__ import main\n"
        "main()\n"
    )
    demo = subprocess.run(
        [sys.executable, "-c", broken, str(folder / "files"), "--seconds", "5"],
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )

    assert demo.returncode == 1, demo.stdout + demo.stderr
    assert "demo failed: gateway ended by itself" in demo.stderr
    assert "DB40.WRONG" in demo.stderr, "the end of its log names the reason"
    assert still_alive(folder) == [], "no orphan"


def test_keep_leaves_a_folder_to_look_into_and_refuses_a_used_one(folder: Path) -> None:
    used = folder / "used"
    used.mkdir()
    (used / "file").touch()

    refused = run_demo(folder, "--keep", str(used))

    assert refused.returncode == 2
    assert "is not empty" in refused.stderr
