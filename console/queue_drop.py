"""`tailrace queue drop`: data given up on purpose, and booked as lost.

Only whole blocks go, from the oldest on, and none of which a target has had a part; in their place
stand gaps that every target is told of which has not had the data. The normalizer must be stopped:
the queue has one writer.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from common.block import BlockHeader
from common.errors import AlreadyRunning, TailraceError
from common.outbox import CAPACITY_BYTES
from common.places import Places
from common.plant import read_queue_config
from common.process import hold_role
from common.queue import Bounds, QueueReader, QueueWriter, WhenFull
from common.queue.cutoff import spans_of
from common.queue.standing import Standing
from console.notation import iso_time
from console.programs import supervisor_file
from console.queue_stat import LossShown, loss_shown
from console.queue_targets import Waiting, standing_of, targets_of
from console.tables import count, table

_MIB = 1024**2
_BLOCKS_PER_STEP = 256
"""Between two reports of progress."""


class NormalizerRuns(TailraceError):
    """The queue has its writer; the text says how to stop it."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """How far a person wants to drop: up to a sequence, or what is older than a time."""

    up_to: int | None = None
    before_ns: int | None = None


class Doomed(msgspec.Struct, kw_only=True):
    """What a drop would take, or has taken."""

    up_to: int = 0
    """The last sequence of the last whole block within the limit; 0: there is none."""
    cut_block_ends_at: int = 0
    """The last sequence of the block that the limit lies within, which stays; 0: none."""
    blocks: int = 0
    records: int = 0
    samples: int = 0
    damaged: int = 0
    """Blocks of which nobody knows what they held."""
    begun: list[str] = []
    """Targets that have had a part of a block, which therefore stays."""
    first_at_ns: int | None = None
    last_at_ns: int | None = None
    targets: list[Waiting] = []
    """Those that have not had all of it, and how much of it."""
    lost: dict[str, LossShown] = {}
    """What the ledger has booked, by cause; empty before anything is dropped."""

    @property
    def nothing(self) -> bool:
        """True when nothing that a target waits for would go."""
        return not self.records and not self.damaged

    def add(self, header: BlockHeader | None) -> None:
        """Count one block more."""
        self.blocks += 1
        if header is None:
            self.damaged += 1
            return
        self.records += header.records
        self.samples += header.samples
        if header.records:
            first_ns, last_ns = header.first_at_ns, header.last_at_ns
            self.first_at_ns = min(self.first_at_ns or first_ns, first_ns)
            self.last_at_ns = max(self.last_at_ns or last_ns, last_ns)


def preview(places: Places, limit: Limit) -> Doomed:
    """Return what would go; changes nothing, and works beside a normalizer."""
    reader = QueueReader.open(places.queue_dir)
    try:
        return _doomed(reader, targets_of(places, reader), limit)[0]
    finally:
        reader.close()


def drop(places: Places, limit: Limit, progress: Callable[[int, int], None]) -> Doomed:
    """Drop, and return what went; `progress` is told (blocks done, of all).

    Raises NormalizerRuns, QueueUnusable. Interrupted, it has dropped the older part, all booked.
    """
    QueueReader.open(places.queue_dir).close()  # So that no queue is created here.
    _refuse_as_another_user(places.queue_dir)
    try:
        hold_role(places.run_dir, "normalizer")
    except AlreadyRunning as error:
        raise NormalizerRuns(how_to_stop(places)) from error
    capacity_bytes = read_queue_config(places.config_dir, []).capacity_mib * _MIB
    # With this policy opening the queue gives up nothing by itself.
    bounds = Bounds(capacity_bytes=capacity_bytes, when_full=WhenFull.STOP_READING)
    queue = QueueWriter.create(places.queue_dir, bounds)
    try:
        return _drop(queue, targets_of(places, queue), limit, progress)
    finally:
        queue.close()


def _drop(
    queue: QueueWriter,
    targets: list[Waiting],
    limit: Limit,
    progress: Callable[[int, int], None],
) -> Doomed:
    doomed, ends = _doomed(queue, targets, limit)
    settled = {each.target: each.settled for each in targets if each.holds_back}
    queue.cursors = lambda: settled
    before = queue.ledger().total.lost
    for step in range(_BLOCKS_PER_STEP, len(ends) + _BLOCKS_PER_STEP, _BLOCKS_PER_STEP):
        done = min(step, len(ends))
        queue.drop(ends[done - 1])
        progress(done, len(ends))
    for cause, loss in queue.ledger().total.lost.items():
        if loss != before.get(cause):
            doomed.lost[cause] = loss_shown(loss)
            if cause in before:
                doomed.lost[cause].samples -= before[cause].samples
                doomed.lost[cause].scans -= before[cause].scans
                doomed.lost[cause].unknown -= before[cause].unknown
    return doomed


def _doomed(reader: QueueReader, targets: list[Waiting], limit: Limit) -> tuple[Doomed, list[int]]:
    """Return what is within the limit, and the last sequence of each of its blocks."""
    found = Doomed()
    ends: list[int] = []
    holding = [each for each in targets if each.holds_back]
    cut = spans_of(reader.cut_offs())
    standing = {each.target: Standing({each.target: each.settled}, cut, 0) for each in holding}
    everyone = standing_of(reader, targets)
    for first, last, header in reader.headers(after=everyone.everybody):
        if everyone.everyone_has(first, last):
            continue
        too_late = limit.before_ns is not None and header and header.last_at_ns >= limit.before_ns
        if too_late or (limit.up_to is not None and last > limit.up_to):
            if limit.up_to is not None and first <= limit.up_to:
                found.cut_block_ends_at = last
            break
        begun = [name for name, each in standing.items() if each.straddling(first, last)]
        if begun:  # QueueWriter.drop leaves it alone.
            found.begun += begun
            continue
        ends.append(last)
        found.add(header)
        for each in holding:
            if header and not standing[each.target].everyone_has(first, last):
                each.records += header.records
                each.samples += header.samples
    found.up_to = ends[-1] if ends else 0
    found.targets = [each for each in holding if each.samples]
    return found, ends


def _refuse_as_another_user(queue_dir: Path) -> None:
    owner = queue_dir.stat().st_uid
    if owner != os.geteuid():
        raise TailraceError(
            f"{queue_dir} belongs to user {owner}, this is user {os.geteuid()}: drop as the user "
            "that Tailrace runs as, or it finds files that it may not use"
        )


def supervisorctl(places: Places, verb: str) -> str:
    """Return the command that starts or stops the normalizer, to be pasted.

    It names the file because supervisorctl would read one of the current folder otherwise.
    """
    tool = "supervisorctl"
    if shutil.which(tool) is None:
        tool = str(Path(sys.executable).with_name(tool))
    line = shlex.join([tool, "-c", str(supervisor_file(places)), verb, "normalizer"])
    return f"TAILRACE_RUN={shlex.quote(str(places.run_dir))} {line}"


def how_to_stop(places: Places) -> str:
    """Return why a drop must wait, and what to type."""
    return (
        f"The normalizer runs on {places.run_dir}, and the queue has one writer. Stop it:\n"
        f"    {supervisorctl(places, 'stop')}\n"
        "drop again, and start it:\n"
        f"    {supervisorctl(places, 'start')}\n"
        f"Meanwhile each collector keeps up to {CAPACITY_BYTES // _MIB} MiB of what it reads, and "
        "hands it over afterwards; only what is older than that would be lost, as a gap."
    )


def doomed_text(doomed: Doomed, verb: str) -> list[str]:
    """Return the lines for people; `verb`: `Would drop`, `Dropped`."""
    span = ""
    if doomed.first_at_ns is not None and doomed.last_at_ns is not None:
        span = f", read from {iso_time(doomed.first_at_ns)} to {iso_time(doomed.last_at_ns)}"
    damaged = f" and {count(doomed.damaged)} damaged blocks" if doomed.damaged else ""
    what = f"{count(doomed.records)} records with {count(doomed.samples)} samples{damaged}"
    lines = [f"{verb} {what}, up to sequence {doomed.up_to}{span}."]
    if doomed.targets:
        rows = [(each.target, count(each.records), count(each.samples)) for each in doomed.targets]
        header = ("NOT DELIVERED TO", "RECORDS", "SAMPLES")
        lines += ["", *table(header, rows, [None] * len(rows))]
    return [*lines, *_begun(doomed)]


def _begun(doomed: Doomed) -> list[str]:
    """Return why a block stays that lies within the limit."""
    return [
        f"What {target} has had a part of stays: one block, which goes once it has had the rest."
        for target in doomed.begun
    ]


def nothing_text(doomed: Doomed) -> str:
    """Return why there is nothing to drop."""
    text = "Nothing to drop: no whole block lies within that and is still waiting for a target."
    if doomed.cut_block_ends_at:
        text += f" The next one goes with --up-to {doomed.cut_block_ends_at}."
    return " ".join([text, *_begun(doomed)])
