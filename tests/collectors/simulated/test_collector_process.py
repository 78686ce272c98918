"""Goal: a collector process hands over what it reads, stops in time, and loses nothing by stopping.

Method: the real process, and the real receiving end of the handoff in this one.
"""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Never

import pytest

import collectors
from collectors.deviceclock import DeviceClock
from collectors.runner import DeviceState, collect
from collectors.traffic import Traffic
from common.clock import monotonic_s
from common.handoff import Delivery, HandoffReceiver, HandoffSender, handoff_address
from common.outbox import Outbox
from common.records import Plan, Quality, Scan, decode_scan

pytestmark = pytest.mark.process

ROOT = Path(collectors.__file__).parents[1]
STOP_S = 5.0
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'
COUNTER = """
[devices.toy]
protocol = "simulated"
[devices.toy.groups.fast]
period_ms = 10
tags = [{ name = "Count", address = "counter" }]
"""


def configured(tmp_path: Path, devices: str) -> list[str]:
    """Write the plant; return the options that name its places."""
    (tmp_path / "config/ot").mkdir(parents=True)
    (tmp_path / "config/ot/plant.toml").write_text(GATEWAY + devices, encoding="utf-8")
    (tmp_path / "run").mkdir(mode=0o700)
    return [
        "--config", str(tmp_path / "config"), "--run", str(tmp_path / "run"),
        "--data", str(tmp_path / "data"),
    ]  # fmt: skip


@contextmanager
def collector(protocol: str, options: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "collectors", protocol, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def stopped(process: subprocess.Popen[str]) -> tuple[int, float, list[str]]:
    """Ask the process to stop; return exit code, seconds and what it logged."""
    began_s = monotonic_s()
    process.send_signal(signal.SIGTERM)
    logged, _ = process.communicate(timeout=30)
    return process.returncode, monotonic_s() - began_s, own_lines(logged)


def own_lines(logged: str) -> list[str]:
    """Return what the collector itself said, not its outbox."""
    return [line for line in logged.splitlines() if "outbox" not in line]


def health_when(
    tmp_path: Path, protocol: str, condition: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """Return the process's health as soon as it fulfils the condition."""
    path = tmp_path / f"run/health/collector-{protocol}.json"
    deadline_s = monotonic_s() + 20
    while monotonic_s() < deadline_s:
        if path.exists() and condition(health := json.loads(path.read_bytes())):
            return dict(health)
        time.sleep(0.02)
    pytest.fail(f"never came true: {path.read_text() if path.exists() else 'no health file'}")


@contextmanager
def normalizer(tmp_path: Path) -> Iterator[Callable[[], list[Scan]]]:
    """Listen as the normalizer does; each call returns and acknowledges what has arrived."""
    receiver = HandoffReceiver(address=handoff_address(tmp_path / "run"), committed={}, plans=[])

    def take() -> list[Scan]:
        deliveries = receiver.receive(wait_s=0.1, gather_s=0.02, bytes_max=1 << 20)
        receiver.acknowledge()
        return [decode_scan(each.payload) for each in deliveries if isinstance(each, Delivery)]

    with receiver:
        yield take


def taken(take: Callable[[], list[Scan]], count: int) -> list[Scan]:
    scans: list[Scan] = []
    deadline_s = monotonic_s() + 20
    while len(scans) < count:
        assert monotonic_s() < deadline_s, f"only {len(scans)} of {count} scans arrived"
        scans += take()
    return scans


def test_scans_are_handed_over_in_order_and_drained_at_the_end(tmp_path: Path) -> None:
    options = configured(tmp_path, COUNTER)
    with normalizer(tmp_path) as take, collector("simulated", options) as process:
        scans = taken(take, 20)
        process.send_signal(signal.SIGTERM)
        deadline_s = monotonic_s() + STOP_S
        while process.poll() is None:
            assert monotonic_s() < deadline_s, "a told process stops within 5 s"
            scans += take()
        logged = own_lines(process.communicate()[0])

    counts = [scan.values[0] for scan in scans]
    assert counts == list(range(1, len(counts) + 1)), "each scan once, in order"
    left = Outbox.open(tmp_path / "run/outbox", "collector-simulated")
    assert left.depth == 0, "everything was acknowledged before the end"
    assert left.sequence == len(counts)
    left.close()
    assert process.returncode == 0
    assert [line.partition("msg=")[2] for line in logged] == ["started devices=1", "stopped"]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_nobody_has_taken_is_handed_over_by_the_next_process(
    tmp_path: Path, end: signal.Signals
) -> None:
    options = configured(tmp_path, COUNTER)
    with collector("simulated", options) as process:
        health_when(tmp_path, "simulated", lambda health: health["detail"]["outbox"]["depth"] > 20)
        began_s = monotonic_s()
        process.send_signal(end)
        process.communicate(timeout=30)
        assert monotonic_s() - began_s < STOP_S

    without = tmp_path / "config/ot/plant.toml"
    without.write_text(GATEWAY, encoding="utf-8")  # Even when its device is configured no more.
    with normalizer(tmp_path) as take, collector("simulated", options) as process:
        scans = taken(take, 20)

    counts = [scan.values[0] for scan in scans]
    assert counts == list(range(1, len(counts) + 1))


def test_health_tells_of_devices_and_of_the_handoff(tmp_path: Path) -> None:
    options = configured(tmp_path, COUNTER)
    with collector("simulated", options) as process:
        health = health_when(
            tmp_path, "simulated", lambda health: health["detail"]["devices"]["toy"]["scans"]
        )
        code, took_s, _ = stopped(process)

    assert health["state"] == "waiting", "the normalizer is away"
    toy = health["detail"]["devices"]["toy"]
    assert (toy["state"], toy["error"], toy["groups"]) == ("good", None, {"fast": 10})
    assert toy["samples"] == toy["scans"]
    assert set(health["detail"]["outbox"]) == {"depth", "dropped_scans", "epoch", "sequence"}
    assert (code, took_s < STOP_S) == (0, True), "also when nobody takes the rest"


def test_without_a_device_the_process_idles_until_told(tmp_path: Path) -> None:
    options = configured(tmp_path, COUNTER)
    with collector("modbus", options) as process:
        health_when(tmp_path, "modbus", lambda health: health["state"] == "idle")
        code, took_s, logged = stopped(process)

    assert (code, took_s < STOP_S) == (0, True)
    assert len(logged) == 2
    assert "no device speaks this protocol" in logged[0]


def test_an_absent_device_is_told_once_and_never_ends_the_process(tmp_path: Path) -> None:
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))  # Bound and not listening: connections are refused.
        port = placeholder.getsockname()[1]
        options = configured(
            tmp_path,
            f'[devices.meter]\nprotocol = "modbus"\nhost = "127.0.0.1"\nport = {port}\n'
            '[devices.meter.groups.all]\ntags = [{ name = "P", address = "coil:0" }]\n',
        )
        with normalizer(tmp_path) as take, collector("modbus", options) as process:
            (scan,) = taken(take, 1)
            health = health_when(
                tmp_path,
                "modbus",
                lambda health: health["detail"]["devices"]["meter"]["state"] == "away",
            )
            _, _, logged = stopped(process)

    assert (scan.values, scan.qualities) == ([None], [Quality.BAD_NO_COMMUNICATION])
    why = health["detail"]["devices"]["meter"]["error"]
    assert f"meter at 127.0.0.1:{port} cannot be connected" in why
    assert len([line for line in logged if "source is away" in line]) == 1


def test_a_wrong_plant_ends_the_process_with_every_finding_and_code_78(tmp_path: Path) -> None:
    devices = COUNTER.replace('"counter"', '"countr"') + '[devices.x]\nprotocol = "modbuss"\n'
    devices += '[devices.x.groups.g]\ntags = [{ name = "P", address = "coil:0" }]\n'
    options = configured(tmp_path, devices)
    with collector("simulated", options) as process:
        logged, _ = process.communicate(timeout=30)

    assert process.returncode == 78
    assert "did you mean 'counter'" in logged
    assert "did you mean 'modbus'" in logged, "a device that nobody would read"
    assert "Traceback" not in logged


class Broken:
    """A collector with a bug: its error is none of those that the house knows."""

    plans = (Plan("simulated", "toy", "fast", "toy", 1_000, ()),)
    overruns = 0
    traffic = Traffic()
    clock = DeviceClock()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Never]:
        raise ZeroDivisionError
        yield


async def test_a_bug_in_one_device_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    outbox = Outbox.open(tmp_path / "run/outbox", "collector-simulated")
    sender = HandoffSender(
        address=handoff_address(tmp_path / "run"),
        collector="collector-simulated",
        outbox=outbox,
        plans=Broken.plans,
    )
    device = DeviceState(Broken())

    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(
            collect([device], sender, outbox, tmp_path / "run", "collector-simulated"), 10
        )

    assert ended.value.subgroup(ZeroDivisionError), "and the process frame exits with code 1"
    outbox.close()
