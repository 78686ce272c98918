"""`tailrace record`: raw scans of a device, to be replayed under another tag table.

The collectors room does it, in the process that this one becomes (collectors/recording.py).
"""

import click

from common.places import Places
from console.durations import Duration
from console.places import in_places
from console.rooms import become, command, environment

ROOM = "collectors.recording"
LEAST_S = 0.1
MOST_S = 86_400.0


@click.command()
@in_places
@click.argument("device")
@click.option(
    "--for",
    "--seconds",
    "seconds",
    type=Duration(LEAST_S, MOST_S, "a recording is read at the rate of the tag table until then"),
    default=60.0,
    show_default="1min",
    help="How long: 30s, 10min, 8h. Ctrl-C ends it early.",
)
def record(places: Places, device: str, *, seconds: float) -> None:
    r"""Write what a device gives, raw, to standard output.

    DEVICE is a name in ot/plant.toml. All its groups are read at their own rates, through a
    connection of its own beside the running gateway: the device is asked twice as much meanwhile.

    \b
      tailrace record press --for 8h > shift.jsonl
      tailrace replay shift.jsonl

    Only reads. Exit code 1 when the configuration of the device is wrong, 2 when there is none,
    3 when it cannot be reached.
    """
    line = command(ROOM, [f"--seconds={seconds}", "--", device])
    become(line, environment(places))
