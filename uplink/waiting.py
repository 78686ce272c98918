"""What an uplink waits for before it drains: settings that can be used, and a queue."""

import time
from contextlib import ExitStack
from pathlib import Path

from common.clock import monotonic_s
from common.errors import ConfigError, QueueUnusable
from common.log import get_log
from common.process import Stopping, StopRequested
from common.queue import Cursor, QueueReader
from uplink.config import load_target
from uplink.report import Report
from uplink.settings import TargetSettings

SETTINGS_READ_S = 10.0
"""Between two readings of it/cloud.toml while it does not name this target, or names it wrongly."""
SETTINGS_SLICE_S = 0.1
QUEUE_WAIT_S = 0.25

log = get_log(__name__)


def wait_for_settings(
    config_dir: Path, name: str, gateway: str, stopping: Stopping, report: Report
) -> TargetSettings:
    """Return the target's settings once it/ has usable ones. Raises StopRequested.

    A mistake of IT ends no process: the site collects on, unattended, until somebody corrects it.
    """
    told = ""
    while not stopping.requested:
        try:
            settings = load_target(config_dir, name, gateway)
        except ConfigError as error:
            report.process_state, report.state, report.error = "waiting", "refused", str(error)
        else:
            if settings is not None:
                report.process_state, report.state, report.error = "waiting", "away", None
                return settings
            report.process_state, report.state, report.error = "idle", "away", None
        found = report.error or "it/cloud.toml has no such target; idle"
        if found != told:
            told = found
            log.warning(
                "no usable settings", target=name, reason=found, next_look_s=SETTINGS_READ_S
            )
        _pause(SETTINGS_READ_S, stopping, report)
    raise StopRequested


def wait_for_queue(
    path: Path, target: str, stopping: Stopping, report: Report
) -> tuple[QueueReader, Cursor]:
    """Return the queue and the target's cursor in it, once the normalizer has made it fit.

    However long that takes: to create it, or to begin a new epoch where somebody put an old copy
    of it under a cursor that had come further. Raises StopRequested.
    """
    told = ""
    while not stopping.requested:
        try:
            return _open_queue(path, target)
        except QueueUnusable as error:
            report.error = str(error)
        if report.error != told:
            told = report.error
            log.info("waiting for the queue", reason=told)
        _pause(QUEUE_WAIT_S, stopping, report)
    raise StopRequested


def _open_queue(path: Path, target: str) -> tuple[QueueReader, Cursor]:
    with ExitStack() as opened:
        reader = QueueReader.open(path, target=target)
        opened.callback(reader.close)
        cursor = Cursor.open(path, target, epoch=reader.epoch)
        opened.callback(cursor.close)
        last = reader.last_sequence()
        if cursor.position > last:
            raise QueueUnusable(
                f"the queue at {path} ends at {last}, but {target} has had {cursor.position} from "
                "it: an older copy was put in its place; the normalizer begins a new epoch in it "
                "when it starts next (restart it if it runs), then everything in it is delivered"
            )
        opened.pop_all()
    return reader, cursor


def _pause(wait_s: float, stopping: Stopping, report: Report) -> None:
    until_s = monotonic_s() + wait_s
    report.write_when_due()
    while monotonic_s() < until_s and not stopping.requested:
        time.sleep(min(SETTINGS_SLICE_S, wait_s))
        report.write_when_due()
