"""Goal: a unit means what an engineer means by it, and no conversion is wrong.

Method: every unit of the table against an independent library: ucumvert reads its UCUM code into
pint, whose own definitions then convert. What has no UCUM code is compared with its definition.
"""

import math
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ucumvert import PintUcumRegistry

from common.units import conversion, opcua_unit_id, unit_named, unit_needed, unit_of_opcua
from common.unittable import UNITS, Unit

REGISTRY = PintUcumRegistry()
BY_CODE = {unit.code: unit for unit in UNITS}
SAID_OTHERWISE = {
    "'": "arcminute",
    "''": "arcsecond",
    "{piece}": "count",
    "{dozen}": "12 count",
    "[in_i'Hg]": "25.4 mmHg",
    "[in_i'H2O]": "25.4 mmH2O",
    "[cft_i]": "foot ** 3",
    "[cft_i]/min": "foot ** 3 / minute",
    "[cft_i]/h": "foot ** 3 / hour",
    "[lb_av]/[cft_i]": "pound / foot ** 3",
}
"""What ucumvert 0.3.2 cannot read, or misreads: [cft_i] as a hundredth of a foot, ' as a minute of
time, columns of liquid at 60 °F. Said in pint's own words instead."""
NO_UCUM = {
    "ksi": Fraction("4448.2216152605") / Fraction("0.00064516"),
    "kip": Fraction("4448.2216152605"),
    "PS": Fraction("735.49875"),  # 75 kilopond metres per second
    "var": Fraction(1),
    "kvar": Fraction(1_000),
    "Mvar": Fraction(1_000_000),
    "var.h": Fraction(1),
    "kvar.h": Fraction(1_000),
    "Mvar.h": Fraction(1_000_000),
}
LOGARITHMIC = ("[pH]", "dB")
"""Never converted: each is the only one of its kind."""


def judged(source: Unit, target: Unit, value: float) -> float:
    """Return what the independent library makes of a value."""
    if source.kind == "temperature":  # Affine: a value is not a multiple of its unit.
        unit = REGISTRY.from_ucum(source.code).units
        return float(REGISTRY.Quantity(value, unit).to(independent(target).units).magnitude)
    one, other = independent(source).to_base_units(), independent(target).to_base_units()
    assert str(one.dimensionality) == str(other.dimensionality), "they measure the same"
    return value * float(one.magnitude / other.magnitude)


def independent(unit: Unit) -> Any:
    """Return one of the unit, as the independent library understands it."""
    written = SAID_OTHERWISE.get(unit.code)
    return REGISTRY.Quantity(written) if written else REGISTRY.from_ucum(unit.code)


def base_of(kind: str) -> Unit:
    return next(unit for unit in UNITS if unit.kind == kind and unit.code not in NO_UCUM)


CHECKED = [unit for unit in UNITS if unit.code not in NO_UCUM and unit.code not in LOGARITHMIC]


@pytest.mark.parametrize("unit", CHECKED, ids=lambda unit: unit.code)
def test_every_unit_converts_as_an_independent_library_says(unit: Unit) -> None:
    """Seen to bite: a barrel of 41 gallons; °F without its offset."""
    base = base_of(unit.kind)
    a, b = conversion(unit, base)

    for value in (-40.0, 0.0, 1.0, 1_234.5):
        assert a * value + b == pytest.approx(judged(unit, base, value), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("code", NO_UCUM)
def test_units_without_a_ucum_code_are_by_definition(code: str) -> None:
    assert BY_CODE[code].factor == NO_UCUM[code]


def test_every_unit_is_checked_by_one_of_these_tests() -> None:
    assert {unit.code for unit in CHECKED} | NO_UCUM.keys() | set(LOGARITHMIC) == BY_CODE.keys()


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("°F", "°C", 32, 0),
        ("°F", "Cel", 212, 100),
        ("K", "Cel", 0, -273.15),
        ("psi", "bar", 14.5037737730209, 1),
        ("kWh", "MJ", 1, 3.6),
        ("U/min", "Hz", 3_000, 50),
        ("l/min", "m3/h", 1_000, 60),
        ("km/h", "m/s", 36, 10),
    ],
)
def test_what_people_know_by_heart(source: str, target: str, value: float, expected: float) -> None:
    a, b = conversion(unit_needed(source, "source_unit"), unit_needed(target, "unit"))

    assert a * value + b == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(pair=st.sampled_from([(s, t) for s, t in product(UNITS, UNITS) if s.kind == t.kind]))
def test_there_and_back_is_where_one_was(pair: tuple[Unit, Unit]) -> None:
    source, target = pair
    a, b = conversion(source, target)
    back_a, back_b = conversion(target, source)

    assert math.isclose(a * back_a, 1, rel_tol=1e-12)
    assert math.isclose(back_a * b + back_b, 0, abs_tol=1e-9)


def test_what_measures_something_else_is_refused_with_both_names() -> None:
    bar, celsius = unit_needed("bar", "source_unit"), unit_needed("°C", "unit")

    with pytest.raises(ValueError, match="bar measures pressure, Cel measures temperature"):
        conversion(bar, celsius)


def test_a_torque_is_no_energy_although_its_dimension_is_the_same() -> None:
    with pytest.raises(ValueError, match="torque"):
        conversion(unit_needed("Nm", "source_unit"), unit_needed("J", "unit"))


def test_an_unknown_unit_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"source_unit 'kWhh'.*did you mean 'kWh'"):
        unit_needed("kWhh", "source_unit")


def test_case_tells_units_apart() -> None:
    found = [unit_named(each) for each in ("mS", "MS", "ms", "mbar", "Mbar")]

    assert [each.code if each else None for each in found] == ["mS", None, "ms", "mbar", None]


def test_unit_ids_of_opc_ua_are_those_of_the_standard() -> None:
    """Source: OPC Foundation, UNECE_to_OPCUA.csv."""
    known = {
        "Cel": 4408652,
        "[degF]": 4604232,
        "bar": 4342098,
        "kg": 4933453,
        "kW.h": 4937544,
        "{rev}/min": 5394509,
        "uS/cm": 4666418,
        "m3/h": 5067080,
        "%": 20529,
    }

    assert {code: opcua_unit_id(BY_CODE[code]) for code in known} == known
    assert [unit_of_opcua(each).code for each in known.values()] == list(known)  # type: ignore[union-attr]


@pytest.mark.parametrize("unit_id", [-1, 0, 1, 2**31 - 1, 0xC3A4])
def test_a_unit_id_that_nobody_knows_is_no_unit(unit_id: int) -> None:
    assert unit_of_opcua(unit_id) is None


def test_every_common_code_names_one_unit() -> None:
    codes = [unit.unece for unit in UNITS if unit.unece]

    assert len(codes) == len(set(codes))
