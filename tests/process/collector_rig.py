"""One real collector process, and a normalizer that takes everything and keeps what was taken.

The test is the normalizer: it acknowledges each scan at once, so that nothing but the collector
and its devices is in play.
"""

import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from common.handoff import Delivery, HandoffReceiver, handoff_address
from common.health import read_health
from common.records import Plan, Quality, Scan, decode_scan
from demo.children import Child
from tests.process.gateway_site import wait_until

GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'


class Taken(NamedTuple):
    """One scan as it arrived."""

    device: str
    group: str
    scan: Scan

    @property
    def good(self) -> bool:
        """True when the device itself gave at least one value."""
        return self.scan.qualities is None or Quality.GOOD in self.scan.qualities


class CollectorRig:
    """`with` starts the intake and the collector; `devices` is what follows [gateway]."""

    def __init__(self, folder: Path, protocol: str, devices: str) -> None:
        self.protocol = protocol
        self.taken: list[Taken] = []
        """Everything that was handed over, in order."""
        self.run_dir = Path(tempfile.mkdtemp(prefix="tailrace-test-"))  # A short path: sockets.
        config_dir = folder / "config"
        (config_dir / "ot").mkdir(parents=True, exist_ok=True)
        (config_dir / "ot" / "plant.toml").write_text(GATEWAY + devices, encoding="utf-8")
        places = {"config": config_dir, "run": self.run_dir, "data": folder / "data"}
        options = [part for name, path in places.items() for part in (f"--{name}", str(path))]
        command = [sys.executable, "-m", "collectors", protocol, *options]
        self.collector = Child(f"collector-{protocol}", command, folder / "collector.log")
        self._ended = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.run_dir, ignore_errors=True)
            thread = threading.Thread(target=self._take, daemon=True)
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(self._ended.set)
            self.collector.start()
            stack.callback(self.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stop(self) -> int | None:
        """Stop the collector; what it still had is taken. May be repeated."""
        return self.collector.stop(10)

    def device(self, name: str) -> dict[str, Any]:
        """Return what the health file says of a device; empty before it says anything."""
        health = read_health(self.run_dir).get(f"collector-{self.protocol}")
        return dict(health.detail["devices"][name]) if health else {}

    def wait_for(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Wait with the collector's last words at hand; at once when it has ended by itself."""
        wait_until(
            lambda: condition() or not self.collector.running,
            timeout_s,
            lambda: f"{what}\n{self.collector.tail()}",
        )
        assert self.collector.running, self.collector.tail()

    def wait_for_state(self, device: str, state: str, timeout_s: float = 40.0) -> None:
        """Wait until the health file says so."""
        self.wait_for(
            lambda: self.device(device).get("state") == state, timeout_s, f"{device} is {state}"
        )

    def scans(self, device: str) -> list[Scan]:
        """Return what a device itself gave so far."""
        return [each.scan for each in list(self.taken) if each.device == device and each.good]

    def lines(self, text: str, device: str = "") -> list[str]:
        """Return the lines of the log that say something, of one device where named."""
        return [
            line
            for line in self.collector.log_file.read_text("utf-8").splitlines()
            if text in line and f"device={device}" in line
        ]

    def _take(self) -> None:
        plans: dict[bytes, Plan] = {}
        receiver = HandoffReceiver(address=handoff_address(self.run_dir), committed={}, plans=[])
        with receiver:
            while not self._ended.is_set():
                arrived = receiver.receive(wait_s=0.05, gather_s=0.005, bytes_max=1 << 22)
                plans.update(receiver.arrived_plans)
                receiver.acknowledge()
                for each in arrived:
                    if isinstance(each, Delivery):
                        scan = decode_scan(each.payload)
                        plan = plans[scan.plan]
                        self.taken.append(Taken(plan.device, plan.group, scan))
