"""`tailrace browse`: what a device offers, to look at or as the beginning of a tag table."""

import io
import sys
from pathlib import Path

import click

from common.places import Places
from console.asking import NoAnswer, answers
from console.browsing import TagRows, chosen, write_json, write_table
from console.exits import EXIT_FOUND, stop
from console.globs import topic_filter
from console.places import in_places, json_option
from console.read_verb import timeout_option


@click.command()
@in_places
@click.argument("device")
@click.argument("under", default="")
@click.option("--csv", "as_csv", is_flag=True, help="Rows that a tag table takes.")
@click.option("--filter", "glob", metavar="GLOB", help="Names: '*Temp*', or a word in them.")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A source of the PLC's program (S7: .db, .scl), instead of the device.",
)
@click.option(
    "--db",
    type=click.IntRange(1, 65_535),
    metavar="NUMBER",
    help="With --from: of the data block.",
)
@timeout_option
@json_option
def browse(  # noqa: PLR0913 - one for each option
    places: Places,
    device: str,
    under: str,
    *,
    as_csv: bool,
    glob: str | None,
    limit: int | None,
    source: Path | None,
    db: int | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    r"""Show what a device offers.

    DEVICE is a name in ot/plant.toml, or a URL as for `tailrace read`. UNDER is the node, block or
    area to begin at. Of what has no list of its own, as Modbus, the answer says what to do instead.

    \b
      tailrace browse opc.tcp://10.10.1.50:4840 --filter temperature
      tailrace browse press --csv > ot/tags/press.csv
      tailrace browse press --from Press.db --db 40 --csv > ot/tags/press.csv

    With --json one object per line.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv or --json, not both")
    if db is not None and source is None:
        raise click.UsageError("--db is the block that a source declares; name the source: --from")
    if source is not None and under:
        raise click.UsageError("--from has all of one block; narrow it by --filter")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A tag table is UTF-8, whatever this terminal is set to.
        sys.stdout.reconfigure(encoding="utf-8")
    rows = TagRows()
    write = rows.write if as_csv else write_json if as_json else write_table
    wanted = topic_filter(glob) if glob else None
    options = [f"--timeout={timeout_s}"]
    options += [f"--from={source}"] if source is not None else []
    options += [f"--db={db}"] if db is not None else []
    try:
        with answers(places, "browse", options, device, [under]) as told:
            written = write(chosen(told, wanted, limit), sys.stdout)
            sys.stdout.flush()
    except NoAnswer as error:
        sys.stdout.flush()
        stop(str(error), error.code)
    for note in rows.notes():
        click.echo(note, err=True)
    if not written:
        stop("Nothing of that was found.", EXIT_FOUND)
    if written == limit:
        click.echo(f"The first {limit:,}; there may be more.", err=True)
