"""Goal: every protocol of the table keeps the contract, and a process loads only what it needs.

Method: a fresh interpreter per question, since imports of one test would answer for another.
"""

import subprocess
import sys
from pathlib import Path

import pytest

import collectors
from collectors.registry import PROTOCOLS, builder_of, compiler_of

ROOT = Path(collectors.__file__).parents[1]
LIBRARIES = ("serial", "pymodbus", "snap7", "asyncua", "s7commplus")


def answer(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.strip()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_compiles_and_builds(protocol: str) -> None:
    assert callable(compiler_of(protocol))
    assert callable(builder_of(protocol))


@pytest.mark.process
def test_checking_needs_no_protocols_library() -> None:
    program = (
        "import sys; import collectors.check\n"
        "from collectors.registry import PROTOCOLS, compiler_of\n"
        "[compiler_of(protocol) for protocol in PROTOCOLS]\n"
        f"print([name for name in {LIBRARIES} if name in sys.modules])"
    )

    assert answer(program) == "[]"


@pytest.mark.process
def test_a_collector_loads_no_other_protocols_library() -> None:
    program = (
        "import sys; from collectors.registry import builder_of; builder_of('modbus')\n"
        f"print([name for name in {LIBRARIES} if name in sys.modules])"
    )

    assert answer(program) == "['serial']"


@pytest.mark.process
def test_a_missing_library_is_named_with_the_command_that_installs_it() -> None:
    program = (
        "import sys; sys.modules['serial'] = None\n"
        "from collectors.registry import builder_of\n"
        "from common.errors import ConfigError\n"
        "try: builder_of('modbus')\n"
        "except ConfigError as error: print(error)"
    )

    assert "needs the package 'serial" in answer(program)
    assert "pip install 'tailrace[modbus]'" in answer(program)
