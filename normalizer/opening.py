"""Before the loop: what the queue may hold, and a queue to hold it in."""

import contextlib
import time
from pathlib import Path

import msgspec

from common.configured import QUEUE_LIMITS_FILE
from common.errors import ConfigError, DiskFull, Finding
from common.health import write_health
from common.log import get_log
from common.plant import QueueConfig, read_queue_config
from common.process import Stopping, StopRequested
from common.queue import Bounds, QueueWriter, WhenFull

MIB = 1024**2
DAY_S = 24 * 3600.0
LOOK_INTERVAL_S = 1.0
"""Between looks at a disk that is full."""

log = get_log(__name__)


def load_bounds(config_dir: Path, data_dir: Path) -> Bounds:
    """Return the queue's limits from plant.toml, or the last good ones while it is wrong.

    Scans that were read must be committed whatever somebody is just editing. Raises ConfigError
    when there are no earlier limits either.
    """
    kept = data_dir / QUEUE_LIMITS_FILE
    findings: list[Finding] = []
    config = read_queue_config(config_dir, findings)
    if not findings:
        _keep(kept, config)
        return bounds_of(config)
    try:
        config = msgspec.json.decode(kept.read_bytes(), type=QueueConfig)
    except (OSError, msgspec.MsgspecError):
        raise ConfigError(findings) from None
    log.error("[queue] cannot be read; the limits of the last start apply", finding=findings[0])
    return bounds_of(config)


def _keep(path: Path, config: QueueConfig) -> None:
    """Note good limits for a start with a file that is wrong; a full disk is no reason to end."""
    fresh = path.with_name(path.name + ".new")
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.write_bytes(msgspec.json.encode(config))
        fresh.replace(path)


def bounds_of(config: QueueConfig) -> Bounds:
    """Return what the operator wrote as the queue takes it."""
    return Bounds(
        capacity_bytes=config.capacity_mib * MIB,
        disk_reserve_bytes=config.disk_reserve_mib * MIB,
        age_max_s=None if config.age_max_days is None else config.age_max_days * DAY_S,
        when_full=WhenFull(config.when_full),
        thin_fine_s=config.thin_fine_s,
        thin_coarse_s=config.thin_coarse_s,
    )


def open_queue(path: Path, bounds: Bounds, run_dir: Path, stopping: Stopping) -> QueueWriter:
    """Open the queue; on a full disk wait until there is room for a commit.

    The collectors keep what they read meanwhile. Ending the process instead would only have
    supervisord start it again, at longer and longer intervals.
    """
    told = False
    while True:
        try:
            return QueueWriter.create(path, bounds)
        except DiskFull as error:
            if not told:
                log.error("waiting for room on the disk", error=error)
                told = True
            write_health(run_dir, "normalizer", "waiting", {"error": str(error)})
        until_looks = 10
        for _ in range(until_looks):
            if stopping.requested:
                raise StopRequested
            time.sleep(LOOK_INTERVAL_S / until_looks)
