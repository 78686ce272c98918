"""Goal: both brokers are what the house needs: MQTT 5 over TLS 1.3, back on the same port.

Method: real brokers as child processes, met by ssl and by paho.
"""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Self

import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from demo.broker import EmbeddedBroker, MosquittoBroker
from demo.children import LOOPBACK, ChildFailed
from demo.pki import Pki, make_pki

pytestmark = pytest.mark.process

Broker = EmbeddedBroker | MosquittoBroker
Make = Callable[[Path, Pki], Broker]
BOTH: list[Make] = [EmbeddedBroker, MosquittoBroker]
REPLY_S = 10.0


def trusting(pki: Pki, *, certified: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=pki.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if certified:
        context.load_cert_chain(pki.client.cert_file, pki.client.key_file)
    return context


class Peer:
    """A paho client that tells in queues what happened to it."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.connected: Queue[str] = Queue()
        self.disconnected: Queue[str] = Queue()
        self.subscribed: Queue[bool] = Queue()
        self.acknowledged: Queue[int] = Queue()
        self.messages: Queue[tuple[str, bytes, bool]] = Queue()
        # Named, since rumqttd refuses an empty name when a client comes back (clean start 0).
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"peer-{id(self)}", protocol=mqtt.MQTTv5
        )
        self.client.tls_set_context(context)
        self.client.on_connect = lambda *a: self.connected.put(str(a[3]))
        self.client.on_disconnect = lambda *a: self.disconnected.put(str(a[3]))
        self.client.on_subscribe = lambda *a: self.subscribed.put(not a[3][0].is_failure)
        self.client.on_publish = lambda *a: self.acknowledged.put(int(a[3].value))
        self.client.on_message = lambda *a: self.messages.put(
            (a[2].topic, a[2].payload, a[2].retain)
        )
        self.client.connect("localhost", port, keepalive=15)
        self.client.loop_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return make_pki(tmp_path / "pki")


@pytest.mark.parametrize("make", BOTH)
def test_a_qos_1_message_is_acknowledged_delivered_and_retained(
    tmp_path: Path, pki: Pki, make: Make
) -> None:
    with make(tmp_path, pki) as broker, Peer(broker.port, trusting(pki)) as peer:
        assert peer.connected.get(timeout=REPLY_S) == "Success"
        peer.client.subscribe("Acme/#", qos=1)
        assert peer.subscribed.get(timeout=REPLY_S)
        peer.client.publish("Acme/SiteA/Strokes", b"41", qos=1, retain=True)

        assert peer.acknowledged.get(timeout=REPLY_S) < 0x80
        assert peer.messages.get(timeout=REPLY_S) == ("Acme/SiteA/Strokes", b"41", False)
        with Peer(broker.port, trusting(pki)) as late:
            assert late.connected.get(timeout=REPLY_S) == "Success"
            late.client.subscribe("Acme/#", qos=1)
            assert late.messages.get(timeout=REPLY_S) == ("Acme/SiteA/Strokes", b"41", True)


@pytest.mark.parametrize("make", BOTH)
def test_tls_1_3_is_what_is_negotiated_on_the_wire(tmp_path: Path, pki: Pki, make: Make) -> None:
    context = trusting(pki)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # the client would take less

    with (
        make(tmp_path, pki) as broker,
        socket.create_connection((LOOPBACK, broker.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        assert encrypted.version() == "TLSv1.3"


def test_mosquitto_refuses_tls_1_2(tmp_path: Path, pki: Pki) -> None:
    context = trusting(pki)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        MosquittoBroker(tmp_path, pki) as broker,
        socket.create_connection((LOOPBACK, broker.port)) as plain,
        pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"),
    ):
        context.wrap_socket(plain, server_hostname="localhost")


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_broker_comes_back_on_its_port(tmp_path: Path, pki: Pki, make: Make, end: str) -> None:
    with make(tmp_path, pki) as broker:
        port, first_pid = broker.port, broker.pid
        with Peer(port, trusting(pki)) as peer:
            assert peer.connected.get(timeout=REPLY_S) == "Success"
            getattr(broker, end)()
            assert not broker.running
            assert peer.disconnected.get(timeout=REPLY_S) != "Normal disconnection"
            broker.start()

            assert (broker.port, broker.pid != first_pid) == (port, True)
            assert peer.connected.get(timeout=REPLY_S) == "Success", "the client found it again"


def test_mosquitto_refuses_a_client_without_a_certificate(tmp_path: Path, pki: Pki) -> None:
    with (
        MosquittoBroker(tmp_path, pki) as broker,
        Peer(broker.port, trusting(pki, certified=False)) as peer,
    ):
        peer.disconnected.get(timeout=REPLY_S)

        assert peer.connected.empty()
    assert "peer did not return a certificate" in broker.log_file.read_text()


def test_mosquitto_refuses_topics_outside_of_the_acl(tmp_path: Path, pki: Pki) -> None:
    acl = "user sitea-line1\ntopic write Acme/SiteA/#\n"
    with (
        MosquittoBroker(tmp_path, pki, acl=acl) as broker,
        Peer(broker.port, trusting(pki)) as peer,
    ):
        assert peer.connected.get(timeout=REPLY_S) == "Success"
        peer.client.publish("Acme/SiteB/Strokes", b"1", qos=1)
        assert peer.acknowledged.get(timeout=REPLY_S) == 0x87, "not authorised"
        peer.client.publish("Acme/SiteA/Strokes", b"1", qos=1)
        assert peer.acknowledged.get(timeout=REPLY_S) < 0x80


def test_the_embedded_broker_lets_everybody_in_so_it_must_stay_on_loopback(
    tmp_path: Path, pki: Pki
) -> None:
    """A fact about iotcore that the documentation states; should it change, so must the docs."""
    with EmbeddedBroker(tmp_path, pki) as broker:
        with Peer(broker.port, trusting(pki, certified=False)) as peer:
            assert peer.connected.get(timeout=REPLY_S) == "Success"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", broker.port), timeout=5)


def test_a_taken_port_is_refused_with_its_number(tmp_path: Path, pki: Pki) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(ChildFailed, match=f"port {port} of 127.0.0.1 is taken"):
            EmbeddedBroker(tmp_path, pki, port=port).start()
