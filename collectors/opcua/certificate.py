"""Application certificates: the gateway's own, made once and kept; what people see of any.

An application of OPC UA is known by an X.509 certificate that it mostly signs itself (OPC 10000-6,
6.2.2). Servers trust ours by its key, so a new one has to be trusted anew at every server: it is
made once, lives for years, and is never replaced without a person asking for it.

    <state>/own/cert.der    for the servers' trust lists
    <state>/own/key.pem     mode 600
"""

import ipaddress
import os
import secrets
import shutil
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from collectors.opcua.config import PEM_MARK
from common.clock import now_ns

KEY_BITS = 2_048
"""Every policy takes 2,048 to 4,096; small servers are slow with more, or refuse it."""
VALID_YEARS = 10
WARN_DAYS = 60
"""So long before its end a certificate is spoken of."""
BACKDATED = timedelta(days=2)
"""A server whose clock is behind ours would find a new certificate not yet valid."""
OLDEST_CLOCK = datetime(2025, 1, 1, tzinfo=UTC)
"""A clock before this was never set: a certificate made by it would be over when it is."""
CHAIN_MAX = 8
"""Certificates in one chain."""
NAME_SHOWN_MAX = 120
"""Characters of a name in a certificate that are shown; whoever answers has chosen them."""


class Identity(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def application_uri(self) -> str:
        """The URI that the certificate names, empty when it names none."""
        return next(iter(uris_of(self.certificate)), "")


def now() -> datetime:
    """Return the time as certificates write it."""
    return datetime.fromtimestamp(now_ns() / 1e9, tz=UTC)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate as people compare it: `AA:BB:…`."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def described(certificate: x509.Certificate) -> str:
    """Return whose certificate it is and how long it is valid, in a line."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    subject = f"CN={names[0].value!s}" if names else certificate.subject.rfc4514_string()
    subject, issuer = _harmless(subject), "self-signed"
    if certificate.issuer != certificate.subject:
        issuer = f"issued by {_harmless(certificate.issuer.rfc4514_string())}"
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return f"{subject}, {issuer}, valid {since:%Y-%m-%d} to {until:%Y-%m-%d}"


def uris_of(certificate: x509.Certificate) -> list[str]:
    """Return the application URIs in the certificate's subjectAltName."""
    names = _alternative_names(certificate)
    return names.get_values_for_type(x509.UniformResourceIdentifier) if names else []


def hosts_of(certificate: x509.Certificate) -> list[str]:
    """Return the host names and addresses in the certificate's subjectAltName."""
    names = _alternative_names(certificate)
    if names is None:
        return []
    addresses = names.get_values_for_type(x509.IPAddress)
    return names.get_values_for_type(x509.DNSName) + [str(address) for address in addresses]


def certificates_in(content: bytes) -> list[x509.Certificate]:
    """Return every certificate in a file or message: PEM, or DER one behind the other.

    Raises ValueError when there is none, or one is broken.
    """
    if PEM_MARK in content:
        return x509.load_pem_x509_certificates(content)
    found: list[x509.Certificate] = []
    while content and len(found) < CHAIN_MAX:
        size = _der_size(content)
        found.append(x509.load_der_x509_certificate(content[:size]))
        content = content[size:]
    if not found:
        raise ValueError("holds no certificate")
    return found


def key_in(content: bytes) -> rsa.RSAPrivateKey:
    """Return the private key in a file. Raises ValueError when it is no RSA key, or locked."""
    try:
        load = load_pem_private_key if PEM_MARK in content else load_der_private_key
        key = load(content, None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("holds no RSA key")  # noqa: TRY004 - of a file, not an argument
    return key


def identity_in(certificate_file: Path, key_file: Path) -> Identity:
    """Return what two files hold. Raises ValueError when they do not belong together; OSError."""
    certificate = certificates_in(certificate_file.read_bytes())[0]
    key = key_in(key_file.read_bytes())
    if key.public_key() != certificate.public_key():
        raise ValueError(f"{key_file.name} is not the key of {certificate_file.name}")
    return Identity(certificate, key)


def own_identity(state_dir: Path, local_address: str = "") -> Identity:
    """Return the gateway's own certificate and key; they are made when there are none yet.

    They appear both at once or not at all, and of two processes that make them one wins. Raises
    OSError when they cannot be read or kept, ValueError when they are damaged, or when the clock
    has never been set. Takes some 100 ms when they are made.
    """
    folder = state_dir / "own"
    if not folder.is_dir():
        if now() < OLDEST_CLOCK:
            raise ValueError(
                f"the gateway's clock says {now():%Y-%m-%d}: set it first (timedatectl), since a "
                "certificate made now would have expired when it is right"
            )
        _keep(made_identity(local_address), folder)
    return identity_in(folder / "cert.der", folder / "key.pem")


def made_identity(local_address: str = "") -> Identity:
    """Return a new self-signed certificate of this host, as OPC 10000-6, 6.2.2 describes it."""
    host = socket.gethostname() or "tailrace"
    key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"Tailrace gateway {host}"[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tailrace"),
        ]
    )
    # Two gateways of one host name must not be one application to a server.
    uri = f"urn:{host}:tailrace:{secrets.token_hex(4)}"
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), x509.DNSName(host)]
    if local_address:
        names.append(x509.IPAddress(ipaddress.ip_address(local_address)))
    since = now() - BACKDATED
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,  # It signs itself: servers on OpenSSL check this of an issuer.
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (usage, True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.SubjectAlternativeName(names), False),
        (identifier, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=365 * VALID_YEARS))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Identity(builder.sign(key, hashes.SHA256()), key)


def time_fault(certificate: x509.Certificate, whose: str) -> str | None:
    """Return why a certificate is not valid now, in words; None when it is."""
    at = now()
    if at < certificate.not_valid_before_utc:
        since = certificate.not_valid_before_utc
        return (
            f"{whose} is not valid before {since:%Y-%m-%d %H:%M} UTC, and the gateway's clock says "
            f"{at:%Y-%m-%d %H:%M} UTC: set the clock that is wrong, the gateway's (timedatectl) or "
            "that of the device that made the certificate"
        )
    if at > certificate.not_valid_after_utc:
        until = certificate.not_valid_after_utc
        return f"{whose} has expired on {until:%Y-%m-%d} (the gateway's clock says {at:%Y-%m-%d})"
    return None


def days_left(certificate: x509.Certificate) -> int:
    """Return how many whole days a certificate is still valid; negative when it is over."""
    return (certificate.not_valid_after_utc - now()).days


def _keep(identity: Identity, folder: Path) -> None:
    """Store both files at once: a folder of another name, synced, takes the right one."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder.with_name(f"own.{secrets.token_hex(8)}")
    fresh.mkdir(mode=0o700)
    try:
        certificate = identity.certificate.public_bytes(Encoding.DER)
        key = identity.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_synced(fresh / "cert.der", certificate, 0o644)
        write_synced(fresh / "key.pem", key, 0o600)
        sync_folder(fresh)
        fresh.rename(folder)
        sync_folder(folder.parent)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not folder.is_dir():  # Else another process was faster, and its certificate is ours.
            raise


def write_synced(path: Path, content: bytes, mode: int) -> None:
    """Write a new file that survives a power cut once this returns. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _harmless(text: str) -> str:
    """Return a stranger's text as one line that no terminal or log takes for more than text."""
    return "".join(each if each.isprintable() else "?" for each in text[:NAME_SHOWN_MAX])


def _alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    # A certificate comes from whoever answers: its extensions may be anything.
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _der_size(content: bytes) -> int:
    """Return the length of the ASN.1 sequence that the content begins with (X.690, 8.1.3)."""
    if len(content) < 2 or content[0] != 0x30:  # noqa: PLR2004 - tag and length, one octet each
        raise ValueError("is no certificate in DER")
    first = content[1]
    if first < 0x80:  # noqa: PLR2004 - the short form
        return 2 + first
    octets = first & 0x7F
    return 2 + octets + int.from_bytes(content[2 : 2 + octets], "big")
