"""Goal: supervisord.conf says what its comments promise, as supervisor itself reads it.

Method: supervisor's own parser reads the file with the variables that `tailrace run` sets, in a
process of its own (it reads os.environ once), and prints what it understood.
"""

import configparser
import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CONF = Path(__file__).resolve().parents[2] / "supervisord.conf"
FIELDS = [
    "startsecs",
    "startretries",
    "stopwaitsecs",
    "stopasgroup",
    "killasgroup",
    "umask",
    "redirect_stderr",
]
READ = f"""
import json, sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-c", sys.argv[1]])
print(json.dumps({{
    "servers": [{{k: str(v) for k, v in each.items()}} for each in options.server_configs],
    "programs": {{
        each.name: {{f: getattr(each, f) for f in {FIELDS!r}}}
        | {{"command": each.command, "stdout_logfile": each.stdout_logfile,
           "restart": each.autorestart.__name__}}
        for group in options.process_group_configs for each in group.process_configs
    }},
}}))
"""


@pytest.fixture(scope="module")
def understood(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the file as supervisor understood it."""
    run_dir = tmp_path_factory.mktemp("run")
    variables = {
        "TAILRACE_RUN": str(run_dir),
        "TAILRACE_PYTHON": "/opt/with space/python3",
        "TAILRACE_LOGS": "/dev/fd/1",
    }
    told = subprocess.run(
        [sys.executable, "-c", READ, str(CONF)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(told.stdout)


def test_the_only_control_is_a_unix_socket_of_this_user_alone(understood: dict[str, Any]) -> None:
    servers = understood["servers"]

    assert len(servers) == 1
    assert servers[0]["file"].endswith("/supervisor.sock")
    assert int(servers[0]["chmod"]) == 0o700
    assert "port" not in servers[0]
    assert "inet_http_server" not in _sections(), "no control over TCP"


def test_every_program_names_a_module_that_exists(understood: dict[str, Any]) -> None:
    assert understood["programs"], "there is something to look at"
    for name, program in understood["programs"].items():
        line = shlex.split(program["command"])
        assert line[:2] == ["/opt/with space/python3", "-m"], (
            "an interpreter's path may hold spaces"
        )
        assert importlib.util.find_spec(f"{line[2]}.__main__"), f"{name} runs a room that is there"
        if line[2] == "collectors":
            assert importlib.util.find_spec(f"collectors.{line[3]}"), f"{name}'s protocol is there"
        role = {"collectors": f"collector-{line[-1]}", "uplink": f"uplink-{line[-1]}"}
        assert name == role.get(line[2], line[2]), "program and health file share one name"


def test_every_program_comes_back_and_is_stopped_gently(understood: dict[str, Any]) -> None:
    for name, program in understood["programs"].items():
        found = {field: program[field] for field in FIELDS} | {"restart": program["restart"]}

        assert found == {
            "startsecs": 2,
            "startretries": 1_000_000,
            "stopwaitsecs": 10,
            "stopasgroup": True,
            "killasgroup": True,
            "umask": 0o077,
            "redirect_stderr": True,
            "restart": "RestartUnconditionally",
        }, f"{name} is like all the others"


def test_every_program_is_explained() -> None:
    lines = CONF.read_text().splitlines()

    for number, line in enumerate(lines):
        if line.startswith("[program:"):
            assert lines[number - 1].startswith("; "), f"{line} follows a comment that explains it"


def _sections() -> list[str]:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(CONF.read_text())
    return parser.sections()
