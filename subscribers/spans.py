"""A set of whole numbers that mostly follow each other, held as spans. Standard library only."""

from bisect import bisect_right
from collections.abc import Iterator


class Spans:
    """Numbers as [first, last] spans, ascending and apart; SPANS_MAX at most.

    Beyond that the lowest hole is closed, and its numbers are counted as `given_up`.
    """

    def __init__(self, spans_max: int) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._spans_max = spans_max
        self.given_up = 0

    def __contains__(self, number: int) -> bool:
        """Whether the number was added."""
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number <= self._lasts[place]

    def add(self, number: int) -> None:
        """Add a number; again is no difference."""
        firsts, lasts = self._firsts, self._lasts
        place = bisect_right(firsts, number) - 1
        if place >= 0 and number <= lasts[place]:
            return
        after = place >= 0 and lasts[place] == number - 1
        before = place + 1 < len(firsts) and firsts[place + 1] == number + 1
        if after and before:
            lasts[place] = lasts.pop(place + 1)
            del firsts[place + 1]
        elif after:
            lasts[place] = number
        elif before:
            firsts[place + 1] = number
        else:
            firsts.insert(place + 1, number)
            lasts.insert(place + 1, number)
            if len(firsts) > self._spans_max:
                self.given_up += firsts[1] - lasts[0] - 1
                lasts[0] = lasts.pop(1)
                del firsts[1]

    def holes(self) -> Iterator[tuple[int, int]]:
        """Yield [first, last] of what is missing between the lowest and the highest."""
        for last, following in zip(self._lasts, self._firsts[1:], strict=False):
            yield last + 1, following - 1

    @property
    def lowest(self) -> int:
        """The lowest number, 0 when there is none."""
        return self._firsts[0] if self._firsts else 0

    @property
    def highest(self) -> int:
        """The highest number, 0 when there is none."""
        return self._lasts[-1] if self._lasts else 0
