"""Runs of equal items: of samples that stand tag by tag, the runs in `column` are the tags."""

from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]
"""64-bit numbers of any sign; sums and differences wrap around, and so lose nothing."""

_RADIX_KEYS = 2**16
"""numpy sorts narrow keys by radix, several times faster than wide ones."""


def begins(array: npt.NDArray[Any]) -> Mask:
    """Return where an item differs from the one before it; the first one does."""
    found = np.ones(len(array), bool)
    np.not_equal(array[1:], array[:-1], out=found[1:])
    return found


def differences(numbers: Words, begin: Mask) -> Words:
    """Return the first number of each run, and by how much every other one is above its last."""
    steps = np.diff(numbers, prepend=np.uint64(0))
    steps[begin] = numbers[begin]
    return steps


def sums(steps: Words, begin: Mask) -> Words:
    """Return the numbers of which `differences` made these."""
    if len(steps) != len(begin):
        raise ValueError(f"{len(steps)} differences of {len(begin)} numbers")
    total = np.cumsum(steps, dtype="<u8")
    starts = np.flatnonzero(begin)
    before = total[starts] - steps[starts]
    return total - np.repeat(before, np.diff(starts, append=len(steps)))


def merged(firsts: Words, rest: Words, begin: Mask) -> Words:
    """Return one array of what stands at the beginnings of runs, and of what stands elsewhere."""
    if len(firsts) + len(rest) != len(begin):
        raise ValueError(f"{len(firsts)} and {len(rest)} numbers of {len(begin)}")
    whole = np.zeros(len(begin), "<u8")
    whole[begin], whole[~begin] = firsts, rest
    return whole


def zigzag(words: Words) -> Words:
    """Return small numbers for small ones of either sign: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return (words << np.uint64(1)) ^ (np.uint64(0) - (words >> np.uint64(63)))


def unzigzag(words: Words) -> Words:
    """Return the numbers of which `zigzag` made these."""
    return (words >> np.uint64(1)) ^ (np.uint64(0) - (words & np.uint64(1)))


def bit_lengths(words: Words) -> npt.NDArray[np.int32]:
    """Return how many bits each number needs; 0 of 0."""
    exponents: npt.NDArray[np.int32] = np.frexp(words.astype(float))[1]
    return exponents


def in_order(keys: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return the places of items in order of their keys; those of one key keep their order."""
    narrow = keys.astype(np.uint16) if keys.max(initial=0) < _RADIX_KEYS else keys
    return np.argsort(narrow, kind="stable")


def present(codes: npt.NDArray[np.uint8]) -> list[int]:
    """Return the codes that occur, ascending."""
    found: list[int] = np.flatnonzero(np.bincount(codes)).tolist()
    return found
