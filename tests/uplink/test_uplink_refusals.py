"""Goal: a broker's rules cost only what they forbid, and each refusal of TLS names its cause.

Method: mosquitto with ACLs, limits, client certificates and TLS versions; the witnesses are the
health file, the dead-letter store and the cursor.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from uplink_rig import OPEN, ROOT, Certificates, Site, Subscriber, make_plan, wait_until

from demo.broker import MosquittoBroker
from demo.children import free_port
from demo.pki import Authority, Pki
from uplink.config import load_target
from uplink.contract import Message
from uplink.targets.mqtt import MqttTarget

pytestmark = pytest.mark.process

TAGS = 5
RECORDS = 20


def test_topics_that_the_broker_forbids_are_set_aside_and_the_others_continue(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    acl = f"user sitea-line1\ntopic write {ROOT}/Press_Machine/#\nuser lake\ntopic read #\n"
    folder = tmp_path / "broker"
    with MosquittoBroker(folder, pki, acl=acl, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port)
        site.fill(RECORDS, TAGS)
        site.fill(RECORDS, plan=make_plan(TAGS, "Secret_Machine", "secret"))
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        wait_until(lambda: len(subscriber.payloads()) == 2 * RECORDS * TAGS, "the rest arrived")
        assert site.detail["state"] == "online", "a forbidden topic is no outage"
        assert site.stop() == 0

    cursor = site.cursor()
    letters = cursor.set_aside()
    cursor.close()
    assert len(letters) == RECORDS * TAGS == site.detail["set_aside"]
    assert {each.topic.split("/")[-2] for each in letters} == {"Secret_Machine"}
    assert {each.reason for each in letters} == {"not authorized (0x87)"}
    assert all(b'"id":"sitea-line1:' in each.payload for each in letters)
    logged = site.log.count("messages set aside")
    assert logged == TAGS + 1, "one line per topic (and the status), not per message"


@pytest.mark.parametrize("limit", ["max_packet_size 400", "message_size_limit 250"])
def test_a_message_that_is_too_large_is_set_aside_and_the_others_continue(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path, limit: str
) -> None:
    """The first limit is announced and would end the connection; the second answers PUBACK 0x95."""
    with MosquittoBroker(tmp_path / "broker", pki, settings=[*OPEN, limit]) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port)
        site.fill(RECORDS, TAGS)
        site.fill_text("x" * 300)
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        wait_until(lambda: len(subscriber.payloads()) == 2 * RECORDS * TAGS, "the others arrived")
        assert site.stop() == 0

    cursor = site.cursor()
    (letter,) = cursor.set_aside()
    cursor.close()
    assert letter.sequence == RECORDS + 1
    assert "packet too large" in letter.reason
    assert "broker is away" not in site.log, "no connection was lost over it"


class OtherServer:
    """Takes connections and is no broker of ours: TLS 1.2 with a certificate, else plain text.

    The Debian mosquitto cannot be held to TLS 1.2: its tls_version is a minimum.
    """

    def __init__(self, pki: Pki | None = None) -> None:
        self._context: ssl.SSLContext | None = None
        if pki is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.maximum_version = ssl.TLSVersion.TLSv1_2
            self._context.load_cert_chain(pki.server.cert_file, pki.server.key_file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.port = int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                try:
                    if self._context is not None:
                        self._context.wrap_socket(connection, server_side=True).close()
                    else:
                        connection.recv(1_000)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                except OSError:
                    pass  # The client left, as it should.

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


def start_and_read_error(site: Site, says: str) -> None:
    """Start, wait for the error, and see that nothing moved and nobody died."""
    site.fill(RECORDS, TAGS)
    process = site.start()
    wait_until(lambda: says in str(site.detail.get("error")), says)
    assert process.poll() is None, "the process stays"
    assert site.stop() == 0
    assert site.position() == 0, "the cursor did not move"
    assert says in site.log


def test_an_unknown_authority_is_named(site: Site, pki: Pki, tmp_path: Path) -> None:
    other = Authority("another CA").write_ca(tmp_path / "other.pem")
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        site.configure(broker.port, ca_file=str(other))
        start_and_read_error(site, f"not signed by an authority in {other}")
        assert site.detail["state"] == "refused"


def test_a_wrong_host_name_is_told_with_the_names_that_would_be_right(
    site: Site, pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        site.configure(broker.port, server_name="uns.example.com")
        start_and_read_error(
            site, "is not for uns.example.com, it is for localhost, 127.0.0.1; correct host"
        )
        assert site.detail["state"] == "refused"


def test_a_server_name_makes_the_certificate_right(
    site: Site, certificates: Certificates, tmp_path: Path
) -> None:
    server = certificates.authority.server(tmp_path, hosts=("uns.example.com",))
    pki = Pki(certificates.pki.ca_file, server, certificates.pki.client)
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        site.configure(broker.port, server_name="uns.example.com")
        last = site.fill(RECORDS, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it drains")
        site.stop()


def test_an_expired_broker_certificate_is_told(
    site: Site, certificates: Certificates, tmp_path: Path
) -> None:
    server = certificates.authority.expired(tmp_path)
    pki = Pki(certificates.pki.ca_file, server, certificates.pki.client)
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        site.configure(broker.port)
        start_and_read_error(site, "the broker's certificate has expired")


def test_a_broker_that_speaks_only_tls_1_2_is_told(site: Site, pki: Pki) -> None:
    with OtherServer(pki) as server:
        site.configure(server.port)
        start_and_read_error(site, "speaks only TLS 1.2 or older; Tailrace needs TLS 1.3")
        assert 'set tls_min = "1.2"' in site.detail["error"]
        assert site.detail["state"] == "refused"


def test_a_missing_client_certificate_is_told(site: Site, pki: Pki, tmp_path: Path) -> None:
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        site.configure(broker.port, cert_file=None, key_file=None)
        start_and_read_error(site, "requires a client certificate and got none; set cert_file")
        assert site.detail["state"] == "refused"


def test_an_unknown_client_certificate_is_told(site: Site, pki: Pki, tmp_path: Path) -> None:
    stranger = Authority("another CA").client(tmp_path, common_name="stranger")
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        site.configure(
            broker.port, cert_file=str(stranger.cert_file), key_file=str(stranger.key_file)
        )
        start_and_read_error(site, "does not know the authority that signed our certificate")


def test_our_own_expired_certificate_is_for_the_broker_to_refuse(
    site: Site, certificates: Certificates, tmp_path: Path
) -> None:
    """Our clock may be the one that is wrong: the process starts, and asks."""
    expired = certificates.authority.expired(tmp_path)
    with MosquittoBroker(tmp_path / "broker", certificates.pki) as broker:
        site.configure(
            broker.port, cert_file=str(expired.cert_file), key_file=str(expired.key_file)
        )
        start_and_read_error(site, "our certificate (cert_file) has expired; renew it")
        assert site.detail["state"] == "refused"


def test_a_mistake_in_it_is_waited_out_and_a_correction_needs_no_restart(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, ca_file="none.pem", prot=1)
        site.fill(RECORDS, TAGS)
        process = site.start()
        wait_until(lambda: site.detail.get("state") == "refused", "it says that it is refused")
        error = site.detail["error"]
        site.configure(broker.port)
        wait_until(lambda: len(subscriber.payloads()) == RECORDS * TAGS, "it delivers by itself")
        assert process.poll() is None
        assert site.stop() == 0

    assert "targets.uns.prot" in error
    assert "it/cloud.toml" in error
    assert site.log.count("no usable settings") == 1


def test_a_process_that_waits_for_its_settings_stops_at_once(site: Site) -> None:
    process = site.start()
    wait_until(lambda: site.detail.get("state") == "refused", "there is no it/cloud.toml")

    assert process.poll() is None, "no file is no reason to end either"
    assert site.stop(timeout_s=5) == 0
    assert "no such file" in site.log


class HoldingServer:
    """Shakes hands once with the certificate of another host, and holds every later connection."""

    def __init__(self, pki: Pki) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pki.server.cert_file, pki.server.key_file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.port = int(self._listener.getsockname()[1])
        self.holding = threading.Event()

    def _serve(self) -> None:
        first, _ = self._listener.accept()
        with first, suppress(OSError):  # The client does not like the name, as it should.
            self._context.wrap_socket(first, server_side=True).close()
        with suppress(OSError):  # Closed: nobody came a second time.
            second, _ = self._listener.accept()
            with second:
                self.holding.set()
                while second.recv(4096):
                    pass

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


class Enough(Exception):
    """What `waiting` raises when it is told to stop."""


def test_asking_for_the_right_name_holds_up_nothing(site: Site, pki: Pki) -> None:
    with HoldingServer(pki) as server:
        site.configure(server.port, server_name="uns.example.com")
        settings = load_target(site.config_dir, "uns", "g1")
        assert settings is not None
        target = MqttTarget(settings, lambda: Message("status", b"{}", retain=True))

        def waiting() -> None:
            if server.holding.is_set():
                raise Enough

        with pytest.raises(Enough):  # Health is written and SIGTERM heard while the server holds.
            target.connect(waiting)


def test_nobody_there_is_told(site: Site) -> None:
    site.configure(free_port())
    start_and_read_error(site, "refused the connection: nothing listens there")
    assert site.detail["state"] == "away"


def test_a_name_that_does_not_exist_is_told(site: Site) -> None:
    site.configure(8883, host="no-such-host.invalid")
    start_and_read_error(site, "the name no-such-host.invalid cannot be resolved")


def test_a_broker_without_tls_is_told(site: Site) -> None:
    with OtherServer() as server:
        site.configure(server.port)
        start_and_read_error(site, "does not speak TLS on this port")
