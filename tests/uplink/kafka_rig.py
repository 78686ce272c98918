"""What the tests of the Kafka target share: a cluster, and a consumer that reads all of a topic."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
from confluent_kafka import Consumer, TopicPartition
from mock_cluster import BROKERS
from uplink_rig import EDGE, GATEWAY, Site, identifier

from common.clock import monotonic_s
from uplink.settings import TargetSettings, resolved_settings
from uplink.targets.kafka import KafkaTarget
from uplink.targets.kafka_config import KafkaConfig
from uplink.targets.kafka_connection import KafkaConnection

TOPIC = "acme.sitea"
READ_S = 30.0
NOT_LEADER, REQUEST_TIMED_OUT, MSG_SIZE_TOO_LARGE = 6, 7, 10
NOT_ENOUGH_REPLICAS, TOPIC_AUTHORIZATION_FAILED = 19, 29
OUT_OF_ORDER_SEQUENCE, INVALID_RECORD = 45, 87
"""Error codes of the protocol (kafka.apache.org/protocol, "Error Codes")."""


class MockCluster:
    """librdkafka's mock cluster, in a process of its own."""

    def __init__(self, brokers: int = BROKERS) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("mock_cluster.py")), str(brokers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.servers = self._answer().split(",")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    def tell(self, *command: object) -> None:
        """Have the cluster do one thing, and wait until it has."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        assert self._answer() == "0", command

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Kept(NamedTuple):
    """One message as a consumer gets it."""

    partition: int
    key: str
    payload: dict[str, Any]
    headers: dict[str, str]


def everything(servers: list[str], topic: str = TOPIC) -> list[Kept]:
    """Return all that the topic holds now, each partition in its order."""
    consumer = Consumer(
        {
            "bootstrap.servers": ",".join(servers),
            "group.id": "lake",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    kept: list[Kept] = []
    until_s = monotonic_s() + READ_S
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        for number in sorted(partitions):
            place = TopicPartition(topic, number, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([place])
            offset = 0
            while offset < end:
                assert monotonic_s() < until_s, f"partition {number} read to {offset} of {end}"
                message = consumer.poll(0.5)
                if message is None or message.error() is not None:
                    continue
                offset = message.offset() + 1
                headers = {name: value.decode() for name, value in message.headers() or []}
                payload = json.loads(message.value())
                kept.append(Kept(number, message.key().decode(), payload, headers))
    finally:
        consumer.close()
    return kept


def samples(kept: list[Kept]) -> list[Kept]:
    """Return what carries an identity: samples and gaps, not the status."""
    return [each for each in kept if "id" in each.payload]


def arrivals(kept: list[Kept]) -> dict[str, list[int]]:
    """Return key → the sequences of its samples in order of first arrival."""
    found: dict[str, dict[str, int]] = {}
    for each in samples(kept):
        sequence, _ = identifier(each.payload)
        found.setdefault(each.key, {}).setdefault(each.payload["id"], sequence)
    return {key: list(ids.values()) for key, ids in found.items()}


def judge(kept: list[Kept], last: int, tags: int) -> None:
    """Fail unless every sample of sequences 1 to `last` is there, in order of its key."""
    found = arrivals(kept)
    assert len(found) == tags, sorted(found)
    for key, sequences in found.items():
        assert sequences == list(range(1, last + 1)), (key, "no loss, no reordering")


def configure(site: Site, servers: list[str], **changes: object) -> None:
    """Write it/cloud.toml for a cluster without TLS; None removes a key."""
    table = {
        "kind": "kafka",
        "host": None,
        "bootstrap_servers": servers,
        "topic": TOPIC,
        "security": "plaintext",
        "ca_file": None,
        "cert_file": None,
        "key_file": None,
        **changes,
    }
    site.configure(None, **table)


def settings_of(folder: Path, servers: list[str], **keys: object) -> TargetSettings:
    """Return the settings of a cluster as the code uses them."""
    table = {
        "kind": "kafka",
        "bootstrap_servers": servers,
        "topic": TOPIC,
        "security": "plaintext",
        **keys,
    }
    config = msgspec.convert(table, KafkaConfig)
    return resolved_settings("lake", GATEWAY, config, folder)


def connected(folder: Path, servers: list[str], **keys: object) -> KafkaConnection:
    """Return an open connection to a cluster."""
    target = KafkaTarget(settings_of(folder, servers, **keys), EDGE)
    return target.connect(lambda: None)
