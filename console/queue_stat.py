"""`tailrace queue stat`: what the queue holds and for whom, how long it lasts, what was lost."""

from pathlib import Path

import msgspec

from common.clock import now_ns
from common.health import STALE_S, read_health
from common.places import Places
from common.plant import read_queue_config
from common.queue import Account, QueueReader
from common.queue.ledger import Loss
from common.queue.quarantine import quarantine_dir
from console.accounts import NormalizerAccount, QueueAccount, account
from console.notation import iso_time
from console.queue_targets import Waiting, count_waiting, delivered_to_all, targets_of
from console.tables import count, size, span, table

_MIB = 1024**2


class LossShown(msgspec.Struct, kw_only=True):
    """What one cause has cost."""

    samples: int
    scans: int
    unknown: int
    """Losses of this cause whose size nobody knows."""


class AccountShown(msgspec.Struct, kw_only=True):
    """What became of the samples of one device: collected is the sum of what follows."""

    collected: int
    unchanged: int
    delivered: int
    queued: int
    lost: dict[str, LossShown]
    unexplained: int
    """0, or the ledger or the queue is damaged."""

    @property
    def lost_samples(self) -> int:
        """Samples known to be lost, whatever the cause."""
        return sum(loss.samples for loss in self.lost.values())


class QueueStat(msgspec.Struct, kw_only=True):
    """One look at the queue, as `--json` prints it."""

    path: str
    epoch: int
    first_sequence: int
    """0 while the queue is empty."""
    last_sequence: int
    blocks: int
    bytes: int
    capacity_bytes: int
    oldest_at_ns: int | None
    newest_at_ns: int | None
    when_full: str
    autonomy_h: float | None
    """Hours until it is full if nobody drains it; None while nothing comes in."""
    normalizer_runs: bool
    targets: list[Waiting]
    devices: dict[str, AccountShown]
    total: AccountShown
    quarantined: list[str]
    """Files of damaged blocks."""
    moved_aside: list[str]
    """Environments that could not be read, each replaced by a fresh one."""


def stat(places: Places) -> QueueStat:
    """Return the queue's state. Raises QueueUnusable when there is none that can be read."""
    reader = QueueReader.open(places.queue_dir)
    try:
        return _stat(reader, places)
    finally:
        reader.close()


def _stat(reader: QueueReader, places: Places) -> QueueStat:
    summary = reader.summary()
    targets = targets_of(places, reader)
    ledger = reader.ledger(delivered_to_all(reader, targets))
    count_waiting(reader, targets, up_to=summary.last_sequence)
    live = _normalizer(places)
    config = read_queue_config(places.config_dir, [])
    return QueueStat(
        path=str(places.queue_dir),
        epoch=reader.epoch,
        first_sequence=summary.first_sequence,
        last_sequence=summary.last_sequence,
        blocks=summary.blocks,
        bytes=summary.bytes,
        capacity_bytes=live.capacity_bytes if live else config.capacity_mib * _MIB,
        oldest_at_ns=summary.oldest_at_ns or None,
        newest_at_ns=_newest_at_ns(reader, summary.last_sequence),
        when_full=(live and live.when_full) or config.when_full,
        autonomy_h=live.autonomy_h if live else None,
        normalizer_runs=live is not None,
        targets=targets,
        devices={name: shown(each) for name, each in sorted(ledger.devices.items())},
        total=shown(ledger.total),
        quarantined=[str(path) for path in _files(quarantine_dir(places.queue_dir), "*")],
        moved_aside=[
            str(path)
            for path in (
                *_files(places.data_dir, f"{places.queue_dir.name}.aside-*"),
                *_files(places.queue_dir, "cursors/*/aside-*"),
            )
        ],
    )


def _normalizer(places: Places) -> QueueAccount | None:
    """Return what a running normalizer says of its queue."""
    health = read_health(places.run_dir).get("normalizer")
    if health is None or now_ns() - health.at_ns > STALE_S * 1e9:
        return None
    return account(health, NormalizerAccount).queue


def _newest_at_ns(reader: QueueReader, last_sequence: int) -> int | None:
    for _, _, header in reader.headers(after=last_sequence - 1):
        if header:
            return header.last_at_ns
    return None


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def shown(account: Account) -> AccountShown:
    """Return an account with its columns by name."""
    return AccountShown(
        collected=account.collected,
        unchanged=account.unchanged,
        delivered=account.delivered,
        queued=account.queued,
        lost={cause: loss_shown(loss) for cause, loss in sorted(account.lost.items())},
        unexplained=account.unexplained,
    )


def loss_shown(loss: Loss) -> LossShown:
    """Return a loss with its columns by name."""
    return LossShown(samples=loss.samples, scans=loss.scans, unknown=loss.unknown)


def stat_text(found: QueueStat) -> list[str]:
    """Return the lines for people: the queue, targets, the ledger, losses, what was kept aside."""
    lines: list[str] = []
    for part in (_extent(found), _targets(found), _ledger(found), _losses(found), _aside(found)):
        if part:
            lines += ["", *part] if lines else part
    return lines


def _extent(found: QueueStat) -> list[str]:
    share = f" ({found.bytes / found.capacity_bytes:.1%})" if found.capacity_bytes else ""
    row = (
        count(found.first_sequence),
        count(found.last_sequence),
        _ago(found.oldest_at_ns),
        _ago(found.newest_at_ns),
        count(found.blocks),
        f"{size(found.bytes)} of {size(found.capacity_bytes)}{share}",
        found.when_full,
        span(found.autonomy_h * 3600) if found.autonomy_h is not None else "-",
    )
    header = (
        "FIRST", "LAST", "OLDEST", "NEWEST", "BLOCKS", "ON DISK", "WHEN FULL", "AUTONOMY",
    )  # fmt: skip
    note = None if found.normalizer_runs else "the normalizer does not run: nothing comes in"
    return table(header, [row], [note])


def _ago(at_ns: int | None) -> str:
    return "-" if at_ns is None else span(max(0.0, (now_ns() - at_ns) / 1e9))


def _targets(found: QueueStat) -> list[str]:
    rows = [
        (
            each.target,
            count(each.acknowledged),
            count(each.records),
            count(each.samples),
            count(each.gaps),
            _ago(each.oldest_at_ns),
        )
        for each in found.targets
    ]
    header = ("TARGET", "HAS UP TO", "RECORDS WAITING", "SAMPLES", "GAPS", "OLDEST")
    return table(header, rows, [_note(each) for each in found.targets]) if rows else []


def _note(target: Waiting) -> str | None:
    if not target.holds_back:
        return "no longer in it/cloud.toml: nothing is kept for it"
    cut = target.cut_off
    if cut is not None:
        lost = f"{count(cut.samples)} samples, read {iso_time(cut.first_at_ns)} to"
        told = "it was told so" if cut.told else "it will be told so"
        return (
            f"cut off {_ago(cut.at_ns)} ago, beyond its limit: it never gets {lost} "
            f"{iso_time(cut.last_at_ns)}; {told}"
        )
    return None if target.begun else "has not begun: its uplink has not run on this queue yet"


def _ledger(found: QueueStat) -> list[str]:
    accounts = {**found.devices, "total": found.total}
    rows = [
        (
            name or "unknown",
            count(each.collected),
            "=",
            count(each.unchanged),
            "+",
            count(each.delivered),
            "+",
            count(each.queued),
            "+",
            count(each.lost_samples),
        )
        for name, each in accounts.items()
    ]
    header = (
        "SAMPLES OF", "COLLECTED", "=", "UNCHANGED", "+", "DELIVERED", "+", "QUEUED", "+", "LOST",
    )  # fmt: skip
    return table(header, rows, [_balance(each) for each in accounts.values()])


def _balance(account: AccountShown) -> str | None:
    if not account.unexplained:
        return None
    return (
        f"does not balance: {account.unexplained:,} samples are in no column; "
        "see: tailrace queue verify"
    )


def _losses(found: QueueStat) -> list[str]:
    rows = [
        (name or "unknown", cause, count(loss.samples), count(loss.scans), count(loss.unknown))
        for name, each in found.devices.items()
        for cause, loss in each.lost.items()
    ]
    header = ("LOST OF", "CAUSE", "SAMPLES", "WHOLE SCANS", "OF UNKNOWN SIZE")
    return table(header, rows, [None] * len(rows)) if rows else []


def _aside(found: QueueStat) -> list[str]:
    lines = []
    if found.quarantined:
        folder = Path(found.quarantined[0]).parent
        lines.append(f"Damaged blocks: {len(found.quarantined)}, as they were found, in {folder}")
    lines += [f"Could not be read and was moved aside: {path}" for path in found.moved_aside]
    return lines
