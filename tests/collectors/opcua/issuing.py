"""Certificates for tests: of servers, users and authorities, right or with exactly one fault."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)
SERVER_URI = "urn:plc"
SIGNED_WITH_SHA1 = b"""\
-----BEGIN CERTIFICATE-----
MIIDGTCCAgGgAwIBAgIUa2ufKUgrzUNJSaWUCToaDf71DpswDQYJKoZIhvcNAQEF
BQAwDjEMMAoGA1UEAwwDcGxjMCAXDTI2MTEyNTE4NTAzOFoYDzIxMjYxMTAxMTg1
MDM4WjAOMQwwCgYDVQQDDANwbGMwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEK
AoIBAQCuTj2Ijnq8kp2YkSeoK/G+mo87knrG7a6N98lXOrUtyDniodiG/hQF+4th
wNrnvoBe2QUIMtr00YXR4+djNtz5FLQY72QaaVijGzY2pTTXz9XFmQWYSpiHJfgf
M/A6IiyR/Yn2NizdN960VW0Z9E6JuNX+VHroMb2qL3okcvhKr+YnGdC4KylgaEqV
17NLYEXeoNnYecKwDRPlbg59dR7K6i7iMJuKpPf98SxL01cHqdfkjQkuilJOq9vw
lZXAWF7qU2fgOFHTKYD6dI6Mr0ZpIu7NNPToEkuDJiw3W3x27Y8A3x8pkvErMVAD
sBwvYAoDsS6DZuACdA2Ex+gsdcTpAgMBAAGjbTBrMB0GA1UdDgQWBBRhgKayK+sS
75Hy5try7ZWTgYGcADAfBgNVHSMEGDAWgBRhgKayK+sS75Hy5try7ZWTgYGcADAP
BgNVHRMBAf8EBTADAQH/MBgGA1UdEQQRMA+GB3VybjpwbGOHBH8AAAEwDQYJKoZI
hvcNAQEFBQADggEBAAuruC0cr2RwpB3uKni6HZxWQsiL9OcT3LWrt62ETS3puekV
n0BLU5MTyQ/zaobssL4xIgk/3GCeSJpQYuG5ETg8UcMI8d9j5H19lUctfKZPCHDH
K9zDMCPJgYDGHkn4ehcW6GB0j4QGM3Zrmx7F6dtdjCLx2M9xtES6NZK+bwNMpSVx
qoLNA6/kBn6BiwfgEFutCyRD1GYDnK2dNYmsBfVNFU5r+5Jc/riqK28teablK+JU
f2kGVzI7idppXGT8lZFN/622M0CG/t7WI9pDUWlfFR9ZAgRKuxGvlpHX98awDnvA
HaQzk2yuHYa3r3mldHwRVwvAfRLEDB8jStwLyQs=
-----END CERTIFICATE-----
"""
"""Of `plc`; cryptography does not sign so any more, `openssl req -x509 -sha1 -days 36500` does."""


@lru_cache
def key_of(_name: str, bits: int = 2_048) -> rsa.RSAPrivateKey:
    """Return the key of a name; making one takes 100 ms, so each is made once in a process."""
    return rsa.generate_private_key(65_537, bits)


@dataclass
class Owner:
    """Whoever holds a certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    issuers: Sequence["Owner"] = field(default_factory=tuple)

    @property
    def der(self) -> bytes:
        """The certificate, and those of its issuers behind it, as a server sends them."""
        return b"".join(
            owner.certificate.public_bytes(Encoding.DER) for owner in (self, *self.issuers)
        )

    def files(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write certificate (DER) and key (PEM, mode 600); return their paths."""
        certificate, key = folder / f"{name}.der", folder / f"{name}.pem"
        certificate.write_bytes(self.certificate.public_bytes(Encoding.DER))
        key.write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        key.chmod(0o600)
        return certificate, key


def issued(  # noqa: PLR0913 - one argument for each fault
    name: str,
    by: Owner | None = None,
    *,
    uri: str = SERVER_URI,
    hosts: Iterable[str] = ("127.0.0.1", "localhost"),
    days: tuple[int, int] = (-10, 300),
    authority: bool = False,
    path_length: int | None = None,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    encipher: bool = True,
    bits: int = 2_048,
) -> Owner:
    """Return a certificate, self-signed or issued; `days` from now on are its validity."""
    key = key_of(name, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)]
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=encipher,
        data_encipherment=encipher,
        key_agreement=False,
        key_cert_sign=authority or by is None,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    return Owner(certificate, key)


def revocation_list(
    by: Owner, *revoked: Owner, days: tuple[int, int] = (-1, 30)
) -> x509.CertificateRevocationList:
    """Return the authority's list of what it has taken back."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.certificate.subject)
        .last_update(NOW + timedelta(days=days[0]))
        .next_update(NOW + timedelta(days=days[1]))
    )
    for owner in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(owner.certificate.serial_number)
            .revocation_date(NOW - timedelta(days=1))
            .build()
        )
    return builder.sign(by.key, hashes.SHA256())
