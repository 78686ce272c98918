"""Question: what does a message cost from the queue to the broker's PUBACK, and where does it go.

The real uplink, in this process, drains a queue of MESSAGES samples to mosquitto over TLS 1.3 at
QoS 1: it reads, words, publishes, accounts for the answers and moves the cursor. Beside it paho by
itself with payloads of the same size. CPU seconds are this process's own; the broker works on the
other core.

    python -m bench publish              the table
    python -m bench.publish profile      the functions that the time goes to, one run
"""

import cProfile
import pstats
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from paho.mqtt import client as mqtt

from common.block import Layout, Part
from common.clock import monotonic_s, now_ns
from common.process import Stopping
from common.queue import Bounds, Cursor, QueueReader, QueueWriter
from common.records import Column, Plan, ValueType
from demo.broker import MosquittoBroker
from demo.pki import Pki, make_pki
from uplink.contract import Message, Parcel
from uplink.newest import Newest
from uplink.payloads.uns import UnsWording
from uplink.report import Report
from uplink.runner import Uplink
from uplink.settings import resolved_settings
from uplink.surroundings import Identity, Surroundings
from uplink.targets.mqtt import build_target
from uplink.targets.mqtt_config import MqttConfig

MESSAGES, TAGS = 60_000, 100
RECORDS_PER_COMMIT = 50
PAHO_MESSAGES = 20_000
WINDOWS = (20, 100, 1_000)
HEADERS = (("contract", "1.4.0"), ("gateway", "sitea-line1"))
KINDS: dict[str, dict[str, Any]] = {
    "MQTT 5": {},
    "MQTT 5, two headers": {"headers": True},
    "MQTT 5, topic aliases": {"topic_aliases_max": 200},
    "MQTT 3.1.1": {"mqtt_version": "3.1.1"},
}
ROOT = "Acme/SiteA/Stamping/Line1/Press_Machine"
SETTINGS = ("max_inflight_messages 1000", "max_topic_alias 200", "max_queued_messages 100000")
"""Mosquitto announces 20 as Receive Maximum and 10 aliases otherwise."""
FUNCTIONS_SHOWN = 24


class Cost(NamedTuple):
    """What it took to have the messages acknowledged."""

    messages: int
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        """The two figures of the table."""
        per_message_us = self.cpu_s / self.messages * 1e6
        return f"{self.messages / self.wall_s:9,.0f} {per_message_us:9.1f}"


class Until(Report):
    """A report that ends the uplink when everything was acknowledged, and keeps the time."""

    def __init__(self, folder: Path, name: str, stopping: Stopping) -> None:
        super().__init__(folder, name, name)
        self._stopping = stopping
        self._began: tuple[float, float] | None = None
        self.cost = Cost(1, 1.0, 0.0)

    @property
    def due(self) -> bool:
        """Look at the account, which is the uplink's own, each time that it asks; write nothing."""
        now = monotonic_s(), time.process_time()
        if self._began is None:
            if self.published:
                self._began = now
        elif self.acked >= MESSAGES and not self._stopping.requested:
            self.cost = Cost(MESSAGES, now[0] - self._began[0], now[1] - self._began[1])
            self._stopping.requested = True
        return False


class WithHeaders(UnsWording):
    """The profile, with what others may say beside the payload."""

    def message(self, parcel: Parcel, number: int) -> Message:
        """As the profile, with HEADERS."""
        return super().message(parcel, number)._replace(headers=HEADERS)


def fill(path: Path) -> None:
    """Write MESSAGES samples into a new queue."""
    columns = tuple(
        Column(f"Tag_{i}", f"{ROOT}/Tag_{i}", f"DB1.DBD{4 * i}", "REAL", ValueType.FLOAT64)
        for i in range(TAGS)
    )
    plan = Plan("s7", "press", "process", "Press_Machine", 250, columns)
    layout, random = Layout(plan), np.random.default_rng(1)
    queue = QueueWriter.create(path, Bounds(capacity_bytes=256 * 1024**2))
    for _ in range(0, MESSAGES // TAGS, RECORDS_PER_COMMIT):
        queue.append(
            [
                Part(layout, now_ns(), {ValueType.FLOAT64: random.normal(50, 9, TAGS)}, TAGS)
                for _ in range(RECORDS_PER_COMMIT)
            ],
            plans=[plan],
        )
    queue.close()


def drain(folder: Path, pki: Pki, port: int, name: str, window: int, keys: dict[str, Any]) -> Cost:
    """Drain the whole queue as a new target; `headers` among its keys is for the wording."""
    headers = "headers" in keys
    config = MqttConfig(
        kind="mqtt",
        host="localhost",
        port=port,
        ca_file=str(pki.ca_file),
        cert_file=str(pki.client.cert_file),
        key_file=str(pki.client.key_file),
        in_flight_max=window,
        drain="ordered",
        **{key: value for key, value in keys.items() if key != "headers"},
    )
    settings = resolved_settings(name, "bench", config, folder)
    reader = QueueReader.open(folder / "queue")
    cursor = Cursor.open(folder / "queue", name, epoch=reader.epoch)
    identity = Identity("bench", reader.epoch, ROOT, "Acme/SiteA/_edge/bench")
    surroundings = Surroundings(identity, reader, cursor, Newest())
    stopping = Stopping()
    report = Until(folder, name, stopping)
    Uplink(
        config=config,
        target=build_target(settings, surroundings),
        wording=WithHeaders(identity) if headers else UnsWording(identity),
        surroundings=surroundings,
        stopping=stopping,
        report=report,
    ).run()
    cursor.close()
    reader.close()
    return report.cost


def paho_alone(pki: Pki, port: int, window: int) -> Cost:
    """Publish with paho as its documentation has it: its own thread, queue and window."""
    context = ssl.create_default_context(cafile=pki.ca_file)
    context.load_cert_chain(pki.client.cert_file, pki.client.key_file)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "paho", protocol=mqtt.MQTTv5)
    client.tls_set_context(context)
    client.max_inflight_messages_set(window)
    client.connect("localhost", port)
    client.loop_start()
    while not client.is_connected():
        time.sleep(0.01)
    payload = b'{"timestamp_ms":1733904005123,"value":42.5,"quality":"Good","id":"bench:17:4711:3"}'
    began_s, cpu_s = monotonic_s(), time.process_time()
    told = [client.publish(f"{ROOT}/Tag_{i % TAGS}", payload, 1) for i in range(PAHO_MESSAGES)]
    for each in told:
        each.wait_for_publish(60)
    cost = Cost(PAHO_MESSAGES, monotonic_s() - began_s, time.process_time() - cpu_s)
    client.disconnect()
    client.loop_stop()
    return cost


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as name:
        folder = Path(name)
        pki = make_pki(folder / "pki", gateway_id="bench")
        fill(folder / "queue")
        print(f"{MESSAGES:,} samples of the profile uns, a message each; TLS 1.3, QoS 1, mosquitto")
        print(f"  {'':34} {'window':>6} {'messages/s':>9} {'CPU us':>9}")
        with MosquittoBroker(folder / "broker", pki, settings=SETTINGS) as broker:
            for window in WINDOWS:
                for label, keys in KINDS.items():
                    target = f"t{window}-{len(label)}"
                    cost = drain(folder, pki, broker.port, target, window, keys)
                    print(f"  {label:34} {window:>6} {cost}", flush=True)
            for window in WINDOWS[:2]:
                cost = paho_alone(pki, broker.port, window)
                print(f"  {'paho alone, no queue, no wording':34} {window:>6} {cost}", flush=True)


def profile() -> None:
    """Print the functions that the time of one run goes to; the profiler itself doubles it."""
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as name:
        folder = Path(name)
        pki = make_pki(folder / "pki", gateway_id="bench")
        fill(folder / "queue")
        with MosquittoBroker(folder / "broker", pki, settings=SETTINGS) as broker:
            profiler = cProfile.Profile(time.process_time)  # Waiting costs nothing.
            profiler.runcall(drain, folder, pki, broker.port, "profiled", 100, {})
        pstats.Stats(profiler).sort_stats("tottime").print_stats(FUNCTIONS_SHOWN)


if __name__ == "__main__":
    if sys.argv[1:] == ["profile"]:
        profile()
    else:
        main()
