"""Goal: what AWS IoT Core demands of a client is kept, and several connections serve as one.

Method: the target against a scripted broker that knows AWS's rules, and the real process over four
connections to mosquitto.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_broker import ScriptedBroker
from uplink_rig import (
    OPEN,
    ROOT,
    Dial,
    Site,
    Subscriber,
    nothing,
    payload_of,
    until_answered,
    until_it_ends,
    wait_until,
)

from common.clock import monotonic_s
from demo.broker import MosquittoBroker
from demo.pki import Pki
from uplink.config import load_target
from uplink.contract import Message, Verdict
from uplink.targets.mqtt_config import mqtt_config
from uplink.targets.mqtt_connection import MqttConnection
from uplink.targets.mqtt_shards import ShardedConnection, connect_all


def message(topic: str, number: int = 1) -> Message:
    return Message(topic, payload_of(number), retain=True)


def test_what_is_too_large_for_the_kind_of_broker_is_named_with_its_limit(
    dial: Dial, pki: Pki
) -> None:
    with ScriptedBroker(pki) as broker:
        connection = dial(broker.port, broker="aws").connect(nothing)
        large = message("t")._replace(payload=bytes(128 * 1024 + 1))
        found = connection.rejection(large)
        deep = connection.rejection(message("a/b/c/d/e/f/g/h/i"))
        fits = connection.rejection(message("$aws/rules/lake/a/b/c/d/e/f/g/h"))
        assert connection.payload_bytes_max == 128 * 1024
        connection.close()

    assert found == "payload too large: 131073 bytes, aws takes 131072"
    assert deep == "topic name invalid: 8 slashes, aws allows 7"
    assert fits is None


def test_what_is_too_large_to_be_kept_is_delivered_all_the_same(dial: Dial, pki: Pki) -> None:
    with ScriptedBroker(pki) as broker:
        connection = dial(broker.port, broker="azure").connect(nothing)
        padded = message("t")._replace(payload=payload_of(1) + b" " * 65_536)
        until_answered(connection, padded, message("t"))
        connection.close()

    assert [each.retain for each in broker.messages] == [False, True]


def test_the_pace_of_the_broker_shows_as_room_not_as_sleep(dial: Dial, pki: Pki) -> None:
    """Seen to bite: without the pace all 60 were in flight at once."""
    with ScriptedBroker(pki) as broker:
        target = dial(broker.port, broker="aws", publishes_max_per_s=50)
        connection = target.connect(nothing)
        began_s, sent, answered = monotonic_s(), 0, 0
        while answered < 60:
            while connection.room and sent < 60:
                connection.publish(message("t", sent))
                sent += 1
            before_s = monotonic_s()
            answered += len(connection.exchange(5.0))
            assert monotonic_s() - before_s < 4, "an exchange ends when there is room again"
        took_s = monotonic_s() - began_s
        connection.close()

    assert took_s > 55 / 50 * 0.9, "60 messages, 5 of them at once, at 50 a second"


def test_what_is_said_at_qos_0_counts_for_the_pace_as_well(dial: Dial, pki: Pki) -> None:
    """Sparkplug's data is. Seen to bite: without it the room stays."""
    with ScriptedBroker(pki) as broker:
        connection = dial(broker.port, publishes_max_per_s=20).connect(nothing)
        assert connection.room == 2, "a tenth of a second's"

        for _ in range(2):
            connection.say(message("t"))

        assert connection.room == 0
        assert connection.pause_s > 0
        connection.close()


def test_port_443_of_aws_is_asked_for_mqtt_by_alpn(site: Site) -> None:
    site.configure(443, broker="aws")
    settings = load_target(site.config_dir, "uns", "g1")
    assert settings is not None
    assert mqtt_config(settings).protocols == ("x-amzn-mqtt-ca",)
    site.configure(8883, broker="aws")
    other = load_target(site.config_dir, "uns", "g1")
    assert other is not None
    assert mqtt_config(other).protocols == ()


def sharded(dial: Dial, port: int, shards: int) -> ShardedConnection:
    """Open several connections as ShardedTarget does, with names of their own."""
    targets = [dial(port, client_id=f"c-{number}") for number in range(1, shards + 1)]
    connects: list[Callable[[Callable[[], None]], MqttConnection]] = [
        each.connect for each in targets
    ]
    return connect_all(connects, f"{ROOT}/_edge/g/status", nothing)


def test_a_topic_stays_with_one_connection_and_every_answer_finds_its_message(
    dial: Dial, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """Seen to bite: with tickets that did not name their shard answers were mistaken."""
    topics = [f"{ROOT}/T{number}" for number in range(10)]
    acl = f"user sitea-line1\ntopic write {ROOT}/#\nuser lake\ntopic read #\n"
    with MosquittoBroker(tmp_path / "broker", pki, acl=acl, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        connection = sharded(dial, broker.port, 4)
        count = 0
        for _ in range(5):
            batch = [message(topic, count + i) for i, topic in enumerate(topics)]
            batch.insert(5, message("Secret/A", 999))
            answers = until_answered(connection, *batch)
            verdicts = [each.verdict is Verdict.TAKEN for each in answers]
            assert verdicts == [True] * 5 + [False] + [True] * 5
            count += len(topics)
        wait_until(lambda: len(subscriber.payloads()) == count, "everything arrives")
        connection.close()

    for topic in topics:
        numbers = [int(each["id"].split(":")[2]) for each in subscriber.on(topic)]
        assert numbers == sorted(numbers), "in order on each topic"


def test_one_connection_lost_ends_them_all(dial: Dial, pki: Pki, tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        connection = sharded(dial, broker.port, 3)
        taker = dial(broker.port, client_id="c-2").connect(nothing)
        assert "closed the connection" in str(until_it_ends(connection))
        connection.close()
        taker.close()


@pytest.mark.process
def test_the_process_drains_over_several_connections(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, connections=4)
        last = site.fill(50, 20)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        wait_until(lambda: len(subscriber.payloads()) == 1_000, "everything arrives")
        assert site.stop() == 0
        log = broker.log_file.read_text()

    names = {f"tailrace-sitea-line1-uns-{number}" for number in range(1, 5)}
    assert all(f" as {name} " in log for name in names), "four clients, each of its own name"
    for index in range(20):
        sequences = [
            int(each["id"].split(":")[2])
            for each in subscriber.payloads()
            if each["id"].endswith(f":{index}")
        ]
        assert sequences == sorted(sequences)
