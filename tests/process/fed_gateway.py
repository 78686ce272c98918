"""A gateway whose collector is the test: the real normalizer, real uplinks, real brokers.

Scans are handed over as fast as they are taken, so that minutes are enough to fill a queue. Scan n
is read n milliseconds after the first: whatever arrives says by its time which scan it comes from,
and is compared with what was read then. Processes that are killed are started again at once.
"""

import asyncio
import base64
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import pytest
from paho.mqtt import client as mqtt

from common.handoff import HandoffSender, handoff_address
from common.health import read_health
from common.outbox import Outbox
from common.queue import CursorWatch, QueueReader
from common.records import Column, LossClass, Plan, Scan, ValueType
from demo.broker import EmbeddedBroker
from demo.children import Child, free_port
from demo.pki import Pki, make_pki
from demo.tls import consumer_context

GATEWAY = "sitea-line1"
SITE = "Acme/SiteA"
ROOT = f"{SITE}/Stamping/Line1"
EDGE = f"{SITE}/_edge/{GATEWAY}"
COLLECTOR = "collector-s7"
PERIOD_NS = 1_000_000
IMPATIENT_S = 0.005
"""Between 64 scans when nobody waits for the outbox: some 10,000 scans a second."""
DEPTH_MAX = 2_000
"""Scans that may wait in the outbox while the feeding is patient."""
POOL = random.Random(1).randbytes(1 << 24)
"""Noise; nothing of it compresses, and none of it comes twice in one block."""
NOISE_BYTES = 400


def column(name: str, value_type: ValueType, loss_class: LossClass) -> Column:
    return Column(
        name, f"{ROOT}/Press/{name}", name, str(value_type), value_type, loss_class=loss_class
    )


COLUMNS = (
    column("Noise", ValueType.BYTES, LossClass.NORMAL),
    column("Level", ValueType.FLOAT64, LossClass.NORMAL),
    column("Chatter", ValueType.FLOAT64, LossClass.FIRST_TO_GO),
    column("Count", ValueType.INT64, LossClass.KEEP),
)
"""What is read: one tag of every class, and one that fills the disk."""
RARELY = 4
"""Only every so many scans hold more than the first column: there are scans of both widths."""


def indexes_of(scan: int, width: int) -> list[int] | None:
    """Return the columns that a scan holds, None for all."""
    return None if scan % RARELY == 0 or width == 1 else [0]


def value_of(column_name: str, scan: int) -> Any:
    """Return what the device read; every scan reads something new."""
    if column_name == "Count":
        return scan
    if column_name == "Noise":
        start = scan * NOISE_BYTES % (len(POOL) - NOISE_BYTES)
        return POOL[start : start + NOISE_BYTES]
    return (scan * 2_654_435_761 % 2**32 if column_name == "Level" else scan**2) / 8


class Named(NamedTuple):
    """One gap as it was told."""

    cause: str
    first_scan: int
    last_scan: int
    samples: int


class FarSide:
    """One target: its broker, the line to it, and a subscriber that keeps what arrives."""

    def __init__(self, name: str, folder: Path, pki: Pki, drain: str) -> None:
        self.name = name
        self.broker = EmbeddedBroker(folder / name, pki)
        port = free_port()
        route = ["--port", str(port), "--to", str(self.broker.port)]
        command = [sys.executable, "-m", "demo.wan", *route]
        self.wan = Child(f"wan-{name}", command, folder / f"wan-{name}.log", port=port)
        self.first_at_ms = 0
        self.messages = 0
        """Repeats included."""
        self.samples: dict[str, tuple[str, int]] = {}
        """identity → (column, scan), in the order of first arrival"""
        self.gaps: dict[str, Named] = {}
        self.order: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        """By lane, (sequence, 0 for data and 1 + number for gaps) of every first arrival"""
        self.drain = drain
        self.wrong: list[str] = []
        """Messages that are not what was read, or not what they were the first time."""
        self._pki = pki

    def swallow(self) -> None:
        """Make the line a black hole: what is published into it is never answered."""
        _signal(self.wan, signal.SIGSTOP)

    def subscribe(self, stack: ExitStack) -> None:
        """Keep everything from now on."""
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "auditor", protocol=mqtt.MQTTv5)
        client.tls_set_context(consumer_context(self._pki.ca_file, self._pki.client))
        client.on_connect = lambda *_: client.subscribe(f"{SITE}/#", qos=0)
        client.on_message = self._on_message
        subscribed: list[bool] = []
        client.on_subscribe = lambda *_: subscribed.append(True)
        client.connect("localhost", self.broker.port)
        client.loop_start()
        stack.callback(client.loop_stop)
        stack.callback(client.disconnect)
        until_s = time.monotonic() + 20
        while not subscribed:
            assert time.monotonic() < until_s, "the auditor is subscribed"
            time.sleep(0.01)

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        payload = msgspec.json.decode(message.payload)
        if "id" not in payload or message.retain:
            return
        self.messages += 1
        identity = payload["id"]
        if identity in self.samples or identity in self.gaps:
            return
        _, _, sequence, index = identity.split(":")
        if index.startswith("gap"):
            # With two lanes nothing says which of them a gap came by.
            lane = self.drain if self.drain == "ordered" else "gaps"
            self.order[lane].append((int(sequence), 1 + int(index[3:] or 0)))
            self.gaps[identity] = self._named(payload)
            return
        history = self.drain != "ordered" and payload.get("hist")
        self.order["history" if history else self.drain].append((int(sequence), 0))
        name, scan = message.topic.rpartition("/")[2], payload["timestamp_ms"] - self.first_at_ms
        expected = value_of(name, scan)
        if isinstance(expected, bytes):
            expected = base64.b64encode(expected).decode()
        if payload["value"] != expected or payload["quality"] != "Good":
            self.wrong.append(f"{message.topic} {payload}"[:200])
        self.samples[identity] = (name, scan)

    def _named(self, payload: dict[str, Any]) -> Named:
        first, last = (payload[key] - self.first_at_ms for key in ("first_ms", "last_ms"))
        return Named(payload["cause"], first, last, payload["samples"])

    @property
    def missing_by_cause(self) -> Counter[str]:
        """Samples that gaps name, by cause."""
        found: Counter[str] = Counter()
        for gap in self.gaps.values():
            found[gap.cause] += gap.samples
        return found


class FedGateway:
    """`async with` starts brokers, normalizer and uplinks; `feed` is the collector."""

    def __init__(
        self,
        folder: Path,
        *,
        queue: str = "",
        targets: Iterable[str] = ("uns",),
        columns: tuple[Column, ...] = COLUMNS,
        outbox_bytes: int = 16 * 1024**2,
        limits: Mapping[str, str] | None = None,
        drain: str = "ordered",
    ) -> None:
        """`queue` is the table [queue] of plant.toml; `drain` that of every target.

        In order unless told otherwise: what came first and is to come again as history may be
        named in a gap as well, so that two lanes allow no exact sums while a queue is full.
        `limits` are more lines of a target's table.
        """
        self.folder = folder
        self.config_dir, self.data_dir = folder / "config", folder / "data"
        # Not below `folder`: a Unix socket's path has 107 bytes, and pytest's folders are deep.
        self.run_dir = Path(tempfile.mkdtemp(prefix="tailrace-test-"))
        self.plan = Plan("s7", "press", "process", "Press", 1, columns)
        self._names = [each.name for each in columns]
        self.scans = 0
        """Fed so far."""
        self.deaths: Counter[str] = Counter()
        self._first_at_ns = (time.time_ns() // PERIOD_NS - 10_000_000) * PERIOD_NS
        self._targets = tuple(targets)
        self._queue_table = queue
        self._limits = limits or {}
        self._drain = drain
        self._outbox_bytes = outbox_bytes

    async def __aenter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.run_dir, ignore_errors=True)
            pki = make_pki(self.folder / "pki", gateway_id=GATEWAY)
            self.sides = {
                name: FarSide(name, self.folder, pki, self._drain) for name in self._targets
            }
            for side in self.sides.values():
                stack.enter_context(side.broker)
                stack.enter_context(side.wan)
                side.first_at_ms = self._first_at_ns // 1_000_000
                side.subscribe(stack)
            (self.config_dir / "ot").mkdir(parents=True)
            (self.config_dir / "it").mkdir()
            self._pki = pki
            self._write_plant()
            self._write_cloud(in_flight_max=100)
            self.processes = {
                name: Child(name, self._command(name), self.folder / "logs" / f"{name}.log")
                for name in ("normalizer", *(f"uplink-{each}" for each in self.sides))
            }
            for process in self.processes.values():
                stack.callback(process.stop)
            self.outbox = Outbox.open(self.run_dir / "outbox", COLLECTOR, self._outbox_bytes)
            stack.callback(self.outbox.close)
            self._sender = HandoffSender(
                address=handoff_address(self.run_dir),
                collector=COLLECTOR,
                outbox=self.outbox,
                plans=[self.plan],
            )
            self._tasks = [
                asyncio.create_task(self._sender.run()), asyncio.create_task(self._tend())
            ]  # fmt: skip
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self._stack.close()

    async def stop(self) -> None:
        """Stop the gateway in order; what arrived, and the queue, stay to be looked at."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self.processes.values():
            process.stop(10)

    def _write_plant(self) -> None:
        (self.config_dir / "ot" / "plant.toml").write_text(
            f'[gateway]\nid = "{GATEWAY}"\nroot = "{ROOT}"\n[queue]\n{self._queue_table}\n'
        )

    def set_window(self, in_flight_max: int) -> None:
        """Have the uplinks begin anew with so many messages in flight; few are a slow line."""
        self._write_cloud(in_flight_max)
        for name in (each for each in self.processes if each != "normalizer"):
            _signal(self.processes[name], signal.SIGTERM)

    def _write_cloud(self, in_flight_max: int) -> None:
        pki = self._pki
        (self.config_dir / "it" / "cloud.toml").write_text(
            "".join(
                f'[targets.{name}]\nkind = "mqtt"\nhost = "localhost"\nport = {side.wan.port}\n'
                f'ca_file = "{pki.ca_file}"\ncert_file = "{pki.client.cert_file}"\n'
                f'key_file = "{pki.client.key_file}"\nin_flight_max = {in_flight_max}\n'
                f'drain = "{self._drain}"\n'
                f"{self._limits.get(name, '')}\n"
                for name, side in self.sides.items()
            )
        )

    def _command(self, name: str) -> list[str]:
        program, _, target = name.partition("-")
        places = {"config": self.config_dir, "run": self.run_dir, "data": self.data_dir}
        options = [part for key, path in places.items() for part in (f"--{key}", str(path))]
        return [sys.executable, "-m", program, *([target] if target else []), *options]

    async def _tend(self) -> None:
        """Start whatever does not run, again and again."""
        while True:
            for process in self.processes.values():
                process.start()
            await asyncio.sleep(0.02)

    async def feed(self, scans: int, *, patient: bool = True) -> None:
        """Read and hand over so many scans; `patient`: never faster than the outbox can bear."""
        for scan in range(self.scans, self.scans + scans):
            while patient and self.outbox.depth >= DEPTH_MAX:  # noqa: ASYNC110 - no event for it
                await asyncio.sleep(0.001)
            at_ns = self._first_at_ns + scan * PERIOD_NS
            indexes = indexes_of(scan, len(self._names))
            names = self._names if indexes is None else [self._names[i] for i in indexes]
            values = [value_of(name, scan) for name in names]
            self._sender.put(Scan(self.plan.fingerprint, at_ns, at_ns, values, indexes), self.plan)
            self.scans = scan + 1
            if scan % 64 == 0:
                await asyncio.sleep(0 if patient else IMPATIENT_S)

    @asynccontextmanager
    async def harm(
        self, seed: int, *, between_s: tuple[float, float], only: str = ""
    ) -> AsyncIterator[None]:
        """Inside the block, kill and stop random processes of the gateway, or those of a name."""
        names = [name for name in sorted(self.processes) if only in name]
        task = asyncio.create_task(self._harm(random.Random(seed), between_s, names))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for process in self.processes.values():
                _signal(process, signal.SIGCONT)

    async def _harm(
        self, choose: random.Random, between_s: tuple[float, float], names: list[str]
    ) -> None:
        while True:
            await asyncio.sleep(choose.uniform(*between_s))
            name = choose.choice(names)
            if choose.random() < 0.7:
                _signal(self.processes[name], signal.SIGKILL)
                self.deaths[name] += 1
            else:
                _signal(self.processes[name], signal.SIGSTOP)
                await asyncio.sleep(choose.uniform(0, 1))
                _signal(self.processes[name], signal.SIGCONT)

    def fed(self) -> set[tuple[str, int]]:
        """Return (column, scan) of every sample that was handed over."""
        width = len(self._names)
        return {
            (self._names[i], scan)
            for scan in range(self.scans)
            for i in indexes_of(scan, width) or range(width)
        }

    async def drained(self, timeout_s: float = 120) -> None:
        """Return when nothing waits: not in the outbox, not in the queue for any target."""
        await self.until(lambda: not self.outbox.depth, timeout_s, "everything is committed")
        reader = QueueReader.open(self.data_dir / "queue")
        watch = CursorWatch(self.data_dir / "queue", self._targets)

        def done() -> bool:
            positions = watch.positions(reader.epoch).values()
            return set(positions) == {reader.last_sequence()}

        await self.until(done, timeout_s, "everything is delivered")
        watch.close()
        reader.close()

    async def swallowed(self, target: str = "uns") -> None:
        """Return when a target's uplink has published what is not answered."""

        def unanswered() -> bool:
            detail = read_health(self.run_dir)[f"uplink-{target}"].detail
            return bool(detail["published"] > detail["acked"])

        await self.until(unanswered, 20, "something is in flight")

    async def all_heard(self, fed: set[tuple[str, int]], timeout_s: float = 60) -> None:
        """Return when every subscriber has had what its broker has for it."""
        for side in self.sides.values():
            await self.until(
                lambda side=side: len(side.samples) + side.missing_by_cause.total() >= len(fed),
                timeout_s,
                f"{side.name}: {len(side.samples)} samples, {side.missing_by_cause} of {len(fed)}",
            )

    async def until(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Return when a condition holds, or fail with the words of every process."""
        until_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until_s:
                tails = "\n".join(process.tail() for process in self.processes.values())
                pytest.fail(f"not within {timeout_s:g} s: {what}\n{tails}")
            await asyncio.sleep(0.05)


def _signal(process: Child, number: signal.Signals) -> None:
    if process.running:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
