"""Goal: `tailrace read` and `tailrace browse` answer a person at once, and leave nothing behind.

Method: the real command and the real process of the collectors room behind it, on the simulated
device, whose values are known; from a new device to a checked tag table as docs/reading-devices.md
tells it.
"""

import csv
import io
import json
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.clock import monotonic_s
from tests.process.console_command import HOUSE, line_of, tailrace

pytestmark = pytest.mark.process

PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme/SiteA"

[devices.press]
protocol = "simulated"
[devices.press.groups.process]
tags = [
    { name = "Level", address = "constant:21.5", unit = "m", scale = 2.0, offset = 5.0 },
    { name = "Running", address = "constant:true" },
]

[devices.server]
protocol = "opcua"
endpoint = "opc.tcp://127.0.0.1:4840"
security = "none"

[devices.half]
protocol = "modbus"
prot = 502
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration in which one device is right and another half-written."""
    (tmp_path / "ot/tags").mkdir(parents=True)
    (tmp_path / "ot/plant.toml").write_text(PLANT)
    return tmp_path


def test_a_tag_is_shown_with_its_scaled_value(config: Path) -> None:
    read = tailrace(config, "read", "press", "Level")

    header, row, asked, source = read.stdout.splitlines()
    assert read.returncode == 0, read.stderr
    assert header.split() == [
        *("TAG", "ADDRESS", "TYPE", "VALUE", "SCALED", "UNIT", "QUALITY", "AGE", "REPLY")
    ]
    assert row.split()[:7] == ["Level", "constant:21.5", "float64", "21.5", "48", "m", "Good"]
    assert asked == "    asked: pattern constant, reading 1"
    assert source.startswith("    source time 2")
    assert read.stderr == ""


def test_a_device_is_read_without_any_configuration(tmp_path: Path) -> None:
    read = tailrace(tmp_path / "nowhere", "read", "simulated://", "counter", "sine", "--json")

    told = json.loads(read.stdout)
    assert read.returncode == 0, read.stderr
    assert (told["device"], told["protocol"]) == ("simulated://", "simulated")
    assert [each["address"] for each in told["readings"]] == ["counter", "sine"]
    assert told["readings"][0]["value"] == 1


def test_a_wrong_address_is_named_beside_the_values_of_the_others(config: Path) -> None:
    read = tailrace(config, "read", "press", "Running", "Levle", "--json")

    told = json.loads(read.stdout)
    assert read.returncode == 2
    assert [each["value"] for each in told["readings"]] == [True]
    assert [each["asked"] for each in told["wrong"]] == ["Levle"]
    assert "did you mean 'Level'?" in read.stderr


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("pres", "Level"), 2, "did you mean 'press'?"),
        (("modbuss://host", "holding:0"), 2, "did you mean 'modbus'?"),
        (("press",), 2, "tailrace browse press"),
        (("press", "Level", "--watch=10ms"), 2, "a PLC spends a part of its cycle"),
        (("press", "Level", "--limit=2"), 2, "--limit ends a --watch"),
        (("press", "Level", "--guess", "--watch"), 2, "--guess looks once"),
        (("press", "Level", "--guess"), 0, ""),
        (("press", "counter", "--guess"), 2, "there is nothing to guess"),
        (("half", "holding:0"), 1, "ot/plant.toml:21: devices.half.prot: unknown key 'prot'"),
    ],
)
def test_whatever_is_wrong_is_told_with_the_next_step(
    config: Path, words: tuple[str, ...], code: int, text: str
) -> None:
    read = tailrace(config, "read", *words)

    assert read.returncode == code, read.stdout + read.stderr
    assert text in read.stderr
    assert "Traceback" not in read.stderr


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("modbus://127.0.0.1:{port}/1", "holding:0:INT16"),
        ("s7://127.0.0.1:{port}", "DB1.DBW0:INT"),
        ("opc.tcp://127.0.0.1:{port}", "i=2258"),
    ],
)
def test_a_device_that_is_not_there_ends_with_a_code_of_its_own(
    tmp_path: Path, url: str, address: str
) -> None:
    """Seen to bite: SourceUnavailable told as a finding, whose code is 1."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # Ours, so that nobody else listens there.
        device = url.format(port=deaf.getsockname()[1])
        asked = [
            tailrace(tmp_path, "read", device, address),
            tailrace(tmp_path, "read", device, address, "--json"),
            tailrace(tmp_path, "read", device, address, "--watch"),
            tailrace(tmp_path, "browse", device),
        ]

    for each in asked:
        assert each.returncode == 3, each.stdout + each.stderr
        assert "127.0.0.1" in each.stderr
        assert "Traceback" not in each.stderr
    assert [each.stdout for each in asked[:2]] == ["", ""]


def test_watching_shows_a_line_each_period_and_what_changed(config: Path) -> None:
    told = tailrace(config, "read", "press", "counter", "Level", "--watch=0.2s", "--limit=3")

    lines = told.stdout.splitlines()
    assert told.returncode == 0, told.stderr
    assert lines[0].split()[:3] == ["READ", "AT", "ADDRESS"]
    assert len(lines) == 1 + 3 * 2
    assert [line.split()[-1] for line in lines[3::2]] == ["+2", "+2"]


def test_watching_as_json_is_a_line_each_and_a_pipe_may_end_it(config: Path) -> None:
    """As `tailrace read … --watch --json | head -2`."""
    line = line_of(config, "read", "press", "counter", "--watch=200ms", "--json")
    with subprocess.Popen(line, cwd=HOUSE, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        values = [json.loads(watching.stdout.readline())["value"] for _ in range(2)]
        children = children_of(watching.pid)
        watching.stdout.close()
        watching.wait(timeout=30)

    assert values == [1, 2]
    assert children, "a collector was asked"
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_watch_and_the_process_behind_it(config: Path, told: signal.Signals) -> None:
    line = line_of(config, "read", "press", "counter", "--watch=200ms")
    with subprocess.Popen(
        line, cwd=HOUSE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        watching.stdout.readline()
        watching.stdout.readline()
        children = children_of(watching.pid)
        os.killpg(watching.pid, told)  # As a terminal does: to everybody in the foreground.
        code = watching.wait(timeout=30)
        complaint = watching.stderr.read()

    assert code == (0 if told == signal.SIGINT else -signal.SIGTERM)
    assert complaint == b"", "no traceback of either"
    deadline_s = monotonic_s() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert monotonic_s() < deadline_s


def test_a_watch_ends_with_whoever_asked_however_that_came(config: Path) -> None:
    """A PLC has few connections; none is held for nobody.

    Seen to bite: without the reader of standard input the collector goes on for its hour.
    """
    line = line_of(config, "read", "press", "counter", "--watch=1h")
    with subprocess.Popen(line, cwd=HOUSE, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        watching.stdout.readline()
        children = children_of(watching.pid)
        watching.kill()
        watching.wait(timeout=30)

    assert children
    deadline_s = monotonic_s() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert monotonic_s() < deadline_s


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_colours_are_for_terminals_and_never_with_no_color(config: Path) -> None:
    """Seen to bite: a table written past click.echo is coloured in a file as well."""
    for verb, words in (("read", ("press", "Level")), ("browse", ("press",))):
        piped = tailrace(config, verb, *words).stdout
        coloured = on_a_terminal(line_of(config, verb, *words), {})
        plain = on_a_terminal(line_of(config, verb, *words), {"NO_COLOR": "1"})

        assert "\x1b" not in piped
        assert "\x1b[1m" in coloured
        assert "\x1b" not in plain


def on_a_terminal(line: list[str], variables: dict[str, str]) -> str:
    """Run a command with a terminal as its standard output, and return what it printed there."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        environment = {**os.environ, **variables}
        running = subprocess.Popen(line, cwd=HOUSE, env=environment, stdout=theirs)
        os.close(theirs)
        shown = b""
        for more in screen_of(screen):
            shown += more
        assert running.wait(timeout=30) == 0
    return shown.decode()


SLOW = """
import os, sys, time
from console.asking import told_by
lines = [
    '{"told":"busy","doing":"connecting to press","for_s":0.5}',
    '{"told":"connected","device":"press","protocol":"s7","after_s":0.6}',
    '{"told":"found","name":"a","address":"b"}',
    '{"told":"busy","doing":"browsing","for_s":1.0}',
]
script = f"print({chr(10).join(lines)!r})"
with told_by([sys.executable, "-c", script], dict(os.environ)) as told:
    for each in told:
        pass
"""


def test_a_slow_device_is_seen_to_be_waited_for_on_a_terminal_only() -> None:
    """And nothing of it is left there when the answer comes."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        line = [sys.executable, "-c", SLOW]
        running = subprocess.Popen(line, cwd=HOUSE, stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        shown = b"".join(screen_of(screen)).decode()
        assert running.wait(timeout=30) == 0
    piped = subprocess.run(line, cwd=HOUSE, capture_output=True, text=True, check=True)

    assert shown.split("\r\x1b[K") == [
        *("", "connecting to press, 0.5 s", "", "browsing, 1.0 s, 1 found", "")
    ]
    assert (piped.stdout, piped.stderr) == ("", "")


def screen_of(screen: io.RawIOBase) -> Iterator[bytes]:
    """Yield what comes until the other side is closed, which a pty tells by an error."""
    while True:
        try:
            more = screen.read(65_536)
        except OSError:
            return
        if not more:
            return
        yield more


def test_a_new_device_becomes_a_checked_tag_table(config: Path) -> None:
    """The way of the docs: browse to CSV, name it in plant.toml, check, read by name."""
    browsed = tailrace(config, "browse", "simulated://", "--csv")
    (config / "ot/tags/press.csv").write_text(browsed.stdout)
    plant = PLANT[: PLANT.index("tags = [")] + 'tags = "tags/press.csv"\n'
    (config / "ot/plant.toml").write_text(plant)

    checked = tailrace(config, "check", "--ot", "--json")
    read = tailrace(config, "read", "press", "Constant/Text", "--json")

    assert (browsed.returncode, browsed.stderr) == (0, "")
    told = json.loads(checked.stdout)
    assert told["checked"]["tags"] == 4
    # supervisord.conf as it is shipped starts no collector for the simulated protocol.
    assert [each["where"] for each in told["findings"]] == ["devices.press.protocol"]
    assert json.loads(read.stdout)["readings"][0]["value"] == 'say "A;B"'


def test_a_tag_table_is_utf_8_whatever_the_terminal_is_set_to(config: Path) -> None:
    """Seen to bite: left as the terminal has it, the bytes are no UTF-8."""
    browsed = subprocess.run(
        line_of(config, "browse", "simulated://", "--csv"),
        cwd=HOUSE,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        timeout=60,
        check=True,
    )

    assert "42.5 °C" in browsed.stdout.decode("utf-8")


def test_browsing_can_be_narrowed_and_says_when_there_is_more(config: Path) -> None:
    filtered = tailrace(config, "browse", "press", "--filter", "constant", "--csv")
    below = tailrace(config, "browse", "press", "sine", "--json")
    first = tailrace(config, "browse", "press", "--limit", "1")
    none = tailrace(config, "browse", "press", "--filter", "nothing*")
    wrong = tailrace(config, "browse", "press", "konstant")

    names = [row["name"] for row in csv.DictReader(io.StringIO(filtered.stdout))]
    assert names == ["Constant/Number", "Constant/Text"]
    (found,) = map(json.loads, below.stdout.splitlines())
    assert list(found) == [*("name", "address", "type", "unit", "description", "readable", "value")]
    assert len(first.stdout.splitlines()) == 2
    assert first.stderr == "The first 1; there may be more.\n"
    assert (none.returncode, none.stderr) == (1, "Nothing of that was found.\n")
    assert wrong.returncode == 2
    assert "did you mean 'constant'?" in wrong.stderr


def test_a_missing_library_is_named_with_the_command_that_installs_it(config: Path) -> None:
    fake = config / "fake/asyncua"
    fake.mkdir(parents=True)
    missing = "raise ModuleNotFoundError(\"No module named 'asyncua'\", name='asyncua')"
    (fake / "__init__.py").write_text(missing)
    path = os.pathsep.join([str(fake.parent), os.environ.get("PYTHONPATH", "")])

    read = subprocess.run(
        line_of(config, "read", "server", "i=2258"),
        cwd=HOUSE,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert read.returncode == 1
    assert "install it: pip install 'tailrace[opcua]'" in read.stderr
    assert len(read.stderr.splitlines()) == 1


def test_a_question_loads_neither_the_queue_nor_another_protocol(config: Path) -> None:
    """So that the first value is there in a fraction of a second.

    Seen to bite: with the verbs imported at the top of the command lmdb and numpy were loaded.
    """
    read = subprocess.run(
        [sys.executable, "-X", "importtime", *line_of(config, "read", "press", "Level")[1:]],
        cwd=HOUSE,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    loaded = {line.rpartition("|")[2].strip() for line in read.stderr.splitlines()}
    assert {"click", "collectors.simulated.device"} <= loaded
    heavy = {"lmdb", "numpy", "zmq", "supervisor", "pymodbus", "asyncua", "snap7", "paho"}
    assert loaded & heavy == set()


def test_every_example_of_the_docs_that_needs_no_device_works(tmp_path: Path) -> None:
    text = (HOUSE / "docs/reading-devices.md").read_text()
    examples = [line.split("$ tailrace ")[1] for line in text.splitlines() if "$ tailrace " in line]

    assert len(examples) == 3
    for each in examples:
        verb, *words = shlex.split(each)
        run = tailrace(tmp_path, verb, *words)
        assert run.returncode == 0, each + run.stderr
