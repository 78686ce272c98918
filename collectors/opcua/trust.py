"""`python -m collectors.opcua.trust`: show the trust list, trust and revoke; show our certificate.

    list                         what is trusted, and what servers showed that nobody has trusted
    accept DEVICE FINGERPRINT    trust what the device has shown, after comparing its fingerprint
    revoke DEVICE FINGERPRINT    trust it no more
    add FILE [--issuer]          an authority, or its revocation list, for every device
    own [--out FILE]             our certificate, made if there is none, for the server's trust list
    renew                        make a new one; the old is kept beside it

The collector looks at the list at each connect, so nothing is to be restarted. Run it as the user
that runs the collector. Asks no device. Exit code 1: refused, and why is on standard error.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from collectors.opcua.certificate import (
    Identity,
    days_left,
    described,
    fingerprint,
    hosts_of,
    now,
    own_identity,
)
from collectors.opcua.config import PEM_MARK
from collectors.opcua.trustlist import TrustList, certificates_of, revocation_list_in
from collectors.opcua.verification import is_authority
from common.places import add_places, places_of

PROTOCOL = "opcua"
"""The name of the state directory below the data directory (common/plant.py: state_dir)."""
_CRL_MARK = b"-----BEGIN X509 CRL-----"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate, as `list --json` gives it."""

    list: str
    """`trusted`, `issuers` or `rejected`."""
    device: str
    """Empty: for every device."""
    fingerprint: str
    described: str
    days_left: int
    hosts: tuple[str, ...]


def rows_of(listed: TrustList) -> list[Row]:
    """Return every certificate of the list. Raises OSError; ValueError that names a bad file."""
    return [
        Row(
            list=purpose,
            device=entry.device,
            fingerprint=fingerprint(entry.certificate),
            described=described(entry.certificate),
            days_left=days_left(entry.certificate),
            hosts=tuple(hosts_of(entry.certificate)),
        )
        for purpose in ("trusted", "issuers", "rejected")
        for entry in listed.entries(purpose)
    ]


def text_of(rows: Iterable[Row]) -> Iterable[str]:
    """Yield the lines that `list` prints."""
    empty = True
    for row in rows:
        empty = False
        yield f"{row.list:<9} {row.device or 'every device'}: {row.described}"
        yield f"          SHA-256 {row.fingerprint}"
    if empty:
        yield "nothing is trusted, and no server has shown a certificate yet"


def added(listed: TrustList, file: Path, *, issuer: bool) -> str:
    """Put an authority or a revocation list into its folder; return what was done.

    Raises OSError, and ValueError that tells what to do instead.
    """
    content = file.read_bytes()
    if _CRL_MARK in content or (PEM_MARK not in content and _is_der_list(content)):
        return f"added the revocation list {listed.add_revocation_list(revocation_list_in(file))}"
    done = []
    for certificate in certificates_of(file):
        if not is_authority(certificate):
            raise ValueError(
                f"{file} is no authority's certificate ({described(certificate)}); a server's own "
                "is trusted for its device, with `accept`, or named by server_cert_file"
            )
        purpose = "issuers" if issuer else "trusted"
        listed.add(purpose, certificate)
        done.append(f"added to {purpose}: {described(certificate)}")
    return "\n".join(done)


def shown_identity(own: Identity, state_dir: Path, out: Path | None) -> str:
    """Return what people need of our certificate; write it to `out` as PEM or, named .der, DER."""
    if out:
        form = Encoding.DER if out.suffix == ".der" else Encoding.PEM
        out.write_bytes(own.certificate.public_bytes(form))
    return "\n".join(
        (
            described(own.certificate),
            f"SHA-256 {fingerprint(own.certificate)}",
            f"application URI {own.application_uri}",
            f"file {out or state_dir / 'own' / 'cert.der'}",
        )
    )


def renewed(state_dir: Path) -> Identity:
    """Make a new certificate and key; the old ones move aside. Raises OSError, ValueError."""
    old = state_dir / "own"
    if old.is_dir():
        old.rename(state_dir / f"own.until-{now():%Y%m%dT%H%M%S}")
    return own_identity(state_dir)


def answer(arguments: argparse.Namespace, state_dir: Path) -> str:
    """Do what was asked; return what to print. Raises OSError, ValueError with a sentence."""
    listed, out = TrustList(state_dir), getattr(arguments, "out", None)
    match arguments.verb:
        case "accept":
            certificate = listed.trust(arguments.device, arguments.fingerprint)
            return f"{arguments.device} is trusted as {described(certificate)}"
        case "revoke":
            certificate = listed.revoke(arguments.device, arguments.fingerprint)
            return f"{arguments.device} is no longer trusted as {described(certificate)}"
        case "add":
            return added(listed, arguments.file, issuer=arguments.issuer)
        case "own":
            return shown_identity(own_identity(state_dir), state_dir, out)
        case "renew":
            return shown_identity(renewed(state_dir), state_dir, None)
    rows = rows_of(listed)
    return msgspec.json.encode(rows).decode() if arguments.json else "\n".join(text_of(rows))


def command(written: list[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m collectors.opcua.trust", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_places(parser)
    verbs: Any = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list").add_argument("--json", action="store_true")
    for verb in ("accept", "revoke"):
        one = verbs.add_parser(verb)
        one.add_argument("device", metavar="DEVICE")
        one.add_argument("fingerprint", metavar="FINGERPRINT")
    add = verbs.add_parser("add")
    add.add_argument("file", metavar="FILE", type=Path)
    add.add_argument("--issuer", action="store_true", help="completes chains, trusts nobody")
    verbs.add_parser("own").add_argument("--out", metavar="FILE", type=Path)
    verbs.add_parser("renew")
    arguments = parser.parse_args(written)
    state_dir = places_of(arguments).data_dir / PROTOCOL
    try:
        sys.stdout.write(answer(arguments, state_dir) + "\n")
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _is_der_list(content: bytes) -> bool:
    try:
        x509.load_der_x509_crl(content)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(command())
