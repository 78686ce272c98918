"""How likely bytes of unknown meaning are a number of some type, for `--guess`. Pure.

Evidence is in bits: how many of them would have to be as they are by chance, if it were not that
type: the leading zeros of a count, the everyday exponent and the few digits of a float.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from collectors.inspection import Guess

EVIDENCE_MAX = 16.0
"""Of a number: neighbours that happen to be 0 are no better proof than this."""
TEXT_EVIDENCE_MAX = 26.0
ONE_BYTE_EVIDENCE = -8.0
"""A single byte is always some number."""
BITS_PER_LETTER = 2.0
"""Few bytes are letters, digits, blanks or marks of a name; of noise, one in four."""

_FLOAT_MIN, _FLOAT_MAX = 1e-6, 1e9
"""Beyond these a float is most likely another type, or in another order."""
_WHOLE_MAX = {8: 255, 16: 65_535, 32: 10**9, 64: 10**13}
"""By bits. A counter of 64 may be nanoseconds or watt-hours of years; not more."""
_MAGNITUDES_BITS = 4.4
"""What a whole number of any magnitude up to 32 bits leaves open."""
_WIDTH_PENALTY = {16: 2.0, 32: 0.0, 64: 2.0}
"""A value of 16 bits says nothing of those behind it, which a wider one explains; 64 are rare."""
_MANTISSA_BITS = {16: 11, 32: 24, 64: 53}
_EXPONENT_EVIDENCE = {16: -8.0, 32: 3.0, 64: 6.0}
"""Everyday floats have one of about thirty exponents."""
_BITS_PER_DIGIT = math.log2(10)


class Ranked(NamedTuple):
    """A guess, and what speaks for it."""

    evidence: float
    """Bits; of the plausible ones, the highest is shown first."""
    guess: Guess


def likely_first(ranked: Iterable[Ranked]) -> list[Guess]:
    """Return the guesses, the plausible ones first, each kind by its evidence."""
    best_first = sorted(ranked, key=lambda each: (not each.guess.plausible, -each.evidence))
    return [each.guess for each in best_first]


def plausible_number(value: float, bits: int) -> bool:
    """Return whether a sensor shows such a value, an int or a float of so many bits."""
    if isinstance(value, int):
        return abs(value) <= _WHOLE_MAX[bits]
    return value == 0.0 or _FLOAT_MIN <= abs(value) <= _FLOAT_MAX


def number_evidence(value: float, bits: int) -> float:
    """Return what speaks for a number, an int or a float of so many bits; 0 for 0 and NaN."""
    if bits not in _WIDTH_PENALTY:
        return ONE_BYTE_EVIDENCE
    if value == 0 or not math.isfinite(value):
        return 0.0
    if isinstance(value, int):
        spare = bits - math.log2(abs(value) + 1) - _MAGNITUDES_BITS
        return min(EVIDENCE_MAX, spare) - _WIDTH_PENALTY[bits]
    shown = repr(value) if bits == 64 else f"{value:.7g}"  # noqa: PLR2004 - a double's
    digits = len(shown.partition("e")[0].replace(".", "").strip("-0"))
    spare = _MANTISSA_BITS[bits] - _BITS_PER_DIGIT * digits
    return min(EVIDENCE_MAX, _EXPONENT_EVIDENCE[bits] + max(0.0, spare))


def letters_in(text: str) -> int:
    """Return how many characters of a text are such as names and messages have."""
    return sum(each.isalnum() or each in " .-_" for each in text)
