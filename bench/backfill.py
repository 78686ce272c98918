"""Question: how fast a backlog drains, and what it does to the latency of live values.

A queue is filled with a backlog, compacted as the normalizer does it. Then a feeder appends 1,000
samples/s to it, the real uplink drains both lanes to mosquitto over TLS 1.3, and two subscribers
listen: one to everything, which judges order, repeats and what is retained, one to the tags of one
machine alone, which times live values from the append to the subscriber. First the same without a
backlog.

    TAILRACE_BENCH_SAMPLES   of backlog; 10,000,000 by default
    TAILRACE_BENCH_PAYLOAD   `uns` by default
    TAILRACE_BENCH_CLOUD     further lines of it/cloud.toml, as `backfill_share = 0.3`
"""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from bench.end_to_end import cpu_s, memory_mb
from common.block import Layout, Part
from common.clock import monotonic_s, now_ns
from common.health import read_health
from common.queue import Bounds, Cursor, CursorWatch, QueueReader, QueueWriter, Settled
from common.records import Column, Plan, ValueType
from demo.broker import MosquittoBroker
from demo.children import Child
from demo.pki import Pki, make_pki

SAMPLES = 10_000_000
MACHINES, TAGS, TOLD = 10, 100, 20
"""Of the tags of a machine, so many are told with each record of the backlog, drawn anew."""
COMMIT_PARTS = 500
LIVE_PER_S, LIVE_TAGS, FEED_S = 1_000, 10, 0.05
"""Live records have few tags, and a commit comes every FEED_S."""
CALM_S, WARM_UP_S = 30.0, 3.0
AGE_S = 14 * 86_400
CAPACITY_BYTES = 8 * 1024**3
MACHINE = "M0"
BROKER = ("max_queued_messages 0", "max_inflight_messages 0", "max_inflight_bytes 0")


def plans() -> list[Plan]:
    """Return the plan of every machine."""
    found = []
    for machine in range(MACHINES):
        columns = tuple(
            Column(f"T{i}", f"Bench/Site/M{machine}/T{i}", f"{i}", "REAL", ValueType.FLOAT64)
            for i in range(TAGS)
        )
        found.append(Plan("modbus", f"m{machine}", "all", f"M{machine}", 1_000, columns))
    return found


def fill(queue: QueueWriter, samples: int) -> None:
    """Append a backlog, and have it compacted."""
    random = np.random.default_rng(1)
    layouts = [Layout(plan) for plan in plans()]
    records = samples // TOLD
    read_at_ns = now_ns() - AGE_S * 10**9
    step_ns = AGE_S * 10**9 // max(1, records)
    for first in range(0, records, COMMIT_PARTS):
        parts: list[Part] = []
        for number in range(first, min(first + COMMIT_PARTS, records)):
            indexes = np.sort(random.choice(TAGS, TOLD, replace=False)).astype(np.uint16)
            values = {ValueType.FLOAT64: random.random(TOLD)}
            layout = layouts[number % MACHINES]
            parts.append(Part(layout, read_at_ns + number * step_ns, values, TOLD, indexes))
        queue.append(parts, plans=[layout.plan for layout in layouts])
        while queue.maintain():
            pass


def feed(queue_path: Path) -> None:
    """Append live samples until told to stop, each with the time of its append as value, in ms."""
    queue = QueueWriter.create(queue_path, Bounds(capacity_bytes=CAPACITY_BYTES))
    watch = CursorWatch(queue_path, ["uns"])
    queue.cursors = lambda: watch.settled(queue.epoch)
    layouts = [Layout(plan) for plan in plans()]
    per_commit = round(LIVE_PER_S * FEED_S / LIVE_TAGS)
    number, appended, due_s = 0, 0, monotonic_s()
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        parts: list[Part] = []
        for _ in range(per_commit):
            number += 1
            indexes = (np.arange(LIVE_TAGS) + number // MACHINES * LIVE_TAGS) % TAGS
            at_ns = now_ns()
            values = {ValueType.FLOAT64: np.full(LIVE_TAGS, at_ns / 1e6)}
            indexes.sort()
            layout = layouts[number % MACHINES]
            parts.append(Part(layout, at_ns, values, LIVE_TAGS, indexes.astype(np.uint16)))
        queue.append(parts, plans=[layout.plan for layout in layouts])
        appended += per_commit * LIVE_TAGS
        due_s += FEED_S
        queue.look(watch.settled(queue.epoch))
        while monotonic_s() < due_s and queue.maintain():
            pass
        time.sleep(max(0.0, due_s - monotonic_s()))
    print(appended, flush=True)
    queue.close()


class Run:
    """One site, drained to one broker."""

    def __init__(self, folder: Path, samples: int, stack: ExitStack) -> None:
        self.folder = folder
        self.samples = samples
        pki = make_pki(folder / "pki", gateway_id="bench")
        self.broker = stack.enter_context(MosquittoBroker(folder / "broker", pki, settings=BROKER))
        self.config, self.run, self.data = (folder / name for name in ("config", "run", "data"))
        self._configure(pki)
        queue = QueueWriter.create(self.data / "queue", Bounds(capacity_bytes=CAPACITY_BYTES))
        epoch = queue.epoch
        Cursor.open(self.data / "queue", "uns", epoch=epoch).close()
        queue.cursors = lambda: {"uns": Settled()}
        fill(queue, samples)
        self.backlog_bytes = queue.summary().bytes
        queue.close()
        pki_dir = self.config / "it" / "pki"
        self.ears = [
            stack.enter_context(
                child("bench.ear", str(self.broker.port), str(pki_dir), f"Bench/Site/{topics}")
            )
            for topics in ("+/+", f"{MACHINE}/+")
        ]
        for ear in self.ears:
            json.loads(heard(ear))
        self.feeder = stack.enter_context(child("bench.backfill", "feed", str(self.data / "queue")))
        heard(self.feeder)
        places = {"config": self.config, "run": self.run, "data": self.data}
        options = [part for name, path in places.items() for part in (f"--{name}", str(path))]
        command = [sys.executable, "-m", "uplink", "uns", *options]
        self.uplink = stack.enter_context(Child("uplink", command, folder / "uplink.log"))

    def _configure(self, pki: Pki) -> None:
        (self.config / "ot").mkdir(parents=True)
        (self.config / "it" / "pki").mkdir(parents=True)
        self.run.mkdir(mode=0o700)
        (self.config / "ot" / "plant.toml").write_text(
            '[gateway]\nid = "bench"\nroot = "Bench/Site"\n'
        )
        for source, name in (
            (pki.ca_file, "ca.pem"),
            (pki.client.cert_file, "gateway.pem"),
            (pki.client.key_file, "gateway.key"),
        ):
            target = self.config / "it" / "pki" / name
            target.write_bytes(source.read_bytes())
            target.chmod(0o600)
        payload = os.environ.get("TAILRACE_BENCH_PAYLOAD", "uns")
        (self.config / "it" / "cloud.toml").write_text(
            f'[targets.uns]\nkind = "mqtt"\nhost = "localhost"\nport = {self.broker.port}\n'
            'ca_file = "pki/ca.pem"\ncert_file = "pki/gateway.pem"\n'
            f'key_file = "pki/gateway.key"\npayload = "{payload}"\n'
            + os.environ.get("TAILRACE_BENCH_CLOUD", "")
        )

    def detail(self) -> dict[str, Any]:
        """Return what the uplink says of itself; empty before it does."""
        health = read_health(self.run).get("uplink-uns")
        return health.detail if health else {}

    def finish(self) -> tuple[int, dict[str, Any]]:
        """Stop the feeder, wait for the rest; return (samples appended, the ear's verdict)."""
        end(self.feeder)
        appended = int(heard(self.feeder))
        reader = QueueReader.open(self.data / "queue")
        last = reader.last_sequence()
        reader.close()
        while self.detail().get("acked_sequence") != last:
            time.sleep(0.1)
        time.sleep(1)
        for ear in self.ears:
            end(ear)
        verdict: dict[str, Any] = {}
        while "distinct" not in verdict:
            verdict = json.loads(heard(self.ears[0]))
        return appended, verdict


def child(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a process of the bench that is spoken with over pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def heard(process: "subprocess.Popen[str]") -> str:
    """Return the next line that a process says."""
    return process.stdout.readline() if process.stdout else ""


def say(process: "subprocess.Popen[str]") -> None:
    """Have an ear forget the latencies."""
    if process.stdin:
        process.stdin.write("\n")
        process.stdin.flush()


def end(process: "subprocess.Popen[str]") -> None:
    """Tell a process that it may end."""
    if process.stdin:
        process.stdin.close()


def measure(samples: int) -> None:
    """Print the figures of one backlog."""
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as name, ExitStack() as stack:
        run = Run(Path(name), samples, stack)
        while run.detail().get("state") != "online":
            time.sleep(0.05)
        pid = read_health(run.run)["uplink-uns"].pid
        begun_s, spent_s = monotonic_s(), cpu_s(pid)
        memory: list[float] = []
        latest: list[dict[str, Any]] = [{}, {}]
        warm = False
        calm_s = 0 if samples else CALM_S
        while monotonic_s() - begun_s < max(calm_s, WARM_UP_S) or run.detail().get("backlog"):
            latest = [json.loads(heard(ear)) for ear in run.ears]
            memory.append(memory_mb(pid))
            if not warm and monotonic_s() - begun_s > WARM_UP_S:
                say(run.ears[1])
                warm = True
        took_s, spent_s = monotonic_s() - begun_s, cpu_s(pid) - spent_s
        appended, verdict = run.finish()
        total = samples // TOLD * TOLD + appended
        count = latest[0]["hist"] + latest[0]["live"]
        print(f"  backlog of {samples:,} samples, {run.backlog_bytes / 1e6:.0f} MB of blocks")
        print(
            f"    drained in {took_s:.0f} s: {latest[0]['hist'] / took_s:,.0f} samples/s of it, "
            f"uplink {spent_s / took_s:.0%} of a core, {spent_s / count * 1e6:.1f} µs a message"
        )
        print(
            f"    live, append to subscriber: p50 {latest[1]['p50_ms']} ms, "
            f"p99 {latest[1]['p99_ms']} ms of {latest[1]['timed']:,}"
        )
        tenths = [memory[len(memory) * i // 10] for i in range(10)] + memory[-1:]
        print(f"    memory in MB, start to end: {' '.join(f'{each:.0f}' for each in tenths)}")
        print(
            f"    heard {verdict['distinct']:,} of {total:,} samples, "
            f"{verdict['repeats']:,} repeats, {verdict['disorder']} out of order in their lane, "
            f"{verdict['wrongly_retained']} wrongly retained or not"
        )


def main() -> None:
    """Print both."""
    print(f"{LIVE_PER_S:,} live samples/s to mosquitto, TLS 1.3, QoS 1, all on this box")
    measure(0)
    measure(int(os.environ.get("TAILRACE_BENCH_SAMPLES", SAMPLES)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["feed"]:
        feed(Path(sys.argv[2]))
    else:
        main()
