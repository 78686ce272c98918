"""Which processes supervisord.conf starts."""

import configparser
import shlex
from pathlib import Path

from common.places import Places
from console.rooms import HOME

NAME = "supervisord.conf"
UNWANTED = {
    "inet_http_server": (
        "supervisord would listen on TCP, and whoever reaches the port would control every "
        "process; remove it: [unix_http_server] is the only control"
    ),
    "include": (
        "other files could open a port or start anything, unseen by this check; move what they "
        "hold into this file and remove it"
    ),
}
"""Kind of section → why it must not be there."""


def supervisor_file(places: Places) -> Path:
    """Return the operator's own supervisord.conf beside ot/ and it/, or the one shipped."""
    candidates = (places.config_dir / NAME, HOME / NAME, HOME / "console" / NAME)
    return next((path for path in candidates if path.exists()), candidates[-1])


def read_supervisor_file(path: Path) -> configparser.RawConfigParser:
    """Return the sections of the file, as supervisor reads them.

    Raises OSError, UnicodeDecodeError or configparser.Error.
    """
    # The same reading as supervisor 4.3.0, options.py, UnhosedConfigParser.
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(path.read_text("utf-8"), str(path))
    return parser


def unwanted_in(sections: configparser.RawConfigParser) -> list[tuple[str, str]]:
    """Return (section, why) for each section that would open a port or hide what is started."""
    return [
        (f"[{section}]", UNWANTED[kind])
        for section in sections.sections()
        if (kind := section.partition(":")[0]) in UNWANTED
    ]


def programs_of(sections: configparser.RawConfigParser) -> dict[str, list[str]]:
    """Return program name → command line. Raises ValueError for one that cannot be split."""
    return {
        section.removeprefix("program:"): shlex.split(sections.get(section, "command", fallback=""))
        for section in sections.sections()
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
