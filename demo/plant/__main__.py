"""`python -m demo.plant modbus --port N`: serve one machine of the line on 127.0.0.1.

Prints `ready PORT` when it listens. Ends on SIGTERM or SIGINT, and with exit code 1 after a request
that would have written (refusing.py).
"""

import importlib
from typing import NoReturn

import click

from common.process import main as run_process

MACHINES = {"modbus": "demo.plant.meter", "s7": "demo.plant.press", "opcua": "demo.plant.robot"}
COUNT_EVERY_MS = 100


@click.command()
@click.argument("protocol", type=click.Choice(list(MACHINES)))
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="0 takes any free port.")
@click.option(
    "--count-every-ms",
    type=click.IntRange(1, 60_000),
    default=COUNT_EVERY_MS,
    show_default=True,
    help="The machine's counter goes up by one in this time.",
)
def main(protocol: str, port: int, count_every_ms: int) -> NoReturn:
    """Serve one machine of the simulated stamping line."""
    # Only the machine asked for is imported: asyncua alone takes most of a second.
    machine = importlib.import_module(MACHINES[protocol])
    run_process(f"plant-{protocol}", lambda: machine.serve(port, count_every_ms))


if __name__ == "__main__":
    main()
