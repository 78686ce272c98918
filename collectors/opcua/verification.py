"""May this certificate speak for this server? The steps of OPC 10000-4, 6.1.3. Pure.

    structure   RSA of 2,048 to 4,096 bits, not signed with SHA-1 or MD5
    trust       itself, or an authority that has signed it, is in the trust list
    validity    now is within the times of each certificate of the chain       `expired`
    host        the certificate names the host of the endpoint                 `host_name`
    usage       it may sign, encrypt and serve
    revocation  no authority has taken it back; each has a list that says so   `revocation_unknown`
    URI         it names the application that the server says it is            `application_uri`

The names on the right are what a person may let pass (`accept` in plant.toml, the same that the
standard lets suppress). A certificate that was trusted for this very device, by its fingerprint,
needs no host name: nobody else has its key, and behind address translation no name would fit.
"""

import ipaddress
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from collectors.opcua.certificate import (
    CHAIN_MAX,
    described,
    fingerprint,
    hosts_of,
    now,
    time_fault,
    uris_of,
)
from collectors.opcua.config import Acceptable

E = TypeVar("E", bound=x509.ExtensionType)

RSA_BITS = (2_048, 4_096)
_BROKEN_HASHES = ("md5", "sha1")
_UNDERSTOOD = (
    x509.BasicConstraints,
    x509.KeyUsage,
    x509.ExtendedKeyUsage,
    x509.SubjectAlternativeName,
    x509.SubjectKeyIdentifier,
    x509.AuthorityKeyIdentifier,
    x509.CRLDistributionPoints,
)
"""Extensions that may be critical; one of another kind could forbid what we would then do."""


class Trust(NamedTuple):
    """What the trust list knows, as it is at this connect."""

    device: Sequence[x509.Certificate]
    """Trusted for this device, by fingerprint."""
    anchors: Sequence[x509.Certificate] = ()
    """Trusted for every device."""
    issuers: Sequence[x509.Certificate] = ()
    revocation_lists: Sequence[x509.CertificateRevocationList] = ()


class Unknown(ValueError):
    """The certificate may be the right one, but nobody has trusted it: the first contact."""


class Judgement:
    """The faults of one certificate: the first that is not accepted is raised."""

    def __init__(self, accept: Sequence[Acceptable]) -> None:
        self._accept = accept
        self.let_pass: list[str] = []
        """What was wrong, and accepted; to be logged."""

    def fault(self, kind: Acceptable, text: str) -> None:
        """Note what is wrong. Raises ValueError unless it is to be accepted."""
        if kind not in self._accept:
            raise ValueError(f'{text}; or let it pass with accept = ["{kind}"]')
        self.let_pass.append(text)


def judge(
    chain: Sequence[x509.Certificate], trust: Trust, host: str, accept: Sequence[Acceptable] = ()
) -> list[str]:
    """Return what is wrong and accepted with a server's certificate, mostly nothing.

    `chain` is what the server showed, its own certificate first. Raises Unknown when nobody has
    trusted it yet, ValueError for everything else that is wrong; both say what to do.
    """
    leaf, judgement = chain[0], Judgement(accept)
    _check_structure(leaf)
    for_device = leaf in trust.device
    path = _trusted_path(leaf, chain[1:], trust)
    if path is None and for_device:
        path = [leaf]
    if path is None:
        raise Unknown("presented an unknown certificate")
    for each in path:
        whose = "its certificate" if each is leaf else f"the authority's ({described(each)})"
        if text := time_fault(each, whose):
            judgement.fault("expired", f"{text}; renew it")
    if not for_device and not _names_host(leaf, host):
        names = ", ".join(hosts_of(leaf)) or "none"
        judgement.fault(
            "host_name",
            f"its certificate does not name the host {host} (it names: {names}); write one of its "
            "names as endpoint, or trust the certificate itself for this device",
        )
    _check_usage(leaf)
    _check_revocation(path, trust, judgement, certain=not for_device)
    return judgement.let_pass


def judge_application_uri(
    certificate: x509.Certificate, application_uri: str, accept: Sequence[Acceptable] = ()
) -> list[str]:
    """Return what is wrong and accepted with the application that a certificate names.

    Raises ValueError when the server says that it is another.
    """
    judgement = Judgement(accept)
    if application_uri not in uris_of(certificate):
        names = ", ".join(map(repr, uris_of(certificate))) or "none"
        judgement.fault(
            "application_uri",
            f"says that it is the application {application_uri!r}, but its certificate names "
            f"{names}: somebody else's certificate, or the server was renamed; renew it at the "
            "server",
        )
    return judgement.let_pass


def is_authority(certificate: x509.Certificate) -> bool:
    """Return whether a certificate may sign others."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return bool(constraints and constraints.ca and (usage is None or usage.key_cert_sign))


def _check_structure(leaf: x509.Certificate) -> None:
    try:
        key = leaf.public_key()
        algorithm = leaf.signature_hash_algorithm
    except (UnsupportedAlgorithm, ValueError) as error:
        raise ValueError(f"its certificate has a key that nobody understands ({error})") from error
    if not isinstance(key, rsa.RSAPublicKey) or not RSA_BITS[0] <= key.key_size <= RSA_BITS[1]:
        found = f"RSA of {key.key_size} bits" if isinstance(key, rsa.RSAPublicKey) else "no RSA key"
        raise ValueError(f"its certificate has {found}; the policies need RSA of 2048 to 4096 bits")
    if algorithm is None or algorithm.name in _BROKEN_HASHES:
        name = algorithm.name.upper() if algorithm else "nothing known"
        raise ValueError(f"its certificate is signed with {name}; make one with SHA-256")


def _trusted_path(
    leaf: x509.Certificate, shown: Sequence[x509.Certificate], trust: Trust
) -> list[x509.Certificate] | None:
    """Return leaf, its issuer, … up to the last that is known; None when none of it is trusted."""
    trusted = {fingerprint(each) for each in trust.anchors}
    known = [*shown[: CHAIN_MAX - 1], *trust.issuers, *trust.anchors]
    for path in _paths([leaf], known):
        if any(fingerprint(each) in trusted for each in path):
            return path
    return None


def _paths(
    path: list[x509.Certificate], known: Sequence[x509.Certificate]
) -> Iterator[list[x509.Certificate]]:
    """Yield every chain that begins so, the longest of each branch."""
    last, longer = path[-1], False
    if len(path) < CHAIN_MAX and last.subject != last.issuer:
        for issuer in known:
            if issuer.subject == last.issuer and issuer not in path and _signed(path, issuer):
                longer = True
                yield from _paths([*path, issuer], known)
    if not longer:
        yield path


def _signed(path: list[x509.Certificate], issuer: x509.Certificate) -> bool:
    """Return whether an authority has signed the last of a path, and was allowed to."""
    constraints = _extension(issuer, x509.BasicConstraints)
    if constraints is None or not is_authority(issuer):
        return False
    if constraints.path_length is not None and len(path) - 1 > constraints.path_length:
        return False
    hash_used = path[-1].signature_hash_algorithm
    if hash_used is None or hash_used.name in _BROKEN_HASHES:
        return False
    if any(each.critical and not isinstance(each.value, _UNDERSTOOD) for each in issuer.extensions):
        return False
    try:
        path[-1].verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _names_host(leaf: x509.Certificate, host: str) -> bool:
    def plain(name: str) -> str:
        try:
            return str(ipaddress.ip_address(name))
        except ValueError:
            return name.lower().rstrip(".")

    return plain(host) in map(plain, hosts_of(leaf))


def _check_usage(leaf: x509.Certificate) -> None:
    usage = _extension(leaf, x509.KeyUsage)
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    serves = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage and not (
        usage.digital_signature and (usage.key_encipherment or usage.data_encipherment)
    ):
        raise ValueError("its certificate is not made for signing and encrypting; make another")
    if purposes and serves.isdisjoint(purposes):
        raise ValueError("its certificate is not a server's (extended key usage); make another")


def _check_revocation(
    path: list[x509.Certificate], trust: Trust, judgement: Judgement, *, certain: bool
) -> None:
    """Raise ValueError for a certificate taken back; if `certain`, or that might have been."""
    for certificate, issuer in itertools.pairwise(path):
        lists = [
            each
            for each in trust.revocation_lists
            if each.issuer == issuer.subject and _signs(issuer, each)
        ]
        for each in lists:
            if each.get_revoked_certificate_by_serial_number(certificate.serial_number):
                raise ValueError(
                    f"its certificate was revoked by its authority: {described(certificate)}"
                )
        newest = max((each.next_update_utc or now() for each in lists), default=None)
        if certain and newest is None:
            judgement.fault(
                "revocation_unknown",
                f"there is no revocation list of {issuer.subject.rfc4514_string()}: get it from "
                "whoever runs the authority, and add it with `trust add FILE`",
            )
        elif certain and newest is not None and newest < now():
            judgement.fault(
                "revocation_unknown",
                f"the revocation list of {issuer.subject.rfc4514_string()} was to be replaced on "
                f"{newest:%Y-%m-%d}: get a newer one, and add it with `trust add FILE`",
            )


def _signs(issuer: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # or TypeError
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None
