"""Certificates made on the spot: an authority, a broker's and a gateway's (EC P-256, days long).

For the demo and the tests only. The authority's key never leaves this process's memory, so
nothing can be added to a PKI once its maker has ended. Every file is readable by its owner alone.
"""

import ipaddress
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.clock import now_ns

VALIDITY = timedelta(days=2)
EARLIER = timedelta(hours=1)
"""Certificates are valid from a little before now, for the peer whose clock is behind."""

_VALID = (EARLIER, VALIDITY)
"""How long before now, and how long after."""

LOCAL_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key, as PEM files."""

    cert_file: Path
    key_file: Path


@dataclass(frozen=True)
class Pki:
    """What a broker and a gateway need to trust each other."""

    ca_file: Path
    server: Identity
    client: Identity


@dataclass(frozen=True)
class _Subject:
    name: x509.Name
    hosts: tuple[str, ...]


class Authority:
    """A certificate authority that lives as long as this object."""

    def __init__(self, common_name: str = "Tailrace demo CA") -> None:
        self._name = _named(common_name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key()
        self._certificate = (
            _builder(self._name, self._name, public, _VALID)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def write_ca(self, path: Path) -> Path:
        """Write the authority's certificate, never its key; return `path`."""
        return _write(path, self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(
        self, folder: Path, name: str = "server", *, hosts: tuple[str, ...] = LOCAL_NAMES
    ) -> Identity:
        """Issue a broker's certificate for `hosts` (DNS names and IP addresses)."""
        return self._issue(folder, name, _subject(hosts[0], hosts), _VALID)

    def client(self, folder: Path, name: str = "gateway", *, common_name: str) -> Identity:
        """Issue a client's certificate; brokers may take `common_name` as its user name."""
        return self._issue(folder, name, _subject(common_name, ()), _VALID)

    def expired(
        self, folder: Path, name: str = "expired", *, hosts: tuple[str, ...] = LOCAL_NAMES
    ) -> Identity:
        """Issue a certificate, good for broker and client, that ended an hour ago."""
        return self._issue(folder, name, _subject(hosts[0], hosts), (timedelta(days=2), -EARLIER))

    def ending(
        self, folder: Path, name: str, left: timedelta, *, hosts: tuple[str, ...] = LOCAL_NAMES
    ) -> Identity:
        """Issue a certificate, good for broker and client, that is two days old and ends soon."""
        return self._issue(folder, name, _subject(hosts[0], hosts), (timedelta(days=2), left))

    def _issue(
        self, folder: Path, name: str, subject: _Subject, valid: tuple[timedelta, timedelta]
    ) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            _builder(subject.name, self._name, public, valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(_purposes(serves=bool(subject.hosts)), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(issuer_id, critical=False)
        )
        if subject.hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in subject.hosts])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public_pem = certificate.public_bytes(serialization.Encoding.PEM)
        return Identity(
            _write(folder / f"{name}.pem", public_pem), _write(folder / f"{name}.key", secret)
        )


def make_pki(folder: Path, *, gateway_id: str = "sitea-line1") -> Pki:
    """Write ca.pem, server.pem/.key and gateway.pem/.key of a fresh authority into `folder`."""
    authority = Authority()
    return Pki(
        ca_file=authority.write_ca(folder / "ca.pem"),
        server=authority.server(folder),
        client=authority.client(folder, common_name=gateway_id),
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    valid: tuple[timedelta, timedelta],
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(now_ns() / 1e9, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - valid[0])
        .not_valid_after(now + valid[1])
    )


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _subject(common_name: str, hosts: tuple[str, ...]) -> _Subject:
    return _Subject(_named(common_name), hosts)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _purposes(*, serves: bool) -> x509.ExtendedKeyUsage:
    client = [ExtendedKeyUsageOID.CLIENT_AUTH]
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, *client] if serves else client)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # A mode given to open() counts only for a new file.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return path
