"""The three folders of an installation, and the options that name them."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import click

from common.places import PLACES, Places


def as_options(places: Places) -> str:
    """Return the places as options of the next command to paste; nothing for the defaults."""
    folders = (places.config_dir, places.run_dir, places.data_dir)
    return "".join(
        f" --{name} {folder}"
        for (name, variable, default, _), folder in zip(PLACES, folders, strict=True)
        if str(folder) != os.environ.get(variable, default)
    )


def in_places(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb `--config`, `--run` and `--data` as one argument, `places`.

    Every verb takes all three, needed or not, so that options can be pasted from one to another.
    """

    @functools.wraps(verb)
    def with_places(config: str, run: str, data: str, **others: object) -> None:
        folders = (Path(each).expanduser().resolve() for each in (config, run, data))
        verb(places=Places(*folders), **others)

    for name, variable, default, text in reversed(PLACES):
        with_places = click.option(
            f"--{name}",
            metavar="DIR",
            envvar=variable,
            default=default,
            show_default=True,
            show_envvar=True,
            help=text,
        )(with_places)
    return with_places


json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
