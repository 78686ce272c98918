"""Where all targets stand at one moment, and what of the queue that makes untouchable or useless.

    target a   ████████████▓▓▓▓▓·············█████████▓▓▓▓▓··
    target b   ██████▓▓▓▓▓·····················████████▓▓▓▓▓·
               └────┘ everybody                └──────┘
               █ has it: up to its position, or in an island    ▓ claims it

*Edges* are where what a target has ends or begins. Whatever is given up on one side of an edge is
never told together with what is given up on the other: the target would be told of samples that it
has had, or told nothing of those that it has not.

What a target was cut off from (cutoff.py) counts as if it had it: nothing is kept for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from common.queue.cursor import Settled


class Span(NamedTuple):
    """Sequences, both ends included."""

    first: int
    last: int


class Standing:
    """What a number of targets have, and what they claim."""

    def __init__(
        self,
        settled: Mapping[str, Settled],
        cut: Mapping[str, Sequence[Span]],
        claim_records: int,
    ) -> None:
        self._own = {name: own_spans(each) for name, each in settled.items()}
        self._cut = {name: list(cut.get(name, ())) for name in settled}
        has = {name: merged([*self._own[name], *self._cut[name]]) for name in settled}
        self.everywhere: list[Span] = []
        """What every target has; nothing where there is no target. The first may begin at 1."""
        for number, spans in enumerate(has.values()):
            self.everywhere = intersection(self.everywhere, spans) if number else spans
        at_front = self.everywhere and self.everywhere[0].first <= 1
        self.everybody = self.everywhere[0].last if at_front else 0
        """Every target has everything up to this sequence."""
        edges = {each for spans in has.values() for span in spans for each in _edges(span)}
        edges |= {each.first - 1 for one in settled.values() for each in one.islands}
        self.edges = sorted({*edges, *(one.position for one in settled.values())})
        """Each stands behind the sequence that it is."""
        begins = [
            at + 1
            for one in settled.values()
            for at in (one.position, *(each.last for each in one.islands[-1:]))
        ]
        self.claims = [Span(begin, begin + claim_records - 1) for begin in begins]

    def claimed(self, first: int, last: int) -> bool:
        """Return whether a target may be delivering from these sequences."""
        return any(each.first <= last and first <= each.last for each in self.claims)

    def straddling(self, first: int, last: int) -> bool:
        """Return whether an edge lies within: a target has a part of it and not the rest."""
        return any(first <= edge < last for edge in self.edges)

    def untouchable(self, first: int, last: int) -> bool:
        """Return whether it must be left alone as long as there is anything else."""
        return self.claimed(first, last) or self.straddling(first, last)

    def apart(self, last: int, first: int) -> bool:
        """Return whether an edge lies between what ends at `last` and what begins at `first`."""
        return any(last <= edge < first for edge in self.edges)

    def everyone_has(self, first: int, last: int) -> bool:
        """Return whether every target has all of it, so that nobody waits for it."""
        return any(each.first <= first and last <= each.last for each in self.everywhere)

    def somebody_had(self, first: int, last: int) -> bool:
        """Return whether a target was given it, and did not merely pass over it, cut off.

        Where no target is known, nobody says otherwise.
        """
        return not self._own or any(
            _covered(first, last, self._own[name])
            and not any(each.first <= last and first <= each.last for each in self._cut[name])
            for name in self._own
        )


def own_spans(settled: Settled) -> list[Span]:
    """Return what a target has had, ascending and apart."""
    front = [Span(1, settled.position)] if settled.position else []
    return merged([*front, *(Span(*each) for each in settled.islands)])


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans ascending, with those that touch each other as one; empty ones vanish."""
    found: list[Span] = []
    for span in sorted(each for each in spans if each.last >= each.first):
        if found and span.first <= found[-1].last + 1:
            found[-1] = Span(found[-1].first, max(found[-1].last, span.last))
        else:
            found.append(span)
    return found


def intersection(some: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """Return what is in both."""
    both = (Span(max(a.first, b.first), min(a.last, b.last)) for a in some for b in others)
    return merged(both)


def _covered(first: int, last: int, spans: Iterable[Span]) -> bool:
    return any(each.first <= first and last <= each.last for each in spans)


def _edges(span: Span) -> tuple[int, int]:
    return span.first - 1, span.last
