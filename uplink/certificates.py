"""When a certificate is valid, read from its PEM file without a cryptography library.

X.509 (RFC 5280, 4.1) is DER: Certificate { tbsCertificate { [0] version, serialNumber, signature,
issuer, validity { notBefore, notAfter }, … } }. Only the path to `validity` is walked.
"""

import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE = 0x30
_VERSION = 0xA0
_UTC_TIME = 0x17
_LONG_LENGTH = 0x80
_BEFORE_VALIDITY = 3
"""serialNumber, signature, issuer."""


WARNING_TIME = timedelta(days=30)
WARNING_SHARE = 3
"""One part in so many of a shorter life: certificates of a few days are renewed by machines."""


class Validity(NamedTuple):
    """The span in which a certificate is valid, as UTC."""

    not_before: datetime
    not_after: datetime

    def unusable(self, now: datetime) -> str | None:
        """Return why the certificate is not valid now, None when it is."""
        clock = f"(this gateway's clock says {_shown(now)})"
        if now > self.not_after:
            return f"expired on {_shown(self.not_after)}; renew it {clock}"
        if now < self.not_before:
            return f"is not valid before {_shown(self.not_before)}; is the clock right? {clock}"
        return None

    def ends_soon(self, now: datetime) -> str | None:
        """Return when the certificate ends and that it is time to renew it, None while it is not.

        Time is within WARNING_TIME, or the last third of a shorter life.
        """
        left = self.not_after - now
        if left > min(WARNING_TIME, (self.not_after - self.not_before) / WARNING_SHARE):
            return None
        return f"expires on {_shown(self.not_after)}, in {left.days} days; renew it"


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def validity_of(cert_file: Path) -> Validity:
    """Return the validity of the first certificate in a PEM file: of a chain it is our own.

    Raises OSError, or ValueError when there is none in it that can be understood.
    """
    return next(_validities(cert_file))


def validities_of(ca_file: Path) -> list[Validity]:
    """Return the validity of every certificate in a PEM file; at least one.

    Raises OSError, or ValueError when there is none in it, or one that cannot be understood.
    """
    return list(_validities(ca_file))


def _validities(pem_file: Path) -> Iterator[Validity]:
    found = _PEM.findall(pem_file.read_bytes().decode("ascii", errors="replace"))
    if not found:
        raise ValueError("holds no PEM certificate (-----BEGIN CERTIFICATE-----)")
    for each in found:
        yield _understood(each)


def _understood(pem: str) -> Validity:
    try:
        return _validity(ssl.PEM_cert_to_DER_cert(pem))
    except (IndexError, ValueError) as error:
        raise ValueError("holds a certificate that cannot be understood") from error


def _validity(der: bytes) -> Validity:
    _, certificate, _ = _element(der, 0)
    _, body, _ = _element(certificate, 0)
    tag, _, after = _element(body, 0)
    at = after if tag == _VERSION else 0
    for _ in range(_BEFORE_VALIDITY):
        _, _, at = _element(body, at)
    tag, validity, _ = _element(body, at)
    if tag != _SEQUENCE:
        raise ValueError("no validity where it belongs")
    first_tag, first, at = _element(validity, 0)
    last_tag, last, _ = _element(validity, at)
    return Validity(_time(first_tag, first), _time(last_tag, last))


def _element(der: bytes, at: int) -> tuple[int, bytes, int]:
    """Return tag, content and the place after the element at `at`."""
    tag, length, start = der[at], der[at + 1], at + 2
    if length & _LONG_LENGTH:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    end = start + length
    if end > len(der):
        raise ValueError("ends too early")
    return tag, der[start:end], end


def _time(tag: int, text: bytes) -> datetime:
    # UTCTime has two digits of the year; strptime's pivot (69) differs from RFC 5280's (50) only
    # for certificates of 1950 to 1968, which do not exist.
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)
