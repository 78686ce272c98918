"""Goal: a backlog of 100,000 scans drains whole, once, and in the order of each lane.

Method: a real normalizer commits them, handed over by the real handoff, while the WAN is away;
then it comes back.

Seen to bite: the cursor moved at publish; the cursor moved further than was delivered; delivered
blocks not booked in the ledger.
"""

from pathlib import Path

import pytest

from common.queue import CursorWatch, QueueReader
from tests.process.conservation import assert_each_arrived_or_is_named, ledger_at_rest
from tests.process.fed_gateway import COLUMNS, FedGateway

pytestmark = pytest.mark.process

SCANS = 100_000


@pytest.mark.timeout(240)
@pytest.mark.parametrize("drain", ["ordered", "live-first"])
async def test_a_hundred_thousand_scans_of_backlog_arrive(tmp_path: Path, drain: str) -> None:
    level = COLUMNS[1:2]
    async with FedGateway(tmp_path, columns=level, drain=drain) as gateway:
        side = gateway.sides["uns"]
        await gateway.feed(100)
        await gateway.drained()
        side.swallow()
        await gateway.feed(100)
        await gateway.swallowed()
        side.wan.kill()
        await gateway.feed(SCANS)
        await gateway.until(lambda: gateway.outbox.depth == 0, 60, "all is committed")
        assert backlog(gateway.data_dir) >= SCANS
        side.wan.start()
        await gateway.drained()
        fed = gateway.fed()
        await gateway.all_heard(fed)
        await gateway.stop()

        assert_each_arrived_or_is_named(side, fed)
        assert side.gaps == {}
        assert ledger_at_rest(gateway.data_dir).total.delivered == len(fed) == SCANS + 200


def backlog(data_dir: Path) -> int:
    """Return how many sequences the target has not acknowledged."""
    reader = QueueReader.open(data_dir / "queue")
    watch = CursorWatch(data_dir / "queue", ["uns"])
    behind = reader.last_sequence() - watch.positions(reader.epoch)["uns"]
    watch.close()
    reader.close()
    return behind
