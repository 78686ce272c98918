"""Goal: whoever subscribes to the gateway's status reads what became of every sample, balanced.

Method: the real process drains a real queue to mosquitto; a late subscriber reads what is retained.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_broker import Published, ScriptedBroker, connack, take
from uplink_rig import EDGE, OPEN, Site, Subscriber, make_plan, wait_until

from common.clock import now_ns
from common.health import write_health
from common.records import Gap
from demo.broker import MosquittoBroker
from demo.pki import Pki

pytestmark = pytest.mark.process

RECORDS, TAGS = 50, 4
LOST_SCANS, LOST_SAMPLES = 3, 12


def fill(site: Site) -> int:
    """Have two devices collected, and something lost on the way into the queue."""
    gap = Gap("press", "process", "outbox-full", 1, now_ns(), LOST_SCANS, LOST_SAMPLES)
    site.fill(RECORDS, plan=make_plan(TAGS, "Meter", "meter"))
    return site.fill(RECORDS, TAGS, gaps=[gap])


def unexplained(account: dict[str, Any]) -> int:
    told = account["unchanged"] + account["delivered"] + account["queued"]
    return int(account["collected"] - told - sum(account.get("lost", {}).values()))


def test_the_retained_status_carries_a_ledger_that_balances(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port)
        last = fill(site)
        queue = {"autonomy_h": 720.0, "bytes": 9, "capacity_bytes": 99, "when_full": "drop-oldest"}
        write_health(site.run_dir, "normalizer", "running", {"queue": queue})
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        said = subscriber.on(f"{EDGE}/status")
        wait_until(lambda: len(subscriber.on(f"{EDGE}/status")) > len(said), "it is said again")
        late = subscribe(broker.port)
        wait_until(lambda: late.on(f"{EDGE}/status"), "the status is retained")
        site.stop()

    first, newest = said[0], late.on(f"{EDGE}/status")[0]
    assert first["ledger"]["queued"] == 2 * RECORDS * TAGS, "before anything was taken"
    assert (first["autonomy_h"], first["when_full"]) == (720.0, "drop-oldest")
    ledger = newest["ledger"]
    assert ledger["collected"] == 2 * RECORDS * TAGS + LOST_SAMPLES
    assert (ledger["queued"], ledger["delivered"]) == (0, 2 * RECORDS * TAGS)
    assert ledger["lost"] == {"outbox-full": LOST_SAMPLES}
    assert sorted(ledger["devices"]) == ["meter", "press"]
    assert "lost" not in ledger["devices"]["meter"]
    for status in (first, newest):
        told = status["ledger"]
        assert [unexplained(each) for each in (told, *told["devices"].values())] == [0, 0, 0]


def statuses(broker: ScriptedBroker) -> list[Published]:
    return [each for each in list(broker.messages) if each.topic == f"{EDGE}/status"]


@pytest.mark.parametrize(
    ("packet_bytes", "parts"),
    [
        (10_000, {"ledger", "devices"}),
        (600, {"ledger", "devices_omitted"}),
        (280, set()),
        (200, None),
    ],
)
def test_a_broker_that_takes_only_small_packets_is_told_less(
    site: Site, pki: Pki, packet_bytes: int, parts: set[str] | None
) -> None:
    """Above the limit that it announces it would hang up, over a status that can be shorter.

    Seen to bite: published unasked, the status was sent in full whatever the limit.
    """
    welcome = connack(MaximumPacketSize=packet_bytes)
    with ScriptedBroker(pki, take, welcome=lambda _: welcome) as broker:
        site.configure(broker.port)
        for device in range(5):
            last = site.fill(1, plan=make_plan(1, f"Machine_{device}", f"machine-{device}"))
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the data is settled")
        assert site.stop() == 0

    told = [each.payload for each in statuses(broker) if each.payload["online"]]
    if parts is None:
        assert told == [], "nothing is better than an outage"
        assert "packet too large" in site.log
    else:
        found = {"ledger", "devices", "devices_omitted"}
        assert found & (told[0].keys() | told[0].get("ledger", {}).keys()) == parts
