"""python -m normalizer --config DIR --run DIR --data DIR."""

import argparse

from common.handoff import HandoffReceiver, handoff_address
from common.log import get_log
from common.places import Places
from common.process import Stopping, hold_role, main
from normalizer.opening import load_bounds, open_queue
from normalizer.service import NormalizerService
from normalizer.targets import Targets

log = get_log(__name__)


def run() -> None:
    """Wire the parts and run until told to stop."""
    places = Places.parse(argparse.ArgumentParser(prog="python -m normalizer", description=__doc__))
    stopping = Stopping()
    hold_role(places.run_dir, "normalizer")
    bounds = load_bounds(places.config_dir, places.data_dir)
    queue = open_queue(places.queue_dir, bounds, places.run_dir, stopping)
    receiver = HandoffReceiver(
        address=handoff_address(places.run_dir), committed=queue.positions, plans=queue.fingerprints
    )
    targets = Targets(places.config_dir, places.queue_dir)
    log.info("started", last_sequence=queue.last_sequence(), targets=",".join(targets.names))
    with receiver:
        NormalizerService(queue, receiver, targets, places.run_dir).run(stopping)
    queue.close()


if __name__ == "__main__":
    main("normalizer", run)
