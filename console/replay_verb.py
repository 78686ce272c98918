"""`tailrace replay`: a recording through the normalizer, dry."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import msgspec

from common.errors import Finding
from common.places import Places
from common.records import Quality, quality_name, quality_word
from common.trials import Replay, Replayed, ReplayLine, ReplayRefused, Sample, unpacked
from console.exits import EXIT_FOUND, stop
from console.places import in_places, json_option
from console.replay_text import replay_text
from console.rooms import command, environment
from console.tap import Shown, line
from console.trying import RoomFailed, Tables, tables_of

ROOM = "normalizer.trial"
_decode = msgspec.json.Decoder(ReplayLine).decode


@click.command()
@in_places
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Another configuration: what would be told under it.",
)
@click.option("--show", is_flag=True, help="Print every value that would be told.")
@json_option
def replay(places: Places, file: Path, *, against: Path | None, show: bool, as_json: bool) -> None:
    r"""Show what would be published of a recording, and how much of it.

    FILE holds raw scans, as `tailrace record` writes them. Its tags are found in the tag tables by
    their names, so that another deadband, unit or range can be tried on a shift that has been.
    Nothing is stored and nothing is sent.

    \b
      tailrace replay shift.jsonl
      tailrace replay shift.jsonl --config new --against /etc/tailrace
      tailrace replay shift.jsonl --show | grep Temperature

    With --json one document; with --show an object for each value before it.
    """
    try:
        tables = _whole(tables_of(places))
        other = None
        if against is not None:
            there = Places(against.resolve(), places.run_dir, places.data_dir)
            other = _whole(tables_of(there))
        asked = Replay(
            path=str(file.absolute()),
            plans=[plan.encoded for plan in tables.plans],
            against=[plan.encoded for plan in other.plans] if other else None,
            show=show,
        )
        done = shown(asked, as_json=as_json)
    except RoomFailed as error:
        stop(str(error), EXIT_FOUND)
    if as_json:
        click.echo(msgspec.json.encode(done).decode())
        return
    lines = replay_text(done, against=str(against))
    for each in ["", *lines] if show else lines:
        click.echo(each)


def _whole(tables: Tables) -> Tables:
    """Refuse a configuration with anything wrong: a device that is left out would be missed."""
    if tables.findings:
        listed = "\n".join(str(each) for each in _here(tables))
        stop(f"{listed}\nNothing was replayed: correct this first.", EXIT_FOUND)
    return tables


def _here(tables: Tables) -> Iterator[Finding]:
    """Yield the findings with the folder they are of: there may be two."""
    for each in tables.findings:
        yield Finding(f"{tables.config_dir}/{each.place}", each.where, each.message)


def shown(asked: Replay, *, as_json: bool, room: str = ROOM) -> Replayed:
    """Print what is told as it comes; return the counts. Raises RoomFailed."""
    process = subprocess.Popen(
        command(room, ["replay"]),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None  # noqa: S101 - asked for above
    assert process.stdout is not None  # noqa: S101 - the same
    done: Replayed | None = None
    width = 0
    with process:
        with suppress(BrokenPipeError):  # It ended at once; below stands how.
            process.stdin.write(msgspec.json.encode(asked))
            process.stdin.close()
        for told in map(_decode, process.stdout):
            match told:
                case Replayed():
                    done = told
                case ReplayRefused():
                    stop(told.text, EXIT_FOUND)
                case _:
                    width = max(width, len(told.sample.topic))
                    _print(told.sample, width, as_json=as_json)
    if done is None:
        text = f"python -m {room} failed, exit code {process.returncode}"
        raise RoomFailed(f"{text}: this is a bug, please report it with what stands above")
    return done


def _print(sample: Sample, width: int, *, as_json: bool) -> None:
    code = sample.quality
    at_ns = sample.read_at_ns if sample.source_at_ns is None else sample.source_at_ns
    each = Shown(
        timestamp_ms=at_ns // 1_000_000,
        topic=sample.topic,
        value=unpacked(sample.value),
        unit=sample.unit,
        quality=quality_word(code),
        reason="" if code == Quality.GOOD else quality_name(code),
    )
    sys.stdout.write(
        f"{msgspec.json.encode(each).decode()}\n" if as_json else f"{line(each, width)}\n"
    )
