"""Goal: a certificate with exactly one fault is refused for that fault, and a right one is not.

Method: certificates and revocation lists made for each case, judged without a network. Each case
was seen to bite: with its check taken out of verification.py, the certificate is taken.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from issuing import SIGNED_WITH_SHA1, Owner, issued, revocation_list

from collectors.opcua.verification import Trust, Unknown, judge, judge_application_uri

HOST = "127.0.0.1"
ROOT = issued("root", authority=True)


class Case(NamedTuple):
    """What is shown, what is known, and what is said of it."""

    shown: list[Owner]
    trust: Trust
    says: str


def known(*revoked: Owner, root: Owner = ROOT, days: tuple[int, int] = (-1, 30)) -> Trust:
    return Trust((), [root.certificate], (), [revocation_list(root, *revoked, days=days)])


def of_root(**fault: object) -> Owner:
    return issued("plc", ROOT, **fault)  # type: ignore[arg-type]


def pinned(owner: Owner) -> Trust:
    return Trust(device=[owner.certificate])


def by_authority(**fault: object) -> Callable[[], Case]:
    return lambda: Case([of_root(**fault)], known(), "")


def _revoked() -> Case:
    leaf = of_root()
    return Case([leaf], known(leaf), "was revoked by its authority")


def _revoked_though_pinned() -> Case:
    leaf = of_root()
    trust = known(leaf)._replace(device=[leaf.certificate])
    return Case([leaf], trust, "was revoked by its authority")


def _revoked_middle() -> Case:
    middle = issued("middle", ROOT, authority=True)
    leaf = issued("plc", middle)
    trust = known(middle)
    lists = [*trust.revocation_lists, revocation_list(middle)]
    return Case([leaf, middle], trust._replace(revocation_lists=lists), "revoked by its authority")


def _list_by_somebody_else() -> Case:
    forger = Owner(ROOT.certificate, issued("forger").key)
    trust = Trust((), [ROOT.certificate], (), [revocation_list(forger)])
    return Case([of_root()], trust, "there is no revocation list of CN=root")


def _signed_by_no_authority() -> Case:
    neighbour = of_root()
    leaf = issued("plc-2", neighbour)
    return Case([leaf, neighbour], known(), "unknown certificate")


def _too_long() -> Case:
    root = issued("short", authority=True, path_length=0)
    middle = issued("middle", root, authority=True)
    return Case([issued("plc", middle), middle], known(root=root), "unknown certificate")


def _forged_signature() -> Case:
    forger = Owner(ROOT.certificate, issued("forger").key)
    return Case([issued("plc", forger)], known(), "unknown certificate")


def _issuer_alone_trusts_nobody() -> Case:
    trust = Trust((), (), [ROOT.certificate], [revocation_list(ROOT)])
    return Case([of_root()], trust, "unknown certificate")


def _expired_authority() -> Case:
    root = issued("old root", authority=True, days=(-400, -1))
    leaf = issued("plc", root)
    return Case([leaf], known(root=root), "the authority's (CN=old root")


def _signed_with_sha1() -> Case:
    old = Owner(x509.load_pem_x509_certificate(SIGNED_WITH_SHA1), issued("plc").key)
    return Case([old], pinned(old), "is signed with SHA1")


def _pinned(says: str, **fault: object) -> Callable[[], Case]:
    def case() -> Case:
        owner = issued("plc", **fault)  # type: ignore[arg-type]
        return Case([owner], pinned(owner), says)

    return case


CASES: dict[str, Callable[[], Case]] = {
    "expired": _pinned("its certificate has expired on", days=(-20, -10)),
    "not yet valid": _pinned("set the clock that is wrong", days=(10, 20)),
    "small key": _pinned("has RSA of 1024 bits", bits=1024),
    "SHA-1": _signed_with_sha1,
    "a client's": _pinned("is not a server's", purpose=ExtendedKeyUsageOID.CLIENT_AUTH),
    "not for encryption": _pinned("not made for signing and encrypting", encipher=False),
    "host of another": lambda: by_authority(hosts=["192.0.2.7", "press.example"])()._replace(
        says="does not name the host 127.0.0.1 .it names: press.example, 192.0.2.7"
    ),
    "no host": lambda: by_authority(hosts=[])()._replace(says="it names: none"),
    "no list": lambda: Case([of_root()], Trust((), [ROOT.certificate]), "no revocation list of CN"),
    "old list": lambda: Case([of_root()], known(days=(-30, -2)), "was to be replaced on"),
    "list by somebody else": _list_by_somebody_else,
    "revoked": _revoked,
    "revoked though pinned": _revoked_though_pinned,
    "revoked in the middle": _revoked_middle,
    "unknown": lambda: Case([issued("plc")], Trust(()), "unknown certificate"),
    "same name, other key": lambda: Case(
        [issued("plc")], pinned(issued("plc", bits=3_072)), "unknown certificate"
    ),
    "signed by no authority": _signed_by_no_authority,
    "chain too long": _too_long,
    "forged signature": _forged_signature,
    "issuer alone": _issuer_alone_trusts_nobody,
    "authority expired": _expired_authority,
}


@pytest.mark.parametrize("fault", CASES)
def test_a_certificate_with_one_fault_is_refused_for_it(fault: str) -> None:
    case = CASES[fault]()

    with pytest.raises(ValueError, match=case.says.replace("(", r"\(")):
        judge([owner.certificate for owner in case.shown], case.trust, HOST)


def test_a_right_certificate_is_taken_whoever_vouches_for_it() -> None:
    middle = issued("middle", ROOT, authority=True, path_length=0)
    leaf, other_root = issued("plc", middle), issued("root", authority=True, bits=3_072)
    lists = [revocation_list(ROOT), revocation_list(middle, issued("other", middle))]
    alone = issued("plc")

    for shown, trust in (
        ([alone], pinned(alone)),
        ([alone], Trust((), [alone.certificate])),
        ([of_root()], known()),
        ([leaf, middle, ROOT], Trust((), [ROOT.certificate], (), lists)),
        ([leaf], Trust((), [ROOT.certificate], [middle.certificate], lists)),
        ([leaf], Trust((), [middle.certificate], (), lists)),
        (
            [leaf, other_root, middle],
            Trust((), [other_root.certificate, ROOT.certificate], (), lists),
        ),
    ):
        assert judge([owner.certificate for owner in shown], trust, HOST) == []


def test_a_certificate_trusted_for_this_device_needs_no_host_name() -> None:
    behind_nat = issued("plc", hosts=["10.0.0.5"])

    assert judge([behind_nat.certificate], pinned(behind_nat), HOST) == []
    with pytest.raises(ValueError, match="does not name the host"):
        judge([behind_nat.certificate], Trust((), [behind_nat.certificate]), HOST)


def test_what_is_accepted_by_name_is_let_pass_and_nothing_else() -> None:
    leaf = of_root(hosts=["elsewhere"], days=(-20, -10))
    trust = Trust((), [ROOT.certificate])

    let_pass = judge(
        [leaf.certificate], trust, HOST, ("expired", "host_name", "revocation_unknown")
    )

    assert len(let_pass) == 3
    with pytest.raises(ValueError, match="does not name the host"):
        judge([leaf.certificate], trust, HOST, ("expired", "revocation_unknown"))
    with pytest.raises(Unknown):
        judge([leaf.certificate], Trust(()), HOST, ("expired", "host_name", "revocation_unknown"))


def test_an_application_is_the_one_that_its_certificate_names() -> None:
    certificate = issued("plc", uri="urn:plc").certificate

    assert judge_application_uri(certificate, "urn:plc") == []
    with pytest.raises(ValueError, match="'urn:other', but its certificate names 'urn:plc'"):
        judge_application_uri(certificate, "urn:other")
    assert len(judge_application_uri(certificate, "urn:other", ("application_uri",))) == 1
