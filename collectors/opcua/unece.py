"""Units: what a server says (EUInformation) → what the tag table takes.

A unit that is not in the house's table (common/units.csv) is shown as the server spells it.
"""

from common.units import unit_named, unit_of_opcua

_NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"
"""In which a unit id is a common code of UNECE Recommendation 20 (OPC 10000-8, 5.6.4.3)."""


def unit_of(namespace: str | None, unit_id: int, display: str | None) -> str:
    """Return the unit for the tag table, empty when the server names none."""
    spelt = (display or "").strip()
    by_code = unit_of_opcua(unit_id) if namespace in (None, "", _NAMESPACE) else None
    unit = by_code or unit_named(spelt)
    return unit.code if unit else spelt
