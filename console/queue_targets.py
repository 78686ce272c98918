"""How far each target has come, and what of the queue it has not had yet."""

import msgspec

from common.config import target_names
from common.errors import Finding
from common.places import Places
from common.queue import CursorWatch, CutOff, Island, QueueReader, Settled
from common.queue.cutoff import spans_of
from common.queue.standing import Span, Standing, merged, own_spans
from common.records import GapRecord


class CutOffShown(msgspec.Struct, kw_only=True):
    """That a target was cut off because more waited for it than its limit."""

    at_ns: int
    """When that began, the last time."""
    times: int
    samples: int
    """That it never got, since the queue was begun."""
    scans: int
    first_at_ns: int
    last_at_ns: int
    """What it never got was read between the two."""
    up_to: int
    """The last sequence; 0 when it has been told of all and nothing of that is left."""
    told: bool
    """True once it has been told of the gap."""


class Waiting(msgspec.Struct, kw_only=True):
    """What one target has not acknowledged."""

    target: str
    acknowledged: int
    """The last sequence, with all before it."""
    islands: list[tuple[int, int]] = []
    """What it has beyond, first and last sequence."""
    cut_off: CutOffShown | None = None
    """None: it never was."""
    holds_back: bool
    """False: it is no longer in it/cloud.toml, and nothing is kept for it."""
    begun: bool
    """False: it has no cursor yet."""
    records: int = 0
    samples: int = 0
    gaps: int = 0
    oldest_at_ns: int | None = None

    @property
    def settled(self) -> Settled:
        """How far it has come, as its cursor says."""
        return Settled(self.acknowledged, tuple(Island(*each) for each in self.islands))

    def has(self, sequence: int) -> bool:
        """Return whether it has had a sequence, or refused it for good."""
        return any(each.first <= sequence <= each.last for each in own_spans(self.settled))


def targets_of(places: Places, reader: QueueReader) -> list[Waiting]:
    """Return the configured targets, and those that were drained to before; nothing counted yet.

    While it/cloud.toml cannot be read, every target that was ever drained to counts.
    """
    findings: list[Finding] = []
    configured = target_names(places.config_dir, findings)
    begun = {path.parent.name for path in (places.queue_dir / "cursors").glob("*/data.mdb")}
    if findings:
        configured = sorted({*configured, *begun})
    names = [*configured, *sorted(begun - set(configured))]
    watch = CursorWatch(places.queue_dir, names)
    settled = watch.settled(reader.epoch)
    watch.close()
    cuts = reader.cut_offs()
    return [
        Waiting(
            target=name,
            acknowledged=settled[name].position,
            islands=[(each.first, each.last) for each in settled[name].islands],
            cut_off=_cut_off_shown(cuts[name], settled[name]) if name in cuts else None,
            holds_back=name in configured,
            begun=name in begun,
        )
        for name in names
    ]


def _cut_off_shown(cut: CutOff, settled: Settled) -> CutOffShown:
    return CutOffShown(
        at_ns=cut.begun_at_ns,
        times=cut.times,
        samples=cut.samples,
        scans=sum(gap.scans for gap in cut.lost),
        first_at_ns=min((gap.first_at_ns for gap in cut.lost), default=0),
        last_at_ns=max((gap.last_at_ns for gap in cut.lost), default=0),
        up_to=cut.spans[-1].last if cut.spans else 0,
        told=not cut.pending(settled.position),
    )


def standing_of(reader: QueueReader, targets: list[Waiting]) -> Standing:
    """Return where the targets stand that the queue is kept for; nothing is claimed."""
    settled = {each.target: each.settled for each in targets if each.holds_back}
    return Standing(settled, spans_of(reader.cut_offs()), 0)


def delivered_to_all(reader: QueueReader, targets: list[Waiting]) -> int:
    """Return the last sequence that every target has which the queue is kept for, 0 without any."""
    return standing_of(reader, targets).everybody


def count_waiting(reader: QueueReader, targets: list[Waiting], *, up_to: int) -> None:
    """Count what each target has not had up to a sequence. Reads the header of every such block."""
    cut = spans_of(reader.cut_offs())
    has = {
        each.target: merged([*own_spans(each.settled), *cut.get(each.target, ())])
        for each in targets
    }
    after = min((each.acknowledged for each in targets), default=0)
    for first, last, header in reader.headers(after=after):
        if first > up_to:
            return
        for each in targets:
            parts = _without(Span(first, min(last, up_to)), has[each.target])
            if not parts or (header and not (header.records or header.gaps)):
                continue
            if parts != [Span(first, last)]:
                for part in parts:
                    _count_part(reader, each, part)
            elif header:
                each.records += header.records
                each.samples += header.samples
                each.gaps += header.gaps
            if each.oldest_at_ns is None and header:
                each.oldest_at_ns = header.first_at_ns


def _without(block: Span, has: list[Span]) -> list[Span]:
    """Return what of a block is in none of the spans, which are ascending and apart."""
    left, at = [], block.first
    for span in has:
        if span.last < at or span.first > block.last:
            continue
        if span.first > at:
            left.append(Span(at, span.first - 1))
        at = span.last + 1
    return [*left, Span(at, block.last)] if at <= block.last else left


def _count_part(reader: QueueReader, target: Waiting, part: Span) -> None:
    """Count what a target has not had of a block of which it has another part."""
    for record in reader.read(after=part.first - 1, up_to=part.last, records_max=1):
        if isinstance(record, GapRecord):
            target.gaps += 1
        else:
            target.records += 1
            target.samples += len(record.values)
