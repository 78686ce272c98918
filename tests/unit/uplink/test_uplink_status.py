"""Goal: the retained status says what became of every sample, balanced, and never too much.

Method: ledgers and health files as the queue and the normalizer leave them; the encoded message.
That it arrives retained, from a real queue, is shown in tests/uplink/test_uplink_ledger.py.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from common.clock import now_ns
from common.health import STALE_S, Health, write_health
from common.queue.ledger import QUEUE_FULL, QUEUE_NEW, THINNED, Account, Ledger, Loss
from uplink.status import (
    DEVICES_MAX,
    NO_DEVICE,
    GatewayFacts,
    gateway_facts,
    online_messages,
    online_status,
)

EDGE = "Acme/SiteA/_edge/sitea-line1"
PRESS = Account(
    collected=100,
    unchanged=20,
    entered=70,
    delivered=30,
    queued=15,
    lost={QUEUE_FULL: Loss(scans=5, samples=25), THINNED: Loss(samples=10)},
)
METER = Account(collected=7, entered=7, delivered=7)


def forms(ledger: Ledger, facts: GatewayFacts | None = None) -> list[dict[str, Any]]:
    """Return every form of the status, decoded, the longest first."""
    said = online_status("uns", "live", queue_depth=3, acked_sequence=9, set_aside=1)
    messages = list(online_messages(EDGE, said, ledger, facts or GatewayFacts()))
    assert {(each.topic, each.retain) for each in messages} == {(f"{EDGE}/status", True)}
    sizes = [len(each.payload) for each in messages]
    assert sizes == sorted(sizes, reverse=True), "each form is shorter than the one before"
    return [json.loads(each.payload) for each in messages]


def unexplained(account: dict[str, Any]) -> int:
    """What the equation of the docstring leaves over."""
    told = account["unchanged"] + account["delivered"] + account["queued"]
    return int(account["collected"] - told - sum(account.get("lost", {}).values()))


def test_the_ledger_is_told_in_total_and_by_device_and_balances() -> None:
    groups = {"press/fast": PRESS, "press/slow": METER, "meter/all": METER}

    ledger = forms(Ledger(groups))[0]["ledger"]

    assert ledger["devices"]["meter"] == {
        "collected": 7,
        "unchanged": 0,
        "delivered": 7,
        "queued": 0,
    }, "what is not lost is not mentioned"
    assert ledger["devices"]["press"]["collected"] == 107, "both groups of it"
    assert ledger["devices"]["press"]["lost"] == {QUEUE_FULL: 25, THINNED: 10}
    assert ledger["collected"] == 114
    assert "unknown_losses" not in ledger
    assert "devices_omitted" not in ledger
    assert [unexplained(each) for each in (ledger, *ledger["devices"].values())] == [0, 0, 0]


def test_losses_of_unknown_size_are_counted_and_in_no_sum() -> None:
    lost = {QUEUE_NEW: Loss(unknown=2), QUEUE_FULL: Loss(scans=1, samples=3, unknown=1)}
    groups = {"/": Account(collected=3, lost=lost), "meter/all": METER}

    ledger = forms(Ledger(groups))[0]["ledger"]

    assert ledger["unknown_losses"] == 3
    assert ledger["lost"] == {QUEUE_FULL: 3}
    assert ledger["devices"][NO_DEVICE]["unknown_losses"] == 3
    assert unexplained(ledger) == 0


def test_of_very_many_devices_the_rest_is_counted() -> None:
    groups = {f"device-{n:03}/all": METER for n in range(DEVICES_MAX + 5)}

    long, short, shortest = forms(Ledger(groups))

    assert (len(long["ledger"]["devices"]), long["ledger"]["devices_omitted"]) == (DEVICES_MAX, 5)
    assert short["ledger"]["devices_omitted"] == DEVICES_MAX + 5
    assert "devices" not in short["ledger"]
    assert short["ledger"]["collected"] == long["ledger"]["collected"] == 7 * (DEVICES_MAX + 5)
    assert "ledger" not in shortest
    assert shortest["acked_sequence"] == 9


def test_the_queue_is_told_as_the_normalizer_sees_it(tmp_path: Path) -> None:
    told = {"autonomy_h": 712.5, "bytes": 80, "capacity_bytes": 900, "when_full": "thin"}
    write_health(tmp_path, "normalizer", "running", {"queue": {**told, "depth": 3}})

    status = forms(Ledger({}), gateway_facts(tmp_path))[-1]

    assert (status["autonomy_h"], status["when_full"]) == (712.5, "thin")
    assert (status["queue_bytes"], status["capacity_bytes"]) == (80, 900)


def test_a_target_that_was_cut_off_is_told_how_much_it_never_gets(tmp_path: Path) -> None:
    cut_off = {"uns": {"at_ns": 5, "samples": 70}, "lake": {"at_ns": 6, "samples": 9}}
    write_health(tmp_path, "normalizer", "running", {"queue": {"cut_off": cut_off}})

    status = forms(Ledger({}), gateway_facts(tmp_path))[-1]

    assert status["cut_off_samples"] == 70, "its own, and no other's"
    assert "cut_off_samples" not in forms(Ledger({}))[-1]


def test_the_gateways_clock_is_told_as_the_normalizer_sees_it(tmp_path: Path) -> None:
    write_health(tmp_path, "normalizer", "running", {"clock": "unsynchronised"})

    status = forms(Ledger({}), gateway_facts(tmp_path))[-1]

    assert status["clock"] == "unsynchronised"


def silent(_run_dir: Path) -> None:
    """It has not begun."""


def stale(run_dir: Path) -> None:
    """It spoke, and then no more."""
    write_health(run_dir, "normalizer", "running", {"queue": {"autonomy_h": 1.0}})
    path = run_dir / "health" / "normalizer.json"
    health = msgspec.json.decode(path.read_bytes(), type=Health)
    health.at_ns = now_ns() - int((STALE_S + 1) * 1e9)
    path.write_bytes(msgspec.json.encode(health))


def waiting(run_dir: Path) -> None:
    """It has no queue open."""
    write_health(run_dir, "normalizer", "waiting", {"error": "the disk is full"})


def foreign(run_dir: Path) -> None:
    """It speaks another version's language."""
    write_health(run_dir, "normalizer", "running", {"queue": {"autonomy_h": "weeks"}})


@pytest.mark.parametrize("normalizer", [silent, stale, waiting, foreign])
def test_what_the_normalizer_does_not_say_is_left_out(tmp_path: Path, normalizer: Any) -> None:
    normalizer(tmp_path)

    status = forms(Ledger({}), gateway_facts(tmp_path))[0]

    assert not {"autonomy_h", "queue_bytes", "capacity_bytes", "when_full"} & status.keys()
    assert status["ledger"]["collected"] == 0


def test_an_autonomy_that_is_not_known_is_left_out_alone(tmp_path: Path) -> None:
    told = {"autonomy_h": None, "bytes": 80, "capacity_bytes": 900, "when_full": "drop-oldest"}
    write_health(tmp_path, "normalizer", "running", {"queue": told})

    status = forms(Ledger({}), gateway_facts(tmp_path))[0]

    assert "autonomy_h" not in status
    assert status["queue_bytes"] == 80


def test_the_clocks_of_devices_that_can_be_asked_are_told(tmp_path: Path) -> None:
    """Seen to bite: with the offsets left out of GatewayFacts."""
    robot, press = {"clock_offset_s": -0.25, "state": "good"}, {"state": "away"}
    write_health(tmp_path, "collector-opcua", "running", {"devices": {"robot": robot}})
    write_health(tmp_path, "collector-s7", "running", {"devices": {"press": press}})

    first, *shorter = forms(Ledger({}), gateway_facts(tmp_path))

    assert first["clock_offsets_s"] == {"robot": -0.25}
    assert not any("clock_offsets_s" in each for each in shorter)


def test_a_collector_of_another_version_is_not_understood_and_harms_nothing(
    tmp_path: Path,
) -> None:
    write_health(tmp_path, "normalizer", "running", {"queue": {"bytes": 80}})
    write_health(tmp_path, "collector-s7", "running", {"devices": ["press"]})

    status = forms(Ledger({}), gateway_facts(tmp_path))[0]

    assert status["queue_bytes"] == 80
    assert "clock_offsets_s" not in status
