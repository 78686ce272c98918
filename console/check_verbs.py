"""`tailrace check` and `tailrace run`: what begins with the configuration."""

import sys

import click
import msgspec

from common.places import Places
from console import check as checking
from console import run as running
from console.check_text import check_text
from console.exits import EXIT_FOUND, stop
from console.places import in_places, json_option


@click.command()
@in_places
@click.option("--ot", "half", flag_value="ot", help="Only ot/plant.toml and its tag tables.")
@click.option("--it", "half", flag_value="it", help="Only it/cloud.toml and its keys.")
@click.option(
    *("--strict", "--deny-warnings", "strict"),
    is_flag=True,
    help="Exit with 1 for warnings too, as a gate before a roll-out.",
)
@json_option
def check(places: Places, half: str | None, *, strict: bool, as_json: bool) -> None:
    """Show every error of the configuration at once.

    Reads files and connects to nothing.
    """
    report = checking.check(places, (half,) if half else ("ot", "it"))
    if as_json:
        click.echo(msgspec.json.encode(report.document()).decode())
    else:
        for line in check_text(report, places):
            click.echo(line)
    sys.exit(EXIT_FOUND if report.findings or (strict and report.warnings) else 0)


@click.command()
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
