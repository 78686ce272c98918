"""Goal: a recording holds what the collector gives, no more and no longer, and nothing of nobody.

Method: the real collector of the simulated device, and one whose device is away; the lines are
read back as `tailrace replay` reads them.
"""

import asyncio
import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectors.addressee import CannotAsk
from collectors.deviceclock import DeviceClock
from collectors.recording import Recorder, collector_of, record
from collectors.runner import DeviceState
from collectors.traffic import Traffic
from common.errors import SourceUnavailable
from common.places import Places
from common.rawscans import GroupLine, ScanLine, lines_of
from common.records import Column, Plan, Quality, Scan, ValueType

PLANT = """
[gateway]
id = "a"
root = "Acme"
[devices.press]
protocol = "simulated"
[devices.press.groups.fast]
period_ms = 10
tags = [
    { name = "Level", address = "constant:21.5", scale = 2.0 },
    { name = "Twice", expression = "Level * 2" },
]
[devices.half]
protocol = "simulated"
[devices.half.groups.fast]
tags = [{ name = "Level", address = "sign" }, { name = "Other", address = "sine" }]
"""
COLUMN = Column("T", "Acme/T", "a", "REAL", ValueType.FLOAT64)
PLAN = Plan("s7", "press", "fast", "Press", 100, (COLUMN,))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot/plant.toml").write_text(PLANT)
    return Places(tmp_path, tmp_path / "run", tmp_path / "data")


class Fickle:
    """A collector whose device gives what it is told to, then is away."""

    plans = (PLAN,)
    overruns = 0
    traffic = Traffic()
    clock = DeviceClock()

    def __init__(self, *scans: Scan) -> None:
        self._scans = scans

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Fickle"]:
        if not self._scans:
            raise SourceUnavailable("press refused the connection")
        yield self

    async def scans(self) -> AsyncGenerator[Scan, None]:
        for scan in self._scans:
            yield scan
        self._scans = ()
        raise SourceUnavailable("press hung up")


def read_back(folder: Path, out: io.BytesIO) -> list[GroupLine | ScanLine]:
    path = folder / "back.jsonl"
    path.write_bytes(out.getvalue())
    return [line for _, line in lines_of(path)]


async def test_a_device_is_recorded_raw_for_so_long(places: Places) -> None:
    """Seen to bite: with every column of the plan the made one was described as read."""
    out = io.BytesIO()
    recorder = Recorder(DeviceState(collector := collector_of(places, "press")), out)

    await record(DeviceState(collector), recorder, 0.3)

    group, *scans = read_back(places.config_dir, out)
    assert isinstance(group, GroupLine)
    assert (group.device, group.group, group.tags) == ("press", "fast", ["Level"])
    assert group.addresses == ["constant:21.5"]
    assert len(scans) == recorder.scans > 0
    assert {tuple(scan.values) for scan in scans if isinstance(scan, ScanLine)} == {(21.5,)}


async def test_a_loss_on_the_way_is_recorded_as_the_collector_tells_it(tmp_path: Path) -> None:
    out = io.BytesIO()
    device = DeviceState(Fickle(Scan(PLAN.fingerprint, 5, 5, [float("nan")], None, [0], [4])))

    await record(device, Recorder(device, out), 0.2)

    _, first, lost = read_back(tmp_path, out)
    assert first == ScanLine(of=0, at_ns=5, values=[{"float": "nan"}], source_at_ns=[4])
    assert isinstance(lost, ScanLine)
    assert (lost.values, lost.qualities) == ([None], [Quality.BAD_NO_COMMUNICATION])


async def test_a_device_that_was_never_there_makes_no_recording() -> None:
    out = io.BytesIO()
    device = DeviceState(Fickle())

    with pytest.raises(SourceUnavailable, match="press refused the connection"):
        await record(device, Recorder(device, out), 5)

    assert out.getvalue() == b""


class Silent(Fickle):
    """A collector whose device says nothing."""

    async def scans(self) -> AsyncGenerator[Scan, None]:
        await asyncio.Event().wait()
        yield self._scans[0]


async def test_a_device_that_says_nothing_is_not_a_recording() -> None:
    device = DeviceState(Silent(Scan(PLAN.fingerprint, 5, 5, [1.0])))

    with pytest.raises(SourceUnavailable, match=r"nothing came within 0\.1 s; record for longer"):
        await record(device, Recorder(device, io.BytesIO()), 0.1)


@pytest.mark.parametrize(
    ("device", "says"),
    [
        ("simulated://", "a URL names no tags, and a recording is one of tags"),
        ("pres", "no device 'pres' in ot/plant.toml; did you mean 'press'?"),
        ("half", "tag Level: unknown pattern 'sign'; did you mean 'sine'?"),
    ],
)
def test_what_cannot_be_recorded_says_why(places: Places, device: str, says: str) -> None:
    with pytest.raises(CannotAsk) as raised:
        collector_of(places, device)

    assert says in str(raised.value)
