"""Thinning: which samples to keep so that a history loses detail, and not its shape.

Of each tag and bucket of time the first, the last, the least and the greatest sample stay, and
every one at which the quality changed or the value went or came.
"""

import numpy as np
import numpy.typing as npt

from common.block.batch import Section
from common.block.parts import FLOAT_KIND, STRING_KIND, TYPES, kinds_of
from common.block.runs import Mask, Words, begins
from common.records import ValueType

_SIGN = np.uint64(1 << 63)


def thinned(section: Section, bucket_ns: int, exempt: Mask) -> Mask:
    """Return which samples of a section stay; `exempt` says which columns keep all of theirs.

    Bucket n holds the read times from n * bucket_ns on. Where the clock was set back, time enters a
    bucket anew and that counts as another one. Strings and bytes have no least and no greatest.
    """
    keep: Mask = exempt[section.column]
    if section.samples == 0:
        return keep
    bucket = section.read_at_ns[section.record] // bucket_ns
    begin = begins(section.column) | begins(bucket)
    starts = np.flatnonzero(begin)
    keep |= begin
    keep[np.append(starts[1:], section.samples) - 1] = True
    if section.null is not None:
        keep |= begins(section.null)
    if section.quality is not None:
        keep |= begins(section.quality)
    rank, ranked = _ranks(section)
    for extreme, never in ((np.minimum, ~np.uint64(0)), (np.maximum, np.uint64(0))):
        shown = np.where(ranked, rank, never)
        best = np.repeat(extreme.reduceat(shown, starts), np.diff(starts, append=section.samples))
        keep[_first_of_each(starts, ranked & (shown == best))] = True
    return keep


def _ranks(section: Section) -> tuple[Words, Mask]:
    """Return numbers that compare as the values do, and which samples have one."""
    kinds = kinds_of(section.plan)[section.column]
    bits = section.bits
    is_float = kinds == FLOAT_KIND
    is_signed = is_float | (kinds == TYPES.index(ValueType.INT64))
    negative_float = is_float & (bits >= _SIGN)
    rank = np.where(is_signed, bits ^ _SIGN, bits)
    rank = np.where(negative_float, ~bits, rank)
    ranked = kinds < STRING_KIND
    return rank, ranked if section.null is None else ranked & ~section.null


def _first_of_each(starts: npt.NDArray[np.intp], mask: Mask) -> npt.NDArray[np.intp]:
    """Return the first place of each run at which the mask is set."""
    places = np.flatnonzero(mask)
    run = np.searchsorted(starts, places, side="right")
    return places[begins(run)]
