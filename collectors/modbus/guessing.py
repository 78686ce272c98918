"""Registers of unknown meaning → every type and order that they could be, the likely first. Pure.

A manual that is missing or wrong about types is the normal case. For each type and order it is
estimated how many bits of the registers would have to be as they are by chance, if it were not
that type: the leading zeros of a count, the everyday exponent and the few digits of a float, the
letters of a text. What is rare among devices is behind what is common.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from collectors.inspection import Guess
from collectors.modbus.address import Address, Table
from collectors.modbus.decode import Item, Limits, plan_requests
from collectors.modbus.types import ORDERS, PACKINGS, SIZE_MAX

_NUMBERS = {
    1: ("INT16", "UINT16", "FLOAT16", "BCD16", "INT8H", "INT8L", "UINT8H", "UINT8L"),
    2: ("FLOAT32", "INT32", "UINT32", "BCD32"),
    4: ("FLOAT64", "INT64", "UINT64", "BCD64"),
}
_FLOAT_MIN, _FLOAT_MAX = 1e-6, 1e9
"""Beyond these a float is most likely another type, or in another order."""
_INTEGER_MAX = {1: 65_535, 2: 10**9, 4: 10**13}
"""By registers. A counter of 64 bits may be nanoseconds or watt-hours of years; not more."""
_EVIDENCE_MAX = 16.0
"""Bits: neighbours that happen to be 0 are no better proof than this."""
_TEXT_EVIDENCE_MAX = 26.0
_TEXT_RARITY = 6.0
_RARITY = {"CDAB": 1.5, "BADC": 3.0, "DCBA": 3.0}
"""Bits against an order."""
_MAGNITUDES_BITS = 4.4
"""What a whole number of any magnitude up to 32 bits leaves open."""
_MANTISSA_BITS = {"FLOAT16": 11, "FLOAT32": 24, "FLOAT64": 53}
_EXPONENT_EVIDENCE = {"FLOAT16": -8.0, "FLOAT32": 3.0, "FLOAT64": 6.0}
"""Everyday floats have one of about thirty exponents."""
_BITS_PER_DIGIT = math.log2(10)


class _Ranked(NamedTuple):
    evidence: float
    """Bits; of the plausible ones, the highest is shown first."""
    guess: Guess


def guess(registers: Sequence[int]) -> list[Guess]:
    """Return every type and order of the first registers, the plausible ones first.

    Of 1, 2 and 4 registers numbers are made, so that neighbours are seen for what they are; of all
    of them, texts. What has no value (a BCD digit above 9) is left out, and so is an order that
    changes nothing. Raises ValueError for no register at all, or more than 125.
    """
    if not 1 <= len(registers) <= SIZE_MAX:
        raise ValueError(f"a guess takes 1 to {SIZE_MAX} registers, found {len(registers)}")
    ranked = [*_numbers(registers), *_texts(registers)]
    ranked.sort(key=lambda each: (not each.guess.plausible, -each.evidence))
    return [each.guess for each in ranked]


def _numbers(registers: Sequence[int]) -> Iterator[_Ranked]:
    for count, names in _NUMBERS.items():
        if count > len(registers):
            continue
        for name in names:
            seen: list[Any] = []
            for order in _orders(name, count):
                value = _decoded(registers, name, order)
                if value is None or value in seen:
                    continue
                seen.append(value)
                evidence = _evidence(value, name, count) - _RARITY.get(order, 0.0)
                yield _ranked(name, order, value, evidence, plausible=_plausible(value, count))


def _orders(name: str, count: int) -> Sequence[str]:
    if "8" in name:
        return ORDERS[:1]
    return (ORDERS[0], ORDERS[2]) if count == 1 else ORDERS


def _texts(registers: Sequence[int]) -> Iterator[_Ranked]:
    name = f"STRING({len(registers)})"
    high = any(register >> 8 for register in registers)
    low = any(register & 0xFF for register in registers)
    for packing in PACKINGS:
        value = _decoded(registers, name, packing)
        # One character to a register: the other byte is empty.
        unused = {"D": high, "E": low}.get(packing, False)
        printable = len(value) > 1 and value.isprintable() and value.isascii()
        letters = sum(each.isalnum() or each in " .-_" for each in value)
        padding = 2 * len(registers) - len(value)
        evidence = min(_TEXT_EVIDENCE_MAX, 2.0 * letters + 4.0 * padding) - _TEXT_RARITY
        evidence -= PACKINGS.index(packing)
        yield _ranked(name, packing, value, evidence, plausible=printable and not unused)


def _ranked(name: str, order: str, value: Any, evidence: float, *, plausible: bool) -> _Ranked:
    source_type = Address(Table.HOLDING, 0, None, name, order).source_type
    return _Ranked(evidence, Guess(source_type=source_type, value=value, plausible=plausible))


def _decoded(registers: Sequence[int], name: str, order: str) -> Any:
    address = Address(Table.HOLDING, 0, None, name, order)
    (request,) = plan_requests([Item(0, address)], Limits())
    (value,) = request.decode(registers[: request.count])
    return value


def _plausible(value: Any, count: int) -> bool:
    if isinstance(value, float):
        return value == 0.0 or _FLOAT_MIN <= abs(value) <= _FLOAT_MAX
    return bool(abs(value) <= _INTEGER_MAX[count])


def _evidence(value: float, name: str, count: int) -> float:
    """Return how many bits of a number are as they are for no other reason than its type."""
    if value == 0 or not math.isfinite(value):
        return 0.0
    if name in _MANTISSA_BITS:
        shown = repr(value) if name == "FLOAT64" else f"{value:.7g}"
        digits = len(shown.partition("e")[0].replace(".", "").strip("-0"))
        spare = _MANTISSA_BITS[name] - _BITS_PER_DIGIT * digits
        return min(_EVIDENCE_MAX, _EXPONENT_EVIDENCE[name] + max(0.0, spare))
    if name.startswith("BCD"):
        return 0.7 * 4 * count - 8.0
    if "8" in name:
        return -8.0
    spare = 16 * count - math.log2(abs(value) + 1) - _MAGNITUDES_BITS
    # A value of one register says nothing of those behind it.
    return min(_EVIDENCE_MAX, spare) - {1: 2.0, 2: 0.0, 4: 2.0}[count]
