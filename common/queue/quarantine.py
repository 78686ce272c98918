"""Damaged blocks are kept beside the queue, for whoever wants to know what the disk did."""

import os
from pathlib import Path

from common.log import get_log
from common.queue.environment import sync_folder

FILES_MAX = 256
"""A disk that damages more than this has said enough."""

log = get_log(__name__)


def quarantine_dir(queue_path: Path) -> Path:
    """Return the folder of damaged blocks."""
    return queue_path / "quarantine"


def keep_damaged(queue_path: Path, first: int, last: int, block: bytes, reason: str) -> None:
    """Write a damaged block to a file of its own, durably, before it leaves the queue."""
    folder = quarantine_dir(queue_path)
    folder.mkdir(mode=0o700, exist_ok=True)
    if len(list(folder.iterdir())) >= FILES_MAX:
        log.error("block damaged and not kept: the quarantine is full", first_sequence=first)
        return
    kept = folder / f"{first}-{last}.block"
    with kept.open("wb") as file:
        file.write(block)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)
    log.error(
        "block damaged; it is kept aside and becomes a gap",
        first_sequence=first,
        last_sequence=last,
        kept_in=kept,
        error=reason,
    )
