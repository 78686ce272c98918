"""What `tailrace check` warns of in ot/: the codes, for ever, and what to do about each.

A code is never used again for something else. docs/plant.md has the same table; a test compares.
"""

from typing import NamedTuple

from common.errors import Caution


class Lint(NamedTuple):
    """One kind of warning."""

    title: str
    help: str


LINTS = {
    "OT-L01": Lint(
        "a topic is longer or deeper than a broker profile allows",
        "shorten root, path, asset or names, or take the profile out of [gateway] broker_profiles",
    ),
    "OT-L02": Lint(
        "a level holds a dot",
        "Kafka and UMH write '.' between levels, so it becomes two there; use '_' or '-'",
    ),
    "OT-L03": Lint(
        "the first level is a word that consumers reserve",
        "begin root with the enterprise; a payload profile puts such a prefix in front by itself",
    ),
    "OT-L04": Lint(
        "two levels differ in upper and lower case only",
        "write both in one way: consumers see two branches, and file systems only one",
    ),
    "OT-L05": Lint(
        "the name ends in another unit than the declared one",
        "rename the tag, or correct unit; with source_unit the value is converted to unit",
    ),
    "OT-L06": Lint(
        "the name ends in a unit, and none is declared",
        "write it into the column unit, so that consumers can compute with it",
    ),
    "OT-L07": Lint(
        "the unit is not known",
        "it is published as it is written; use a UCUM code, or a unit of common/units.csv",
    ),
    "OT-L08": Lint(
        "the tag looks like a counter and has no `counter`",
        "with counter = resets (or 16-bit, 32-bit, …) a total and increments are published that "
        "survive roll-over and restart of the PLC",
    ),
    "OT-L09": Lint(
        "two tags of a device read the same address in the same way",
        "delete one, or correct its address",
    ),
    "OT-L10": Lint(
        "the deadband is as large as the whole range",
        "no change would ever be reported; the deadband is in the published unit",
    ),
    "OT-L11": Lint(
        "a template that no device uses",
        'write template = "…" into a device, or delete the template',
    ),
    "OT-L12": Lint(
        "the protocol is experimental",
        "see the protocol's page before it reads a machine that matters",
    ),
}


def caution(code: str, place: str, where: str, message: str) -> Caution:
    """Return a warning of a known code, with its help."""
    return Caution(place, where, message, code, LINTS[code].help)
