"""Goal: the watcher is a fair judge: latest value, what came twice, what is missing.

Method: a real broker behind the real WAN process, a paho publisher in the place of the gateway.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import msgspec
import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from common.clock import monotonic_s, now_ns
from demo.broker import EmbeddedBroker
from demo.children import Child, ChildFailed, free_port
from demo.pki import Pki, make_pki
from demo.watcher import Watcher

pytestmark = pytest.mark.process

WAIT_S = 15.0
ASSET = "Acme/SiteA/Stamping/Line1/Press_Machine"
TEMPERATURE = f"{ASSET}/Temperature_C"


def wait_for(condition: Callable[[], bool], promise: str) -> None:
    until_s = monotonic_s() + WAIT_S
    while not condition():
        assert monotonic_s() < until_s, promise
        time.sleep(0.02)


class Publisher:
    """Stands in for the gateway: publishes and waits until the broker has it."""

    def __init__(self, port: int, pki: Pki) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.tls_set(str(pki.ca_file))
        self._client.connect("localhost", port)
        self._client.loop_start()

    def send(self, topic: str, **payload: object) -> None:
        filled = {"timestamp_ms": now_ns() // 1_000_000, "quality": "Good", **payload}
        self._client.publish(topic, msgspec.json.encode(filled), qos=1).wait_for_publish(WAIT_S)

    def send_raw(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(WAIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return make_pki(tmp_path / "pki")


@pytest.fixture
def broker(tmp_path: Path, pki: Pki) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path, pki) as running:
        yield running


@pytest.fixture
def watcher(broker: EmbeddedBroker, pki: Pki) -> Iterator[Watcher]:
    with Watcher(broker.port, pki.ca_file, pki.client, "Acme/SiteA") as running:
        assert running.wait_until_subscribed(WAIT_S)
        yield running


def test_it_keeps_the_newest_value_by_the_gateways_clock(
    watcher: Watcher, broker: EmbeddedBroker, pki: Pki
) -> None:
    with Publisher(broker.port, pki) as gateway:
        gateway.send(TEMPERATURE, value=61.5, timestamp_ms=2_000, id="g:1:2:0")
        gateway.send(TEMPERATURE, value=60.0, timestamp_ms=1_000, id="g:1:1:0", hist=True)
        wait_for(lambda: watcher.seen().messages == 2, "both arrive")

    seen = watcher.seen()
    assert (seen.latest[TEMPERATURE].value, seen.historical) == (61.5, 1)
    assert seen.first_at_s is not None


def test_it_tells_repeated_and_missing_identities(
    watcher: Watcher, broker: EmbeddedBroker, pki: Pki
) -> None:
    with Publisher(broker.port, pki) as gateway:
        gateway.send(TEMPERATURE, value=1, id="g:1:1:0")
        gateway.send(TEMPERATURE, value=1, id="g:1:1:0")
        gateway.send("Acme/SiteA/_edge/g/gap", id="g:1:2:gap")
        gateway.send(f"{ASSET}/_meta/Temperature_C", type="float64")
        gateway.send(TEMPERATURE, value=4, id="g:1:4:0")
        wait_for(lambda: watcher.seen().messages == 3, "three values arrive")

    assert (watcher.seen().repeats, watcher.seen().malformed) == (1, 0)
    expected = {"g:1:1:0", "g:1:2:gap", "g:1:3:0", "g:1:4:0"}
    assert watcher.missing(expected) == {"g:1:3:0"}


def test_a_message_it_cannot_read_is_counted_and_does_not_end_it(
    watcher: Watcher, broker: EmbeddedBroker, pki: Pki
) -> None:
    with Publisher(broker.port, pki) as gateway:
        gateway.send_raw(TEMPERATURE, b"\xff{")
        gateway.send_raw(TEMPERATURE, b'{"value": 3}')
        gateway.send_raw("Acme/SiteA/_edge/g/status", b"[]")
        gateway.send(TEMPERATURE, value=5, id="g:1:5:0")
        wait_for(lambda: watcher.seen().messages == 1, "the readable one arrives")

    assert watcher.seen().malformed == 3
    assert watcher.seen().latest[TEMPERATURE].value == 5


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_it_comes_back_by_itself_after_the_broker_was_away(
    watcher: Watcher, broker: EmbeddedBroker, pki: Pki, end: str
) -> None:
    getattr(broker, end)()
    wait_for(lambda: not watcher.seen().connected, "the loss is noticed")
    broker.start()
    wait_for(lambda: watcher.seen().connected, "it subscribed again")

    with Publisher(broker.port, pki) as gateway:
        gateway.send(TEMPERATURE, value=7, id="g:1:7:0")
        wait_for(lambda: watcher.seen().messages == 1, "values flow again")


def test_ending_the_wan_cuts_the_plant_off_and_leaves_the_far_side_alone(
    tmp_path: Path, watcher: Watcher, broker: EmbeddedBroker, pki: Pki
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "demo.wan", "--port", f"{port}", "--to", f"{broker.port}"]
    with Child("wan", command, tmp_path / "wan.log", port=port) as wan:
        with Publisher(port, pki) as gateway:
            gateway.send(TEMPERATURE, value=1, id="g:1:1:0")
            wan.stop()
        with pytest.raises(ConnectionRefusedError):
            Publisher(port, pki)
        assert watcher.seen().connected
        wan.start()
        with Publisher(port, pki) as gateway:
            gateway.send(TEMPERATURE, value=2, id="g:1:2:0")

    wait_for(lambda: watcher.seen().messages == 2, "both sides of the cut arrive")
    assert watcher.missing({"g:1:1:0", "g:1:2:0"}) == set()


def test_a_child_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    child = Child("sick", [sys.executable, "-c", "raise SystemExit('no bolts')"], tmp_path / "log")

    with child, pytest.raises(ChildFailed, match=r"sick ended with exit code 1\n(.|\n)*no bolts"):
        child.wait_for_port()


def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib\n"
        "from demo.children import Child\n"
        "log = pathlib.Path(sys.argv[1])\n"
        "child = Child('machine', [sys.executable, '-m', 'demo.plant', 's7'], log).start()\n"
        "child.wait_for_port()\n"
        "print('ready', child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "machine.log")]
    with Child("parent", command, tmp_path / "parent.log") as parent:
        orphan = Path(f"/proc/{parent.wait_for_port()}")  # it announces a pid, not a port
        assert orphan.exists()
        parent.kill()

        wait_for(lambda: not orphan.exists(), "the kernel ended it")
