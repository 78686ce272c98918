"""Goal: a proxy is on the way and nothing more: it resolves, connects, and every no names it.

Method: real proxies in threads in front of mosquitto, whose name only they can resolve. That they
are proxies at all is judged by PySocks, which Tailrace itself does not use.
"""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import socks
from proxies import BROKER, PASSWORD, USER, HttpProxy, SocksProxy
from relay import Open, Relay
from uplink_rig import OPEN, Certificates, Site, Subscriber, first_arrivals, wait_until

from common.errors import TargetUnavailable
from demo.broker import MosquittoBroker
from demo.children import free_port
from demo.pki import Pki
from uplink.config import check_cloud, load_target
from uplink.contract import Message, TargetBusy, TargetRefused
from uplink.targets.mqtt import MqttTarget

pytestmark = pytest.mark.process

RECORDS, TAGS = 50, 20
Make = Callable[[int], HttpProxy | SocksProxy]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "proxy-password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    return file


def target_of(site: Site) -> MqttTarget:
    settings = load_target(site.config_dir, "uns", "g1")
    assert settings is not None
    return MqttTarget(settings, lambda: Message("status", b"{}", retain=True))


def refusal(site: Site) -> TargetUnavailable:
    with pytest.raises(TargetUnavailable) as raised:
        target_of(site).connect(lambda: None)
    return raised.value


def through(site: Site, proxy: str, secret: Path | None = None, **changes: object) -> None:
    """Configure a way through a proxy; with credentials where there is a secret."""
    shown = {"proxy_user": USER, "proxy_password_file": str(secret)} if secret else {}
    site.configure(8883, **{"host": BROKER, "proxy": proxy, **shown, **changes})


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("transport", ["tcp", "websocket"])
def test_a_queue_drains_through_a_proxy_that_wants_credentials(
    site: Site,
    subscribe: Callable[..., Subscriber],
    certificates: Certificates,
    tmp_path: Path,
    secret: Path,
    scheme: str,
    transport: str,
) -> None:
    """Seen to bite: with one line of CONNECT's answer read, the rest is taken for TLS."""
    server = certificates.authority.server(tmp_path, hosts=(BROKER, "127.0.0.1"))
    pki = Pki(certificates.pki.ca_file, server, certificates.pki.client)
    port = free_port()
    listener = [f"listener {port} 127.0.0.1", "protocol websockets", "allow_anonymous true"]
    listener += [f"certfile {server.cert_file}", f"keyfile {server.key_file}"]
    make: Make = HttpProxy if scheme == "http" else SocksProxy
    with MosquittoBroker(tmp_path / "broker", pki, settings=[*OPEN, *listener]) as broker:
        proxy = make(broker.port if transport == "tcp" else port)
        with Relay(proxy) as relay:
            subscriber = subscribe(broker.port)
            through(site, f"{scheme}://127.0.0.1:{relay.port}", secret, transport=transport)
            last = site.fill(RECORDS, TAGS)
            site.start()
            wait_until(lambda: site.detail.get("acked_sequence") == last, "it drains")
            wait_until(lambda: len(subscriber.payloads()) == RECORDS * TAGS, "all arrives")
            assert site.stop() == 0

    order = first_arrivals(subscriber.identities())
    assert order == sorted(order)
    assert [f"{BROKER}:8883" in asked for asked in proxy.asked] == [True]
    assert PASSWORD not in site.log
    assert "broker is away" not in site.log


def test_the_names_in_a_wrong_certificate_are_read_through_the_proxy(
    site: Site, pki: Pki, tmp_path: Path, secret: Path
) -> None:
    with (
        MosquittoBroker(tmp_path / "broker", pki) as broker,
        Relay(HttpProxy(broker.port)) as relay,
    ):
        through(site, f"http://127.0.0.1:{relay.port}", secret)
        error = refusal(site)

    assert f"is not for {BROKER}, it is for localhost, 127.0.0.1" in str(error)


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (b"403 Forbidden", TargetRefused, "its rules do not allow it"),
        (b"405 Method Not Allowed", TargetRefused, "is it a proxy at all?"),
        (b"302 Found", TargetRefused, "a captive portal?"),
        (b"503 Service Unavailable", TargetBusy, "has too much to do"),
        (b"502 Bad Gateway", TargetUnavailable, "it cannot reach the broker"),
        (b"418 I'm a teapot", TargetRefused, "ask its operator why"),
        (b"what?", TargetRefused, "ask its operator why"),
    ],
)
def test_an_http_proxy_that_says_no_is_named_with_its_reason(
    site: Site, answer: bytes, kind: type[TargetUnavailable], says: str
) -> None:
    proxy = HttpProxy(0, login=False, answer=b"HTTP/1.1 " + answer + b"\r\n")
    with Relay(proxy) as relay:
        through(site, f"http://127.0.0.1:{relay.port}")
        error = refusal(site)

    assert type(error) is kind
    assert str(error).startswith(f"the proxy 127.0.0.1:{relay.port} did not connect us to {BROKER}")
    assert says in str(error)


@pytest.mark.parametrize(
    ("reply", "kind", "says"),
    [
        (2, TargetRefused, "its rules do not allow it"),
        (4, TargetUnavailable, "the host is unreachable from there"),
        (5, TargetUnavailable, "nothing listens there"),
        (99, TargetUnavailable, "it does not say why"),
    ],
)
def test_a_socks_proxy_that_says_no_is_named_with_its_reason(
    site: Site, reply: int, kind: type[TargetUnavailable], says: str
) -> None:
    with Relay(SocksProxy(0, login=False, reply=reply)) as relay:
        through(site, f"socks5://127.0.0.1:{relay.port}")
        error = refusal(site)

    assert type(error) is kind
    assert f"the proxy 127.0.0.1:{relay.port} did not connect us to {BROKER}:8883" in str(error)
    assert says in str(error)


@pytest.mark.parametrize(("scheme", "make"), [("http", HttpProxy), ("socks5", SocksProxy)])
def test_wrong_and_missing_credentials_are_told_and_never_shown(
    site: Site, secret: Path, scheme: str, make: Make
) -> None:
    secret.write_text("wrong secret")
    with Relay(make(0)) as relay:
        through(site, f"{scheme}://127.0.0.1:{relay.port}", secret)
        wrong = refusal(site)
        through(site, f"{scheme}://127.0.0.1:{relay.port}")
        missing = refusal(site)

    assert f"does not accept proxy_user {USER}" in str(wrong)
    assert "see proxy_user and proxy_password_file" in str(wrong)
    assert "wrong secret" not in str(wrong)
    assert "wants credentials" in str(missing)
    assert {type(wrong), type(missing)} == {TargetRefused}


def silent(client: socket.socket) -> None:
    client.recv(4_096)
    client.recv(4_096)


def portal(client: socket.socket) -> None:
    """Say yes to everything and answer with a page to log in at."""
    client.recv(4_096)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
    client.recv(4_096)
    client.sendall(b"<html><body>Please accept the terms of use.</body></html>")


def hang_up(client: socket.socket) -> None:
    client.recv(4_096)


def http_server(client: socket.socket) -> None:
    client.recv(4_096)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def socks_server(client: socket.socket) -> None:
    client.recv(4_096)
    client.sendall(b"\x05\xff")


@pytest.mark.parametrize(
    ("scheme", "opening", "says"),
    [
        ("http", silent, "did not connect us to uns.example.com:8883 within 0.5 s"),
        ("socks5", silent, "did not connect us to uns.example.com:8883 within 0.5 s"),
        ("http", hang_up, "closed the connection without a word"),
        ("http", portal, "did the proxy answer itself (a captive portal)?"),
        ("socks5", http_server, "does not speak SOCKS5; is it an HTTP proxy?"),
        ("http", socks_server, "does not speak HTTP; is it a SOCKS proxy?"),
    ],
)
def test_what_is_no_proxy_or_not_ours_is_told(
    site: Site, scheme: str, opening: Open, says: str
) -> None:
    with Relay(opening) as relay:
        through(site, f"{scheme}://127.0.0.1:{relay.port}", connect_timeout_s=0.5)
        error = refusal(site)

    assert says in str(error)
    assert f"127.0.0.1:{relay.port}" in str(error)


def test_a_proxy_that_is_not_there_is_named_and_not_the_broker(site: Site) -> None:
    through(site, f"http://127.0.0.1:{free_port()}")
    refused = refusal(site)
    through(site, "socks5://no-such-proxy.invalid:1080")
    unknown = refusal(site)

    assert str(refused).startswith("the proxy http://127.0.0.1:")
    assert "refused the connection: nothing listens there; is it up" in str(refused)
    assert "the name no-such-proxy.invalid cannot be resolved" in str(unknown)
    assert "check proxy" in str(unknown)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"proxy": "http://me:hunter2@proxy:8080"}, "use proxy_user, and a file"),
        ({"proxy": "proxy:8080"}, '"http://host:port" or "socks5://host:port"'),
        ({"proxy": "https://proxy:8080"}, '"http://host:port" or "socks5://host:port"'),
        ({"proxy": "http://proxy:99999"}, "port out of range"),
        ({"proxy_user": "me"}, "proxy_user needs proxy"),
        ({"proxy": "http://proxy", "proxy_password_file": "x"}, "needs proxy_user"),
    ],
)
def test_a_proxy_that_cannot_be_is_refused_before_the_start(
    site: Site, wrong: dict[str, str], says: str
) -> None:
    site.configure(8883, **wrong)

    found = "\n".join(map(str, check_cloud(site.config_dir)))

    assert says in found
    assert "hunter2" not in found


def test_the_environment_leads_nowhere(
    site: Site, pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paho would obey it where PySocks is installed. Seen to bite: with paho's own client."""
    monkeypatch.setenv("mqtt_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        site.configure(broker.port)
        last = site.fill(3)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it drains")
        assert site.stop() == 0


@pytest.mark.parametrize(("kind", "make"), [(socks.HTTP, HttpProxy), (socks.SOCKS5, SocksProxy)])
def test_another_client_takes_the_proxies_of_these_tests_for_proxies(kind: int, make: Make) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    with server, Relay(make(server.getsockname()[1])) as relay:
        client = socks.create_connection(
            (BROKER, 8883),
            proxy_type=kind,
            proxy_addr="127.0.0.1",
            proxy_port=relay.port,
            proxy_username=USER,
            proxy_password=PASSWORD,
        )
        far, _ = server.accept()
        with client, far:
            client.sendall(b"hello")
            assert far.recv(5) == b"hello"
