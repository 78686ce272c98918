"""`tailrace tap`: the verb."""

import sys

import click

from common.errors import QueueUnusable
from common.places import Places
from console import tap as tapping
from console.exits import EXIT_UNREACHABLE, stop
from console.globs import topic_filter
from console.places import in_places, json_option


@click.command()
@in_places
@click.argument("glob", default="*")
@click.option("--limit", type=click.IntRange(min=1), help="End after this many values.")
@json_option
def tap(places: Places, glob: str, limit: int | None, *, as_json: bool) -> None:
    """Show values live, as they enter the queue.

    Works whether or not the WAN is there. GLOB picks topics ('*Temperature*'); a plain word
    picks every topic that contains it.
    """
    try:
        tapping.print_values(places.queue_dir, topic_filter(glob), limit=limit, as_json=as_json)
    except QueueUnusable as error:
        stop(f"{error}. Is the gateway running on this folder? See: tailrace run", EXIT_UNREACHABLE)
    except KeyboardInterrupt:
        sys.exit(0)  # The usual way to end it.
