"""Question: how many messages/s one uplink gives to a Kafka topic, and what CPU each costs.

The target alone, in this process: `publish` and `exchange` as the runner calls them, samples as the
profile `uns` words them, against librdkafka's mock cluster in a process of its own, without TLS.
CPU is this process's, librdkafka's threads included. The mock is no real broker: it says nothing
about how fast a cluster is.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.normalizer import cpu_s
from common.clock import monotonic_s
from uplink.contract import Message
from uplink.settings import resolved_settings
from uplink.targets.kafka import KafkaTarget
from uplink.targets.kafka_config import KafkaConfig

MESSAGES, TAGS, WARM = 200_000, 1_000, 5_000
TOPIC = "bench"
MOCK = Path(__file__).parents[1] / "tests" / "uplink" / "mock_cluster.py"


def samples(count: int) -> list[Message]:
    """Return messages of TAGS tags, one after the other."""
    root = "Acme/SiteA/Stamping/Line1/Press_Machine"
    return [
        Message(
            f"{root}/Tag_{number % TAGS}",
            b'{"timestamp_ms":%d,"value":%.2f,"quality":"Good","id":"sitea-line1:17:%d:%d"}'
            % (1_733_904_005_123 + number // TAGS, number % 977 / 7, number // TAGS, number % TAGS),
            retain=True,
        )
        for number in range(count)
    ]


def measure(servers: list[str], *, compression: str, in_flight: int) -> None:
    """Print one row."""
    table = {
        "kind": "kafka",
        "bootstrap_servers": servers,
        "topic": TOPIC,
        "security": "plaintext",
        "compression": compression,
        "in_flight_max": in_flight,
    }
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as folder:
        config = msgspec.convert(table, KafkaConfig)
        settings = resolved_settings("bench", "sitea-line1", config, Path(folder))
        connection = KafkaTarget(settings, "Acme/SiteA/_edge/sitea-line1").connect(lambda: None)
    messages = samples(MESSAGES)
    taken, at_s, from_s = 0, 0.0, 0.0
    waiting = iter(messages)
    while taken < MESSAGES:
        for _ in range(min(connection.room, MESSAGES)):
            message = next(waiting, None)
            if message is None:
                break
            connection.publish(message)
        taken += len(connection.exchange(0.1))
        if not at_s and taken >= WARM:
            at_s, from_s, begun = monotonic_s(), cpu_s(), taken
    took_s, spent_s = monotonic_s() - at_s, cpu_s() - from_s
    connection.close()
    counted = MESSAGES - begun
    print(
        f"  {compression:6} window {in_flight:5}  {counted / took_s:8,.0f} messages/s  "
        f"{spent_s / counted * 1e6:5.1f} us CPU each  ({counted / spent_s:8,.0f} per core and s)"
    )


def main() -> None:
    """Print all rows."""
    with subprocess.Popen(
        [sys.executable, str(MOCK), "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as mock:
        if mock.stdin is None or mock.stdout is None:
            raise RuntimeError("the mock cluster has no pipes")
        servers = mock.stdout.readline().strip().split(",")
        mock.stdin.write(f'["create", "{TOPIC}", 6, 3]\n')
        mock.stdin.flush()
        mock.stdout.readline()
        print("A Kafka topic of 6 partitions, mock cluster of 3 brokers, profile uns:")
        for in_flight in (100, 1_000):
            for compression in ("none", "lz4", "zstd"):
                measure(servers, compression=compression, in_flight=in_flight)
        mock.stdin.close()


if __name__ == "__main__":
    main()
