"""`tailrace reload`: a changed ot/ takes effect."""

import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from common.places import Places
from console import check as checking
from console import reloading
from console.check_text import check_text
from console.exits import EXIT_FOUND, EXIT_UNREACHABLE, stop
from console.places import as_options, in_places, json_option
from console.reloading import ProcessChange, TagChange

TAGS_SHOWN_MAX = 100
_SIGNS = {"came": "+", "went": "-", "changed": "~"}


@click.command("reload")
@in_places
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@json_option
def reload_(places: Places, *, dry_run: bool, as_json: bool) -> None:
    """Let a changed ot/plant.toml or tag table take effect.

    What is wrong changes nothing, and is shown as by `tailrace check`. Exactly the processes that
    a change concerns are started anew; no scan that was read is lost or read under another table.

    Exit code 0 when everything is in effect, 1 when something is wrong, 3 when nothing runs.
    """
    report = checking.check(places, ("ot",))
    if report.stops_start:
        for line in check_text(report, places):
            click.echo(line, err=True)
        stop("\nNothing was changed: the gateway runs as before.", EXIT_FOUND)
    if not dry_run and not reloading.runs(places.run_dir):
        stop(
            f"Nothing runs on {places.run_dir}. Start it: tailrace run{as_options(places)}",
            EXIT_UNREACHABLE,
        )
    try:
        changes = reloading.changes_of(places)
    except reloading.CannotReload as error:
        stop(str(error), EXIT_FOUND)
    if not as_json:
        for line in _before(changes):
            click.echo(line)
    if not dry_run:
        reloading.restart(places, changes)
    if as_json:
        click.echo(msgspec.json.encode({"dry_run": dry_run, "changes": changes}).decode())
    else:
        for line in _after(changes, places, dry_run=dry_run):
            click.echo(line)
    sys.exit(0 if dry_run or all(each.taken for each in changes) else EXIT_FOUND)


def _before(changes: list[ProcessChange]) -> Iterator[str]:
    for change in changes:
        yield click.style(change.process, bold=True)
        for reason in change.reasons:
            yield f"  {reason}"
        for tag in change.tags[:TAGS_SHOWN_MAX]:
            yield f"    {_SIGNS[tag.what]} {tag.device}/{tag.group}  {tag.name}{_differences(tag)}"
        if (more := len(change.tags) - TAGS_SHOWN_MAX) > 0:
            yield f"    … and {more:,} more: --json has them all"


def _differences(tag: TagChange) -> str:
    if not tag.after:
        return ""
    told = (
        f"{key} {_shown(tag.before[key])} → {_shown(after)}" for key, after in tag.after.items()
    )
    return ": " + ", ".join(told)


def _shown(value: Any) -> str:
    """Return one cell as it is written in a tag table, or nearly."""
    if isinstance(value, msgspec.Struct):
        cells = ", ".join(str(each) for each in msgspec.structs.astuple(value))
        return f"{type(value).__name__}({cells})"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value in ("", None) else str(value)


def _after(changes: list[ProcessChange], places: Places, *, dry_run: bool) -> Iterator[str]:
    if not changes:
        yield "Nothing to do: every process runs under what the files say."
        return
    yield ""
    if dry_run:
        names = ", ".join(each.process for each in changes)
        yield f"A reload would start anew: {names}. Do it: tailrace reload{as_options(places)}"
        return
    for change in changes:
        yield f"{change.process}: {change.outcome}"
