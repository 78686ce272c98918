"""`tailrace status`: the verb."""

import sys

import click
import msgspec

from common.places import Places
from console import status as looking
from console.exits import EXIT_FOUND, EXIT_UNREACHABLE, stop
from console.places import as_options, in_places, json_option
from console.status_text import status_text


@click.command()
@in_places
@json_option
def status(places: Places, *, as_json: bool) -> None:
    """Show what runs, device by device and target by target. Takes about a second.

    Exit code 0 while every process does its work, 1 when one is failing or silent, 3 when nothing
    runs. A device or target that is away changes no exit code: it is expected, and comes back.
    """
    seen = looking.look(places.run_dir, places.queue_dir)
    if as_json:
        click.echo(msgspec.json.encode(seen).decode())
    elif seen.anything_runs:
        for line in status_text(seen):
            click.echo(line)
    if not seen.anything_runs:
        stop(
            f"Nothing runs on {places.run_dir}. Start it: tailrace run{as_options(places)}",
            EXIT_UNREACHABLE,
        )
    sys.exit(EXIT_FOUND if seen.sick else 0)
