"""A whole site for process tests: plant, broker, the gateway under supervisord, an auditor.

The auditor is the judge: it follows the queue from the side and keeps every committed sample's
identity, and it subscribes to the broker and keeps everything that arrives.
"""

import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import weakref
import xmlrpc.client
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from paho.mqtt import client as mqtt
from supervisor.xmlrpc import SupervisorTransport

from common.errors import QueueUnusable
from common.health import read_health
from common.queue import QueueReader
from common.queue.ledger import group_key
from common.records import GapRecord
from demo.broker import EmbeddedBroker, MosquittoBroker
from demo.children import Child, free_port
from demo.configuration import GATEWAY_ID, SITE, Ports, write_configuration
from demo.pki import Pki, make_pki
from demo.plant.refusing import refused_in
from demo.tls import consumer_context

MACHINES = {"meter": "modbus", "press": "s7", "robot": "opcua"}
COLLECTORS = ("collector-modbus", "collector-s7", "collector-opcua")
PROGRAMS = (*COLLECTORS, "normalizer", "uplink-uns")


def wait_until(
    condition: Callable[[], object], timeout_s: float, what: str | Callable[[], str]
) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            text = what if isinstance(what, str) else what()
            pytest.fail(f"not within {timeout_s:g} s: {text}")
        time.sleep(0.05)


@dataclass
class Audit:
    """What was committed and what arrived, by identity."""

    committed: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """identity → (topic, value)"""
    gaps: dict[str, Any] = field(default_factory=dict)
    entered: Counter[str] = field(default_factory=Counter)
    """device/group → samples committed"""
    last_sequence: int = 0
    caught_up: bool = False
    """True when, at the last look, nothing was committed that is not in here."""
    arrived: list[tuple[str, str, Any]] = field(default_factory=list)
    """(identity, topic, value) in the order of arrival, repeats included."""
    historical: set[str] = field(default_factory=set)
    """Identities of what came as history when it came first."""


class GatewaySite:
    """Everything in one folder; `with` starts plant, broker and auditor, not the gateway.

    Leaving it fails when a machine was ever asked to change anything.
    """

    def __init__(self, folder: Path, broker: str = "embedded", count_every_ms: int = 100) -> None:
        self.folder = folder
        self.config_dir = folder / "config"
        # Not below `folder`: a Unix socket's path has 107 bytes, and pytest's folders are deep.
        self.run_dir = Path(tempfile.mkdtemp(prefix="tailrace-test-"))
        weakref.finalize(self, shutil.rmtree, self.run_dir, ignore_errors=True)
        self.data_dir, self.logs_dir = folder / "data", folder / "logs"
        self.count_every_ms = count_every_ms
        self.kind = broker
        self.audit = Audit()
        self._known: set[str] = set()
        self._stack = ExitStack()
        self._following = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            machines = {
                name: stack.enter_context(self._machine(name, protocol))
                for name, protocol in MACHINES.items()
            }
            self.pki = make_pki(self.folder / "pki", gateway_id=GATEWAY_ID)
            self.broker = stack.enter_context(self._make_broker(self.pki))
            self.ports = {name: machine.wait_for_port() for name, machine in machines.items()}
            self.wan = stack.enter_context(self._make_wan())
            write_configuration(
                self.config_dir, Ports(**self.ports, broker=self.wan.port), self.pki
            )
            command = [sys.executable, "-m", "console", "run", *self.options()]
            self.gateway = Child("gateway", command, self.logs_dir / "gateway.log")
            stack.callback(self.gateway.stop, 60)
            self._subscribe(stack)
            self._follow(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        if kind is None:
            assert self.refused_writes() == [], "the gateway never asks a machine to change"

    def refused_writes(self) -> list[str]:
        """Return what the machines were asked to change, of all that the test did."""
        logs = {name: self.logs_dir / f"{name}.log" for name in MACHINES}
        return [f"{name}: {each}" for name, log in logs.items() for each in refused_in(log)]

    def at_exit(self, undo: Callable[[], object]) -> None:
        """Have something a test started undone with the rest."""
        self._stack.callback(undo)

    def options(self) -> list[str]:
        folders = {"config": self.config_dir, "run": self.run_dir, "data": self.data_dir}
        return [part for name, path in folders.items() for part in (f"--{name}", str(path))]

    def _machine(self, name: str, protocol: str) -> Child:
        every = ["--count-every-ms", str(self.count_every_ms)]
        command = [sys.executable, "-m", "demo.plant", protocol, *every]
        return Child(name, command, self.logs_dir / f"{name}.log")

    def _make_broker(self, pki: Pki) -> Child:
        if self.kind == "embedded":
            return EmbeddedBroker(self.folder / "broker", pki)
        acl = f"user {GATEWAY_ID}\ntopic write {SITE}/#\ntopic read {SITE}/#\n"
        return MosquittoBroker(self.folder / "broker", pki, acl=acl)

    def _make_wan(self) -> Child:
        port = free_port()
        route = ["--port", str(port), "--to", str(self.broker.port)]
        command = [sys.executable, "-m", "demo.wan", *route]
        return Child("wan", command, self.logs_dir / "wan.log", port=port)

    def freeze_the_broker(self) -> None:
        """Leave its connections open and let it do nothing."""
        os.kill(self.broker.pid, signal.SIGSTOP)

    def kill_the_broker(self) -> None:
        """End it without last words: every connection and all that it remembers is gone."""
        self.broker.kill()
        self.wan.stop()

    def start_the_broker(self) -> None:
        """Start it anew. The auditor subscribes before the gateway finds its way.

        A broker that was killed knows no subscribers: what the gateway published first would be
        acknowledged and forgotten, and the auditor would blame the gateway.
        """
        self.broker.start()
        wait_until(self._subscribed.is_set, 20, "the auditor is subscribed again")
        self.wan.start()

    def _subscribe(self, stack: ExitStack) -> None:
        self._subscribed = threading.Event()
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id="auditor", protocol=mqtt.MQTTv5
        )
        client.tls_set_context(consumer_context(self.pki.ca_file, self.pki.client))
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda *_: client.subscribe(f"{SITE}/#", qos=1)
        client.on_subscribe = lambda *_: self._subscribed.set()
        client.on_disconnect = lambda *_: self._subscribed.clear()
        client.on_message = self._on_message
        client.connect_async("localhost", self.broker.port, keepalive=15)
        client.loop_start()
        stack.callback(client.loop_stop)
        stack.callback(client.disconnect)
        wait_until(self._subscribed.is_set, 20, "the auditor is subscribed")

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        payload = msgspec.json.decode(message.payload)
        if "id" in payload and not message.retain:
            if payload.get("hist") and payload["id"] not in self._known:
                self.audit.historical.add(payload["id"])
            self._known.add(payload["id"])
            self.audit.arrived.append((payload["id"], message.topic, payload.get("value")))

    def _follow(self, stack: ExitStack) -> None:
        thread = threading.Thread(target=self._follow_queue, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._following.set)

    def _follow_queue(self) -> None:
        reader: QueueReader | None = None
        while not self._following.wait(0.05):
            try:
                reader = reader or QueueReader.open(self.data_dir / "queue")
                self._take(reader)
            except QueueUnusable:
                continue  # Not created yet.
        if reader:
            reader.close()

    def _take(self, reader: QueueReader) -> None:
        self.audit.caught_up = reader.last_sequence() == self.audit.last_sequence
        for record in reader.read(after=self.audit.last_sequence):
            shared = isinstance(record, GapRecord) and record.number > 0
            expected = self.audit.last_sequence + (0 if shared else 1)
            assert record.sequence == expected, "the auditor keeps up"
            stem = f"{GATEWAY_ID}:{reader.epoch}:{record.sequence}"
            if isinstance(record, GapRecord):
                self.audit.gaps[f"{stem}:gap{record.number or ''}"] = record.gap
            else:
                indexes = record.indexes or range(len(record.plan.columns))
                for index, value in zip(indexes, record.values, strict=True):
                    topic = record.plan.columns[index].topic
                    self.audit.committed[f"{stem}:{index}"] = (topic, value)
                group = group_key(record.plan.device, record.plan.group)
                self.audit.entered[group] += len(record.values)
            self.audit.last_sequence = record.sequence

    def supervisor(self, method: str, *arguments: object) -> Any:
        """Call supervisord as supervisorctl does."""
        transport = SupervisorTransport(None, None, f"unix://{self.run_dir}/supervisor.sock")
        try:
            proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport)
            return getattr(proxy.supervisor, method)(*arguments)
        finally:
            transport.close()

    def health(self, process: str) -> dict[str, Any]:
        found = read_health(self.run_dir).get(process)
        return found.detail if found else {}

    def read_every(self, period_ms: int) -> None:
        """Have every group read at this rate instead of the demo's; before the gateway starts."""
        plant = self.config_dir / "ot" / "plant.toml"
        text = re.sub(r"period_ms = \d+", f"period_ms = {period_ms}", plant.read_text())
        plant.write_text(text)

    def start_gateway(self) -> None:
        self.gateway.start()
        wait_until(
            lambda: self.topics_alive() == 3, 30, lambda: f"values of three devices\n{self.tail()}"
        )

    def topics_alive(self, *, after: int = 0) -> int:
        """How many of the three machines have had a value arrive that was committed after then."""
        return len(
            {
                topic.split("/")[4]
                for identity, topic, _ in self.audit.arrived
                if "_edge" not in topic and int(identity.split(":")[2]) > after
            }
        )

    def missing(self) -> set[str]:
        """Return the identities that were committed and have not arrived."""
        arrived = {identity for identity, _, _ in self.audit.arrived}
        return (self.audit.committed.keys() | self.audit.gaps.keys()) - arrived

    def tail(self) -> str:
        return self.gateway.tail()

    def process_tree(self) -> Iterator[int]:
        """Yield the pid of supervisord and of everything below it."""
        waiting = [self.gateway.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            children = Path(f"/proc/{pid}/task/{pid}/children")
            try:
                waiting += [int(child) for child in children.read_text().split()]
            except OSError:
                continue  # It ended in between.
