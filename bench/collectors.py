"""Question: what does reading 200 Modbus TCP devices cost, when 50 of them cannot be reached.

One collector process reads 200 devices of 50 tags each second over a connection of its own each.
150 answer at once (bench/fleet.py: one cheap process), 20 refuse the connection, 15 accept it and
never answer, 15 drop every SYN. This process takes the scans and acknowledges them, as the
normalizer does, but looks only at their times: the collector alone is measured, by the kernel's own
accounting of its CPU seconds. A period is held when a device's scans are as many as the seconds;
lateness is how far a scan is from the grid of its device. At the end the good devices hang for
OUTAGE_S (SIGSTOP) and go on: each loss and each return is one line of the log.

    TAILRACE_BENCH_COLLECTOR_S   measured seconds, 60 unless set
"""

import os
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Self

from bench.end_to_end import cpu_s, memory_mb
from bench.fleet import hosts
from common.clock import monotonic_s
from common.handoff import Delivery, HandoffReceiver, handoff_address
from common.health import read_health
from common.records import Quality, Scan, decode_scan
from demo.children import Child

GOOD, REFUSED, SILENT, FULL = 150, 20, 15, 15
TAGS, PERIOD_MS = 50, 1_000
WARM_UP_S = 10.0
MEASURED_S = float(os.environ.get("TAILRACE_BENCH_COLLECTOR_S", "60"))
OUTAGE_S = 10.0
RETURN_S = 60.0
"""By then every device is read again: the waits between attempts are 30 s at most."""
PROCESS = "collector-modbus"
NS_PER_MS = 1_000_000


def write_plant(config_dir: Path, port: int, found: dict[str, list[str]]) -> None:
    """Write ot/ for all devices; a device is called by its kind and a number."""
    (config_dir / "ot").mkdir(parents=True)
    rows = [f"V{i},holding:{2 * i}:FLOAT32" for i in range(TAGS)]
    (config_dir / "ot" / "tags.csv").write_text("\n".join(["name,address", *rows]) + "\n")
    plant = '[gateway]\nid = "bench"\nroot = "Bench/Site"\n'
    for kind, addresses in found.items():
        for number, address in enumerate(addresses):
            name = f"{kind}{number}"
            plant += (
                f'[devices.{name}]\nprotocol = "modbus"\nhost = "{address}"\nport = {port}\n'
                f"[devices.{name}.groups.all]\nperiod_ms = {PERIOD_MS}\n"
                'tags = "tags.csv"\n'
            )
    (config_dir / "ot" / "plant.toml").write_text(plant)


class Intake:
    """The normalizer's side of the handoff: acknowledges, and keeps the times of good scans."""

    def __init__(self, run_dir: Path) -> None:
        run_dir.mkdir(mode=0o700)
        self._receiver = HandoffReceiver(address=handoff_address(run_dir), committed={}, plans=[])
        self.at_ns: dict[bytes, list[int]] = defaultdict(list)
        """By plan, which is a device here: the monotonic times of its scans."""

    def take_for(self, seconds: float) -> None:
        """Receive and acknowledge for so long."""
        until_s = monotonic_s() + seconds
        while monotonic_s() < until_s:
            arrived = self._receiver.receive(wait_s=0.1, gather_s=0.02, bytes_max=1 << 22)
            self._receiver.acknowledge()
            for each in arrived:
                if isinstance(each, Delivery):
                    self._note(decode_scan(each.payload))

    def _note(self, scan: Scan) -> None:
        if not scan.qualities or scan.qualities[0] == Quality.GOOD:
            self.at_ns[scan.plan].append(scan.monotonic_ns)

    def __enter__(self) -> Self:
        self._receiver.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._receiver.__exit__()


def lateness_ms(at_ns: list[int]) -> list[float]:
    """Return how far each scan of one device is behind the earliest one of its grid."""
    period_ns = PERIOD_MS * NS_PER_MS
    offsets = [(at - at_ns[0] + period_ns // 2) % period_ns - period_ns // 2 for at in at_ns]
    return [(offset - min(offsets)) / NS_PER_MS for offset in offsets]


def report(spent_s: float, measured_s: float, intake: Intake, detail: dict[str, Any]) -> None:
    """Print what was measured."""
    scans = [len(times) for times in intake.at_ns.values()]
    late_ms = sorted(ms for times in intake.at_ns.values() for ms in lateness_ms(times))
    expected = measured_s * 1_000 / PERIOD_MS
    devices = detail["devices"]
    good = {name: each for name, each in devices.items() if name.startswith("good")}
    away = sum(each["state"] == "away" for each in devices.values())
    overruns = sum(each["overruns"] for each in good.values())
    print(
        f"    CPU {spent_s / measured_s:.1%} of one core, "
        f"{1e6 * spent_s / max(1, sum(scans)):.0f} us a scan of {TAGS} tags"
    )
    print(
        f"    scans of a good device in {measured_s:.0f} s: {min(scans)} to {max(scans)} "
        f"({expected:.0f} expected), of {len(scans)} devices; overruns {overruns}; away {away}"
    )
    print(
        f"    late within the period: p50 {late_ms[len(late_ms) // 2]:.0f} ms, "
        f"p99 {late_ms[int(len(late_ms) * 0.99)]:.0f} ms, worst {late_ms[-1]:.0f} ms"
    )


def log_lines(log_file: Path) -> dict[str, int]:
    """Return how many lines of the log tell of a loss, of a return, and of anything else."""
    lines = log_file.read_text().splitlines()
    lost = sum("source is away" in line for line in lines)
    back = sum("source is back" in line for line in lines)
    return {"lost": lost, "back": back, "other": len(lines) - lost - back}


def good_ones(run_dir: Path) -> int:
    """Return how many devices are being read."""
    devices = read_health(run_dir)[PROCESS].detail["devices"]
    return sum(each["state"] == "good" for each in devices.values())


def hang(fleet: Child, intake: Intake, run_dir: Path, good: int) -> float:
    """Let every good device hang and go on; return the seconds until all are read again."""
    os.kill(fleet.pid, signal.SIGSTOP)
    intake.take_for(OUTAGE_S)
    os.kill(fleet.pid, signal.SIGCONT)
    from_s = monotonic_s()
    while (took_s := monotonic_s() - from_s) < RETURN_S:
        intake.take_for(0.5)
        if good_ones(run_dir) == good:
            break
    return took_s


def observe(collector: Child, fleet: Child, intake: Intake, run_dir: Path, good: int) -> None:
    """Print what the collector costs while nothing changes, and how it takes an outage."""
    intake.take_for(WARM_UP_S)
    intake.at_ns.clear()
    before_s, from_s, fleet_before_s = cpu_s(collector.pid), monotonic_s(), cpu_s(fleet.pid)
    intake.take_for(MEASURED_S)
    measured_s, spent_s = monotonic_s() - from_s, cpu_s(collector.pid) - before_s
    fleet_s = cpu_s(fleet.pid) - fleet_before_s
    report(spent_s, measured_s, intake, read_health(run_dir)[PROCESS].detail)
    print(
        f"    memory {memory_mb(collector.pid):.0f} MB; the fleet itself takes "
        f"{fleet_s / measured_s:.1%}"
    )
    before_s, from_s = cpu_s(collector.pid), monotonic_s()
    took_s = hang(fleet, intake, run_dir, good)
    share = (cpu_s(collector.pid) - before_s) / (monotonic_s() - from_s)
    print(
        f"    after {OUTAGE_S:g} s of hanging {good_ones(run_dir)} are read again within "
        f"{took_s:.0f} s; meanwhile CPU {share:.1%}"
    )


def measure(good: int, refused: int, silent: int, full: int) -> None:
    """Print the figures of one fleet."""
    folder = Path(tempfile.mkdtemp(prefix="tailrace-bench-"))
    counts = [f"--good={good}", f"--silent={silent}", f"--full={full}"]
    fleet = Child("fleet", [sys.executable, "-m", "bench.fleet", *counts], folder / "fleet.log")
    options = [
        part for name in ("config", "run", "data") for part in (f"--{name}", str(folder / name))
    ]
    command = [sys.executable, "-m", "collectors", "modbus", *options]
    collector = Child("collector", command, folder / "collector.log")
    print(f"  {good} good, {refused} refused, {silent} silent, {full} full; {PERIOD_MS} ms")
    with fleet, Intake(folder / "run") as intake:
        write_plant(folder / "config", fleet.wait_for_port(), hosts(good, silent, full, refused))
        with collector:
            observe(collector, fleet, intake, folder / "run", good)
    found = log_lines(collector.log_file)
    print(
        f"    log: {found['lost']} lines of a loss ({refused + silent + full} devices never there, "
        f"{good} lost once), {found['back']} of a return, {found['other']} others"
    )
    shutil.rmtree(folder)


def main() -> None:
    """Print the fleet that the promise is about, and the same without anything dead."""
    print(f"collector-modbus: {GOOD + REFUSED + SILENT + FULL} devices of {TAGS} tags, "
          f"measured for {MEASURED_S:g} s")  # fmt: skip
    measure(GOOD, REFUSED, SILENT, FULL)
    measure(GOOD, 0, 0, 0)


if __name__ == "__main__":
    main()
