"""`tailrace demo`: the verb."""

import importlib.util

import click

from console.exits import EXIT_FOUND, stop
from console.rooms import become, command, environment

EXTRAS_OF_DEMO = ("pymodbus", "snap7", "asyncua", "iotcore", "cryptography")


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Run a simulated plant, a broker and a gateway here."""
    missing = [name for name in EXTRAS_OF_DEMO if importlib.util.find_spec(name) is None]
    if missing:
        text = f"The demo needs {', '.join(missing)}, which this installation does not have."
        stop(f"{text} Install the demo with it: pip install 'tailrace[demo]'", EXIT_FOUND)
    become(command("demo", arguments), environment())
