"""The queue and the disk it shares: what it may take, and how it goes on when there is nothing."""

import os
from pathlib import Path

from common.log import get_log
from common.queue.bounds import Bounds
from common.queue.environment import DATA_FILE, free_bytes

RESERVE_SHARE = 0.05
"""Of the file system: the most that is left free, however large the configured reserve."""
BLOCKS_SHARE = 0.8
"""Of the file: blocks; the rest is for deletes, the catalog, and pages that wait to be used."""
CAPACITY_LEAST_BYTES = 16 * 1024**2
BALLAST_FILE = "ballast"
BALLAST_BYTES = 4 * 1024**2
"""Given up when the disk is full, so that there is room for the commits that make room."""

log = get_log(__name__)


def reserve_bytes_on(path: Path, bounds: Bounds) -> int:
    """Return what is to be left free on the file system of a path."""
    status = os.statvfs(path)
    disk_bytes = status.f_blocks * status.f_frsize
    return min(bounds.disk_reserve_bytes, int(disk_bytes * RESERVE_SHARE))


def capacity_on_disk(path: Path, bounds: Bounds) -> int:
    """Return what blocks may occupy: as configured, or what the disk can spare if that is less."""
    file_bytes = (path / DATA_FILE).stat().st_blocks * 512
    spare_bytes = file_bytes + free_bytes(path) - reserve_bytes_on(path, bounds)
    fitting = max(CAPACITY_LEAST_BYTES, int(spare_bytes * BLOCKS_SHARE))
    return min(fitting, bounds.capacity_bytes)


def keep_ballast(path: Path, bounds: Bounds) -> None:
    """Have the ballast in place whenever the disk can spare it."""
    ballast = path / BALLAST_FILE
    if ballast.exists() or free_bytes(path) < reserve_bytes_on(path, bounds) + BALLAST_BYTES:
        return
    try:
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
    except OSError:
        ballast.unlink(missing_ok=True)


def use_ballast_if_full(path: Path) -> None:
    """Give the ballast up when the disk has no room for the next commits."""
    ballast = path / BALLAST_FILE
    if ballast.exists() and free_bytes(path) < BALLAST_BYTES // 4:
        ballast.unlink()
        log.warning("the disk is full; the queue gives up its ballast to make room", file=ballast)
