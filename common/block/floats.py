"""Floats as the integers that they were made of.

Most floats of a plant are integers in disguise: 21.3 degrees are 213 tenths, and two neighbours
differ by a digit. A *form* says how to make a float of a number. What it misses by, counted in last
places, is the float's *correction*: nearly always 0, and any at all where the form does not suit.
So every float comes back to the bit.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.block.runs import Mask, Words, begins, present
from common.errors import FormatUnknown
from common.records import Plan

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]
Tags = npt.NDArray[np.uint16]
"""The column of each value."""

_SCALED, _SINGLE, _BITS = 0x80, 0x40, 0x0F
_CODE = _SCALED | _SINGLE | _BITS
_TENS = 10.0 ** np.arange(_BITS)
_WHOLE_MAX, _WHOLE_MAX_SINGLE = 2.0**50, 2.0**21
"""A decimal of more digits than a float has proves nothing: any float is near to one."""
_MISSED_MAX = 1 / 3
"""A form suits a tag when at most this share of its values needs a correction."""
_GLANCE = 16
"""One value in so many shows whether a form may suit at all."""


class Form(NamedTuple):
    """How to make a float of a number, as one byte: scaled 0x80, single 0x40, digits 0x0F."""

    scaled: bool
    """At last times the column's scale, plus its offset: what the normalizer did."""
    single: bool
    """Rounded to float32 first: what the device did."""
    digits: int
    """The number is divided by 10**digits; 15: the number is the bits of the float itself."""

    @classmethod
    def of(cls, code: int) -> "Form":
        """Return the form of a byte."""
        return cls(bool(code & _SCALED), bool(code & _SINGLE), code & _BITS)

    @property
    def code(self) -> int:
        """The byte of this form."""
        return self.scaled * _SCALED | self.single * _SINGLE | self.digits


PLAIN = Form(scaled=False, single=False, digits=_BITS)
_DECIMALS = range(6)
_CANDIDATES = (
    Form(scaled=True, single=False, digits=0),
    *(Form(scaled=True, single=True, digits=digits) for digits in (*_DECIMALS, _BITS)),
    *(Form(scaled=False, single=True, digits=digits) for digits in (*_DECIMALS, _BITS)),
    *(Form(scaled=False, single=False, digits=digits) for digits in _DECIMALS),
)
"""In the order in which they are tried."""


class Scaling(NamedTuple):
    """What the normalizer did to the raw values of each column."""

    scale: Floats
    offset: Floats

    @classmethod
    def of(cls, plan: Plan) -> "Scaling":
        """Return it for all columns of a plan."""
        return cls(
            np.array([column.scale for column in plan.columns]),
            np.array([column.offset for column in plan.columns]),
        )


def apart(values: Floats, tag: Tags, plan: Plan) -> tuple[Codes, Integers, Integers]:
    """Return the code of each column's form, and each value's number and correction."""
    scaling = Scaling.of(plan)
    codes = _codes(values, tag, scaling)
    code_of = codes[tag]
    numbers, corrections = np.zeros((2, len(values)), "<i8")
    for code in present(code_of):
        places = np.flatnonzero(code_of == code)
        numbers[places], corrections[places] = _fitted(
            Form.of(code), values[places], tag[places], scaling
        )
    return codes, numbers, corrections


def together(
    codes: Codes, numbers: Integers, corrections: Integers, tag: Tags, plan: Plan
) -> Words:
    """Return the bits of the values that `apart` took apart."""
    if np.any(codes & ~np.uint8(_CODE)):
        raise FormatUnknown(f"floats of the forms {present(codes)}")
    scaling = Scaling.of(plan)
    code_of = codes[tag]
    bits = np.zeros(len(numbers), "<u8")
    for code in present(code_of):
        places = np.flatnonzero(code_of == code)
        bits[places] = _restored(
            Form.of(code), numbers[places], corrections[places], tag[places], scaling
        )
    return bits


def _codes(values: Floats, tag: Tags, scaling: Scaling) -> Codes:
    """Return the code of the first form that suits each column."""
    codes = np.full(len(scaling.scale), PLAIN.code, np.uint8)
    everywhere = np.arange(len(tag))
    here_and_there = np.flatnonzero(begins(tag) | (everywhere % _GLANCE == 0))
    undecided = np.bincount(tag, minlength=len(codes)) > 0
    scaled = (scaling.scale != 1.0) | (scaling.offset != 0.0)
    single = _share(_single(values).view("<u8") != values.view("<u8"), tag, codes) == 0
    for form in _CANDIDATES:
        suits = undecided & (scaled if form.scaled else single == form.single)
        for places in (here_and_there, everywhere):
            if suits.any():
                chosen = places[suits[tag[places]]]
                _, corrections = _fitted(form, values[chosen], tag[chosen], scaling)
                suits &= _share(corrections != 0, tag[chosen], codes) <= _MISSED_MAX
        codes[suits] = form.code
        undecided &= ~suits
    return codes


def _share(mask: Mask, tag: Tags, codes: Codes) -> Floats:
    """Return of each column the share of its values of which the mask is true."""
    true = np.bincount(tag, mask, len(codes))
    return true / np.maximum(np.bincount(tag, minlength=len(codes)), 1)


def _fitted(form: Form, values: Floats, tag: Tags, scaling: Scaling) -> tuple[Integers, Integers]:
    """Return the number and the correction of each value."""
    with np.errstate(all="ignore"):
        raw = (values - scaling.offset[tag]) / scaling.scale[tag] if form.scaled else values
        if form.digits == _BITS and form.single:
            numbers = raw.astype("<f4").view("<u4").astype("<i8")
        elif form.digits == _BITS:
            numbers = raw.view("<i8")
        else:
            whole = np.rint(raw * _TENS[form.digits])
            whole_max = _WHOLE_MAX_SINGLE if form.single else _WHOLE_MAX
            numbers = np.where(np.abs(whole) < whole_max, whole, 0).astype("<i8")
        made = _made(form, numbers, tag, scaling)
        return numbers, _pattern(form, values) - _pattern(form, made)


def _restored(
    form: Form, numbers: Integers, corrections: Integers, tag: Tags, scaling: Scaling
) -> Words:
    """Return the bits of the values of which `_fitted` made these."""
    with np.errstate(all="ignore"):
        pattern = _pattern(form, _made(form, numbers, tag, scaling)) + corrections
        if form.single and not form.scaled:
            return pattern.astype("<u4").view("<f4").astype("<f8").view("<u8")
        return pattern.view("<u8")


def _made(form: Form, numbers: Integers, tag: Tags, scaling: Scaling) -> Floats:
    """Return the floats of numbers, before correction."""
    if form.digits == _BITS and form.single:
        made = numbers.astype("<u4").view("<f4").astype("<f8")
    elif form.digits == _BITS:
        made = numbers.view("<f8")
    else:
        made = numbers / _TENS[form.digits]
        made = _single(made) if form.single else made
    return made * scaling.scale[tag] + scaling.offset[tag] if form.scaled else made


def _pattern(form: Form, values: Floats) -> Integers:
    """Return the bits of values as integers: neighbouring ones of neighbouring floats."""
    if form.single and not form.scaled:
        return values.astype("<f4").view("<i4").astype("<i8")
    return values.view("<i8")


def _single(values: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return values.astype("<f4").astype("<f8")
