"""python -m normalizer --config DIR --run DIR --data DIR."""

import argparse

from common.config import target_names
from common.errors import ConfigError, Finding
from common.handoff import HandoffReceiver, handoff_address
from common.log import get_log
from common.places import Places
from common.process import Stopping, hold_role, main
from common.queue import CursorWatch, QueueWriter
from normalizer.service import NormalizerService

log = get_log(__name__)


def run() -> None:
    """Wire the parts and run until told to stop."""
    places = Places.parse(argparse.ArgumentParser(prog="python -m normalizer", description=__doc__))
    stopping = Stopping()
    hold_role(places.run_dir, "normalizer")
    findings: list[Finding] = []
    targets = target_names(places.config_dir, findings)
    if findings:
        raise ConfigError(findings)
    queue = QueueWriter.create(places.queue_dir)
    receiver = HandoffReceiver(
        address=handoff_address(places.run_dir), committed=queue.positions, plans=queue.plans
    )
    log.info(
        "started", epoch=queue.epoch, last_sequence=queue.last_sequence(), targets=len(targets)
    )
    with receiver:
        cursors = CursorWatch(places.queue_dir, targets)
        NormalizerService(queue, receiver, cursors, places.run_dir).run(stopping)
    queue.close()


if __name__ == "__main__":
    main("normalizer", run)
