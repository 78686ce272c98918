"""Goal: what `tailrace explain` says of a whole gateway is what the broker has.

Method: the plant, broker and gateway of the fault tests, undisturbed; tags of S7 and OPC UA devices
explained by the real command, and held against what a subscriber was given.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from common.clock import monotonic_s
from tests.process.gateway_site import GatewaySite, wait_until

pytestmark = pytest.mark.process

HOUSE = Path(__file__).resolve().parents[2]
ASSETS = {"Press_Machine": "s7", "Robot": "opcua"}


def explained(site: GatewaySite, topic: str) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, "-m", "console", "explain", *site.options(), "--json", topic],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def settled(site: GatewaySite, topic: str) -> dict[str, Any]:
    """Return an explanation made when the newest sample was acknowledged, and the uplink told it.

    An uplink writes its health once a second.
    """
    deadline_s = monotonic_s() + 60
    while True:
        found = explained(site, topic)
        (target,) = found["targets"]
        if target["state"] == "acknowledged" and target["last_ack_age_s"] is not None:
            return found
        assert monotonic_s() < deadline_s, found["targets"]


@pytest.mark.timeout(240)
def test_the_message_that_is_shown_is_the_one_that_arrived(tmp_path: Path) -> None:
    with GatewaySite(tmp_path) as site:
        site.start_gateway()
        for asset, protocol in ASSETS.items():
            wait_until(lambda a=asset: any(a in t for _, t, _ in site.audit.arrived), 60, asset)  # type: ignore[misc] # bound at once
            topic = next(topic for _, topic, _ in site.audit.arrived if asset in topic)
            found = settled(site, topic)
            (message,) = found["messages"]
            payload = json.loads(message["payload"])
            wait_until(
                lambda p=payload: any(i == p["id"] for i, _, _ in site.audit.arrived),  # type: ignore[misc] # the same
                30,
                "the message arrived",
            )
            arrived = {(i, t): value for i, t, value in site.audit.arrived}

            assert arrived[payload["id"], topic] == payload["value"]
            assert found["protocol"] == protocol
            assert found["device_state"] == "good"
            assert found["live"]["asked"], found["live_note"]
            assert found["steps"][0]["what"] == "raw"
            assert found["filter"]["outcome"] in ("told", "unchanged", "held", "repeated")
