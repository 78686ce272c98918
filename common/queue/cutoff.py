"""What a target was cut off from because its backlog had passed its limit, and how it is told.

Kept per target in the database `meta`, under `cut:<target>`, changed in the transaction that makes
it true (cutting.py). A span is told as gap records of its last sequence, in the place of all that
it covers, to this target alone: `QueueReader.open(…, target=…)` reads them where they belong.
Their numbers begin at CUT_NUMBER, so that they are never taken for gaps that every target is told.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from common.errors import BlockDamaged
from common.log import get_log
from common.queue.environment import unsealed
from common.queue.standing import Span
from common.records import Gap, GapRecord

CUT_PREFIX = b"cut:"
"""Of keys in the database `meta`."""
CUT_NUMBER = 1_000_000
"""Of the first gap of a span; the queue itself never has so many under one sequence."""
CUT_SPANS_MAX = 64
"""Of one target. Beyond it nothing more is cut until the target has been told of the first."""

log = get_log(__name__)


class CutSpan(msgspec.Struct, frozen=True, array_like=True):
    """Neighbouring blocks that a target will not get. Fields are only appended."""

    first: int
    last: int
    gaps: list[Gap]
    """What they held, and the gaps that stood among them."""

    @property
    def records(self) -> list[GapRecord]:
        """The gaps as the target reads them."""
        return [GapRecord(self.last, gap, CUT_NUMBER + i) for i, gap in enumerate(self.gaps)]


class CutOff(msgspec.Struct, frozen=True, array_like=True):
    """All that one target was cut off from. Fields are only appended."""

    spans: list[CutSpan] = []
    """Ascending and apart; those that the target has passed go once their blocks have gone."""
    begun_at_ns: int = 0
    """When the last span began, gateway clock."""
    at_ns: int = 0
    """When it last grew."""
    times: int = 0
    """How often a target that had been served was cut off."""
    lost: list[Gap] = []
    """By group, all that it has been cut off from since the queue was begun."""

    @property
    def samples(self) -> int:
        """Samples that the target never got, all told."""
        return sum(gap.samples for gap in self.lost)

    def pending(self, position: int) -> bool:
        """Return whether the target has yet to be told of a span."""
        return any(span.last > position for span in self.spans)


def cut_key(target: str) -> bytes:
    """Return a target's key."""
    return CUT_PREFIX + target.encode()


def decoded(stored: bytes | None, target: str) -> CutOff:
    """Return what is stored of a target, nothing when there is nothing or it is damaged."""
    if stored is None:
        return CutOff()
    try:
        return msgspec.msgpack.decode(unsealed(stored), type=CutOff)
    except (BlockDamaged, msgspec.DecodeError) as error:
        log.error("what the target was cut off from is unreadable", target=target, error=error)
        return CutOff()


def cut_offs_in(transaction: Any, meta: Any) -> dict[str, CutOff]:
    """Return target → what it was cut off from, of every target that ever was."""
    found: dict[str, CutOff] = {}
    with transaction.cursor(meta) as cursor:
        at_one = cursor.set_range(CUT_PREFIX)
        while at_one and bytes(cursor.key()).startswith(CUT_PREFIX):
            target = bytes(cursor.key()).removeprefix(CUT_PREFIX).decode()
            found[target] = decoded(bytes(cursor.value()), target)
            at_one = cursor.next()
    return found


def spans_of(cuts: Mapping[str, CutOff]) -> dict[str, list[Span]]:
    """Return target → the sequences that nothing is kept for it of."""
    return {
        target: [Span(each.first, each.last) for each in cut.spans] for target, cut in cuts.items()
    }


def next_span(spans: Iterable[CutSpan], after: int) -> CutSpan | None:
    """Return the first span that ends behind a sequence."""
    return next((each for each in spans if each.last > after), None)
