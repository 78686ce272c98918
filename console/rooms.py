"""How the console starts the other rooms: as processes, never as imports."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from common.places import Places

HOME = Path(__file__).resolve().parent.parent
"""The checkout, or the site-packages folder that Tailrace is installed in."""


def command(room: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of a room in this interpreter."""
    return [sys.executable, "-m", room, *arguments]


def environment(places: Places | None = None) -> dict[str, str]:
    """Return this process's environment with what every room expects in it."""
    # Without PYTHONSAFEPATH a folder named `common` or `demo` in the current directory would be
    # imported instead of ours.
    ours = {"PYTHONSAFEPATH": "1", "TAILRACE_PYTHON": sys.executable}
    if (HOME / "pyproject.toml").exists():  # A checkout that may not be installed.
        others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        path = [str(HOME), *(each for each in others if each and each != str(HOME))]
        ours["PYTHONPATH"] = os.pathsep.join(path)
    if places:
        ours["TAILRACE_CONFIG"] = str(places.config_dir)
        ours["TAILRACE_RUN"] = str(places.run_dir)
        ours["TAILRACE_DATA"] = str(places.data_dir)
    return {**os.environ, **ours}


def become(line: list[str], variables: dict[str, str]) -> NoReturn:
    """Replace this process, so that signals reach the program itself and not a middleman."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(line[0], line, variables)  # noqa: S606 - our own interpreter, no shell
