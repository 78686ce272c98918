"""Goal: the device is asked for no more than what a calculation by hand gives.

Method: the real collector process reads the tables that the house itself ships (the demo's and each
protocol's sample.toml, only host and port are others) through a line that records every request.
Each scan that was handed over accounts for a fixed list of requests; what is asked once for a
connection stands beside it. The numbers are worked out in the comments, from the protocols' limits.

Seen to bite: with no gap merged in collectors/planning.py the Modbus sample, the demo's press and
the S7 sample fail; with one request for each span in S7 its sample fails.
"""

import re
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

import pytest
from snap7.server import Server
from snap7.type import SrvArea

import collectors
from demo.children import LOOPBACK, free_port
from demo.configuration import TEMPLATES
from tests.process.collector_rig import CollectorRig
from tests.process.watched_machine import WatchedMachine
from tests.process.wire_requests import Request
from tests.process.wire_watch import WireWatch

pytestmark = pytest.mark.process

SCANS = 20
ROOM = Path(collectors.__file__).parent
READS = ("function 1", "function 2", "function 3", "function 4", "ReadVar", "Read")


class Registers(socketserver.StreamRequestHandler):
    """A Modbus TCP device that has every register and bit, all of them 0."""

    def handle(self) -> None:
        while len(request := self.rfile.read(12)) == 12:
            transaction, _, _, unit, function, _, count = struct.unpack(">HHHBBHH", request)
            data = bytes(2 * count if function in (3, 4) else -(-count // 8))
            head = struct.pack(">HHHBBB", transaction, 0, 3 + len(data), unit, function, len(data))
            self.wfile.write(head + data)


@contextmanager
def modbus_device() -> Iterator[int]:
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Registers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(10)


@contextmanager
def s7_device() -> Iterator[int]:
    """Yield the port of a PLC with DB40, inputs, flags and timers."""
    server = Server(log=False)
    memory = bytearray(200)
    memory[22] = 20  # STRING22.20 says how long it may be.
    memory[78:90] = struct.pack(">HBBBBBBI", 2026, 1, 31, 7, 6, 0, 0, 0)  # The DTL.
    server.register_area(SrvArea.DB, 40, memory)
    for area in (SrvArea.PE, SrvArea.MK, SrvArea.TM):
        server.register_area(area, 0, bytearray(64))
    port = free_port()
    server.start_to(LOOPBACK, port)
    yield port
    server.stop()


def sample(protocol: str, port: int) -> str:
    """Return the first device of a protocol's sample with our host and port, read ten times a s."""
    text = (ROOM / protocol / "sample.toml").read_text("utf-8")
    text = devices_of(text)[0]
    text = re.sub(r'host = "[^"]+"', f'host = "{LOOPBACK}"\nport = {port}', text)
    return re.sub(r"#?period_ms = \d+", "period_ms = 100", text)


def devices_of(plant: str) -> list[str]:
    """Return each [devices.NAME] of a plant.toml with all that belongs to it."""
    return re.split(r"(?m)^(?=\[devices\.\w+\]$)", plant)[1:]


def demo_device(name: str, folder: Path, port: int) -> str:
    """Return one device of the demo's plant, with its tag table beside it."""
    tables = folder / "config" / "ot" / "tags"
    tables.mkdir(parents=True)
    for source in (TEMPLATES / "ot" / "tags").glob("*.csv"):
        (tables / source.name).write_text(source.read_text("utf-8"), "utf-8")
    ports = {f"{each}_port": port for each in ("meter", "press", "robot")}
    text = Template((TEMPLATES / "ot" / "plant.toml").read_text("utf-8")).substitute(ports)
    return next(each for each in devices_of(text) if each.startswith(f"[devices.{name}]"))


def asked(watch: WireWatch, protocol: str, device: str, toml: str, folder: Path) -> "Asked":
    """Run a collector until SCANS were handed over; return what that took."""
    with CollectorRig(folder, protocol, toml) as rig:
        rig.wait_for(lambda: len(rig.scans(device)) >= SCANS, 40, "scans")
        rig.stop()
        scans = len(rig.scans(device))
        assert all(scan.qualities is None for scan in rig.scans(device)), "every tag is Good"
    return Asked(watch.requests, scans)


class Asked:
    """The requests that were recorded, and how many scans they were for."""

    def __init__(self, requests: list[Request], scans: int) -> None:
        self.reads = [request for request in requests if request.name in READS]
        self.others = Counter(request.name for request in requests if request.name not in READS)
        self.scans = scans

    def assert_each_scan_took(self, *requests: Request) -> None:
        """Every scan took exactly these, in this order; the last one may have been cut short."""
        turns = -(-len(self.reads) // len(requests))
        assert self.reads == (list(requests) * turns)[: len(self.reads)]
        assert self.scans <= turns <= self.scans + 1


def test_the_demos_meter_is_read_by_one_request(tmp_path: Path) -> None:
    """Five tags in holding 0 … 8, no gap: 9 registers of the 125 that one request may have."""
    with WatchedMachine("meter", "modbus", tmp_path) as device:
        toml = demo_device("meter", tmp_path, device.watch.port)
        found = asked(device.watch, "modbus", "meter", toml, tmp_path)

    found.assert_each_scan_took(Request("function 3", (0, 9)))
    assert found.others == {}


def test_the_modbus_sample_is_read_by_four_requests(tmp_path: Path) -> None:
    """Three tables, and no request crosses one; a gap of more than 16 registers ends a request.

    holding   0-1 Power · gap 2-9 (8) · 10-11 Energy · gap 12-19 (8) · 20 Alarm · gap 21-29 (9)
              · 30-37 Serial_number: 0 … 37, one request of 38 registers
              gap 38-99 (62), then 100-105 Harmonics: one request of 6 registers
    input     0 Voltage: one of 1 register
    discrete  0 Breaker: one of 1 bit
    """
    with modbus_device() as port, WireWatch("modbus", port) as watch:
        found = asked(watch, "modbus", "meter", sample("modbus", watch.port), tmp_path)

    assert found.others == {}
    assert Counter(found.reads[:4]) == Counter(
        [
            Request("function 3", (0, 38)),
            Request("function 3", (100, 6)),
            Request("function 4", (0, 1)),
            Request("function 2", (0, 1)),
        ]
    )
    found.assert_each_scan_took(*found.reads[:4])


def test_the_demos_press_is_read_by_one_request(tmp_path: Path) -> None:
    """Six tags in DB40 bytes 12 … 27: one span, one item, one request."""
    with WatchedMachine("press", "s7", tmp_path) as device:
        toml = demo_device("press", tmp_path, device.watch.port)
        found = asked(device.watch, "s7", "press", toml, tmp_path)

    found.assert_each_scan_took(Request("ReadVar", (1,)))
    assert {"connect": 1, "setup communication": 1}.items() <= found.others.items()


def test_the_s7_sample_is_read_by_one_request_of_four_items(tmp_path: Path) -> None:
    """Four areas are four spans: an item each, and up to 20 items go in one request.

    DB40   12-15 Temperature · 16-19 Strokes · 20 Running · gap 21 (1) · 22-43 Recipe
           · gap 44-45 (2) · 46-77 Zone · 78-89 Started: 78 bytes, as no gap is longer than 32
    I      byte 0: 1 byte
    M      bytes 4-5: 2 bytes
    T      timer 5: 2 bytes

    Request: 10 + 2 + 4 * 12 = 60 bytes. Reply: 12 + 2 + (4 + 78) + (4 + 1 + 1 to fill) + (4 + 2) +
    (4 + 2) = 114 bytes. Both fit a PDU of 240, which every S7 has.
    """
    with s7_device() as port, WireWatch("s7", port) as watch:
        found = asked(watch, "s7", "press", sample("s7", watch.port), tmp_path)

    found.assert_each_scan_took(Request("ReadVar", (4,)))
    assert {"connect": 1, "setup communication": 1}.items() <= found.others.items()


def test_the_demos_robot_is_subscribed_once_and_then_only_publishes(tmp_path: Path) -> None:
    """One group is one subscription; its five items are created in one call, as 500 fit one.

    From then on there are publish requests alone, at most one for each publication and a few that
    wait at the server. `Read` is asked once for the namespaces, and rarely for the clock.
    """
    with WatchedMachine("robot", "opcua", tmp_path) as device:
        toml = demo_device("robot", tmp_path, device.watch.port)
        found = asked(device.watch, "opcua", "robot", toml, tmp_path)

    once = ("CreateSession", "ActivateSession", "CreateSubscription", "CreateMonitoredItems")
    assert {name: found.others[name] for name in once} == dict.fromkeys(once, 1)
    assert found.others["Publish"] <= 2 * found.scans + 10
    assert len(found.reads) <= 5
