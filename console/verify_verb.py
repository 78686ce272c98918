"""`tailrace verify`: the verb."""

import dataclasses
import sys
from pathlib import Path

import click
import msgspec

from common.errors import ConfigError
from common.places import Places
from console import verifying
from console.durations import Duration
from console.exits import EXIT_FOUND, EXIT_UNREACHABLE, stop
from console.places import in_places, json_option
from console.verify_text import verify_text
from subscribers.listening import BrokerRefused, BrokerUnavailable

SECONDS_MOST = 7 * 86_400.0

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@in_places
@click.option("--url", metavar="mqtts://HOST:PORT", help="The broker.")
@click.option("--target", help="The broker of this target of it/cloud.toml, with its CA.")
@click.option("--ca", type=_FILE, help="Its authority; without one, those of this system.")
@click.option("--cert", type=_FILE, help="Our client certificate: a consumer's, not the gateway's.")
@click.option("--key", type=_FILE, help="Its key.")
@click.option("--user", default="", help="In place of a certificate, or beside one.")
@click.option("--password-file", type=_FILE, help="Of that user.")
@click.option("--root", help="Levels above the assets; without it, those of this gateway.")
@click.option(
    "--seconds",
    type=Duration(1, SECONDS_MOST, "longer than that, let a consumer of your own judge"),
    default=60.0,
    show_default=True,
    help="How long to listen; with --until-complete, at the most.",
)
@click.option("--until-complete", is_flag=True, help="End as soon as everything adds up.")
@json_option
def verify(  # noqa: PLR0913 - one for each option
    places: Places,
    url: str | None,
    target: str | None,
    root: str | None,
    seconds: float,
    *,
    until_complete: bool,
    as_json: bool,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    user: str,
    password_file: Path | None,
) -> None:
    """Subscribe as a consumer would, and check that everything arrives, once and in order.

    What arrives is held against what the gateway says of itself: collected - unchanged - queued =
    arrived + set aside + named in gaps. That takes two of its statuses (they come every 10 s) while
    nothing is queued, or one when its first record is seen to arrive. Profiles uns, asset and
    batch. Exit code 0 only when everything adds up, 1 when not, 3 when the broker is not reached.
    """
    if (url is None) == (target is None):
        raise click.UsageError("say where: --url mqtts://host:port, or --target NAME")
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key belong together: give both or neither")
    try:
        address = (
            verifying.address_of(url)
            if url is not None
            else verifying.target_address(places.config_dir, target or "")
        )
        filters = verifying.topics_of(places.config_dir, root)
        found = verifying.verify(
            dataclasses.replace(
                address,
                ca_file=ca or address.ca_file,
                cert_file=cert,
                key_file=key,
                user=user,
                password_file=password_file,
            ),
            filters,
            target=target or "",
            seconds=seconds,
            until_complete=until_complete,
        )
    except (ConfigError, verifying.WrongAddress) as error:
        raise click.UsageError(str(error)) from error
    except (BrokerUnavailable, BrokerRefused) as error:
        stop(str(error), EXIT_UNREACHABLE)
    if as_json:
        click.echo(msgspec.json.encode({"sound": found.sound, "found": found}).decode())
    else:
        for line in verify_text(found):
            click.echo(line)
    sys.exit(0 if found.sound else EXIT_FOUND)
