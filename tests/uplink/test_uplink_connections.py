"""Goal: how a connection is made is what it/cloud.toml says, and what is weak in it is said aloud.

Method: the real target against servers of one's own that note what they were offered.
"""

import ipaddress
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from scripted_broker import ScriptedBroker
from uplink_rig import Site, wait_until

from common.clock import now_ns
from common.errors import TargetUnavailable
from console.status import look
from console.status_text import status_text
from demo.children import free_port
from demo.pki import Identity, Pki
from uplink.config import check_cloud, is_error, load_target
from uplink.contract import Message, TargetRefused
from uplink.targets.mqtt import MqttTarget

pytestmark = pytest.mark.process

OPENSSL = shutil.which("openssl") or "openssl"


def target_of(site: Site) -> MqttTarget:
    settings = load_target(site.config_dir, "uns", "g1")
    assert settings is not None
    return MqttTarget(settings, lambda: Message("status", b"{}", retain=True))


def test_tls_1_2_is_spoken_where_it_is_allowed_and_said_to_be_weak(site: Site, pki: Pki) -> None:
    """Seen to bite: without the remark, no note names the version."""
    broker = ScriptedBroker(pki)
    broker.context.minimum_version = ssl.TLSVersion.TLSv1_2
    broker.context.maximum_version = ssl.TLSVersion.TLSv1_2
    with broker:
        site.configure(broker.port, tls_min="1.2")
        last = site.fill(3)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "it drains")
        (note,) = site.detail["notes"]
        shown = status_text(look(site.run_dir, site.data_dir / "queue"))
        assert site.stop() == 0

    assert "the connection is only TLSv1.2" in note
    assert any(note in line for line in shown), "tailrace status shows it"


def test_tls_1_3_is_used_where_both_sides_have_it_and_1_2_is_only_allowed(
    site: Site, pki: Pki
) -> None:
    broker = ScriptedBroker(pki)
    broker.context.minimum_version = ssl.TLSVersion.TLSv1_2
    with broker:
        site.configure(broker.port, tls_min="1.2")
        connection = target_of(site).connect(lambda: None)
        notes = connection.notes
        connection.close()

    assert notes == ()


def test_the_name_that_is_verified_and_the_protocols_are_offered_in_the_handshake(
    site: Site, pki: Pki
) -> None:
    """Seen to bite: without set_alpn_protocols nothing is agreed upon."""
    names: list[str | None] = []
    agreed: list[str | None] = []
    broker = ScriptedBroker(pki, welcome=lambda _: agreed.append(broker.alpn) or None)
    broker.context.set_alpn_protocols(["x-amzn-mqtt-ca"])

    def note(_socket: ssl.SSLObject, name: str, _context: ssl.SSLContext) -> None:
        names.append(name)

    broker.context.sni_callback = note
    with broker:
        site.configure(
            broker.port,
            server_name="localhost",
            alpn=["mqtt", "x-amzn-mqtt-ca"],
            connect_timeout_s=0.5,
        )
        with pytest.raises(TargetUnavailable, match="did not answer MQTT's CONNECT"):
            target_of(site).connect(lambda: None)

    assert names == ["localhost"]
    assert agreed == ["x-amzn-mqtt-ca"]


@contextmanager
def only_http_2(pki: Pki) -> Iterator[int]:
    """Run openssl's server, which refuses clients that offer no protocol of its own."""
    port = free_port()
    server = pki.server
    command = [
        *(OPENSSL, "s_server", "-accept", f"127.0.0.1:{port}", "-alpn", "h2", "-quiet"),
        *("-cert", str(server.cert_file), "-key", str(server.key_file)),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        yield port
        process.kill()


def test_a_broker_that_speaks_no_offered_protocol_is_told(site: Site, pki: Pki) -> None:
    with only_http_2(pki) as port:
        site.configure(port, alpn=["mqtt"])
        target = target_of(site)
        found: list[TargetRefused] = []

        def refused() -> bool:
            try:
                target.connect(lambda: None)
            except TargetRefused as error:
                found.append(error)
            except TargetUnavailable:
                return False  # It does not listen yet.
            return bool(found)

        wait_until(refused, "it refuses the protocol")

    assert "speaks none of the protocols in alpn" in str(found[0])


WEAK = rsa.generate_private_key(65_537, 1_024)  # noqa: S505 - to be refused
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def self_made(folder: Path, key: Key, begins: timedelta) -> Pki:
    """Return a broker's certificate that is its own authority, valid for two days from `begins`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.fromtimestamp(now_ns() / 1e9, UTC) + begins
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    identity = Identity(folder / "own.pem", folder / "own.key")
    identity.cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    identity.key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, plain[1], plain[0]))
    return Pki(identity.cert_file, identity, identity)


@pytest.mark.parametrize(
    ("key", "begins", "trusts", "says"),
    [
        (ec.generate_private_key(ec.SECP256R1()), -1, "ours", "is not signed by an authority in"),
        (ec.generate_private_key(ec.SECP256R1()), 1, "itself", "is not valid yet; is this gateway"),
        (WEAK, -1, "itself", "key too weak"),
    ],
    ids=["self-signed", "not yet valid", "weak key"],
)
def test_a_broker_certificate_that_proves_nothing_is_refused(
    site: Site, pki: Pki, tmp_path: Path, key: Key, begins: int, trusts: str, says: str
) -> None:
    own = self_made(tmp_path, key, timedelta(hours=begins))
    broker = ScriptedBroker(pki)
    broker.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    broker.context.set_ciphers("ALL:@SECLEVEL=0")  # It serves a key that nobody should.
    broker.context.load_cert_chain(own.server.cert_file, own.server.key_file)
    with broker:
        site.configure(broker.port, ca_file=str(pki.ca_file if trusts == "ours" else own.ca_file))
        with pytest.raises(TargetRefused) as raised:
            target_of(site).connect(lambda: None)

    assert says in str(raised.value)


@pytest.mark.parametrize("wrong", ['tls_min = "1.1"', 'alpn = "mqtt"', 'alpn = ["a b"]'])
def test_what_cannot_be_is_refused_before_the_start(site: Site, wrong: str) -> None:
    site.configure(8883)
    with Path(site.config_dir / "it" / "cloud.toml").open("a") as file:
        file.write(f"{wrong}\n")
    key = wrong.partition(" ")[0]

    found = check_cloud(site.config_dir)

    assert [finding.where.startswith(f"targets.uns.{key}") for finding in found] == [True]


def test_a_check_warns_where_tls_1_2_is_allowed_and_does_not_fail(site: Site) -> None:
    site.configure(8883, tls_min="1.2", ca_file="")

    (caution,) = (each for each in check_cloud(site.config_dir) if each.where.endswith("tls_min"))

    assert str(caution).startswith("warning: it/cloud.toml:")
    assert not is_error(caution)
    assert load_target(site.config_dir, "uns", "g1") is not None
