"""The units of industry: UCUM, UNECE Recommendation 20, symbol, kind of quantity, and conversion.

units.csv beside this file is the table, a row a unit:

    value in the kind's base unit = value * factor + offset        a factor may be a quotient, 5/9

The base unit is the SI's where there is one. A unit without a UCUM code (var) is written, and
published, by its name. Conversion happens within a kind only: a torque (N.m) is no energy (J),
though both have the same dimension. Names are matched exactly; case tells mS from MS.

Sources: UCUM 2.2 (ucum.org); UNECE Recommendation 20, as in OPC Foundation's UNECE_to_OPCUA.csv.
Factors are exact by definition (SI brochure; international yard and pound agreement of 1959;
conventional columns of water and mercury, of 1,000 and 13,595.1 kg/m³).
"""

import csv
from fractions import Fraction
from importlib.resources import files
from typing import NamedTuple


class Unit(NamedTuple):
    """One unit of measurement."""

    kind: str
    """The quantity; conversion stays within it."""
    code: str
    """As it is published: the UCUM code, where there is one."""
    unece: str
    """Common code of UNECE Recommendation 20, which SAP and OPC UA use; empty where there is none.

    Where it has two for the same unit, the one without a qualifier.
    """
    symbol: str
    """For people."""
    factor: Fraction
    offset: Fraction
    names: tuple[str, ...]
    """What else people write."""


def _number(written: str) -> Fraction:
    numerator, _, denominator = written.partition("/")
    return Fraction(numerator or "0") / Fraction(denominator or "1")


def _read() -> list[Unit]:
    text = files("common").joinpath("units.csv").read_text("utf-8")
    return [
        Unit(
            row["kind"],
            row["code"],
            row["unece"],
            row["symbol"],
            _number(row["factor"]),
            _number(row["offset"]),
            tuple(row["names"].split()),
        )
        for row in csv.DictReader(text.splitlines())
    ]


UNITS = _read()
