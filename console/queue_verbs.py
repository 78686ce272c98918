"""The verbs of `tailrace queue`. All but `drop` work beside a running gateway."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import click
import msgspec

from common.errors import FormatUnknown, QueueUnusable, TailraceError
from common.places import Places
from common.queue import QueueReader
from console import queue_drop as dropping
from console import queue_export as exporting
from console import queue_peek as peeking
from console import queue_stat as looking
from console import queue_verify as verifying
from console.exits import EXIT_FOUND, EXIT_UNREACHABLE, stop
from console.globs import topic_filter
from console.places import in_places, json_option
from console.queue_rows import Selection
from console.tables import count

PEEK_MAX = 100_000

Wanted = Callable[[str], bool] | None


class Moment(click.ParamType[int]):
    """A time that a person types, as ns since 1970."""

    name = "time"

    def convert(
        self, value: str, param: click.Parameter | None, context: click.Context | None
    ) -> int:
        """Return ns since 1970, or refuse what is no time."""
        try:
            return exporting.time_ns(value)
        except ValueError:
            text = f"{value!r} is no time; write 2026-11-23, 2026-11-23T10:15 or …T10:15:00+01:00"
            self.fail(f"{text} (UTC unless it says otherwise)", param, context)


MOMENT = Moment()
tag_option = click.option(
    "--tag",
    "wanted",
    metavar="GLOB",
    callback=lambda _context, _option, glob: topic_filter(glob) if glob else None,
    help="Topics: '*Temperature*', or a word that they contain.",
)


@contextmanager
def _answering() -> Iterator[None]:
    """End the verb with the right words and code when the queue does not allow it."""
    try:
        yield
    except (QueueUnusable, FormatUnknown) as error:
        stop(str(error), EXIT_UNREACHABLE)
    except TailraceError as error:
        stop(str(error), EXIT_FOUND)


@contextmanager
def _opened(places: Places) -> Iterator[QueueReader]:
    """Open the queue to be read."""
    with _answering():
        reader = QueueReader.open(places.queue_dir)
        try:
            yield reader
        finally:
            reader.close()


def _print_json(found: msgspec.Struct) -> None:
    click.echo(msgspec.json.encode(found).decode())


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


@click.group()
def queue() -> None:
    """The store-and-forward queue: what it holds, for whom, and whether it is whole."""


@queue.command()
@in_places
@json_option
def stat(places: Places, *, as_json: bool) -> None:
    """Show extent, targets, and what became of every sample.

    collected = unchanged + delivered + queued + lost, for as long as the queue exists; values that
    stayed within their deadband are unchanged. Reads the header of every waiting block.
    """
    with _answering():
        found = looking.stat(places)
    if as_json:
        _print_json(found)
    else:
        _print_lines(looking.stat_text(found))


@queue.command()
@in_places
@tag_option
@click.option("--after", type=click.IntRange(min=0), help="Those after this sequence instead.")
@click.option(
    "--count",
    "number",
    type=click.IntRange(min=1, max=PEEK_MAX),
    default=20,
    show_default=True,
    help="Values and gaps.",
)
@json_option
def peek(places: Places, wanted: Wanted, after: int | None, number: int, *, as_json: bool) -> None:
    """Show the newest values and gaps.

    With --json one object per line, as `export` writes them.
    """
    with _opened(places) as reader:
        if after is None:
            found = peeking.newest(reader, number, wanted)
        else:
            found = peeking.following(reader, after, number, wanted)
    if not found:
        click.echo("The queue holds nothing of that.", err=True)
    elif as_json:
        for row in found:
            _print_json(row)
    else:
        _print_lines(peeking.peek_text(found))


@queue.command()
@in_places
@json_option
def verify(places: Places, *, as_json: bool) -> None:
    """Check every block, and the ledger against them, to the sample.

    Exit code 1 when anything is wrong.
    """
    with _opened(places) as reader:
        found = verifying.verify_all(reader)
    if as_json:
        _print_json(found)
    else:
        _print_lines(verifying.verify_text(found))
    sys.exit(0 if found.sound else EXIT_FOUND)


@queue.command()
@in_places
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="Gaps are rows too: without a topic, or with the key `gap`.",
)
@click.option("--from", "from_ns", type=MOMENT, help="Read at or after this time.")
@click.option("--to", "to_ns", type=MOMENT, help="Read before this time.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="After this sequence.")
@tag_option
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Instead of stdout."
)
@click.option("--force", is_flag=True, help="Overwrite the output file.")
def export(  # noqa: PLR0913 - one for each option
    places: Places,
    wanted: Wanted,
    form: Literal["csv", "jsonl"],
    output: Path | None,
    *,
    from_ns: int | None,
    to_ns: int | None,
    after: int,
    force: bool,
) -> None:
    """Write what the queue holds as CSV or JSON lines.

    Times without a zone are UTC. What is committed meanwhile is not in it.
    """
    with _opened(places) as reader:
        selection = Selection(
            after=after,
            up_to=reader.last_sequence(),
            from_ns=from_ns,
            to_ns=to_ns,
            wanted=wanted,
        )
        if output is None:
            done = exporting.export(reader, selection, form, sys.stdout)
        else:
            with exporting.output_file(output, force=force) as file:
                done = exporting.export(reader, selection, form, file)
    sys.stdout.flush()
    click.echo(f"{count(done.samples)} samples and {count(done.gaps)} gaps", err=True)


@queue.command()
@in_places
@click.option("--all", "everything", is_flag=True, help="All that the queue holds.")
@click.option("--up-to", type=click.IntRange(min=1), help="Up to this sequence.")
@click.option("--before", "before_ns", type=MOMENT, help="What was read before this time.")
@click.option("--yes", is_flag=True, help="It is lost for good: say that you mean it.")
@json_option
def drop(
    places: Places,
    *,
    everything: bool,
    up_to: int | None,
    before_ns: int | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Give up the oldest data on purpose.

    Without --yes it only shows what would go. Whole blocks go, the oldest first. Each target that
    has not had them is told of a gap instead (cause dropped-by-operator), and the ledger counts it.
    The normalizer must be stopped. An uplink may run; what it has in hand at that moment may still
    arrive, though a gap names it: stop it as well to have the gap exact.
    """
    if [everything, up_to is not None, before_ns is not None].count(True) != 1:
        raise click.UsageError("say what to drop: one of --all, --up-to, --before")
    limit = dropping.Limit(up_to=up_to, before_ns=before_ns)
    with _answering():
        found = (
            dropping.drop(places, limit, _show_progress) if yes else dropping.preview(places, limit)
        )
    if as_json:
        _print_json(found)
    elif found.nothing:
        click.echo(dropping.nothing_text(found), err=True)
    else:
        _print_lines(dropping.doomed_text(found, "Dropped" if yes else "Would drop"))
    if yes:
        click.echo(f"Start the normalizer: {dropping.supervisorctl(places, 'start')}", err=True)
    elif not found.nothing:
        stop("Nothing was dropped. Data that is dropped is lost: add --yes to drop it.", EXIT_FOUND)


def _show_progress(done: int, blocks: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{done:,} of {blocks:,} blocks dropped", err=True, nl=done == blocks)
