"""Which processes supervisord.conf starts."""

import configparser
import shlex
from pathlib import Path

from common.places import Places
from console.rooms import HOME

NAME = "supervisord.conf"


def supervisor_file(places: Places) -> Path:
    """Return the operator's own supervisord.conf beside ot/ and it/, or the one shipped."""
    candidates = (places.config_dir / NAME, HOME / NAME, HOME / "console" / NAME)
    return next((path for path in candidates if path.exists()), candidates[-1])


def read_programs(path: Path) -> dict[str, list[str]]:
    """Return program name → command line, as supervisor would read it.

    Raises OSError, configparser.Error, or ValueError for a command that cannot be split.
    """
    # The same reading as supervisor 4.3.0, options.py, UnhosedConfigParser.
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(path.read_text("utf-8"), str(path))
    return {
        section.removeprefix("program:"): shlex.split(parser.get(section, "command", fallback=""))
        for section in parser.sections()
        if section.startswith("program:")
    }


def arguments_of(room: str, programs: dict[str, list[str]]) -> set[str]:
    """Return what the programs of a room are for: protocols of collectors, targets of uplinks."""
    return {
        argument
        for line in programs.values()
        for module, name, argument in zip(line, line[1:], line[2:], strict=False)
        if (module, name) == ("-m", room)
    }
