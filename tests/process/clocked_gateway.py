"""A whole small gateway whose clock the test sets: simulated device, normalizer, uplink, broker.

libfaketime gives the gateway's processes the time that one file says; broker and test keep their
own. The monotonic clock is left alone, as it is on a machine whose clock is set.

The device counts its scans in a tag, so that what is missing or doubled shows by itself.
"""

import asyncio
import os
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import msgspec
from paho.mqtt import client as mqtt

from common.errors import QueueUnusable
from common.health import Health, read_health
from common.queue import CursorWatch, QueueReader
from demo.broker import EmbeddedBroker
from demo.children import Child
from demo.pki import Pki, make_pki
from tests.process.normalizer_rig import until

GATEWAY = "sitea-line1"
SITE = "Acme/SiteA"
UNDER_FAKETIME = str(Path(__file__).with_name("under_faketime"))
GROUPS = {"fast": 40, "slow": 250}
"""Group → period in ms."""
RESTART_S = 0.2
DAY_S = 24 * 3600
FRESH_S = 3.0
"""What the health files may be old; each process writes its own once a second."""


def to_1970() -> float:
    """Return the offset of a clock that nobody has set since it was built."""
    return 1_000.0 - time.time()


class FakedClock:
    """A clock for the processes that run in its environment: the true one, and so much more."""

    def __init__(self, folder: Path, faketime: Callable[[Path], Mapping[str, str]]) -> None:
        self._file = folder / "clock"
        house = str(Path(__file__).resolve().parents[2])
        paths = os.pathsep.join([UNDER_FAKETIME, house])
        self.environment = {**faketime(self._file), "PYTHONPATH": paths}
        self.offset_s = 0.0
        self.set(0.0)

    def set(self, offset_s: float) -> None:
        """Set the clock to what it really is, and so many seconds more."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+.0f}\n")
        fresh.replace(self._file)
        self.offset_s = offset_s

    def now_s(self) -> float:
        """Return the time that it shows."""
        return time.time() + self.offset_s


class ClockedGateway:
    """`async with` starts everything; the processes are started again whenever they end."""

    def __init__(
        self, folder: Path, faketime: Callable[[Path], Mapping[str, str]], *, queue: str = ""
    ) -> None:
        """`queue` is the table [queue] of plant.toml."""
        self.folder = folder
        self.config_dir, self.data_dir = folder / "config", folder / "data"
        # Not below `folder`: a Unix socket's path has 107 bytes, and pytest's folders are deep.
        self.run_dir = Path(tempfile.mkdtemp(prefix="tailrace-test-"))
        self.arrived: dict[str, tuple[str, Any]] = {}
        """identity → (topic, value), in the order of first arrival"""
        self.stepped: set[str] = set()
        """Identities of the samples that say that the clock was set just before."""
        self.clock = FakedClock(folder, faketime)
        self._queue_table = queue
        self._wanted: set[str] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(shutil.rmtree, self.run_dir, ignore_errors=True)
            pki = make_pki(self.folder / "pki", gateway_id=GATEWAY)
            self._broker = stack.enter_context(EmbeddedBroker(self.folder / "broker", pki))
            self._configure(pki)
            self._subscribe(pki, stack)
            self.processes = {
                name: Child(
                    name,
                    self._command(name),
                    self.folder / f"{name}.log",
                    environment=self.clock.environment,
                )
                for name in ("normalizer", "collectors-simulated", "uplink-uns")
            }
            for process in self.processes.values():
                stack.callback(process.stop)
            self._wanted = set(self.processes)
            tending = asyncio.create_task(self._tend())
            stack.callback(tending.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def stop(self, name: str) -> None:
        """End one process in order, for good."""
        self._wanted.discard(name)
        self.processes[name].stop()

    def kill(self, name: str) -> None:
        """End one process without last words; it is started again."""
        self.processes[name].kill()

    def forget_the_outbox(self) -> None:
        """Leave the collector as a reboot does: its ring is not continued."""
        self.stop("collectors-simulated")
        shutil.rmtree(self.run_dir / "outbox")
        self.start("collectors-simulated")

    def start(self, name: str) -> None:
        """Have one process run again."""
        self._wanted.add(name)

    async def _tend(self) -> None:
        while True:
            for name in self._wanted:
                self.processes[name].start()
            await asyncio.sleep(RESTART_S)

    def _configure(self, pki: Pki) -> None:
        groups = "".join(
            f"[devices.press.groups.{name}]\nperiod_ms = {period_ms}\n"
            f'tags = [{{ name = "Count_{name}", address = "counter" }}, '
            f'{{ name = "Level_{name}", address = "sine" }}]\n'
            for name, period_ms in GROUPS.items()
        )
        (self.config_dir / "ot").mkdir(parents=True)
        (self.config_dir / "it").mkdir()
        (self.config_dir / "ot" / "plant.toml").write_text(
            f'[gateway]\nid = "{GATEWAY}"\nroot = "{SITE}"\n[queue]\n{self._queue_table}\n'
            f'[devices.press]\nprotocol = "simulated"\nasset = "Press"\n{groups}'
        )
        (self.config_dir / "it" / "cloud.toml").write_text(
            f'[targets.uns]\nkind = "mqtt"\nhost = "localhost"\nport = {self._broker.port}\n'
            f'ca_file = "{pki.ca_file}"\ncert_file = "{pki.client.cert_file}"\n'
            f'key_file = "{pki.client.key_file}"\ndrain = "ordered"\n'
        )

    def _command(self, name: str) -> list[str]:
        program, _, argument = name.partition("-")
        places = {"config": self.config_dir, "run": self.run_dir, "data": self.data_dir}
        options = [part for key, path in places.items() for part in (f"--{key}", str(path))]
        return [sys.executable, "-m", program, *([argument] if argument else []), *options]

    def _subscribe(self, pki: Pki, stack: AsyncExitStack) -> None:
        context = ssl.create_default_context(cafile=pki.ca_file)
        context.load_cert_chain(pki.client.cert_file, pki.client.key_file)
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "auditor", protocol=mqtt.MQTTv5)
        client.tls_set_context(context)
        client.on_connect = lambda *_: client.subscribe(f"{SITE}/#", qos=1)
        client.on_message = self._on_message
        subscribed: list[bool] = []
        client.on_subscribe = lambda *_: subscribed.append(True)
        client.connect("localhost", self._broker.port)
        client.loop_start()
        stack.callback(client.loop_stop)
        stack.callback(client.disconnect)
        until_s = time.monotonic() + 20
        while not subscribed:
            assert time.monotonic() < until_s, "the auditor is subscribed"
            time.sleep(0.01)

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        payload = msgspec.json.decode(message.payload)
        if "id" in payload and not message.retain:
            told = (message.topic.rpartition("/")[2], payload.get("value", payload))
            self.arrived.setdefault(payload["id"], told)
            if payload.get("clock") == "stepped":
                self.stepped.add(payload["id"])

    def health(self) -> dict[str, Health]:
        """Return every process's last account."""
        return read_health(self.run_dir)

    def fresh(self) -> bool:
        """Return whether every process has spoken lately, by the gateway's own clock."""
        now_ns = self.clock.now_s() * 1e9
        accounts = self.health().values()
        return len(accounts) == len(self._wanted) and all(
            abs(now_ns - each.at_ns) < FRESH_S * 1e9 for each in accounts
        )

    def last_sequence(self) -> int:
        """Return the last sequence of the queue, 0 while there is none to be read."""
        try:
            reader = QueueReader.open(self.data_dir / "queue")
        except QueueUnusable:
            return 0
        try:
            return reader.last_sequence()
        finally:
            reader.close()

    async def lives(self, scans: int = 20) -> None:
        """Return when so many more scans were committed."""
        wanted = self.last_sequence() + scans
        await until(lambda: self.last_sequence() >= wanted, 30, self._why("scans arrive"))

    async def is_fresh(self) -> None:
        """Return when every health file is as fresh as it should be."""
        await until(self.fresh, 15, self._why("every process has spoken lately"))

    async def drained(self) -> None:
        """Return when the device is no longer read, and all that was has arrived."""
        self.stop("collectors-simulated")
        reader = QueueReader.open(self.data_dir / "queue")
        watch = CursorWatch(self.data_dir / "queue", ["uns"])

        def delivered() -> bool:
            return watch.positions(reader.epoch)["uns"] == reader.last_sequence()

        try:
            await until(delivered, 60, self._why("all is delivered"))
        finally:
            watch.close()
            reader.close()

    def _why(self, wanted: str) -> Callable[[], str]:
        return lambda: "\n".join([wanted, *(each.tail() for each in self.processes.values())])
