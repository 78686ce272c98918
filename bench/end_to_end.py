"""Question: what does a sample cost from a Modbus device to a TLS 1.3 broker, and how late is it.

The whole gateway under supervisord reads devices that change every value on every scan; a
subscriber counts what arrives and how long after the read. CPU seconds are the kernel's own
accounting of each process. Mosquitto is the broker where it is installed.
"""

import os
import resource
import shutil
import ssl
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from paho.mqtt import client as mqtt

from common.clock import now_ns
from common.health import read_health
from demo.broker import EmbeddedBroker, MosquittoBroker, NotInstalled
from demo.children import Child
from demo.pki import make_pki

WARM_UP_S, MEASURED_S = 5.0, 20.0
LOADS = ((10, 100, 1_000), (10, 100, 200), (10, 100, 100))
"""(devices, tags of each, period in ms): 1,000 and 5,000 samples a second."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def write_configuration(folder: Path, load: tuple[int, int, int], plc: int, broker: Child) -> None:
    """Write ot/ and it/ for one load."""
    devices, tags, period_ms = load
    rows = [f"V{i},holding:{2 * i}:FLOAT32" for i in range(tags)]
    (folder / "ot").mkdir(parents=True)
    (folder / "ot" / "tags.csv").write_text("\n".join(["name,address", *rows]) + "\n")
    plant = '[gateway]\nid = "bench"\nroot = "Bench/Site"\n'
    for i in range(devices):
        plant += (
            f'[devices.plc{i}]\nprotocol = "modbus"\nhost = "127.0.0.1"\nport = {plc}\n'
            f'asset = "PLC{i}"\n[devices.plc{i}.groups.all]\nperiod_ms = {period_ms}\n'
            'tags = "tags.csv"\n'
        )
    (folder / "ot" / "plant.toml").write_text(plant)
    (folder / "it").mkdir()
    (folder / "it" / "cloud.toml").write_text(
        f'[targets.uns]\nkind = "mqtt"\nhost = "localhost"\nport = {broker.port}\n'
        'ca_file = "pki/ca.pem"\ncert_file = "pki/gateway.pem"\nkey_file = "pki/gateway.key"\n'
    )


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1_000


class Subscriber:
    """Counts what arrives, and how long after its read."""

    def __init__(self, port: int, pki_dir: Path) -> None:
        self.late_ms: list[float] = []
        context = ssl.create_default_context(cafile=pki_dir / "ca.pem")
        context.load_cert_chain(pki_dir / "gateway.pem", pki_dir / "gateway.key")
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "bench", protocol=mqtt.MQTTv5)
        self._client.tls_set_context(context)
        self._client.on_connect = lambda *_: self._client.subscribe("Bench/Site/+/+", qos=0)
        self._client.on_message = self._on_message
        self._client.connect("localhost", port)
        self._client.loop_start()

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        read_at_ms = msgspec.json.decode(message.payload)["timestamp_ms"]
        self.late_ms.append(now_ns() / 1e6 - read_at_ms)

    def close(self) -> None:
        """End the subscription."""
        self._client.disconnect()
        self._client.loop_stop()


def measure(load: tuple[int, int, int]) -> None:
    """Print the figures of one load."""
    folder = Path(tempfile.mkdtemp(prefix="tailrace-bench-"))
    pki = make_pki(folder / "pki", gateway_id="bench")
    try:
        broker: Child = MosquittoBroker(folder / "broker", pki)
    except NotInstalled:
        broker = EmbeddedBroker(folder / "broker", pki)
    plc = Child("plc", [sys.executable, "-m", "bench.plc"], folder / "plc.log")
    folders = {name: folder / name for name in ("config", "run", "data")}
    options = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
    command = [sys.executable, "-m", "console", "run", *options]
    with plc, broker:
        write_configuration(folder / "config", load, plc.wait_for_port(), broker)
        pki_dir = folder / "config" / "it" / "pki"
        pki_dir.mkdir()
        for source, name in (
            (pki.ca_file, "ca.pem"),
            (pki.client.cert_file, "gateway.pem"),
            (pki.client.key_file, "gateway.key"),
        ):
            shutil.copy(source, pki_dir / name)
        subscriber = Subscriber(broker.port, pki_dir)
        with Child("gateway", command, folder / "gateway.log"):
            time.sleep(WARM_UP_S)
            report(load, folder / "run", subscriber, broker)
        subscriber.close()
    shutil.rmtree(folder)


def report(
    load: tuple[int, int, int], run_dir: Path, subscriber: Subscriber, broker: Child
) -> None:
    """Measure for MEASURED_S and print."""
    names = ("collector-modbus", "normalizer", "uplink-uns")
    pids = {name: read_health(run_dir)[name].pid for name in names}
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    subscriber.late_ms.clear()
    time.sleep(MEASURED_S)
    late_ms = sorted(subscriber.late_ms)
    spent_s = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
    devices, tags, period_ms = load
    asked = devices * tags * MEASURED_S * 1_000 / period_ms
    per_million = 1e6 / max(len(late_ms), 1)
    print(f"  {devices} devices of {tags} tags, {period_ms} ms, to {broker.name}")
    print(f"    delivered {len(late_ms):,} samples of {asked:,.0f} in {MEASURED_S:g} s")
    for name in names:
        print(
            f"    {name:17} {spent_s[name] * per_million:7.1f} CPU s per million samples, "
            f"{memory_mb(pids[name]):4.0f} MB"
        )
    total_s = sum(spent_s.values())
    print(f"    {'all together':17} {total_s * per_million:7.1f} CPU s per million samples")
    if late_ms:
        median, worst = late_ms[len(late_ms) // 2], late_ms[int(len(late_ms) * 0.99)]
        print(f"    read to subscriber: p50 {median:.0f} ms, p99 {worst:.0f} ms")


def main() -> None:
    """Print all loads."""
    print("end to end, Modbus TCP to a TLS 1.3 broker, one topic per tag, QoS 1, all on this box")
    for load in LOADS:
        measure(load)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
    print(f"  (the subscriber itself: {peak_mb:.0f} MB)")


if __name__ == "__main__":
    main()
