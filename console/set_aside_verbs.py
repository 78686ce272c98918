"""The verbs of `tailrace set-aside`."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import msgspec

from common.errors import QueueUnusable
from common.places import Places
from console import set_aside as refusals
from console.exits import EXIT_UNREACHABLE, stop
from console.places import in_places, json_option
from console.set_aside import ALL, Choice


@click.group(name="set-aside")
def set_aside() -> None:
    """Messages that a broker will never take."""


def choosing(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options that choose among letters, as one argument, `choice`."""

    @functools.wraps(verb)
    def with_choice(
        topic: str | None, reason: str | None, first: int | None, last: int | None, **others: object
    ) -> None:
        if first is not None and last is not None and first > last:
            raise click.UsageError(f"--first {first} is behind --last {last}")
        verb(choice=Choice(topic, reason, first, last), **others)

    sequence = click.IntRange(min=1)
    for option in (
        click.option("--last", type=sequence, help="Up to this sequence."),
        click.option("--first", type=sequence, help="From this sequence on."),
        click.option("--reason", metavar="GLOB", help="'*0x87*', or a word that it contains."),
        click.option("--topic", metavar="GLOB", help="'*/Press/*', or a word that it contains."),
    ):
        with_choice = option(with_choice)
    return with_choice


@contextmanager
def _answering() -> Iterator[None]:
    """End the verb with the right words when there is no such store."""
    try:
        yield
    except (QueueUnusable, refusals.NoSuchTarget) as error:
        stop(str(error), EXIT_UNREACHABLE)


@set_aside.command(name="list")
@in_places
@click.option("--target", help="Only this target's.")
@choosing
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Messages shown of each target, the newest first.",
)
@json_option
def list_set_aside(
    places: Places, target: str | None, choice: Choice, limit: int, *, as_json: bool
) -> None:
    """Show what was refused, why and when; reasons are counted over all of it."""
    with _answering():
        found = refusals.letters(places.queue_dir, target, limit=limit, choice=choice)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for line in refusals.letters_text(found):
        click.echo(line)


@set_aside.command(name="retry")
@in_places
@click.option("--target", help="Only this target's.")
@choosing
@click.option("--all", "everything", is_flag=True, help="Everything that is set aside.")
@json_option
def retry_set_aside(
    places: Places, target: str | None, choice: Choice, *, everything: bool, as_json: bool
) -> None:
    """Have what was refused published again, after the broker was put right.

    The uplink does it when it runs, beside the data and behind it, and never retained: newer
    values were told since. What the broker takes leaves the store; what it refuses again stays,
    with the new reason. Repeat `list`, or see `tailrace status`, for how far that is.
    """
    if everything == (target is not None or choice != ALL):
        raise click.UsageError("say which: --all, or some of --target --topic --reason --first …")
    with _answering():
        found = refusals.retry(places.queue_dir, target, choice)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for line in refusals.retry_text(found):
        click.echo(line)


@set_aside.command(name="drop")
@in_places
@click.option("--target", required=True, help="Whose messages.")
@choosing
@click.option("--yes", is_flag=True, help="They are lost for good: say that you mean it.")
@json_option
def drop_set_aside(
    places: Places, target: str, choice: Choice, *, yes: bool, as_json: bool
) -> None:
    """Forget what was refused by one target: everything, or what is chosen."""
    if not yes:
        raise click.UsageError("dropped messages are lost for good; add --yes to drop them")
    with _answering():
        done = refusals.drop(places.queue_dir, target, choice)
    if as_json:
        click.echo(msgspec.json.encode(done).decode())
    else:
        click.echo(f"{target}: {done.count:,} dropped")
