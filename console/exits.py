"""How a verb ends: 0 ok, 1 something was found, 2 wrong usage (click's own), 3 nothing reached."""

import sys
from typing import NoReturn

import click

EXIT_FOUND = 1
EXIT_UNREACHABLE = 3


def stop(text: str, code: int) -> NoReturn:
    """Say why on standard error, and end with the code."""
    click.echo(text, err=True)
    sys.exit(code)
