"""`tailrace queue verify`: every block and the ledger, on a queue in use or at rest."""

import sys

import click

from common.queue import QueueReader
from common.queue.verifying import Verification, verify
from console.tables import count, table

STEPS = 200
"""Of the progress that is shown on a terminal."""


def verify_all(reader: QueueReader) -> Verification:
    """Check the queue, showing how far it is on a terminal. Raises QueueUnusable."""
    blocks = reader.summary().blocks
    step = max(1, blocks // STEPS)
    terminal = sys.stderr.isatty()

    def progress(checked: int) -> None:
        if terminal and checked % step == 0:
            click.echo(f"\r{checked:,} of {blocks:,} blocks checked", err=True, nl=False)

    found = verify(reader, progress)
    if terminal:
        click.echo("\r\033[K", err=True, nl=False)
    return found


def verify_text(found: Verification) -> list[str]:
    """Return the lines for people: what was checked, and all that is wrong."""
    checked = (
        f"{count(found.blocks)} blocks, {count(found.records)} records, "
        f"{count(found.samples)} samples, {count(found.gaps)} gaps"
    )
    if found.sound:
        return [f"{click.style('OK', fg='green')}  {checked}; the ledger balances to the sample"]
    lines = [f"{click.style('NOT SOUND', fg='red')}  {checked}"]
    if found.damaged:
        lines += ["", *_damaged(found)]
    if found.differences:
        lines += ["", *_differences(found)]
    return lines


def _damaged(found: Verification) -> list[str]:
    rows = [
        (count(each.first_sequence), count(each.last_sequence), each.reason)
        for each in found.damaged
    ]
    return [
        *table(("DAMAGED FROM", "TO", "REASON"), rows, [None] * len(rows)),
        "The disk returned other bytes than were written: look at it (smartctl, dmesg). Targets",
        "get a gap there; the normalizer moves such a block to quarantine/ when it comes to it.",
    ]


def _differences(found: Verification) -> list[str]:
    rows = [
        (
            each.group if each.group != "/" else "unknown",
            count(each.queued),
            count(each.found),
            f"{each.unexplained:,}",
        )
        for each in found.differences
    ]
    header = ("LEDGER OF", "SAYS QUEUED", "FOUND IN BLOCKS", "UNEXPLAINED")
    lines = table(header, rows, [None] * len(rows))
    if found.damaged:
        return [*lines, "A block whose header is damaged does not say what it held."]
    return [
        *lines,
        "Every block is whole, so the ledger itself is wrong: report it, this is a bug.",
    ]
