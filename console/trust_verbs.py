"""The verbs of `tailrace trust`: which OPC UA servers are trusted, and our own certificate.

The collectors room does it, in the process that this one becomes (collectors/opcua/trust.py).
"""

import importlib.util
from pathlib import Path
from typing import NoReturn

import click

from common.places import Places
from console.exits import EXIT_FOUND, stop
from console.places import in_places
from console.rooms import become, command, environment

ROOM = "collectors.opcua.trust"


def line_of(verb: str, *words: str) -> list[str]:
    """Return the command line that does it; words may begin with a dash."""
    return command(ROOM, [verb, *words])


def _do(places: Places, verb: str, *words: str) -> NoReturn:
    if importlib.util.find_spec("cryptography") is None:
        stop("Certificates need a package: pip install 'tailrace[opcua]'", EXIT_FOUND)
    become(line_of(verb, *words), environment(places))


@click.group()
def trust() -> None:
    """OPC UA servers that are trusted, and the gateway's own certificate.

    A server that nobody has trusted yet is refused, and its certificate kept: compare its
    fingerprint with the one that the server itself shows, then accept it. Run these verbs as the
    user that runs the collector. Nothing has to be restarted.
    """


@trust.command(name="list")
@in_places
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def list_trusted(places: Places, *, as_json: bool) -> None:
    """Show what is trusted, and what servers showed that nobody has trusted."""
    _do(places, "list", *(["--json"] if as_json else []))


@trust.command()
@in_places
@click.argument("device")
@click.argument("fingerprint")
def accept(places: Places, device: str, fingerprint: str) -> None:
    """Trust the certificate that a device has shown."""
    _do(places, "accept", "--", device, fingerprint)


@trust.command()
@in_places
@click.argument("device")
@click.argument("fingerprint")
def revoke(places: Places, device: str, fingerprint: str) -> None:
    """Trust a certificate no more."""
    _do(places, "revoke", "--", device, fingerprint)


@trust.command()
@in_places
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--issuer", is_flag=True, help="Only completes chains, is not trusted itself.")
def add(places: Places, file: Path, *, issuer: bool) -> None:
    """Add an authority, or its revocation list, for every device."""
    _do(places, "add", *(["--issuer"] if issuer else []), "--", str(file))


@trust.command()
@in_places
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it there.")
def own(places: Places, out: Path | None) -> None:
    """Show the gateway's own certificate, for the server's trust list."""
    _do(places, "own", *([f"--out={out}"] if out else []))


@trust.command()
@in_places
def renew(places: Places) -> None:
    """Make a new certificate of the gateway; the old one is kept beside it."""
    _do(places, "renew")
