"""Goal: what the fault runs of every day show holds for hundreds of faults as well.

Method: those of tests/process/test_fault_runs.py and test_full_queue.py with more of everything:
mosquitto as the broker, a new seed with each run, two targets on the full queue, one of which is
never away. Figures are printed (`make soak` shows them).

    TAILRACE_SOAK_SIGNALS   kills and stops, 200 unless set
    TAILRACE_SOAK_S         seconds after which the faults end anyway, 3,600 unless set
    TAILRACE_SOAK_SEED      repeats the faults of a run
"""

import os
import time
from pathlib import Path

import pytest

from tests.process.conservation import (
    assert_all_arrived,
    assert_each_arrived_or_is_named,
    assert_ledger_balances,
    ledger_at_rest,
)
from tests.process.fault_schedule import Faults
from tests.process.fed_gateway import FedGateway
from tests.process.gateway_site import GatewaySite

pytestmark = pytest.mark.process

SIGNALS = int(os.environ.get("TAILRACE_SOAK_SIGNALS", "200"))
MOST_S = float(os.environ.get("TAILRACE_SOAK_S", "3600"))
SEED = int(os.environ.get("TAILRACE_SOAK_SEED", str(time.time_ns() % 10**9)))


@pytest.mark.timeout(MOST_S + 300)
def test_two_hundred_kills_and_stops_lose_nothing_and_the_ledger_balances(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with GatewaySite(tmp_path, "mosquitto", count_every_ms=25) as site:
        site.read_every(50)
        site.start_gateway()
        faults = Faults(site, SEED)
        faults.run(signals=SIGNALS, most_s=MOST_S)
        faults.settle(timeout_s=120)
        site.gateway.stop(60)
    audit = site.audit
    print(  # noqa: T201 - hours are long
        f"\nseed {SEED}: {faults.kills} kills, {faults.stops} stops, {faults.cuts} cuts of the WAN "
        f"in {time.monotonic() - began_s:.0f} s; {len(audit.committed):,} samples committed, "
        f"{len(audit.arrived):,} messages arrived, {len(audit.gaps)} gaps"
    )

    assert faults.signals >= SIGNALS or time.monotonic() - began_s > MOST_S
    assert_all_arrived(audit, disconnects=faults.disconnects)
    total = assert_ledger_balances(site)
    print(f"ledger: {total}")  # noqa: T201 - the same
    assert total.delivered == len(audit.committed)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("when_full", ["drop-oldest", "thin", "stop-reading"])
async def test_each_target_of_a_full_queue_is_told_what_it_does_not_get(
    tmp_path: Path, when_full: str
) -> None:
    """`lake` is away and then slow; `uns` gets what is dropped for the other's sake, or a gap."""
    table = f'capacity_mib = 32\nwhen_full = "{when_full}"'
    patient = when_full != "stop-reading"
    async with FedGateway(tmp_path, queue=table, targets=("uns", "lake")) as gateway:
        lake = gateway.sides["lake"]
        await gateway.feed(2_000)
        await gateway.drained()
        lake.swallow()
        await gateway.feed(2_000)
        await gateway.swallowed("lake")
        lake.wan.kill()
        async with gateway.harm(SEED, between_s=(0.1, 0.8)):
            await gateway.feed(100_000, patient=patient)
            gateway.set_window(5)
            lake.wan.start()
            await gateway.feed(60_000, patient=patient)
        gateway.set_window(100)
        await gateway.drained(timeout_s=300)
        fed = gateway.fed()
        await gateway.all_heard(fed, timeout_s=300)
        await gateway.stop()
        for side in gateway.sides.values():
            print(  # noqa: T201 - hours are long
                f"\nseed {SEED}, {when_full}, {side.name}: {len(fed):,} samples read, "
                f"{len(side.samples):,} arrived, {side.missing_by_cause} named in "
                f"{len(side.gaps)} gaps, {side.messages - len(side.samples):,} repeats; "
                f"killed: {gateway.deaths}"
            )

        assert lake.missing_by_cause.total() > 1_000, "it was full"
        for side in gateway.sides.values():
            assert_each_arrived_or_is_named(side, fed)
        for target in gateway.sides:
            assert ledger_at_rest(gateway.data_dir, target).total.collected == len(fed)
