"""Goal: docs/adding-a-protocol.md leads to a protocol, and goes on to do so.

Method: what the page names in code is looked for: files of the folder in the template and in every
protocol, other files in the house, functions in the modules that it says. Then its first steps are
done: a copy of the template under another name is registered and asked, in a process of its own.

Seen to bite: a file of the template that the page does not name, a module renamed, a function that
`inspector.py` is said to have and has not.
"""

import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from collectors.registry import PROTOCOLS

HOUSE = Path(__file__).resolve().parents[2]
PAGE = (HOUSE / "docs/adding-a-protocol.md").read_text("utf-8")
TEMPLATE = HOUSE / "collectors/simulated"
ROWS = re.findall(r"^\| `([^`]+)` \| (.*)$", PAGE, re.MULTILINE)
"""(file, what it holds) of the folder."""
PATHS = sorted(set(re.findall(r"`([a-z][a-z\d_./-]*\.(?:py|toml|md|conf)|[a-z][a-z_/-]*/)`", PAGE)))
OF_A_CASE = {"config.toml", "device.toml"}
IN_THE_FOLDER = {"decode.py"}
"""Named as a module that a protocol may have."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_the_files_of_the_folder(protocol: str) -> None:
    folder = HOUSE / PROTOCOLS[protocol].replace(".", "/")

    assert [name for name, _ in ROWS if not (folder / name).is_file()] == []


def test_the_template_has_no_file_that_the_page_does_not_name() -> None:
    found = {each.name for each in TEMPLATE.iterdir() if each.is_file()}

    assert found == {name for name, _ in ROWS}


def test_every_file_that_the_page_names_is_there() -> None:
    own = {name for name, _ in ROWS} | OF_A_CASE | IN_THE_FOLDER
    missing = [each for each in PATHS if each not in own and not (HOUSE / each).exists()]

    assert len(PATHS) > 20, "or nothing was tested"
    assert missing == []


def test_every_function_stands_where_the_page_says() -> None:
    named = {
        (file.removesuffix(".py"), function)
        for file, what in ROWS
        if file.endswith(".py")
        for function in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", what)
    }

    assert {function for _, function in named} == {
        *("compile_device", "keys_of_url", "build_collector", "inspect")
    }
    for protocol in PROTOCOLS:
        for module, function in named:
            found = import_module(f"{PROTOCOLS[protocol]}.{module}")
            assert callable(getattr(found, function)), (protocol, module, function)


ASK = """
from collectors import asking, registry
registry.PROTOCOLS["copied"] = "collectors.copied"
asking.command()
"""


@pytest.mark.process
def test_a_copy_of_the_template_is_a_protocol(tmp_path: Path) -> None:
    room = tmp_path / "collectors"
    shutil.copytree(HOUSE / "collectors", room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.move(room / "simulated", room / "copied")
    for module in (room / "copied").glob("*.py"):
        text = module.read_text("utf-8").replace("collectors.simulated", "collectors.copied")
        module.write_text(text, "utf-8")
    (tmp_path / "common").symlink_to(HOUSE / "common")

    asked = subprocess.run(
        [sys.executable, "-c", ASK, "read", "copied://", "constant:42.5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert asked.returncode == 0, asked.stderr
    assert '"value":42.5' in asked.stdout
