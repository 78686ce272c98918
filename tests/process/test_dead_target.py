"""Goal: a target that is dead for long costs the other one nothing, and its loss is told exactly.

Method: a real normalizer and two real uplinks with a broker each, fed through the real handoff; the
port of one broker answers nobody, while more is read than may wait for it. Processes are killed
throughout. Then its line is there, and it is told the rest: every sample has arrived there or is
named in a gap, each stretch of time for itself (conservation.py).

Seen to bite: no limit; a target that reads what it was cut off from as if nothing had been there.
"""

from pathlib import Path

import pytest

from common.health import read_health
from common.queue import QueueReader
from tests.process.conservation import assert_each_arrived_or_is_named, ledger_at_rest
from tests.process.fed_gateway import FedGateway

pytestmark = pytest.mark.process

SCANS, MORE = 48_000, 2_000
"""More than the queue holds, 39,000: without a limit it would be full and give some up."""
CAPACITY_MIB, LIMIT_MIB = 16, 5
"""The limit is some 12,000 scans; what the target claims, 8,192, always stays."""


@pytest.mark.timeout(240)
async def test_a_target_that_is_dead_for_long_is_cut_off_with_an_exact_gap(tmp_path: Path) -> None:
    limits = {"lake": f"backlog_max_mib = {LIMIT_MIB}"}
    queue = f"capacity_mib = {CAPACITY_MIB}"
    targets = ("uns", "lake")
    async with FedGateway(tmp_path, queue=queue, targets=targets, limits=limits) as gateway:
        uns, lake = gateway.sides["uns"], gateway.sides["lake"]
        lake.wan.kill()
        async with gateway.harm(5, between_s=(0.5, 1.5)):
            await gateway.feed(SCANS)
        fed = gateway.fed()
        await gateway.until(lambda: len(uns.samples) == len(fed), 90, "the other gets everything")
        assert held_bytes(gateway.data_dir) <= CAPACITY_MIB * 1024**2
        assert not uns.gaps, "and is told of no gap"
        told = read_health(gateway.run_dir)["normalizer"].detail["queue"]["cut_off"]
        assert told["lake"]["samples"] > 1_000

        lake.wan.start()
        await gateway.feed(MORE)
        await gateway.drained()
        fed = gateway.fed()
        await gateway.all_heard(fed)
        await gateway.stop()

        assert_each_arrived_or_is_named(lake, fed)
        assert_each_arrived_or_is_named(uns, fed)
        assert set(lake.missing_by_cause) == {"target-cut-off"}
        assert not uns.gaps
        total = ledger_at_rest(gateway.data_dir).total
        assert total.collected == total.delivered == len(fed), "for the queue nothing is lost"
        assert not total.lost


def held_bytes(data_dir: Path) -> int:
    """Return what the queue's blocks occupy."""
    reader = QueueReader.open(data_dir / "queue")
    held = reader.summary().bytes
    reader.close()
    return held
