"""`python -m demo`: the whole of Tailrace on a simulated stamping line, in one terminal."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

from common.errors import ConfigError, TailraceError
from common.process import Stopping, StopRequested
from demo.screen import make_screen
from demo.site import Site
from demo.story import Story

TEMPORARY = "tailrace-demo-"
OUTAGE_S_MAX = 3_600.0
FOLDER_BYTES_MAX = 70
"""A Unix socket's path has 107 bytes; `run` and the names of our sockets need the rest."""


@click.command()
@click.option("--seconds", type=click.FloatRange(1), help="End by itself after this time.")
@click.option(
    "--outage",
    "outage_s",
    type=click.FloatRange(1, OUTAGE_S_MAX),
    help="Cut the WAN for this many seconds, and prove that nothing is lost.",
)
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep everything in this new or empty folder."
)
def main(seconds: float | None, outage_s: float | None, keep: Path | None) -> None:
    """Start a simulated plant, a broker and the gateway, and show the values that arrive."""
    folder = _folder(keep)
    stopping = Stopping()
    try:
        _run(folder, stopping, seconds, outage_s)
    except StopRequested:
        pass
    except ConfigError as error:
        sys.exit("\n".join(f"demo failed: {finding}" for finding in error.findings))
    except TailraceError as error:
        closer = "" if keep else "\nto look closer, keep the folder: tailrace demo --keep DIR"
        sys.exit(f"demo failed: {error}{closer}")
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if keep is not None:
        click.echo(f"kept in {folder}: config/, data/ with the queue, logs/")


def _run(folder: Path, stopping: Stopping, seconds: float | None, outage_s: float | None) -> None:
    click.echo("starting the plant (Modbus TCP meter, S7 press, OPC UA robot) and the broker …")
    site = Site(folder)
    with site:
        if stopping.requested:
            raise StopRequested
        click.echo(_commands(site))
        with make_screen() as screen:
            Story(site, screen, stopping).run(seconds=seconds, outage_s=outage_s)
        click.echo("stopping …")


def _commands(site: Site) -> str:
    """Return what to paste into another terminal, on lines that no table breaks."""

    def pasted(verb: str, *places: str) -> str:
        return " ".join([_tailrace(), verb, *site.options(*places)])

    return (
        f"what runs:       {pasted('status', 'config', 'run', 'data')}\n"
        f"live values:     {pasted('tap', 'data')}\n"
        f"cut the WAN:     {_tailrace()} demo --outage 20"
    )


def _tailrace() -> str:
    """Return how this shell calls the command: by its name, or by its path when it is not found."""
    beside = Path(sys.executable).with_name("tailrace")
    if shutil.which("tailrace") or not beside.exists():
        return "tailrace"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def _folder(keep: Path | None) -> Path:
    """Return a fresh folder whose path leaves room for our sockets."""
    if keep is None:
        roomy = len(os.fsencode(tempfile.gettempdir())) <= FOLDER_BYTES_MAX - len(TEMPORARY) - 9
        parent = None if roomy else "/tmp"  # noqa: S108 - mkdtemp makes a private folder in it
        return Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=parent))
    folder = keep.expanduser().absolute()
    if len(os.fsencode(folder)) > FOLDER_BYTES_MAX:
        raise click.UsageError(f"{folder} is too long a path; {FOLDER_BYTES_MAX} bytes at most")
    if folder.is_dir() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} is not empty; name a new or empty folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
