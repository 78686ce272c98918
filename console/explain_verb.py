"""`tailrace explain`: the whole chain of one tag, from the device's bytes to the last target."""

import click
import msgspec

from common.places import Places
from console.exits import EXIT_FOUND, stop
from console.explain_found import NoSuchTag, tag_meant
from console.explain_text import explanation_text
from console.explaining import explain as explanation_of
from console.places import in_places, json_option
from console.read_verb import EXIT_USAGE, timeout_option
from console.trying import RoomFailed, tables_of


@click.command()
@in_places
@click.argument("tag", metavar="TAG|TOPIC")
@click.option("--offline", is_flag=True, help="Ask no device: tables, queue and targets only.")
@timeout_option
@json_option
def explain(places: Places, tag: str, *, offline: bool, timeout_s: float, as_json: bool) -> None:
    r"""Show where a value comes from, what becomes of it, and who has had it.

    The tag is named by its topic, by its name, or as DEVICE/NAME where several have one name. The
    device is asked through a connection of its own, as `tailrace read` does, and only read.

    \b
      tailrace explain Temperature_C
      tailrace explain Acme/SiteA/Line1/Press/Temperature_C --offline

    Works whether or not the gateway runs; what is not to be had is said.
    """
    try:
        tables = tables_of(places)
        plan, index = tag_meant(tables, tag)
        found = explanation_of(places, tables, plan, index, None if offline else timeout_s)
    except NoSuchTag as error:
        stop(str(error), EXIT_USAGE)
    except RoomFailed as error:
        stop(str(error), EXIT_FOUND)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    for line in explanation_text(found):
        click.echo(line)
