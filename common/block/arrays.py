"""The arrays of a body: how numbers are written one after the other, and read back.

A body holds its arrays without anything between them; its directory describes each one, in the same
order, as `[encoding, items, …]`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from common.block.header import SAMPLES_MAX
from common.block.runs import Words, unzigzag, zigzag
from common.errors import FormatUnknown

RAW, PLANES, DELTAS, TIMES = range(4)
"""The encodings. Readers refuse any other number as written by a newer version."""

Description = list[Any]
Numbers = npt.NDArray[Any]
Times = npt.NDArray[np.int64]

_WORD_BYTES, _BYTE_BITS, _MODULUS = 8, 8, 2**64
_UNITS_NS = (1_000_000, 1_000, 100)


class ArrayWriter:
    """Collects the arrays of a body."""

    def __init__(self) -> None:
        self.arrays: list[bytes] = []

    def raw(self, pieces: Sequence[Numbers], dtype: str) -> Description:
        """Write items as they stand; `dtype` says how."""
        whole = np.concatenate(pieces)
        self.arrays.append(whole.astype(dtype, copy=False).tobytes())
        return [RAW, len(whole)]

    def planes(self, numbers: Numbers) -> Description:
        """Write how far each integer is above the least: the lowest byte of all, the next of all.

        Bytes of one rank are like each other, which is what the entropy coder of zstd needs.
        """
        return [PLANES, len(numbers), *self._planes(numbers)]

    def deltas(self, numbers: Numbers) -> Description:
        """Write integers as differences, each from the one before, the first from 0."""
        words = numbers.astype("<u8", copy=False)
        steps = zigzag(np.diff(words, prepend=np.uint64(0)))
        return [DELTAS, len(words), *self._planes(steps)]

    def times(self, times_ns: Times, period_ns: int) -> Description:
        """Write times of something periodic: the count of periods, and what comes on top of it.

        Differences of times would hold twice by what each of them is late.
        """
        unit_ns = unit_of(times_ns - times_ns[0])
        period = max(1, period_ns // unit_ns)
        start_ns = int(times_ns[0]) - period // 2 * unit_ns
        count, late = np.divmod((times_ns - start_ns) // unit_ns, period)
        description = [TIMES, len(times_ns), start_ns, unit_ns, period]
        return [*description, self.deltas(count)[2:], self.planes(late)[2:]]

    def _planes(self, numbers: Numbers) -> tuple[int, int]:
        """Return (least, how many planes)."""
        if len(numbers) == 0:
            return 0, 0
        least = numbers.min()
        above = (numbers - least).astype("<u8", copy=False)
        width = (int(above.max()).bit_length() + _BYTE_BITS - 1) // _BYTE_BITS
        octets = above.view(np.uint8).reshape(-1, _WORD_BYTES)
        self.arrays += [octets[:, rank].tobytes() for rank in range(width)]
        return int(least), width


class ArrayReader:
    """Gives the arrays of a body back, in the order in which they were written.

    What is not as it was written raises ValueError, TypeError or OverflowError.
    """

    def __init__(self, arrays: memoryview) -> None:
        self._arrays = arrays
        self._at = 0

    def read(self, description: Description, dtype: str) -> Numbers:
        """Return the next array as `dtype`, which is also how it is stored when raw."""
        encoding, items, *rest = description
        if encoding not in (RAW, PLANES, DELTAS, TIMES):
            raise FormatUnknown(f"an array in encoding {encoding}; this version reads 0 to {TIMES}")
        if not 0 <= items <= SAMPLES_MAX:
            raise ValueError(f"an array of {items} items")
        if encoding == RAW:
            stored = np.dtype(dtype)
            return np.frombuffer(self._taken(items * stored.itemsize), stored)
        if encoding == PLANES:
            words = self._planes(items, *rest)
        elif encoding == DELTAS:
            words = self._deltas(items, *rest)
        else:
            words = self._times(items, *rest)
        return words.astype(dtype, copy=False)

    def finish(self) -> None:
        """Raise ValueError when something is left."""
        if self._at != len(self._arrays):
            raise ValueError(f"{len(self._arrays) - self._at} bytes behind the last array")

    def _taken(self, size: int) -> memoryview:
        start, self._at = self._at, self._at + size
        if self._at > len(self._arrays):
            raise ValueError("the arrays end too early")
        return self._arrays[start : self._at]

    def _planes(self, items: int, least: int, width: int) -> Words:
        if not 0 <= width <= _WORD_BYTES:
            raise ValueError(f"{width} planes")
        words = np.full(items, least % _MODULUS, "<u8")
        for rank in range(width):
            plane = np.frombuffer(self._taken(items), np.uint8)
            words += plane.astype("<u8") << np.uint64(rank * _BYTE_BITS)
        return words

    def _deltas(self, items: int, least: int, width: int) -> Words:
        return np.cumsum(unzigzag(self._planes(items, least, width)), dtype="<u8")

    def _times(
        self, items: int, start_ns: int, unit_ns: int, period: int,
        counts: list[int], lates: list[int],
    ) -> Words:  # fmt: skip
        count, late = self._deltas(items, *counts), self._planes(items, *lates)
        ticks = (count * np.uint64(period) + late) * np.uint64(unit_ns)
        return ticks + np.uint64(start_ns % _MODULUS)


def unit_of(times_ns: Times) -> int:
    """Return how many ns the clock counts at once, of which all these are multiples."""
    return next((unit for unit in _UNITS_NS if not np.any(times_ns % unit)), 1)
