"""Goal: a queue that is full gives up what its policy says, and names every sample of it.

Method: a real normalizer and a real uplink, fed through the real handoff as fast as they take it,
with a queue of 16 MiB and a WAN that is away until that is full; both processes are killed and
stopped at random moments throughout, also while the backlog drains and more is being given up. In
the end every sample that was read has arrived or is named in a gap, each stretch of time for itself
(conservation.py).

The queue must be larger than what a target claims (8,192 scans): when nothing else is left, that
is given up as well, and a gap may then name what is just arriving.

Seen to bite: a gap that is not stored; one that is not booked; gaps that are joined and not added
up; a claim of nothing; the cursor moved at publish; a loss before the queue that is not counted;
scans acknowledged before the commit (in two runs of three).
"""

from pathlib import Path

import pytest

from common.queue import QueueReader
from tests.process.conservation import assert_each_arrived_or_is_named, ledger_at_rest
from tests.process.fed_gateway import FedGateway

pytestmark = pytest.mark.process

BEFORE, DURING, AFTER = 2_000, 44_000, 24_000
"""Scans fed before the outage, during it, and while its backlog drains. 16 MiB hold 39,000."""
SLOW_WINDOW = 5
"""Messages in flight while the backlog drains: more comes in than goes out, so more must go."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("when_full", "seed", "causes"),
    [
        ("drop-oldest", 1, {"queue-full"}),
        ("thin", 2, {"thinned", "queue-full"}),
        ("stop-reading", 3, {"outbox-full"}),
    ],
)
async def test_what_a_full_queue_gives_up_is_named_to_the_sample(
    tmp_path: Path, when_full: str, seed: int, causes: set[str]
) -> None:
    table = f'capacity_mib = 16\nwhen_full = "{when_full}"'
    patient = when_full != "stop-reading"
    async with FedGateway(tmp_path, queue=table, outbox_bytes=2 * 1024**2) as gateway:
        side = gateway.sides["uns"]
        await gateway.feed(BEFORE)
        await gateway.drained()
        side.swallow()
        await gateway.feed(BEFORE)
        await gateway.swallowed()
        side.wan.kill()
        async with gateway.harm(seed, between_s=(0.2, 0.8)):
            await gateway.feed(DURING, patient=patient)
        lost_during = lost_samples(gateway.data_dir)
        gateway.set_window(SLOW_WINDOW)
        side.wan.start()
        async with gateway.harm(seed, between_s=(0.2, 0.8), only="uplink"):
            await gateway.feed(AFTER, patient=patient)
        gateway.set_window(100)
        await gateway.drained()
        fed = gateway.fed()
        await gateway.all_heard(fed)
        await gateway.stop()

        assert sum(gateway.deaths.values()) >= 3
        assert_each_arrived_or_is_named(side, fed)
        assert set(side.missing_by_cause) <= causes
        named = side.missing_by_cause.total()
        assert named > 1_000, "it was full"
        if patient:
            counts = {sample for sample in fed if sample[0] == "Count"}
            assert counts <= set(side.samples.values()), "tags to keep are kept"
            assert named > lost_during, "more was given up while the backlog drained"
        total = ledger_at_rest(gateway.data_dir).total
        assert total.collected == len(fed)
        assert total.delivered == len(side.samples)
        assert {cause: loss.samples for cause, loss in total.lost.items()} == side.missing_by_cause


def lost_samples(data_dir: Path) -> int:
    """Return how many samples the ledger says are lost by now."""
    reader = QueueReader.open(data_dir / "queue")
    lost = reader.ledger().total.lost_samples
    reader.close()
    return lost
