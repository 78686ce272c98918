"""Goal: a broker that must not be trusted gets nothing, the words say why, and nothing is lost.

Method: the whole gateway, with the broker's side replaced by the wrong one; the queue is watched
growing meanwhile, and once the right certificate is there, everything arrives.
"""

import shutil
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from demo.pki import Authority
from tests.process.gateway_site import GatewaySite, wait_until

pytestmark = pytest.mark.process


def the_wrong_ca(site: GatewaySite) -> None:
    other = Authority("Some other CA").write_ca(site.folder / "other-ca.pem")
    shutil.copy(other, site.config_dir / "it" / "pki" / "ca.pem")


def another_host_name(site: GatewaySite) -> None:
    rewrite(site, "[targets.uns]", '[targets.uns]\nserver_name = "elsewhere.example.com"')


def only_tls_1_2(site: GatewaySite) -> None:
    """Put a server in the broker's place that has the right certificate and an old protocol."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(site.pki.server.cert_file, site.pki.server.key_file)
    listener = socket.create_server(("127.0.0.1", 0))
    rewrite(site, f"port = {site.wan.port}", f"port = {listener.getsockname()[1]}")

    def refuse_all() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # Closed: the test is over.
            with connection, suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()

    thread = threading.Thread(target=refuse_all, daemon=True)
    thread.start()
    site.at_exit(lambda: (listener.shutdown(socket.SHUT_RDWR), listener.close(), thread.join(5)))


def rewrite(site: GatewaySite, old: str, new: str) -> None:
    cloud = site.config_dir / "it" / "cloud.toml"
    text = cloud.read_text()
    assert old in text
    cloud.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (the_wrong_ca, "ca_file"),
        (another_host_name, "elsewhere.example.com"),
        (only_tls_1_2, "TLS 1.3"),
    ],
)
def test_an_untrusted_broker_is_refused_in_words_and_the_queue_keeps_growing(
    tmp_path: Path, spoil: Callable[[GatewaySite], None], says: str
) -> None:
    with GatewaySite(tmp_path) as site:
        right = tmp_path / "right"
        shutil.copytree(site.config_dir / "it", right)
        spoil(site)
        site.gateway.start()
        wait_until(
            lambda: says in (site.health("uplink-uns").get("error") or ""),
            30,
            lambda: f"the uplink says {says}, not: {site.health('uplink-uns')}",
        )
        before = site.audit.last_sequence
        wait_until(lambda: site.audit.last_sequence > before + 20, 30, "the queue grows")
        arrived_meanwhile = list(site.audit.arrived)
        shutil.rmtree(site.config_dir / "it")
        shutil.copytree(right, site.config_dir / "it")
        site.supervisor("stopProcess", "uplink-uns")
        site.supervisor("startProcess", "uplink-uns")
        wait_until(
            lambda: set(site.audit.committed) <= {i for i, _, _ in site.audit.arrived},
            30,
            "everything arrives once the certificate is right",
        )

    assert arrived_meanwhile == [], "not one message before trust"
