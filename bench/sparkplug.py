"""Question: how many samples a second the Sparkplug profile carries, and what each costs.

First the wording alone: records of 100 tags, 64 to a message, as the queue gives them. Then all of
it: the real uplink process drains a full queue to mosquitto over TLS 1.3, at QoS 0 with barriers,
and stops when the last barrier was acknowledged. Its CPU is that of the whole process, start
included. TAILRACE_BENCH_RECORDS says how many records of 100 samples; 30,000 by default.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from bench.normalizer import cpu_s
from common.block import Layout, Part
from common.clock import monotonic_s, now_ns
from common.health import Health
from common.queue import Bounds, QueueWriter
from common.records import Column, Plan, Quality, Record, ValueType
from demo.broker import MosquittoBroker
from demo.pki import Pki, make_pki
from uplink.contract import Manner
from uplink.payloads.sparkplug import SparkplugWording, build_wording
from uplink.settings import PayloadConfig
from uplink.surroundings import Identity

RECORDS, WIDTH, TOGETHER = 30_000, 100, 64
ROOT = "Acme/SiteA/Stamping/Line1"
IDENTITY = Identity("g1", 1, ROOT, "Acme/SiteA/_edge/g1")
MANNER = Manner(historical=False, retained=True, payload_bytes_max=100 * 1024)
PATIENCE_S = 600.0


def plan_of(*types: ValueType) -> Plan:
    """Return a plan of 100 tags of one asset, its types in turn."""
    columns = tuple(
        Column(f"Tag_{i}", f"{ROOT}/Press/Tag_{i}", f"DB1.{i}", "X", types[i % len(types)])
        for i in range(WIDTH)
    )
    return Plan("s7", "press", "fast", "Press", 250, columns)


def doubles(plan: Plan, sequence: int) -> Record:
    """Every tag, a double, Good."""
    values = [0.5 * i + sequence for i in range(WIDTH)]
    return Record(sequence, plan, now_ns(), values)


def exceptions(plan: Plan, sequence: int) -> Record:
    """The twenty tags that changed."""
    indexes = list(range(sequence % 5, WIDTH, 5))
    return Record(sequence, plan, now_ns(), [0.5 * i for i in indexes], indexes)


def judged(plan: Plan, sequence: int) -> Record:
    """Every tag, one in ten Uncertain."""
    codes = [Quality.UNCERTAIN if i % 10 == 0 else Quality.GOOD for i in range(WIDTH)]
    return Record(sequence, plan, now_ns(), [0.5 * i for i in range(WIDTH)], None, codes)


def timed(plan: Plan, sequence: int) -> Record:
    """Every tag, with a time of the device's own."""
    at_ns = now_ns()
    times: list[int | None] = [at_ns + i for i in range(WIDTH)]
    values = [0.5 * i + sequence for i in range(WIDTH)]
    return Record(sequence, plan, at_ns, values, None, None, times)


def mixed(plan: Plan, sequence: int) -> Record:
    """Doubles, integers, truth values and texts in turn."""
    kinds = (0.5, sequence, True, "running")
    return Record(sequence, plan, now_ns(), [kinds[i % len(kinds)] for i in range(WIDTH)])


def word(name: str, plan: Plan, make: Callable[[Plan, int], Record]) -> None:
    """Print what the wording alone costs."""
    wording = build_wording(PayloadConfig(), IDENTITY)
    wording.book.begin(lambda: [plan])
    records = [make(plan, sequence) for sequence in range(1, 2_001)]
    samples = sum(len(record.values) for record in records)
    begun_s = cpu_s()
    size = sum(_worded(wording, records[at : at + TOGETHER]) for at in range(0, 2_000, TOGETHER))
    spent_s = cpu_s() - begun_s
    print(
        f"  wording  {name:44} {samples / spent_s:11,.0f} samples/s of CPU  "
        f"{spent_s / samples * 1e6:5.2f} us  {size / samples:5.1f} bytes"
    )


def _worded(wording: SparkplugWording, records: list[Record]) -> int:
    return sum(
        len(wording.message(parcel, number).payload)
        for parcel in wording.parcels(records, MANNER)
        for number in range(parcel.messages)
    )


def fill(queue_dir: Path, plan: Plan, records: int) -> int:
    """Write a queue of records of 100 doubles, 64 to a commit; return its last sequence."""
    queue = QueueWriter.create(queue_dir, Bounds(capacity_bytes=2 * 1024**3))
    layout, last = Layout(plan), 0
    base = np.arange(WIDTH, dtype=np.float64)
    for first in range(0, records, TOGETHER):
        some = range(first, min(records, first + TOGETHER))
        parts = [Part(layout, now_ns(), {ValueType.FLOAT64: base + n}, WIDTH) for n in some]
        last = queue.append(parts, plans=[plan])
    queue.close()
    return last


def drain(records: int) -> None:
    """Print what the whole way to a broker costs."""
    plan = plan_of(ValueType.FLOAT64)
    with tempfile.TemporaryDirectory(prefix="tailrace-bench-") as name:
        folder = Path(name)
        pki = make_pki(folder / "config" / "it" / "pki")
        last = fill(folder / "data" / "queue", plan, records)
        with MosquittoBroker(folder, pki, settings=["set_tcp_nodelay true"]) as broker:
            _configure(folder, broker.port, pki)
            wall_s, spent_s = _drained(folder, last)
    samples = records * WIDTH
    print(
        f"  to mosquitto, TLS 1.3, {samples:,} samples of 100 doubles: "
        f"{samples / wall_s:,.0f} samples/s  {spent_s / samples * 1e6:.2f} us of CPU each "
        f"({spent_s:.1f} s of CPU in {wall_s:.1f} s)"
    )


def _configure(folder: Path, port: int, pki: Pki) -> None:
    (folder / "config" / "ot").mkdir()
    (folder / "run").mkdir(mode=0o700)
    (folder / "config" / "ot" / "plant.toml").write_text(f'[gateway]\nid = "g1"\nroot = "{ROOT}"\n')
    (folder / "config" / "it" / "cloud.toml").write_text(
        f'[targets.scada]\nkind = "mqtt"\npayload = "sparkplug"\nhost = "127.0.0.1"\n'
        f'port = {port}\nca_file = "{pki.ca_file}"\ncert_file = "{pki.client.cert_file}"\n'
        f'key_file = "{pki.client.key_file}"\n'
    )


def _drained(folder: Path, last: int) -> tuple[float, float]:
    """Return (seconds, seconds of CPU) until everything is confirmed."""
    begun_s = monotonic_s()
    places = [f"--{each}={folder / each}" for each in ("config", "run", "data")]
    process = subprocess.Popen([sys.executable, "-m", "uplink", "scada", *places])
    health = folder / "run" / "health" / "uplink-scada.json"
    try:
        while not _confirmed(health, last):
            if monotonic_s() - begun_s > PATIENCE_S:
                sys.exit("the uplink did not drain the queue")
            time.sleep(0.02)
        wall_s = monotonic_s() - begun_s
    finally:
        process.terminate()
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return wall_s, usage.ru_utime + usage.ru_stime


def _confirmed(health: Path, last: int) -> bool:
    if not health.exists():
        return False
    said = msgspec.json.decode(health.read_bytes(), type=Health)
    if said.detail.get("set_aside"):
        sys.exit("the broker refused messages: nothing was measured")
    return said.detail.get("acked_sequence") == last


def main() -> None:
    """Print all rows."""
    numbers = plan_of(ValueType.FLOAT64)
    kinds = plan_of(ValueType.FLOAT64, ValueType.INT64, ValueType.BOOL, ValueType.STRING)
    word("100 doubles", numbers, doubles)
    word("20 of 100 doubles, by exception", numbers, exceptions)
    word("100 doubles, one in ten Uncertain", numbers, judged)
    word("100 doubles with times of their own", numbers, timed)
    word("doubles, integers, truth values, texts", kinds, mixed)
    if shutil.which("mosquitto") is None and not Path("/usr/sbin/mosquitto").exists():
        print("  mosquitto is not installed: nothing is drained")
        return
    drain(int(os.environ.get("TAILRACE_BENCH_RECORDS", RECORDS)))


if __name__ == "__main__":
    main()
