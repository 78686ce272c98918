"""How far each target has come, and what of the queue it has not had yet."""

import msgspec

from common.config import target_names
from common.errors import Finding
from common.places import Places
from common.queue import CursorWatch, QueueReader
from common.records import GapRecord


class Waiting(msgspec.Struct, kw_only=True):
    """What one target has not acknowledged."""

    target: str
    acknowledged: int
    """The last sequence, with all before it."""
    holds_back: bool
    """False: it is no longer in it/cloud.toml, and nothing is kept for it."""
    begun: bool
    """False: it has no cursor yet."""
    records: int = 0
    samples: int = 0
    gaps: int = 0
    oldest_at_ns: int | None = None


def targets_of(places: Places, epoch: int) -> list[Waiting]:
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
    positions = watch.positions(epoch)
    watch.close()
    return [
        Waiting(
            target=name,
            acknowledged=positions[name],
            holds_back=name in configured,
            begun=name in begun,
        )
        for name in names
    ]


def delivered_to_all(targets: list[Waiting]) -> int:
    """Return the last sequence that every target has which the queue is kept for, 0 without any."""
    return min((each.acknowledged for each in targets if each.holds_back), default=0)


def count_waiting(reader: QueueReader, targets: list[Waiting], *, up_to: int) -> None:
    """Count what each target has not had up to a sequence. Reads the header of every such block."""
    after = min((each.acknowledged for each in targets), default=0)
    for first, last, header in reader.headers(after=after):
        if first > up_to:
            return
        for each in targets:
            if each.acknowledged >= last:
                continue
            if each.acknowledged >= first or up_to < last:
                _count_part(reader, each, first - 1, min(last, up_to))
            elif header:
                each.records += header.records
                each.samples += header.samples
                each.gaps += header.gaps
            if each.oldest_at_ns is None and header:
                each.oldest_at_ns = header.first_at_ns


def _count_part(reader: QueueReader, target: Waiting, before: int, up_to: int) -> None:
    """Count what is left of a block of which a target has the beginning."""
    after = max(target.acknowledged, before)
    for record in reader.read(after=after, up_to=up_to, records_max=1):
        if isinstance(record, GapRecord):
            target.gaps += 1
        else:
            target.records += 1
            target.samples += len(record.values)
