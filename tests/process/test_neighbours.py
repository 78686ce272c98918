"""Goal: a device in trouble is the trouble of nobody else, and it comes back by itself.

Method: one real collector process reads three machines of the demo, each behind a line that can
spoil its answers. One of them dies, hangs (SIGSTOP), answers late, answers garbage, sends half an
answer, or resets in the middle of one. The mean period of the others in that time is compared with
theirs just before, in the same run on the same busy machine. Then the fault ends: the same process
reads the device again, and its log has one line of the loss and one of the return.

Seen to bite: with a `time.sleep` of one second at every loss and failed attempt (a device that
blocks the event loop) all 14 fail the period; with a line of the log for every failed attempt all
14 fail the lines.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.process.collector_rig import CollectorRig
from tests.process.watched_machine import PERIOD_MS, WatchedMachine
from tests.process.wire_watch import Spoil

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

NEIGHBOURS = ("near", "far")
WINDOW_S = 4.0
PERIOD_SHARE_MAX = 0.10
LATE_S = 1.5
KEYS = {
    "modbus": "reply_timeout_ms = 500",
    "s7": "reply_timeout_ms = 500\nconnect_timeout_ms = 1000",
    "opcua": "reply_timeout_ms = 1000",
}
FAULTS = [
    *(("modbus", fault) for fault in ("dies", "hangs", *(s for s in Spoil if s != Spoil.NOTHING))),
    *(("s7", fault) for fault in ("dies", "hangs", Spoil.GARBAGE, Spoil.RESET)),
    *(("opcua", fault) for fault in ("dies", "hangs", Spoil.GARBAGE)),
]


def begin(fault: str, device: WatchedMachine) -> None:
    if fault == "dies":
        device.watch.cut()
        device.machine.kill()
    elif fault == "hangs":
        os.kill(device.machine.pid, signal.SIGSTOP)
    else:
        device.watch.spoil = Spoil(fault)


def end(fault: str, device: WatchedMachine) -> None:
    if fault == "dies":
        device.machine.start()
        device.watch.listen()
    elif fault == "hangs":
        os.kill(device.machine.pid, signal.SIGCONT)
    device.watch.spoil = Spoil.NOTHING


@contextmanager
def line_of(protocol: str, folder: Path) -> Iterator[tuple[WatchedMachine, CollectorRig]]:
    """Yield the machine that will be in trouble, and the rig that reads it and its neighbours."""
    with ExitStack() as stack:
        machines = {
            name: stack.enter_context(WatchedMachine(name, protocol, folder, late_s=LATE_S))
            for name in ("troubled", *NEIGHBOURS)
        }
        toml = "".join(each.toml(keys=KEYS[protocol]) for each in machines.values())
        rig = stack.enter_context(CollectorRig(folder, protocol, toml))
        for name in machines:
            rig.wait_for(lambda name=name: len(rig.scans(name)) > 5, 30, f"scans of {name}")
        yield machines["troubled"], rig


def period_s(rig: CollectorRig, device: str, from_ns: int, to_ns: int) -> float:
    """Return the mean time between two scans of a device in a window."""
    times = [s.monotonic_ns for s in rig.scans(device) if from_ns <= s.monotonic_ns <= to_ns]
    assert len(times) > WINDOW_S * 1_000 / PERIOD_MS / 2, f"{device}: {len(times)} scans"
    return sum(b - a for a, b in pairwise(times)) / (len(times) - 1) / 1e9


def periods_since(rig: CollectorRig, from_ns: int) -> dict[str, float]:
    """Let a window pass; return the mean period of each neighbour since `from_ns`."""
    time.sleep(WINDOW_S)
    to_ns = time.monotonic_ns()
    return {name: period_s(rig, name, from_ns, to_ns) for name in NEIGHBOURS}


@pytest.mark.parametrize(("protocol", "fault"), FAULTS)
def test_neighbours_hold_their_period(tmp_path: Path, protocol: str, fault: str) -> None:
    with line_of(protocol, tmp_path) as (device, rig):
        pid = rig.collector.pid
        before = periods_since(rig, time.monotonic_ns())
        begun_ns = time.monotonic_ns()
        begin(fault, device)
        rig.wait_for_state("troubled", "away")
        during = periods_since(rig, begun_ns)
        end(fault, device)
        rig.wait_for_state("troubled", "good")
        scans = len(rig.scans("troubled"))
        rig.wait_for(lambda: len(rig.scans("troubled")) > scans + 5, 30, "it is read again")
        still = rig.collector.running and rig.collector.pid == pid
        lost = {name: len(rig.lines("source is away", name)) for name in ("troubled", *NEIGHBOURS)}
        back = {name: len(rig.lines("source is back", name)) for name in ("troubled", *NEIGHBOURS)}

    for name in NEIGHBOURS:
        assert during[name] == pytest.approx(before[name], rel=PERIOD_SHARE_MAX), name
    once = {"troubled": 1, "near": 0, "far": 0}
    assert (lost, back) == (once, once), "one line of the loss, one of the return"
    assert still, "recovered without a restart"
