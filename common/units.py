"""Units as people write them → units as they are published, and how values get from one to another.

`bar`, `°C`, `U/min` and `kWh` are understood; `Cel`, `{rev}/min` and `kW.h` are published: UCUM
codes, which other systems can compute with.
"""

from common.codes import Wrong
from common.config import near
from common.unittable import UNITS, Unit

_CODE_BYTES_MAX = 3
"""Of a common code."""
_UNIT_ID_MAX = 256**_CODE_BYTES_MAX - 1


def _by_name() -> dict[str, Unit]:
    found: dict[str, Unit] = {}
    for unit in UNITS:
        for name in (unit.code, *unit.names):
            assert found.setdefault(name, unit) is unit, f"{name!r} names two units"  # noqa: S101 - a table's consistency
    return found


_NAMED = _by_name()
_BY_UNECE = {unit.unece: unit for unit in UNITS if unit.unece}


def unit_named(text: str) -> Unit | None:
    """Return the unit that `text` means, by its UCUM code or another common name; else None."""
    return _NAMED.get(text.strip())


def units_known() -> list[str]:
    """Return every code and name that is understood."""
    return list(_NAMED)


def unit_needed(text: str, column: str) -> Unit:
    """Return the unit that `text` means. Raises ValueError that tells what could be meant."""
    unit = unit_named(text)
    if unit is None:
        raise Wrong(
            "OT-0412",
            f"{column} {text!r} is not a unit that Tailrace can convert"
            f"{near(text, units_known())}; use its UCUM code, or give scale and offset "
            "instead",
        )
    return unit


def conversion(source: Unit, target: Unit) -> tuple[float, float]:
    """Return (a, b) such that value in `target` = a * value in `source` + b.

    Raises ValueError when they measure different things.
    """
    if source.kind != target.kind:
        raise Wrong(
            "OT-0413",
            f"{source.code} measures {source.kind}, {target.code} measures {target.kind}; "
            "no factor makes one of the other",
        )
    # In fractions until the end, so that 32 °F is 0 °C and not almost.
    return (
        float(source.factor / target.factor),
        float((source.offset - target.offset) / target.factor),
    )


def opcua_unit_id(unit: Unit) -> int:
    """Return the unitId of OPC UA's EUInformation, -1 for a unit without UNECE code.

    Source: OPC 10000-8, 5.6.4.3: the code's ASCII characters as one big-endian number.
    """
    return int.from_bytes(unit.unece.encode("ascii"), "big") if unit.unece else -1


def unit_of_opcua(unit_id: int) -> Unit | None:
    """Return the unit that a server's EUInformation means; None for one that is not known."""
    if not 0 < unit_id <= _UNIT_ID_MAX:
        return None
    written = unit_id.to_bytes(_CODE_BYTES_MAX, "big").lstrip(b"\0")
    return _BY_UNECE.get(written.decode("ascii", "replace"))
