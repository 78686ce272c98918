"""What the tests of the uplink share: a queue with records, the real process, a subscriber."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from common.block import Layout, Part
from common.clock import monotonic_s, now_ns
from common.errors import TargetUnavailable
from common.health import Health
from common.queue import Bounds, Cursor, QueueReader, QueueWriter
from common.records import Column, Gap, Plan, ValueType
from demo.pki import Authority, Identity, Pki
from demo.tls import consumer_context
from uplink.config import load_target
from uplink.contract import Answer, Connection, Message
from uplink.targets.mqtt import MqttTarget

GATEWAY = "sitea-line1"
ROOT = "Acme/SiteA/Stamping/Line1"
EDGE = f"Acme/SiteA/_edge/{GATEWAY}"
PATIENCE_S = 30.0
RECORDS_PER_COMMIT = 30
"""Each commit is a block of its own, as in a plant."""

Identifier = tuple[int, int | str]
"""(sequence, index) of a message's id."""


OPEN = ("max_queued_messages 1000000", "max_inflight_messages 0")
"""A subscriber of mosquitto loses nothing because it is slow. Not 0 messages, which also means
without a limit: mosquitto 2.0.11 then hangs up after each publish that it denies."""


class Certificates:
    """One authority for all tests, and what it has issued."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        self.pki = Pki(
            ca_file=self.authority.write_ca(folder / "ca.pem"),
            server=self.authority.server(folder),
            client=self.authority.client(folder, common_name=GATEWAY),
        )
        self.lake = self.authority.client(folder, "lake", common_name="lake")


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Return when `condition` holds, or fail saying what was waited for."""
    until_s = monotonic_s() + timeout_s
    while not condition():
        assert monotonic_s() < until_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


def make_plan(tags: int, asset: str = "Press_Machine", device: str = "press") -> Plan:
    """Return a plan of float tags."""
    columns = tuple(
        Column(f"Tag_{i}", f"{ROOT}/{asset}/Tag_{i}", f"DB1.DBD{4 * i}", "REAL", ValueType.FLOAT64)
        for i in range(tags)
    )
    return Plan("s7", device, "process", asset, 250, columns)


class Site:
    """One gateway: its configuration, its queue, its uplink process."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.config_dir = folder / "config"
        self.run_dir = folder / "run"
        self.data_dir = folder / "data"
        self.log_file = folder / "uplink.log"
        self.pki = pki
        self.process: subprocess.Popen[bytes] | None = None
        self.run_dir.mkdir(mode=0o700)
        (self.config_dir / "ot").mkdir(parents=True)
        (self.config_dir / "it").mkdir()
        (self.config_dir / "ot" / "plant.toml").write_text(
            f'[gateway]\nid = "{GATEWAY}"\nroot = "{ROOT}"\n'
        )

    def configure(self, port: int | None, **changes: object) -> None:
        """Write it/cloud.toml for a broker on 127.0.0.1; None removes a key."""
        table: dict[str, object] = {
            "kind": "mqtt",
            "host": "127.0.0.1",
            "port": port,
            "ca_file": str(self.pki.ca_file),
            "cert_file": str(self.pki.client.cert_file),
            "key_file": str(self.pki.client.key_file),
            "meta": "off",
            **changes,
        }
        lines = [
            f"{key} = {json.dumps(value)}" for key, value in table.items() if value is not None
        ]
        text = "[targets.uns]\n" + "\n".join(lines) + "\n"
        (self.config_dir / "it" / "cloud.toml").write_text(text)

    def fill(
        self,
        records: int,
        tags: int = 4,
        *,
        plan: Plan | None = None,
        gaps: Sequence[Gap] = (),
        read_at_ns: int | None = None,
    ) -> int:
        """Append records to the real queue, as the normalizer does; return the last sequence."""
        plan = plan or make_plan(tags)
        layout = Layout(plan)
        queue = QueueWriter.create(self.data_dir / "queue", Bounds(capacity_bytes=256 * 1024**2))
        width = len(plan.columns)
        parts: list[Part | Gap] = [
            Part(
                layout,
                read_at_ns or now_ns(),
                {ValueType.FLOAT64: np.arange(width, dtype=np.float64) + record},
                width,
            )
            for record in range(records)
        ]
        for first in range(0, records, RECORDS_PER_COMMIT):
            last = queue.append(parts[first : first + RECORDS_PER_COMMIT], plans=[plan])
        if gaps:
            last = queue.append(list(gaps))
        queue.close()
        return last

    def fill_text(self, text: str) -> int:
        """Append one record with one text; return its sequence."""
        column = Column("Note", f"{ROOT}/Press_Machine/Note", "DB1", "STRING", ValueType.STRING)
        plan = Plan("s7", "press", "notes", "Press_Machine", 1_000, (column,))
        queue = QueueWriter.create(self.data_dir / "queue", Bounds(capacity_bytes=256 * 1024**2))
        part = Part(Layout(plan), now_ns(), {ValueType.STRING: [text]}, 1)
        last = queue.append([part], plans=[plan])
        queue.close()
        return last

    def start(self, *program: str, in_front: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start the real uplink process, or an altered one; `in_front` is what becomes it."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *in_front,
                    *(sys.executable, *(program or ("-m", "uplink")), "uns"),
                    *("--config", str(self.config_dir)),
                    *("--run", str(self.run_dir)),
                    *("--data", str(self.data_dir)),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONWARNINGS": "error::ResourceWarning", "PYTHONPATH": "."},
            )
        return self.process

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 10.0) -> int:
        """Signal the uplink, wait for it and return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    @property
    def log(self) -> str:
        """Everything the uplink has logged."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    @property
    def health(self) -> Health | None:
        """What the uplink says of itself."""
        path = self.run_dir / "health" / "uplink-uns.json"
        return msgspec.json.decode(path.read_bytes(), type=Health) if path.exists() else None

    @property
    def detail(self) -> dict[str, Any]:
        """The health file's detail, empty before there is one."""
        return self.health.detail if self.health else {}

    def cursor(self) -> Cursor:
        """Open the uplink's cursor; only while the uplink does not run."""
        reader = QueueReader.open(self.data_dir / "queue")
        cursor = Cursor.open(self.data_dir / "queue", "uns", epoch=reader.epoch)
        reader.close()
        return cursor

    def position(self) -> int:
        """Return how far the uplink has durably come; only while it does not run."""
        cursor = self.cursor()
        position = cursor.position
        cursor.close()
        return position


class Subscriber:
    """Another client of the broker, which keeps every message in the order of arrival."""

    def __init__(self, port: int, pki: Pki, identity: Identity, name: str = "lake") -> None:
        self.messages: list[tuple[str, dict[str, Any], bool]] = []
        self.properties: Properties | None = None
        self._seen: set[str | None] = set()
        self.subscribed = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.tls_set_context(consumer_context(pki.ca_file, identity))
        self.client.on_message = self._on_message
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3_600
        self.client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self.client.loop_start()
        assert self.subscribed.wait(10), "the subscriber is subscribed"

    def _on_connect(self, client: Client, *_: object) -> None:
        client.subscribe("#", options=SubscribeOptions(qos=1, retainAsPublished=True))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.properties = message.properties
        payload = json.loads(message.payload)
        key = payload.get("id")
        if message.dup and key in self._seen:
            return  # The broker's own repeat towards us, not the uplink's towards the broker.
        self._seen.add(key)
        self.messages.append((message.topic, payload, message.retain))

    def payloads(self) -> list[dict[str, Any]]:
        """Every message that carries an identity, in order of arrival."""
        return [payload for _, payload, _ in list(self.messages) if "id" in payload]

    def identities(self) -> list[Identifier]:
        """(sequence, index) of every sample and gap, in order of arrival, repeats included."""
        return [identifier(payload) for payload in self.payloads()]

    def on(self, topic: str) -> list[dict[str, Any]]:
        """Every payload of one topic, in order of arrival."""
        return [payload for each, payload, _ in list(self.messages) if each == topic]

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


def identifier(payload: dict[str, Any]) -> Identifier:
    """Return (sequence, index) of a payload's id."""
    _, _, sequence, index = payload["id"].split(":")
    return int(sequence), index if index.startswith("gap") else int(index)


def repeats(identities: Sequence[Identifier]) -> int:
    """Return how many messages came again."""
    return sum(count - 1 for count in Counter(identities).values())


def first_arrivals(identities: Sequence[Identifier]) -> list[Identifier]:
    """Return the identities without repeats, in order of first arrival."""
    return list(dict.fromkeys(identities))


class Dial:
    """Builds targets of one site, without a process around them."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __call__(self, port: int, subscriptions: Sequence[str] = (), **keys: object) -> MqttTarget:
        """Return a target for a broker on 127.0.0.1."""
        self._site.configure(port, **{"connect_timeout_s": 10, **keys})
        settings = load_target(self._site.config_dir, "uns", GATEWAY)
        assert settings is not None
        will = Message(f"{EDGE}/status", b'{"online":false}', retain=True)
        return MqttTarget(settings, lambda: will, subscriptions)


def nothing() -> None:
    """Wait for a connection without giving up."""


def payload_of(number: int) -> bytes:
    """Return a payload that the scripted broker and the subscriber count as a sample."""
    return json.dumps({"id": f"{GATEWAY}:1:{number}:0"}).encode()


def until_it_ends(connection: Connection, *topics: str) -> TargetUnavailable:
    """Publish on each topic, and return why the connection ended."""
    for number, topic in enumerate(topics, 1):
        connection.publish(Message(topic, payload_of(number), retain=True))
    for _ in range(int(PATIENCE_S / 0.1)):
        try:
            connection.exchange(0.1)
        except TargetUnavailable as error:
            connection.close()
            return error
    raise AssertionError("the connection did not end")


def until_answered(connection: Connection, *messages: Message) -> list[Answer]:
    """Publish, and return the answers in the order of the messages."""
    tickets = [connection.publish(each) for each in messages]
    found: dict[int, Answer] = {}
    until_s = monotonic_s() + PATIENCE_S
    while len(found) < len(tickets):
        assert monotonic_s() < until_s, "every message is answered"
        found |= {each.ticket: each for each in connection.exchange(0.1)}
    return [found[ticket] for ticket in tickets]
