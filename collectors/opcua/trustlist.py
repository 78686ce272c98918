"""Whom the gateway trusts: certificates and revocation lists, in the folders usual for OPC UA.

    <state>/trusted/<device>/*   certificates of servers that a person trusted for this device
    <state>/trusted/*            trusted for every device: mostly the certificates of authorities
    <state>/issuers/*            authorities that only complete a chain, trusted no more than that
    <state>/crl/*                revocation lists of the authorities
    <state>/rejected/<device>/*  what a server showed that nobody has trusted yet

Files are PEM or DER by their content, and read anew at each connect. The collector itself writes
only into rejected/; trust is a person's (trust.py).
"""

import re
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from collectors.opcua.certificate import certificates_in, fingerprint, sync_folder, write_synced
from collectors.opcua.config import PEM_MARK

REJECTED_MAX = 20
"""Of one device; whoever answers at its address can fill the folder, the oldest goes."""
FILES_MAX = 1_000
"""Looked at in one folder."""
FILE_BYTES_MAX = 10_000_000
"""A revocation list of 100,000 certificates has some 4 MB."""
PURPOSES = ("trusted", "issuers", "crl", "rejected")

_FINGERPRINT = re.compile(r"(?:[0-9a-fA-F]{2}:?){32}")


class Entry(NamedTuple):
    """One certificate in the list."""

    device: str
    """Empty: for every device."""
    path: Path
    certificate: x509.Certificate


class TrustList:
    """The folders below one state directory. Every method may raise OSError."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def trusted(self, device: str) -> list[x509.Certificate]:
        """Return the certificates that are trusted for exactly this device."""
        return _certificates(self._state_dir / "trusted" / device)

    def anchors(self) -> list[x509.Certificate]:
        """Return the certificates that are trusted for every device, authorities and others."""
        return _certificates(self._state_dir / "trusted")

    def issuers(self) -> list[x509.Certificate]:
        """Return the authorities that only complete a chain."""
        return _certificates(self._state_dir / "issuers")

    def revocation_lists(self) -> list[x509.CertificateRevocationList]:
        """Return the revocation lists. Raises ValueError that names a file that is none."""
        return [revocation_list_in(path) for path in _files(self._state_dir / "crl")]

    def reject(self, device: str, certificate: x509.Certificate) -> Path:
        """Keep what a server showed, so that a person can look at it and trust it."""
        folder = self._state_dir / "rejected" / device
        path = folder / _file_name(certificate)
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for old in _files(folder)[: -(REJECTED_MAX - 1)]:
                old.unlink(missing_ok=True)
            path.write_bytes(certificate.public_bytes(Encoding.DER))
        return path

    def entries(self, purpose: str) -> list[Entry]:
        """Return what is in `trusted`, `issuers` or `rejected`, those of single devices last."""
        top = self._state_dir / purpose
        folders = [("", top)]
        if top.is_dir():
            folders += sorted((path.name, path) for path in top.iterdir() if path.is_dir())
        return [
            Entry(device, path, certificate)
            for device, folder in folders
            for path in _files(folder)
            for certificate in certificates_of(path)
        ]

    def trust(self, device: str, wanted: str) -> x509.Certificate:
        """Trust a certificate that the device has shown. Raises ValueError, says what to do."""
        entry = self._found("rejected", device, wanted)
        self.add("trusted", entry.certificate, device)
        entry.path.unlink()
        return entry.certificate

    def revoke(self, device: str, wanted: str) -> x509.Certificate:
        """Trust a certificate no more, and keep it in rejected/. Raises ValueError as `trust`."""
        entry = self._found("trusted", device, wanted)
        self.reject(device, entry.certificate)
        entry.path.unlink()
        return entry.certificate

    def add(self, purpose: str, certificate: x509.Certificate, device: str = "") -> Path:
        """Put a certificate into `trusted` or `issuers`, durably."""
        folder = self._state_dir / purpose / device
        return _stored(folder, _file_name(certificate), certificate.public_bytes(Encoding.DER))

    def add_revocation_list(self, crl: x509.CertificateRevocationList) -> Path:
        """Put a revocation list into crl/, durably; a newer one of an issuer takes its place."""
        name = re.sub(r"[^\w.-]+", "_", crl.issuer.rfc4514_string())[:100]
        return _stored(self._state_dir / "crl", f"{name}.crl", crl.public_bytes(Encoding.DER))

    def _found(self, purpose: str, device: str, wanted: str) -> Entry:
        if not _FINGERPRINT.fullmatch(wanted):
            raise ValueError(
                f"{wanted!r} is no fingerprint; write the whole SHA-256, 32 pairs of hexadecimal "
                "digits, as the error of the device and `list` show it"
            )
        bare = wanted.replace(":", "").upper()
        there = [entry for entry in self.entries(purpose) if entry.device == device]
        for entry in there:
            if fingerprint(entry.certificate).replace(":", "") == bare:
                return entry
        shown = ", ".join(fingerprint(entry.certificate) for entry in there) or "none"
        raise ValueError(f"no certificate {wanted} in {purpose}/{device}; there: {shown}")


def certificates_of(path: Path) -> list[x509.Certificate]:
    """Return the certificates in a file. Raises ValueError that names the file."""
    try:
        return certificates_in(_content(path))
    except ValueError as error:
        raise ValueError(f"{path} is no certificate; remove it, or export it anew") from error


def revocation_list_in(path: Path) -> x509.CertificateRevocationList:
    """Return the revocation list in a file. Raises ValueError that names the file."""
    content = _content(path)
    load = x509.load_pem_x509_crl if PEM_MARK in content else x509.load_der_x509_crl
    try:
        return load(content)
    except ValueError as error:
        raise ValueError(f"{path} is no revocation list; remove it, or export it anew") from error


def _certificates(folder: Path) -> list[x509.Certificate]:
    return [certificate for path in _files(folder) for certificate in certificates_of(path)]


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder, the oldest first; none when there is no folder."""
    if not folder.is_dir():
        return []
    files = [path for path in folder.iterdir() if path.is_file()]
    if len(files) > FILES_MAX:
        raise ValueError(f"{folder} holds more than {FILES_MAX} files; remove some")
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _content(path: Path) -> bytes:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ValueError(f"{path} has more than {FILE_BYTES_MAX} bytes")
    return path.read_bytes()


def _stored(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder.parent / f".{name}.new"
    fresh.unlink(missing_ok=True)
    write_synced(fresh, content, 0o600)
    path = fresh.rename(folder / name)
    sync_folder(folder)
    return path


def _file_name(certificate: x509.Certificate) -> str:
    return fingerprint(certificate).replace(":", "").lower() + ".der"
