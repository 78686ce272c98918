"""Everything the demo starts, in one folder: plant, broker, the line between, and the gateway.

plant (three machines) ── gateway (`python -m console run`) ── WAN ── broker ── watcher

FOLDER/config  ot/ and it/, an ordinary configuration directory
FOLDER/run     sockets, locks, health        FOLDER/data   the queue
FOLDER/logs    what each process printed     FOLDER/broker certificates of the far side
"""

import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from common.clock import monotonic_s
from common.errors import QueueUnusable
from common.health import read_health
from common.plant import Plant, load_plant
from common.queue import QueueReader
from common.records import GapRecord
from demo.broker import EmbeddedBroker
from demo.children import Child, ChildFailed, free_port
from demo.configuration import GATEWAY_ID, SITE, Ports, write_configuration
from demo.pki import make_pki
from demo.plant.refusing import refused_in
from demo.watcher import Watcher

MACHINES = {"meter": "modbus", "press": "s7", "robot": "opcua"}
"""The devices of plant.toml, by name, and the protocol each speaks."""

CONNECT_TIMEOUT_S = 10.0
GATEWAY_STOP_TIMEOUT_S = 70.0
"""supervisord stops its six programs one after the other, ten seconds for each at most."""
RECORDS_MAX = 1_000
"""Read from the queue at a time."""


class Site:
    """The demo's whole world. `with` starts all but the gateway, and stops everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config_dir = folder / "config"
        self.run_dir = folder / "run"
        self.data_dir = folder / "data"
        self.logs_dir = folder / "logs"
        self.gateway = Child("gateway", self._gateway_command(), self.logs_dir / "gateway.log")
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        """Return when the machines listen and the watcher is subscribed. Raises ChildFailed."""
        with ExitStack() as cleanup:  # Whatever fails below, what was started is stopped.
            machines = {name: cleanup.enter_context(self._machine(name)) for name in MACHINES}
            pki = make_pki(self.folder / "broker", gateway_id=GATEWAY_ID)
            # Without a port yet known to anybody, each free port is tried once.
            self.broker = cleanup.enter_context(EmbeddedBroker(self.folder / "broker", pki))
            self.wan = cleanup.enter_context(self._wan(self.broker.port))
            watcher = Watcher(self.broker.port, pki.ca_file, pki.client, SITE)
            self.watcher = cleanup.enter_context(watcher)
            ports = {name: machine.wait_for_port() for name, machine in machines.items()}
            write_configuration(self.config_dir, Ports(**ports, broker=self.wan.port), pki)
            if not self.watcher.wait_until_subscribed(CONNECT_TIMEOUT_S):
                failure = self.watcher.seen().failure
                raise ChildFailed(f"the watcher cannot subscribe: {failure}\n{self.broker.tail()}")
            self.children = [*machines.values(), self.broker, self.wan]
            cleanup.callback(self.gateway.stop, GATEWAY_STOP_TIMEOUT_S)
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stop everything, the gateway first."""
        self._cleanup.close()

    def start_gateway(self) -> float:
        """Start every process of the gateway; return the moment, monotonic seconds."""
        started_at_s = monotonic_s()
        self.gateway.start()
        self.children.append(self.gateway)
        return started_at_s

    def plant(self) -> Plant:
        """Return the OT half as the gateway reads it. Raises ConfigError."""
        return load_plant(self.config_dir)

    def queue_depth(self) -> int | None:
        """Return how many records wait for the broker, None when nobody says."""
        normalizer = read_health(self.run_dir).get("normalizer")
        queue = normalizer.detail.get("queue", {}) if normalizer else {}
        depth = queue.get("depth") if isinstance(queue, dict) else None
        return depth if isinstance(depth, int) else None

    def backlog(self) -> set[str]:
        """Return the identity of every sample and gap in the queue, delivered or not."""
        try:
            reader = QueueReader.open(self.data_dir / "queue")
        except QueueUnusable as error:
            raise ChildFailed(f"{error}\n{self.gateway.tail()}") from error
        identities: set[str] = set()
        try:
            after = reader.summary().first_sequence - 1
            while records := reader.read(after=max(0, after), records_max=RECORDS_MAX):
                for record in records:
                    stem = f"{GATEWAY_ID}:{reader.epoch}:{record.sequence}"
                    if isinstance(record, GapRecord):
                        identities.add(f"{stem}:gap")
                        continue
                    columns = range(len(record.values))
                    identities |= {f"{stem}:{index}" for index in record.indexes or columns}
                after = records[-1].sequence
        finally:
            reader.close()
        return identities

    def failed_child(self) -> Child | None:
        """Return a process that ended by itself, None when all live. The WAN may be cut."""
        return next((c for c in self.children if c is not self.wan and not c.running), None)

    def refused_writes(self) -> list[str]:
        """Return what the machines were asked to change; a gateway that only reads asks nothing."""
        logs = {name: self.logs_dir / f"{name}.log" for name in MACHINES}
        return [f"{name}: {each}" for name, log in logs.items() for each in refused_in(log)]

    def _machine(self, name: str) -> Child:
        command = [sys.executable, "-m", "demo.plant", MACHINES[name]]
        return Child(name, command, self.logs_dir / f"{name}.log")

    def _wan(self, to_port: int) -> Child:
        port = free_port()
        options = ["--port", str(port), "--to", str(to_port)]
        command = [sys.executable, "-m", "demo.wan", *options]
        return Child("wan", command, self.logs_dir / "wan.log", port=port)

    def _gateway_command(self) -> list[str]:
        return [sys.executable, "-m", "console", "run", *self.options("config", "run", "data")]

    def options(self, *names: str) -> list[str]:
        """Return `--config DIR` and the like, to paste behind a command of the console."""
        folders = {"config": self.config_dir, "run": self.run_dir, "data": self.data_dir}
        return [part for name in names for part in (f"--{name}", str(folders[name]))]
