"""Goal: the PKI's certificates open exactly the connections they should.

Method: Python's own TLS, client and server, over a socket pair; each certificate of the matrix
serves once to a client that checks everything.
"""

import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest

from demo.pki import Authority, Identity, make_pki


def shake_hands(server: Identity, ca_file: Path, *, client: Identity | None = None) -> str | None:
    """Return the version negotiated by a client that expects `localhost`. Raises ssl.SSLError."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server.cert_file, server.key_file)
    asking = ssl.create_default_context(cafile=ca_file)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    if client:
        serving.verify_mode = ssl.CERT_REQUIRED
        serving.load_verify_locations(ca_file)
        asking.load_cert_chain(client.cert_file, client.key_file)
    near, far = socket.socketpair()
    near.settimeout(5)
    far.settimeout(5)

    def serve() -> None:
        try:
            with serving.wrap_socket(far, server_side=True) as accepted:
                accepted.sendall(b"served")
        except OSError:
            far.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with asking.wrap_socket(near, server_hostname="localhost") as connected:
            # Under TLS 1.3 a refused client certificate shows only with the first bytes read.
            assert connected.recv(6) == b"served"
            return connected.version()
    finally:
        near.close()
        thread.join()


def test_the_right_certificates_speak_tls_1_3_both_ways(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)

    assert shake_hands(pki.server, pki.ca_file, client=pki.client) == "TLSv1.3"


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)
    wrong_ca_file = Authority("Somebody else").write_ca(tmp_path / "wrong.pem")

    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake_hands(pki.server, wrong_ca_file)


def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    ca_file = authority.write_ca(tmp_path / "ca.pem")
    elsewhere = authority.server(tmp_path, "elsewhere", hosts=("uns.example.com",))

    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(elsewhere, ca_file)


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    ca_file = authority.write_ca(tmp_path / "ca.pem")

    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        shake_hands(authority.expired(tmp_path), ca_file)


def test_a_client_certificate_does_not_make_its_holder_a_broker(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)

    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        shake_hands(pki.client, pki.ca_file)


def test_a_client_of_another_authority_is_refused_by_the_server(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)
    stranger = Authority("Somebody else").client(tmp_path, "stranger", common_name="stranger")

    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
        shake_hands(pki.server, pki.ca_file, client=stranger)


def test_every_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "pki"
    make_pki(folder)
    make_pki(folder)  # again, over the first

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(
        ("ca.pem", "server.pem", "server.key", "gateway.pem", "gateway.key"), 0o600
    )
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
