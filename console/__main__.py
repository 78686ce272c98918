"""The `tailrace` command.

Everywhere: results on standard output, messages on standard error; exit codes 0 ok, 1 something
was found, 2 wrong usage, 3 nothing could be reached.
"""

import importlib.metadata
import importlib.util
import os
import sys

import click
import msgspec

from common.errors import QueueUnusable
from common.places import Places
from console import check as checking
from console import run as running
from console import set_aside as refusals
from console import status as looking
from console import tap as tapping
from console.check_text import check_text
from console.exits import EXIT_FOUND, EXIT_UNREACHABLE, stop
from console.places import as_options, in_places, json_option
from console.queue_verbs import queue
from console.rooms import become, command, environment
from console.status_text import status_text

EXTRAS_OF_DEMO = ("pymodbus", "snap7", "asyncua", "iotcore", "cryptography")


def _version() -> str:
    try:
        return importlib.metadata.version("tailrace")
    except importlib.metadata.PackageNotFoundError:
        return "not installed, run from its checkout"


@click.group(epilog="Begin with: tailrace demo")
@click.version_option(_version(), prog_name="tailrace")
@click.pass_context
def tailrace(context: click.Context) -> None:
    """From the shop floor to the enterprise: initiates outbound only, accepts no connections."""
    if os.environ.get("NO_COLOR"):
        context.color = False


@tailrace.command()
@in_places
@click.option("--ot", "half", flag_value="ot", help="Only ot/plant.toml and its tag tables.")
@click.option("--it", "half", flag_value="it", help="Only it/cloud.toml and its keys.")
@json_option
def check(places: Places, half: str | None, *, as_json: bool) -> None:
    """Show every error of the configuration at once.

    Reads files and connects to nothing.
    """
    report = checking.check(places, (half,) if half else ("ot", "it"))
    if as_json:
        click.echo(msgspec.json.encode(report.document()).decode())
    else:
        for line in check_text(report, places):
            click.echo(line)
    sys.exit(EXIT_FOUND if report.findings else 0)


@tailrace.command()
@in_places
def run(places: Places) -> None:
    """Run every process of the gateway.

    Stays in the foreground; Ctrl-C or SIGTERM stops them all. An error in ot/ or supervisord.conf
    is refused before anything starts. An error in it/ is shown and stops nothing: values are
    collected and kept, and are delivered once it is corrected.
    """
    report = checking.check(places)
    if report.findings or report.warnings:
        for line in check_text(report, places):
            click.echo(line, err=True)
    if report.stops_start:
        stop("\nNothing was started.", EXIT_FOUND)
    if report.findings:
        text = "Everything is started nevertheless; what is wrong in it/ waits for its correction."
        click.echo(f"\n{text}", err=True)
    try:
        running.make_places(places)
    except running.CannotRun as error:
        stop(str(error), EXIT_FOUND)
    running.start(places)


@tailrace.command()
@in_places
@json_option
def status(places: Places, *, as_json: bool) -> None:
    """Show what runs, device by device and target by target. Takes about a second.

    Exit code 0 while every process does its work, 1 when one is failing or silent, 3 when nothing
    runs. A device or target that is away changes no exit code: it is expected, and comes back.
    """
    seen = looking.look(places.run_dir)
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


@tailrace.command()
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
        tapping.print_values(
            places.queue_dir, tapping.topic_filter(glob), limit=limit, as_json=as_json
        )
    except QueueUnusable as error:
        stop(f"{error}. Is the gateway running on this folder? See: tailrace run", EXIT_UNREACHABLE)
    except KeyboardInterrupt:
        sys.exit(0)  # The usual way to end it.


tailrace.add_command(queue)


@tailrace.group(name="set-aside")
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


@tailrace.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Run a simulated plant, a broker and a gateway here."""
    missing = [name for name in EXTRAS_OF_DEMO if importlib.util.find_spec(name) is None]
    if missing:
        text = f"The demo needs {', '.join(missing)}, which this installation does not have."
        stop(f"{text} Install the demo with it: pip install 'tailrace[demo]'", EXIT_FOUND)
    become(command("demo", arguments), environment())


def main() -> None:
    """Entry point of the `tailrace` script."""
    tailrace(prog_name="tailrace")


if __name__ == "__main__":
    main()
