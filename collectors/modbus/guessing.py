"""Registers of unknown meaning → every type and order that they could be, the likely first. Pure.

A manual that is missing or wrong about types is the normal case. Each type and order is ranked by
what speaks for it (evidence.py); what is rare among devices is behind what is common.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from collectors.evidence import (
    BITS_PER_LETTER,
    ONE_BYTE_EVIDENCE,
    TEXT_EVIDENCE_MAX,
    Ranked,
    letters_in,
    likely_first,
    number_evidence,
    plausible_number,
)
from collectors.inspection import Guess
from collectors.modbus.address import Address, Table
from collectors.modbus.decode import Item, Limits, plan_requests
from collectors.modbus.types import ORDERS, PACKINGS, SIZE_MAX

_NUMBERS = {
    1: ("INT16", "UINT16", "FLOAT16", "BCD16", "INT8H", "INT8L", "UINT8H", "UINT8L"),
    2: ("FLOAT32", "INT32", "UINT32", "BCD32"),
    4: ("FLOAT64", "INT64", "UINT64", "BCD64"),
}
_TEXT_RARITY = 6.0
_RARITY = {"CDAB": 1.5, "BADC": 3.0, "DCBA": 3.0}
"""Bits against an order."""


def guess(registers: Sequence[int]) -> list[Guess]:
    """Return every type and order of the first registers, the plausible ones first.

    Of 1, 2 and 4 registers numbers are made, so that neighbours are seen for what they are; of all
    of them, texts. What has no value (a BCD digit above 9) is left out, and so is an order that
    changes nothing. Raises ValueError for no register at all, or more than 125.
    """
    if not 1 <= len(registers) <= SIZE_MAX:
        raise ValueError(f"a guess takes 1 to {SIZE_MAX} registers, found {len(registers)}")
    return likely_first([*_numbers(registers), *_texts(registers)])


def _numbers(registers: Sequence[int]) -> Iterator[Ranked]:
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
                plausible = plausible_number(value, 16 * count)
                yield _ranked(name, order, value, evidence, plausible=plausible)


def _orders(name: str, count: int) -> Sequence[str]:
    if "8" in name:
        return ORDERS[:1]
    return (ORDERS[0], ORDERS[2]) if count == 1 else ORDERS


def _texts(registers: Sequence[int]) -> Iterator[Ranked]:
    name = f"STRING({len(registers)})"
    high = any(register >> 8 for register in registers)
    low = any(register & 0xFF for register in registers)
    for packing in PACKINGS:
        value = _decoded(registers, name, packing)
        # One character to a register: the other byte is empty.
        unused = {"D": high, "E": low}.get(packing, False)
        printable = len(value) > 1 and value.isprintable() and value.isascii()
        padding = 2 * len(registers) - len(value)
        evidence = BITS_PER_LETTER * letters_in(value) + 4.0 * padding
        evidence = min(TEXT_EVIDENCE_MAX, evidence) - _TEXT_RARITY
        evidence -= PACKINGS.index(packing)
        yield _ranked(name, packing, value, evidence, plausible=printable and not unused)


def _ranked(name: str, order: str, value: Any, evidence: float, *, plausible: bool) -> Ranked:
    source_type = Address(Table.HOLDING, 0, None, name, order).source_type
    return Ranked(evidence, Guess(source_type=source_type, value=value, plausible=plausible))


def _decoded(registers: Sequence[int], name: str, order: str) -> Any:
    address = Address(Table.HOLDING, 0, None, name, order)
    (request,) = plan_requests([Item(0, address)], Limits())
    (value,) = request.decode(registers[: request.count])
    return value


def _evidence(value: float, name: str, count: int) -> float:
    """Return how many bits of a number are as they are for no other reason than its type."""
    if name.startswith("BCD") and value != 0:
        return 0.7 * 4 * count - 8.0
    if "8" in name:
        return ONE_BYTE_EVIDENCE
    return number_evidence(value, 16 * count)
