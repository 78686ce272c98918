"""librdkafka's mock cluster in a process of its own, told what to do by lines of JSON.

    ["create", "topic", partitions, replicas]   ["errors", code, …]   ["broker_errors", id, code, …]
    ["down", broker]   ["up", broker]   ["rtt", milliseconds]   ["topic_error", "topic", code]
    ["address", broker, host, port]   ["leader", "topic", partition, broker]

Each is answered by one line. The functions are exported by the library in confluent-kafka's wheel
(rdkafka_mock.h). The mock neither checks the sequence numbers of producers nor drops repeats.
"""

import ctypes
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import confluent_kafka

PRODUCE = 0
BROKERS = 3
_LIBRARIES = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"


def library() -> ctypes.CDLL:
    """Load the library that confluent-kafka itself uses."""
    (path,) = _LIBRARIES.glob("librdkafka*.so*")
    loaded = ctypes.CDLL(str(path))
    for name in ("conf_new", "new", "mock_cluster_new"):
        getattr(loaded, f"rd_kafka_{name}").restype = ctypes.c_void_p
    loaded.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return loaded


def commands(kafka: ctypes.CDLL, cluster: ctypes.c_void_p) -> dict[str, Callable[..., Any]]:
    """Return what the cluster can be told."""

    def errors(*codes: int) -> None:
        array = (ctypes.c_int * len(codes))(*codes)
        kafka.rd_kafka_mock_push_request_errors_array(
            cluster, ctypes.c_int16(PRODUCE), ctypes.c_size_t(len(codes)), array
        )

    return {
        "create": lambda topic, partitions, replicas: kafka.rd_kafka_mock_topic_create(
            cluster, topic.encode(), partitions, replicas
        ),
        "errors": errors,
        "clear": lambda: kafka.rd_kafka_mock_clear_request_errors(cluster, ctypes.c_int16(PRODUCE)),
        "down": lambda broker: kafka.rd_kafka_mock_broker_set_down(cluster, broker),
        "up": lambda broker: kafka.rd_kafka_mock_broker_set_up(cluster, broker),
        "rtt": lambda milliseconds: kafka.rd_kafka_mock_broker_set_rtt(cluster, -1, milliseconds),
        "topic_error": lambda topic, code: kafka.rd_kafka_mock_topic_set_error(
            cluster, topic.encode(), code
        ),
        "leader": lambda topic, partition, broker: kafka.rd_kafka_mock_partition_set_leader(
            cluster, topic.encode(), partition, broker
        ),
        "address": lambda broker, host, port: kafka.rd_kafka_mock_broker_set_host_port(
            cluster, broker, host.encode(), port
        ),
    }


def say(line: str) -> None:
    """Answer one line."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def serve(brokers: int) -> None:
    """Say where the cluster is, then obey until standard input ends."""
    kafka = library()
    text = ctypes.create_string_buffer(512)
    configuration = ctypes.c_void_p(kafka.rd_kafka_conf_new())
    kafka.rd_kafka_conf_set(configuration, b"log_level", b"0", text, ctypes.c_size_t(512))
    handle = kafka.rd_kafka_new(0, configuration, text, ctypes.c_size_t(512))
    cluster = ctypes.c_void_p(kafka.rd_kafka_mock_cluster_new(ctypes.c_void_p(handle), brokers))
    known = commands(kafka, cluster)
    say(kafka.rd_kafka_mock_cluster_bootstraps(cluster).decode())
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        say(str(known[name](*arguments) or 0))


if __name__ == "__main__":
    serve(int(sys.argv[1]) if len(sys.argv) > 1 else BROKERS)
