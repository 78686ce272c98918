"""The unit that a tag's name ends in: `Temperature_C`, `Energy_kWh`, `Flow_m3_h`.

Only what is hardly ever meant otherwise counts. `Temperature_min` is a minimum and `Pump_A` a pump.
"""

from common.units import unit_named
from common.unittable import Unit

_OF_NAMES = {
    "C": "Cel",
    "F": "[degF]",
    "K": "K",
    "V": "V",
    "W": "W",
    "s": "s",
    "h": "h",
    "m3h": "m3/h",
    "m3ph": "m3/h",
    "lmin": "L/min",
    "lh": "L/h",
    "kgh": "kg/h",
    "th": "t/h",
    "mps": "m/s",
    "mmps": "mm/s",
    "perc": "%",
}
"""What is written so in names only, where '/' and '%' may not stand, and a few single letters."""

_MEANT_OTHERWISE = frozenset(
    # minimum, input, phase, station, power supply, high pressure, calibrated, variable, to, at, …
    (
        *("min", "in", "ph", "pH", "PS", "ps", "St", "HP", "hp", "cal", "var", "to", "at", "att"),
        *("meter", "minute", "second", "sec", "hour", "day", "week", "foot", "feet", "mil", "gr"),
        *("bit", "byte", "one", "count", "piece", "pieces", "pcs", "pc", "oz", "gon", "us", "ns"),
        *("unit", "point", "Std", "kip", "yard", "mile", "knot", "thou", "mi", "Var", "VAR", "VAr"),
    )
)


def unit_in_name(name: str) -> Unit | None:
    """Return the unit that a tag's name ends in, None where it ends in none for certain."""
    parts = name.rpartition("/")[2].split("_")
    if len(parts) < 2:  # noqa: PLR2004 - a name, and what stands behind it
        return None
    last = parts[-1]
    if len(parts) > 2 and (quotient := unit_named(f"{parts[-2]}/{last}")):  # noqa: PLR2004 - as above
        return quotient
    if last in _OF_NAMES:
        return unit_named(_OF_NAMES[last])
    if len(last) == 1 or last in _MEANT_OTHERWISE:
        return None
    return unit_named(last)


def numbers_parts(name: str, names: frozenset[str]) -> bool:
    """Return whether a last letter tells parts apart: `Current_U`, `Current_V`, `Current_W`."""
    stem, _, last = name.rpartition("_")
    return len(last) == 1 and any(
        f"{stem}_{letter}" in names for letter in "ABCDEUVW" if letter != last
    )
