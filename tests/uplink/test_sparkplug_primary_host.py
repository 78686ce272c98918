"""Goal: while the primary host is away nothing is published or lost, and a person sees why.

Method: the real uplink process and mosquitto, killed too; the host publishes STATE after it has
subscribed, as hosts do, so that everything published to it can be counted.
"""

from collections.abc import Callable

import pytest
from sparkplug_rig import Host, configure
from uplink_rig import Site, wait_until

from common.clock import now_ns
from demo.broker import MosquittoBroker

pytestmark = pytest.mark.process

SCADA = 'primary_host = "scada"'
RECORDS = 100
DAY_NS = 24 * 3_600_000_000_000


def error(site: Site) -> str:
    return site.detail.get("error") or ""


def test_it_waits_for_its_host_and_then_tells_the_past_as_history(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    """Seen to bite: births without waiting; the complaint only in the log."""
    last = site.fill(RECORDS, tags=2, read_at_ns=now_ns() - DAY_NS)
    configure(site, mosquitto.port, SCADA)
    host = listen(mosquitto.port)
    site.start()
    wait_until(lambda: "waiting for primary host scada" in error(site), "a person sees why")
    assert host.model.kinds == [], "nothing is published"
    host.state(online=True, host="another")
    host.state(online=True)
    wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered")

    wait_until(lambda: len(host.model.samples()) == 2 * RECORDS, "every sample is there")
    host.check()
    past = [each for each in host.model.told if each.value < RECORDS - 1]
    assert all(each.historical for each in past), "all but what is still the newest"
    assert host.model.bd_seqs == [0], "it waited on one connection"
    assert error(site) == ""


def test_a_host_that_goes_is_followed_by_a_death_and_a_new_session(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    """Seen to bite: data published on; a stale `offline` believed."""
    host = listen(mosquitto.port)
    host.state(online=True)
    last = site.fill(RECORDS, tags=2)
    configure(site, mosquitto.port, SCADA)
    site.start()
    wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered")
    host.state(online=False, at_ms=1_000)
    host.command("Node Control/Nonsense")
    wait_until(lambda: site.detail.get("notes"), "what came after it was read")
    assert host.model.alive, "an older word is no word"

    host.state(online=False)
    wait_until(lambda: not host.model.alive, "the node dies")
    site.fill(RECORDS, tags=2)
    last = site.fill(RECORDS, tags=2)
    wait_until(lambda: "its STATE says offline" in error(site), "a person sees why")
    kinds = list(host.model.kinds)
    host.state(online=True)
    wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered", 60)

    wait_until(lambda: len(host.model.samples()) == 6 * RECORDS, "every sample is there")
    host.check()
    assert {kind for kind, _ in kinds[-2:]} <= {"NDEATH", "DDATA"}, "nothing while it was away"
    assert host.model.bd_seqs == [0, 1]


def test_a_host_from_before_3_0_is_believed_where_that_is_said(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    host = listen(mosquitto.port)
    last = site.fill(3)
    configure(site, mosquitto.port, f"{SCADA}\nprimary_host_text = true")
    site.start()
    wait_until(lambda: "waiting for primary host scada" in error(site), "it waits")
    host.publish("STATE/scada", b"ONLINE", retain=True)
    wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered")
    host.publish("STATE/scada", b"OFFLINE", retain=True)
    wait_until(lambda: not host.model.alive, "the node dies")

    host.check()


def test_a_broker_killed_in_the_middle_costs_a_host_no_sample(
    site: Site, mosquitto: MosquittoBroker, listen: Callable[[int], Host]
) -> None:
    """Nothing is published to a host that has not come back yet: that is what its STATE is for.

    What mosquitto has read and not handed on when it is killed would be its own loss; so it is
    killed when the host has everything, and the cursor may not know it yet.
    """
    host = listen(mosquitto.port)
    host.state(online=True)
    site.fill(RECORDS, tags=2)
    configure(site, mosquitto.port, SCADA)
    site.start()
    wait_until(lambda: len(host.model.samples()) == 2 * RECORDS, "everything is there")
    mosquitto.kill()
    wait_until(lambda: site.detail.get("state") == "away", "the broker is away")
    last = site.fill(RECORDS, tags=2)
    mosquitto.start()
    wait_until(lambda: host.subscriptions == 2, "the host is back")
    host.state(online=True)
    wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered", 60)

    wait_until(lambda: len(host.model.samples()) == 4 * RECORDS, "every sample is there")
    host.check()
    assert host.model.bd_seqs[0] == 0
    assert host.model.bd_seqs[-1] > 0, "each CONNECT counts, also one that came too early"
