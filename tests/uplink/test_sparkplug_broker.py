"""Goal: what is written to the broker is what Sparkplug demands, and QoS 0 costs no sample.

Method: the real uplink process; a scripted broker that keeps every packet and cuts the connection
where the story wants it, with a reset, as the death of a broker does. What it acknowledged is what
counts: everything that the cursor covers must have been read before an acknowledgement.
"""

import random

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from sparkplug_rig import NODE, Read, SparkplugBroker, configure, tahu
from uplink_rig import EDGE, Site, make_plan, wait_until

from demo.pki import Pki

pytestmark = pytest.mark.process

RECORDS, TAGS = 300, 20
BARRIER = f"{EDGE}/barrier"


class Connect:
    """A CONNECT, taken apart (OASIS MQTT 5.0, 3.1)."""

    def __init__(self, body: bytes) -> None:
        assert body[:7] == b"\x00\x04MQTT\x05"
        self.flags = body[7]
        properties = Properties(PacketTypes.CONNECT)
        _, size = properties.unpack(body[10:])
        self.session_expiry_s = getattr(properties, "SessionExpiryInterval", 0)
        at = 10 + size
        at += 2 + int.from_bytes(body[at : at + 2], "big")
        will = Properties(PacketTypes.WILLMESSAGE)
        _, size = will.unpack(body[at:])
        at += size
        length = int.from_bytes(body[at : at + 2], "big")
        self.will_topic = body[at + 2 : at + 2 + length].decode()
        at += 2 + length
        length = int.from_bytes(body[at : at + 2], "big")
        self.will = tahu.Payload.FromString(body[at + 2 : at + 2 + length])


def samples_in(reads: list[Read], upto: int) -> set[tuple[int, float]]:
    """(alias, value) of all data among the first so many messages."""
    found = set()
    for each in reads[:upto]:
        if "/DDATA/" in each.topic:
            for metric in tahu.Payload.FromString(each.content).metrics:
                found.add((metric.alias, metric.double_value))
    return found


EVERY = {(128 + tag, float(tag + record)) for tag in range(TAGS) for record in range(RECORDS)}


def test_the_session_is_opened_and_closed_as_the_specification_says(site: Site, pki: Pki) -> None:
    """Seen to bite: a will with seq; NCMD subscribed at QoS 0; DISCONNECT with reason 0."""
    last = site.fill(3)
    with SparkplugBroker(pki) as broker:
        configure(site, broker.port)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered")
        site.stop()
        connect = Connect(broker.connects[0])

    assert connect.flags & 0b0000_0010, "clean start"
    assert connect.session_expiry_s == 0
    assert connect.flags & 0b0000_0100, "a will"
    assert connect.flags >> 3 & 3 == 1, "at QoS 1"
    assert not connect.flags & 0b0010_0000, "not retained"
    assert connect.will_topic == NODE.format(kind="NDEATH")
    assert not connect.will.HasField("seq")
    assert [(m.name, m.long_value) for m in connect.will.metrics] == [("bdSeq", 0)]
    ncmd = NODE.format(kind="NCMD").encode()
    assert broker.subscribed == [b"\x00\x01\x00" + len(ncmd).to_bytes(2, "big") + ncmd + b"\x01"], (
        "NCMD at QoS 1 and nothing else"
    )
    (model,) = broker.models()
    assert model.kinds[0] == ("NBIRTH", "")
    assert model.kinds[-1] == ("NDEATH", "")
    assert model.deaths == model.bd_seqs == [0]
    assert broker.farewells == [b"\x04"], "disconnect with will message"


@pytest.mark.parametrize("seed", range(4))
def test_a_broker_that_dies_again_and_again_costs_no_sample(
    site: Site, pki: Pki, seed: int
) -> None:
    """Seen to bite: data counted as delivered when it is sent; a barrier that answers for more."""
    chance = random.Random(seed)
    lives = [chance.randint(1, 40) for _ in range(6)]

    def cut(broker: SparkplugBroker, read: Read) -> bool:
        if read.connection > len(lives):
            return False
        seen = sum(each.connection == read.connection for each in broker.read)
        return seen >= lives[read.connection - 1]

    last = site.fill(RECORDS, tags=TAGS)
    with SparkplugBroker(pki, cut) as broker:
        configure(site, broker.port, "barrier_messages = 3")
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered", 60)
        site.stop()
        models = broker.models()

    assert samples_in(broker.read, broker.acknowledged[-1]) == EVERY
    assert [model.bd_seqs[:1] for model in models if model.bd_seqs] == [
        [number] for number, model in enumerate(models) if model.bd_seqs
    ], "one more with every CONNECT"
    assert models[-1].deaths == [len(models) - 1]


def test_the_cursor_never_stands_before_an_acknowledgement(site: Site, pki: Pki) -> None:
    """Killed where the broker read everything and acknowledged nothing: all comes again."""
    site.fill(RECORDS, tags=TAGS)
    with SparkplugBroker(pki, lambda _broker, read: read.topic == BARRIER) as broker:
        configure(site, broker.port, "edge_status = false")
        site.start()
        wait_until(lambda: len(broker.connects) >= 3, "it was cut twice")
        site.stop(9)

    assert site.position() == 0
    assert broker.acknowledged == []


def test_a_barrier_that_is_refused_says_what_to_allow(site: Site, pki: Pki) -> None:
    site.fill(3)
    with SparkplugBroker(pki, code=lambda topic: 0x87 if topic == BARRIER else 0) as broker:
        configure(site, broker.port, "edge_status = false")
        site.start()
        wait_until(lambda: site.detail.get("state") == "refused", "a person must act")
        error = site.detail["error"]
        site.stop()

    assert BARRIER in error
    assert "allow this client to publish there" in error
    assert site.position() == 0, "nothing counts as delivered"


def test_a_barrier_that_is_not_taken_for_now_is_raised_again(site: Site, pki: Pki) -> None:
    answers = iter([0x97, 0x80])
    last = site.fill(3)
    with SparkplugBroker(
        pki, code=lambda topic: next(answers, 0) if topic == BARRIER else 0
    ) as broker:
        configure(site, broker.port, "edge_status = false")
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered")
        site.stop()

    assert len(broker.connects) == 1, "on the same connection"


def test_a_birth_that_is_too_large_for_the_broker_says_what_to_do(site: Site, pki: Pki) -> None:
    site.fill(3, tags=200)
    with SparkplugBroker(pki, limits={"MaximumPacketSize": 2_000}) as broker:
        configure(site, broker.port)
        site.start()
        wait_until(lambda: site.detail.get("state") == "refused", "a person must act")
        error = site.detail["error"]
        site.stop()

    assert "the birth certificate on spBv1.0/Acme:SiteA/DBIRTH/" in error
    assert "allow larger packets" in error


def test_a_broker_that_takes_one_message_at_a_time_gets_all_the_same(site: Site, pki: Pki) -> None:
    """Receive Maximum counts QoS 1 alone: one barrier is on its way, the data goes on."""
    last = site.fill(RECORDS, tags=TAGS)
    with SparkplugBroker(pki, limits={"ReceiveMaximum": 1}) as broker:
        configure(site, broker.port, "barrier_messages = 2")
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered")
        site.stop()
        broker.models()

    assert samples_in(broker.read, len(broker.read)) == EVERY


def test_a_new_birth_that_is_too_large_leaves_its_data_waiting(site: Site, pki: Pki) -> None:
    """Seen to bite: TargetRefused raised by `publish` (the record was then never settled)."""
    first = site.fill(3, tags=2)
    limits = {"MaximumPacketSize": 2_000}
    with SparkplugBroker(pki, limits=limits) as broker:
        configure(site, broker.port)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == first, "it is delivered")
        last = site.fill(1, plan=make_plan(50, "Oven", "oven"))
        wait_until(lambda: site.detail.get("state") == "refused", "a person must act")
        refused_at = site.detail["acked_sequence"]
        limits.clear()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it is delivered", 60)
        site.stop()
        models = broker.models()

    assert refused_at == first
    assert models[-1].values("Tag_49", "Oven") == [49.0]
