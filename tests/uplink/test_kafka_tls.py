"""Goal: the gateway speaks to no broker but the right one, and says in a sentence what is wrong.

Method: the real process, or the real target, against a broker of our own over TLS with certificates
made for the test; what the broker saw is asked of the broker.
"""

import ssl
from pathlib import Path

import pytest
from kafka_rig import configure, connected, judge
from scripted_cluster import ScriptedCluster
from uplink_rig import GATEWAY, Certificates, Site, wait_until

from common.errors import TargetUnavailable
from demo.pki import Authority, Identity, Pki
from uplink.contract import TargetRefused

pytestmark = pytest.mark.process

TAGS = 3
RIGHT = "right"


def offering(identity: Identity) -> ssl.SSLContext:
    """Return the TLS of a broker with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert_file, identity.key_file)
    return context


@pytest.fixture
def demanding(pki: Pki) -> ssl.SSLContext:
    """The TLS of a broker that wants a client certificate."""
    context = offering(pki.server)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(pki.ca_file)
    return context


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{RIGHT}\n")
    path.chmod(0o600)
    return path


def keys(pki: Pki, **changes: object) -> dict[str, object]:
    """Return the keys of a target with TLS and a client certificate."""
    return {
        "security": "tls",
        "ca_file": str(pki.ca_file),
        "cert_file": str(pki.client.cert_file),
        "key_file": str(pki.client.key_file),
        **changes,
    }


def refusal(folder: Path, cluster: ScriptedCluster, told: dict[str, object]) -> str:
    """Return why the target refuses to go on with this broker."""
    with pytest.raises(TargetRefused) as caught:
        connected(folder, cluster.servers, **told)
    assert cluster.requests == [], "not one request was sent"
    return str(caught.value)


def test_everything_arrives_over_tls_with_a_client_certificate(
    site: Site, demanding: ssl.SSLContext, pki: Pki
) -> None:
    with ScriptedCluster(tls=demanding) as cluster:
        configure(site, cluster.servers, compression="none", **keys(pki))
        last = site.fill(100, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "all is acknowledged")
        assert site.stop() == 0

    judge(cluster.log, last, TAGS)
    assert GATEWAY in cluster.peers[0], "the broker knows who we are"
    assert site.detail["notes"] == [], "nothing to complain of"


def test_a_broker_of_another_authority_is_refused(tmp_path: Path, pki: Pki) -> None:
    """Seen to bite: with enable.ssl.certificate.verification off, the broker gets our requests."""
    other = Authority("Another CA").write_ca(tmp_path / "other.pem")
    with ScriptedCluster(tls=offering(pki.server)) as cluster:
        said = refusal(tmp_path, cluster, keys(pki, ca_file=str(other)))

    assert "self-signed certificate in certificate chain" in said or "local issuer" in said
    assert f"signed by an authority in {other} (ca_file)" in said


def test_a_broker_of_another_name_is_refused(
    tmp_path: Path, certificates: Certificates, pki: Pki
) -> None:
    """Seen to bite: with ssl.endpoint.identification.algorithm none, it gets our requests."""
    wrong = certificates.authority.server(tmp_path, "wrong", hosts=("other.example",))
    with ScriptedCluster(tls=offering(wrong)) as cluster:
        said = refusal(tmp_path, cluster, keys(pki))

    assert "Hostname mismatch, certificate is not valid for 'localhost'" in said


def test_a_broker_that_wants_a_certificate_is_told_as_that(
    tmp_path: Path, demanding: ssl.SSLContext, pki: Pki
) -> None:
    with ScriptedCluster(tls=demanding) as cluster:
        said = refusal(tmp_path, cluster, keys(pki, cert_file="", key_file=""))

    assert "requires a client certificate and got none; set cert_file and key_file" in said


def test_tls_1_2_is_refused_unless_it_is_allowed(tmp_path: Path, pki: Pki) -> None:
    """Seen to bite: without TLS_1_3_ALONE the connection is made."""
    context = offering(pki.server)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with ScriptedCluster(tls=context) as cluster:
        assert 'set tls_min = "1.2"' in refusal(tmp_path, cluster, keys(pki))
        connected(tmp_path, cluster.servers, **keys(pki, tls_min="1.2")).close()


def test_tls_1_3_is_what_is_spoken(tmp_path: Path, pki: Pki) -> None:
    context = offering(pki.server)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with ScriptedCluster(tls=context) as cluster:
        connected(tmp_path, cluster.servers, **keys(pki)).close()


def test_a_broker_without_tls_is_told_as_that(tmp_path: Path, pki: Pki) -> None:
    """A guess of librdkafka may come a moment later than the bare end of the connection."""
    with ScriptedCluster() as cluster, pytest.raises(TargetUnavailable) as caught:
        connected(tmp_path, cluster.servers, **keys(pki))

    said = ("does not speak TLS on this port; use the listener", "does this listener speak TLS?")
    assert any(each in str(caught.value) for each in said)


def test_a_wrong_password_is_told_as_that(tmp_path: Path, pki: Pki, secret: Path) -> None:
    told = {"user": "g1", "sasl": "PLAIN", "password_file": str(secret)}
    told |= {"security": "tls", "ca_file": str(pki.ca_file)}
    with ScriptedCluster(tls=offering(pki.server), password=RIGHT) as cluster:
        connected(tmp_path, cluster.servers, **told).close()
        secret.write_text("wrong")
        with pytest.raises(TargetRefused, match="user or password is wrong"):
            connected(tmp_path, cluster.servers, **told)


def test_a_mechanism_that_the_broker_does_not_offer_is_told_as_that(
    tmp_path: Path, pki: Pki, secret: Path
) -> None:
    told = {"user": "g1", "password_file": str(secret), "ca_file": str(pki.ca_file)}
    with (
        ScriptedCluster(tls=offering(pki.server), password=RIGHT) as cluster,
        pytest.raises(TargetRefused) as caught,
    ):
        connected(tmp_path, cluster.servers, security="tls", **told)

    assert "the brokers do not offer sasl = SCRAM-SHA-512" in str(caught.value)


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ("no.such.host.invalid:9093", "the name no.such.host.invalid cannot be resolved"),
        ("127.0.0.1:1", "127.0.0.1:1 refused the connection"),
    ],
)
def test_a_cluster_that_cannot_be_found_is_told_as_that(
    tmp_path: Path, server: str, says: str
) -> None:
    with pytest.raises(TargetUnavailable, match=says) as caught:
        connected(tmp_path, [server], security="tls")

    assert not isinstance(caught.value, TargetRefused), "waiting may help"
