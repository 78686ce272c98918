"""Goal: a name server that is away or wrong is named as the cause, and its return is noticed.

Method: the real uplink with /etc/hosts and resolv.conf of its own, in a mount namespace; no name
server answers it. What this cannot show: a resolver that takes half a minute to fail.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from uplink_rig import OPEN, Site, Subscriber, wait_until

from demo.broker import MosquittoBroker
from demo.pki import Pki

pytestmark = pytest.mark.process

RECORDS, TAGS = 10, 20


def test_a_name_that_cannot_be_resolved_is_named_and_looked_up_again(
    site: Site,
    subscribe: Callable[..., Subscriber],
    own_names: tuple[Path, list[str]],
    pki: Pki,
    tmp_path: Path,
) -> None:
    hosts, in_front = own_names
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, host="uns.plant.example", server_name="127.0.0.1")
        last = site.fill(RECORDS, TAGS)
        site.start(in_front=in_front)
        wait_until(lambda: "cannot be resolved" in str(site.detail.get("error")), "it is named")
        assert site.detail["state"] == "away", "no person has to act: it may be an outage"

        with hosts.open("a") as file:
            file.write("127.0.0.1 uns.plant.example\n")

        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is taken")
        wait_until(lambda: len(set(subscriber.identities())) == RECORDS * TAGS, "and arrives")
        site.stop()
