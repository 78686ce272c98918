"""Goal: a device that comes and goes all day costs no memory and no file descriptors.

Method: the real collector process and many devices whose connections end as soon as they have
begun: at once, in mid-answer, or after the first values (which is what makes the collector try
again within half a second: thousands of reconnects take minutes). Its memory and its open files are
compared after the first ones, and RECONNECTS later.

    TAILRACE_SOAK_RECONNECTS   2,000 unless set

Seen, 2,000 reconnects after 4,000, on 2 cores: Modbus 22.7 to 22.9 MB, 20 to 21 files; S7 21.6 to
21.8 MB, 24 to 20 files; OPC UA 44.3 to 45.2 MB, 26 to 26 files. Until about the 4,000th connection
the memory of the Modbus process grows by 3 MB; the next 4,000 take 0.2 MB.
Seen to bite: one socket kept for each connection fails the files, one kilobyte kept for each of
them fails the memory.
"""

import asyncio
import os
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from demo.children import Child, free_port
from tests.process.collector_rig import CollectorRig
from tests.process.watched_machine import device_toml
from tests.process.wire_watch import WireWatch, reset

pytestmark = [pytest.mark.process, pytest.mark.timeout(3_600)]

RECONNECTS = int(os.environ.get("TAILRACE_SOAK_RECONNECTS", "2000"))
WARM_UP = 4_000
"""Connections until everything is loaded, and every pool of the interpreter has its size."""
GROWTH_MB_MAX = 1.5
DEVICES = 40
ANSWERS = {"modbus": (1, 4), "s7": (2, 8), "opcua": (8, 16)}
"""How many answers a connection lives at the most: the last number reaches some scans."""
RENEW_AFTER = 250
"""Connections after which the OPC UA server is started anew: it keeps lost sessions for minutes."""


class ShortLived(WireWatch):
    """A line on which a connection ends after a few answers, most often by RST."""

    def __init__(self, protocol: str, device_port: int, answers: tuple[int, int]) -> None:
        super().__init__(protocol, device_port)
        self._answers = answers
        self._chance = random.Random(4)

    async def _answer(self, far: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        """Carry some answers, cut the last one short, and end the connection."""
        left = self._chance.randint(*self._answers)
        if self._chance.random() < 0.25:
            left = self._chance.randint(0, left)
        with suppress(OSError):
            while left > 0 and (chunk := await far.read(1 << 16)):
                left -= 1
                near_out.write(chunk if left else chunk[: self._chance.randint(0, len(chunk))])
                await near_out.drain()
        if self._chance.random() < 0.5:
            reset(near_out)
        near_out.close()


class Held(NamedTuple):
    """What a process holds at one moment."""

    memory_mb: float
    """Its own: without the pages of mapped files, of which the outbox is one."""
    files: int


def held(rig: CollectorRig) -> Held:
    process = Path(f"/proc/{rig.collector.pid}")
    status = (process / "status").read_text().splitlines()
    own = next(line for line in status if line.startswith("RssAnon"))
    return Held(int(own.split()[1]) / 1_000, len(list((process / "fd").iterdir())))


@contextmanager
def short_lines(
    machine: Child, protocol: str, answers: tuple[int, int]
) -> Iterator[list[ShortLived]]:
    """Yield a line for each device: no two may share a connection."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(ShortLived(protocol, machine.port, answers)) for _ in range(DEVICES)
        ]


@pytest.mark.parametrize(("protocol", "answers"), ANSWERS.items())
def test_thousands_of_reconnects_leave_nothing_behind(
    tmp_path: Path, protocol: str, answers: tuple[int, int]
) -> None:
    command = [sys.executable, "-m", "demo.plant", protocol, "--port"]
    port = free_port()
    machine = Child("machine", [*command, str(port)], tmp_path / "machine.log", port=port)
    with machine, short_lines(machine, protocol, answers) as lines:
        toml = "".join(
            device_toml(f"unit{number}", protocol, line.port) for number, line in enumerate(lines)
        )
        with CollectorRig(tmp_path, protocol, toml) as rig:
            renewed = 0

            def connections() -> int:
                return sum(line.connections for line in lines)

            def reached(wanted: int) -> bool:
                nonlocal renewed
                if connections() - renewed > RENEW_AFTER:
                    renewed = connections()
                    machine.kill()
                    machine.start()
                return connections() >= wanted

            rig.wait_for(lambda: reached(WARM_UP), 1_200, "the first connections")
            first, begun = held(rig), connections()
            rig.wait_for(lambda: reached(begun + RECONNECTS), 2_400, "all connections")
            last, scans = held(rig), len(rig.taken)
            print(  # noqa: T201 - what a soak is for
                f"\n{protocol}: {connections() - begun:,} reconnects, {DEVICES} devices, after the "
                f"first {begun:,}, {scans:,} scans: {first.memory_mb:.1f} -> {last.memory_mb:.1f} "
                f"MB, {first.files} -> {last.files} open files"
            )

    assert scans > RECONNECTS / 10, "there were whole connections among them"
    assert last.memory_mb - first.memory_mb < GROWTH_MB_MAX
    assert last.files <= first.files + DEVICES, "a device has one connection at most"
