"""Goal: MQTT in a WebSocket is the same MQTT: nothing lost, and refusals that say what to change.

Method: mosquitto's own WebSocket listener over TLS for the drain; wsproto's server, which splits
its frames and pings in between, for what mosquitto does not do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted_broker import ScriptedBroker, connack
from uplink_rig import OPEN, Certificates, Site, Subscriber, first_arrivals, wait_until
from websocket_side import WebSocketSide, rejection

from common.errors import TargetUnavailable
from demo.broker import MosquittoBroker
from demo.children import free_port
from demo.pki import Pki
from uplink.config import check_cloud, load_target
from uplink.contract import Message, TargetBusy, TargetRefused
from uplink.targets.mqtt import MqttTarget

pytestmark = pytest.mark.process

RECORDS, TAGS = 200, 20


def websocket_listener(pki: Pki) -> tuple[int, list[str]]:
    """Return a port and what mosquitto must be told for a WebSocket there, beside its first."""
    port = free_port()
    return port, [
        *(f"listener {port} 127.0.0.1", "protocol websockets", "allow_anonymous true"),
        f"certfile {pki.server.cert_file}",
        f"keyfile {pki.server.key_file}",
    ]


def target_of(site: Site) -> MqttTarget:
    settings = load_target(site.config_dir, "uns", "g1")
    assert settings is not None
    return MqttTarget(settings, lambda: Message("status", b"{}", retain=True))


def test_a_queue_drains_through_mosquittos_websocket_and_through_its_restart(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    port, listener = websocket_listener(pki)
    folder = tmp_path / "broker"
    folder.mkdir()
    kept = ("persistence true", f"persistence_location {folder}/")  # What it took, over a restart.
    with MosquittoBroker(folder, pki, settings=[*OPEN, *kept, *listener]) as broker:
        subscriber = subscribe(broker.port)
        site.configure(port, transport="websocket", drain="ordered")
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it drains")
        broker.stop()
        broker.start()
        last = site.fill(RECORDS, TAGS)
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it drains again")
        wait_until(
            lambda: len(set(subscriber.identities())) == 2 * RECORDS * TAGS, "everything arrives"
        )
        assert site.stop() == 0

    order = first_arrivals(subscriber.identities())
    assert order == sorted(order), "in order"
    online = [payload["online"] for topic, payload, _ in subscriber.messages if "online" in payload]
    assert online[-1] is False, "it said goodbye"


def test_split_frames_and_pings_between_them_are_understood(
    site: Site, pki: Pki, tmp_path: Path
) -> None:
    """Seen to bite: without the replies being sent, no ping is answered."""
    sides: list[WebSocketSide] = []
    token = tmp_path / "token"
    token.write_text("a-token\n")
    token.chmod(0o600)

    def dress(connection: Any) -> WebSocketSide:
        sides.append(WebSocketSide(connection))
        return sides[-1]

    with ScriptedBroker(pki, dress=dress) as broker:
        site.configure(
            broker.port,
            transport="websocket",
            websocket_path="/ws?tenant=1",
            websocket_token_file=str(token),
        )
        last = site.fill(50, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "all is acknowledged")
        wait_until(lambda: sides[0].pongs > 50 * TAGS, "every ping is answered")
        assert site.stop() == 0
        assert len(broker.samples) == 50 * TAGS

    (side,) = sides
    assert side.request is not None
    assert side.request.target == "/ws?tenant=1"
    assert side.request.subprotocols == ["mqtt"]
    assert dict(side.request.extra_headers)[b"authorization"] == b"Bearer a-token"
    assert broker.alpn is None, "the server has none to choose from"
    assert broker.goodbyes == 1
    assert max(side.frames) > 10 * min(side.frames), "one frame carries many packets"


def test_a_websocket_that_the_broker_closes_is_told_with_its_reason(site: Site, pki: Pki) -> None:
    sides: list[WebSocketSide] = []

    def dress(connection: Any) -> WebSocketSide:
        sides.append(WebSocketSide(connection))
        return sides[-1]

    def close_once() -> list[bytes]:
        """In the broker's own thread, when the CONNECT was answered."""
        if sides[0].frames and not sides[0].closed:
            sides[0].close(1008, "tenant is suspended")
        return []

    with ScriptedBroker(pki, dress=dress, idle=close_once) as broker:
        site.configure(broker.port, transport="websocket")
        connection = target_of(site).connect(lambda: None)
        with pytest.raises(TargetUnavailable) as raised:
            wait_until(lambda: connection.exchange(0.1), "it notices")
        connection.close()

    assert "closed the connection (WebSocket: 1008 tenant is suspended)" in str(raised.value)
    assert sides[0].closed_with == 1008, "the close was answered"


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (401, TargetRefused, "(401 Unauthorized): it wants to know who asks: set websocket_token"),
        (403, TargetRefused, "does not allow it to us"),
        (404, TargetRefused, "correct websocket_path"),
        (302, TargetRefused, "it points to https://login.example.com/; correct host"),
        (200, TargetRefused, "is it a broker's WebSocket?"),
        (503, TargetBusy, "has too much to do"),
        (502, TargetUnavailable, "a fault of its own"),
        (599, TargetUnavailable, "refused the WebSocket (599)"),
    ],
)
def test_a_refused_upgrade_is_a_sentence(
    site: Site, pki: Pki, status: int, kind: type[TargetUnavailable], says: str
) -> None:
    headers = [(b"Location", b"https://login.example.com/")]
    with ScriptedBroker(pki, dress=rejection(status, headers)) as broker:
        site.configure(broker.port, transport="websocket")
        with pytest.raises(TargetUnavailable) as raised:
            target_of(site).connect(lambda: None)

    assert type(raised.value) is kind
    assert says in str(raised.value)
    assert f":{broker.port}/mqtt refused" in str(raised.value)


def test_a_broker_without_websocket_is_told(site: Site, pki: Pki) -> None:
    """It answers our HTTP with the end of the connection, or with MQTT."""
    with ScriptedBroker(pki, dress=lambda connection: _answering(connection, connack())) as broker:
        site.configure(broker.port, transport="websocket")
        with pytest.raises(TargetRefused, match="does not speak WebSocket"):
            target_of(site).connect(lambda: None)
    with ScriptedBroker(pki, dress=lambda connection: _answering(connection, b"")) as broker:
        site.configure(broker.port, transport="websocket", connect_timeout_s=0.5)
        with pytest.raises(TargetUnavailable, match="did not answer the request for a WebSocket"):
            target_of(site).connect(lambda: None)


def _answering(connection: Any, answer: bytes) -> Any:
    connection.recv(4_096)
    connection.sendall(answer)
    connection.recv(4_096)
    return connection


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"websocket_token_file": "token"}, 'needs transport = "websocket"'),
        ({"transport": "websockets"}, "transport"),
        ({"transport": "websocket", "websocket_path": "mqtt"}, "websocket_path"),
        ({"transport": "websocket", "websocket_token_file": "none"}, "cannot be read"),
    ],
)
def test_keys_that_do_not_fit_together_are_found_before_the_start(
    site: Site, certificates: Certificates, wrong: dict[str, str], says: str
) -> None:
    assert certificates.pki.ca_file.exists()
    site.configure(443, **wrong)

    assert any(says in str(finding) for finding in check_cloud(site.config_dir))
