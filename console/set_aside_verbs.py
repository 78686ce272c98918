"""The verbs of `tailrace set-aside`."""

import click
import msgspec

from common.errors import QueueUnusable
from common.places import Places
from console import set_aside as refusals
from console.exits import EXIT_UNREACHABLE, stop
from console.places import in_places, json_option


@click.group(name="set-aside")
def set_aside() -> None:
    """Messages that a broker will never take."""


@set_aside.command(name="list")
@in_places
@click.option("--target", help="Only this target's.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Messages shown of each target, the newest first.",
)
@json_option
def list_set_aside(places: Places, target: str | None, limit: int, *, as_json: bool) -> None:
    """Show what was refused, why and when; reasons are counted over all of it."""
    try:
        found = refusals.letters(places.queue_dir, target, limit=limit)
    except (QueueUnusable, refusals.NoSuchTarget) as error:
        stop(str(error), EXIT_UNREACHABLE)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for line in refusals.letters_text(found):
        click.echo(line)


@set_aside.command(name="drop")
@in_places
@click.option("--target", required=True, help="Whose messages.")
@click.option("--yes", is_flag=True, help="They are lost for good: say that you mean it.")
def drop_set_aside(places: Places, target: str, *, yes: bool) -> None:
    """Forget everything that was refused by one target."""
    if not yes:
        raise click.UsageError("dropped messages are lost for good; add --yes to drop them")
    try:
        number = refusals.drop(places.queue_dir, target)
    except (QueueUnusable, refusals.NoSuchTarget) as error:
        stop(str(error), EXIT_UNREACHABLE)
    click.echo(f"{target}: {number:,} dropped")
