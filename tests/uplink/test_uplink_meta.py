"""Goal: who comes late finds what each tag is, and data never waits for it.

Method: the real uplink and mosquitto, which keeps what is retained, or forbids it.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_broker import Published, ScriptedBroker, disconnect, puback
from uplink_rig import EDGE, OPEN, ROOT, Site, Subscriber, make_plan, wait_until

from demo.broker import MosquittoBroker
from demo.pki import Pki

pytestmark = pytest.mark.process

TAGS = 60
RECORDS = 30
BRANCH = f"{ROOT}/Press_Machine/_meta/"


def told(subscriber: Subscriber) -> set[str]:
    return {topic for topic, _, _ in list(subscriber.messages) if topic.startswith(BRANCH)}


def test_who_comes_late_finds_what_every_tag_is(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        early = subscribe(broker.port)
        site.configure(broker.port, meta="tags")
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the data is there")
        wait_until(lambda: len(told(early)) == TAGS, "what is known of every tag, too")
        late = subscribe(broker.port)
        wait_until(lambda: len(told(late)) == TAGS, "it is retained")
        assert site.stop() == 0

    plan = make_plan(TAGS)
    first = late.on(f"{BRANCH}Tag_0")[0]
    assert (first["type"], first["device"], first["group"]) == ("float64", "press", "process")
    assert (first["index"], first["plan"]) == (0, plan.fingerprint.hex())
    assert "address" not in first, "OT has not allowed it"
    order = [topic for topic, _, _ in early.messages if "/_edge/" not in topic]
    begun = next(number for number, topic in enumerate(order) if topic.startswith(BRANCH))
    assert begun >= TAGS, "current values come first"


def test_ot_may_let_its_addresses_be_told(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    plant = site.config_dir / "ot" / "plant.toml"
    plant.write_text(plant.read_text() + "publish_addresses = true\n")
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, meta="tags")
        site.fill(1, 2)
        site.start()
        wait_until(lambda: len(told(subscriber)) == 2, "what is known of both tags")
        assert site.stop() == 0

    assert subscriber.on(f"{BRANCH}Tag_1")[0]["address"] == "DB1.DBD4"


def test_a_broker_that_forbids_the_branch_costs_nothing_but_a_line(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    acl = (
        f"user sitea-line1\ntopic write {ROOT}/Press_Machine/+\n"
        f"topic write {EDGE}/#\nuser lake\ntopic read #\n"
    )
    with MosquittoBroker(tmp_path / "broker", pki, acl=acl, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, meta="tags")
        site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: "was refused" in site.log, "it is told")
        last = site.fill(1, TAGS)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the data goes on")
        wait_until(
            lambda: len(subscriber.payloads()) == (RECORDS + 1) * TAGS, "every sample arrived"
        )
        assert site.detail["state"] == "online"
        assert site.stop() == 0

    assert told(subscriber) == set()
    assert site.log.count("was refused") == 1
    assert site.detail["set_aside"] == 0, "it is nobody's record"


def test_a_broker_that_hangs_up_on_the_branch_does_not_do_so_for_ever(site: Site, pki: Pki) -> None:
    """Packet too large as DISCONNECT: what was in flight of ours is not sent again.

    Seen to bite: told again on each connection, it cost one every two seconds.
    """

    def answers(message: Published) -> list[bytes]:
        if message.topic.startswith(BRANCH):
            return [disconnect(0x95)]
        return [puback(message.packet_id)]

    with ScriptedBroker(pki, answers) as broker:
        site.configure(broker.port, meta="tags")
        site.fill(RECORDS, 3)
        site.start()
        wait_until(lambda: "was refused" in site.log, "it is told")
        last = site.fill(1, 3)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "the data goes on")
        wait_until(lambda: {each.topic for each in broker.messages} >= tried(3), "each was tried")
        wait_until(lambda: site.detail["state"] == "online", "and then there is peace")
        connections = len(broker.connects)
        assert site.stop() == 0

    meta = [each.topic for each in broker.messages if each.topic.startswith(BRANCH)]
    assert len(meta) <= 2 * 3, "never again and again"
    assert connections <= 1 + 3
    assert site.detail["set_aside"] == 0, "no record is blamed"


def tried(tags: int) -> set[str]:
    return {f"{BRANCH}Tag_{number}" for number in range(tags)}
