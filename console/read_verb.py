"""`tailrace read`: what stands at an address of a device at this moment."""

import sys
from collections.abc import Iterator

import click
import msgspec

from common.answers import Connected, GuessTold, ReadingTold, Told, Wrong
from common.places import Places
from console.asking import NoAnswer, answers
from console.durations import Duration
from console.exits import EXIT_FOUND, stop
from console.notation import printable
from console.places import in_places, json_option
from console.reading_text import Watched, bad, document, guesses_text, readings_text, shown

EXIT_USAGE = 2
WATCH_LEAST_S = 0.2
WATCH_MOST_S = 3_600.0
TIMEOUT_S = 10.0

timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=Duration(0.1, 600, "the longest that anybody waits for an answer"),
    default=TIMEOUT_S,
    show_default="10s",
    help="For the connection, and for each answer.",
)


@click.command()
@in_places
@click.argument("device")
@click.argument("addresses", metavar="ADDRESS[:TYPE]...", nargs=-1)
@click.option("--guess", is_flag=True, help="Show the bytes as every type and word order.")
@click.option(
    "--watch",
    "every_s",
    is_flag=False,
    flag_value="1s",
    metavar="[=PERIOD]",
    type=Duration(WATCH_LEAST_S, WATCH_MOST_S, "a PLC spends a part of its cycle on every request"),
    help="Read again every period, 1s by default, until Ctrl-C.",
)
@click.option("--limit", type=click.IntRange(min=1), help="With --watch: end after so many times.")
@timeout_option
@json_option
def read(  # noqa: PLR0913 - one for each option
    places: Places,
    device: str,
    addresses: tuple[str, ...],
    *,
    guess: bool,
    every_s: float | None,
    limit: int | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    r"""Read addresses or tags of a device now.

    DEVICE is a name in ot/plant.toml, or a URL that needs no configuration: modbus://host:502/1,
    s7://host, opc.tcp://host:4840. ADDRESS is written as in the tag table, or is a tag's name.

    \b
      tailrace read press Temperature_C
      tailrace read modbus://10.10.1.30:502/1 holding:0:FLOAT32 40003:INT16
      tailrace read s7://10.10.1.20 DB40.DBD12 --guess

    Opens a connection of its own beside the running gateway, and only reads. Exit code 1 when the
    device refused an address, 2 when one is written wrongly, 3 when the device cannot be reached.
    """
    if not addresses:
        text = f"name an address or a tag; what there is shows: tailrace browse {device}"
        raise click.UsageError(text)
    if guess and every_s:
        raise click.UsageError("--guess looks once; leave out --watch")
    if limit and not every_s:
        raise click.UsageError("--limit ends a --watch; add it, or leave out --limit")
    options = [f"--timeout={timeout_s}"]
    if every_s:
        options += [f"--every={every_s}", *([f"--rounds={limit}"] if limit else [])]
    try:
        with answers(places, "guess" if guess else "read", options, device, addresses) as told:
            if every_s:
                width = max(map(len, addresses))
                code = show_watched(told, width, as_json=as_json)
            else:
                code = show_once(told, as_json=as_json)
    except NoAnswer as error:
        stop(str(error), error.code)
    except KeyboardInterrupt:
        if not every_s:
            raise
        code = 0  # The usual way to end a watch.
    sys.exit(code)


class _Gathered:
    """All of one question."""

    def __init__(self, told: Iterator[Told]) -> None:
        """Wait until everything is told; what came before a refusal is kept."""
        self.met: Connected | None = None
        self.readings: list[ReadingTold] = []
        self.guesses: list[GuessTold] = []
        self.wrong: list[Wrong] = []
        self.refused: NoAnswer | None = None
        try:
            for each in told:
                self._take(each)
        except NoAnswer as error:
            self.refused = error

    def _take(self, told: Told) -> None:
        match told:
            case Connected():
                self.met = told
            case ReadingTold():
                self.readings.append(told)
            case GuessTold():
                self.guesses.append(told)
            case Wrong():
                self.wrong.append(told)


def show_once(told: Iterator[Told], *, as_json: bool) -> int:
    """Print what is told once all of it is there; return the exit code. Raises NoAnswer.

    What came before a refusal is printed first.
    """
    found = _Gathered(told)
    if as_json and found.met is not None:
        shown_all = document(found.met, found.readings, found.guesses, found.wrong)
        click.echo(msgspec.json.encode(shown_all).decode())
    elif not as_json:
        for line in [*readings_text(found.readings), *guesses_text(found.guesses)]:
            click.echo(line)
    for each in found.wrong:
        _complain(each)
    if found.refused is not None:
        raise found.refused
    return _exit_code(wrong=bool(found.wrong), any_bad=any(map(bad, found.readings)))


def show_watched(told: Iterator[Told], names_width: int, *, as_json: bool) -> int:
    """Print readings as they come; return the exit code of the last round. Raises NoAnswer."""
    watched = Watched(names_width)
    last: dict[tuple[str, str], bool] = {}
    wrong = False
    if not as_json:
        click.echo(watched.header())
    for each in told:
        if isinstance(each, Wrong):
            wrong = True
            _complain(each)
        elif isinstance(each, ReadingTold):
            last[each.asked, each.address] = bad(each)
            text = msgspec.json.encode(shown(each)).decode() if as_json else None
            for line in [text] if text else watched.lines(each):
                click.echo(line)
            sys.stdout.flush()
    return _exit_code(wrong=wrong, any_bad=any(last.values()))


def _complain(wrong: Wrong) -> None:
    click.echo(f"{printable(wrong.asked)}: {printable(wrong.text)}", err=True)


def _exit_code(*, wrong: bool, any_bad: bool) -> int:
    return EXIT_USAGE if wrong else EXIT_FOUND if any_bad else 0
