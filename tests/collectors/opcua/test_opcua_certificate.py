"""Goal: the gateway has one certificate of its own, for years, and people can hand it to a server.

Method: it is made in a folder of the test, by one process and by several at once, and looked at
with the eyes of a server (OPC 10000-6, 6.2.2). The command is called as a person calls it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from issuing import issued, revocation_list

from collectors.opcua import certificate as certificate_module
from collectors.opcua import trust
from collectors.opcua.certificate import (
    certificates_in,
    days_left,
    described,
    fingerprint,
    hosts_of,
    own_identity,
    uris_of,
)


def test_it_is_made_as_servers_want_it(tmp_path: Path) -> None:
    own = own_identity(tmp_path / "state", "192.0.2.9")

    found = own.certificate
    key = found.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size >= 2_048
    assert uris_of(found) == [own.application_uri]
    assert own.application_uri.startswith("urn:")
    assert "192.0.2.9" in hosts_of(found)
    assert days_left(found) > 3_600
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert usage.key_encipherment
    assert usage.data_encipherment
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    found.verify_directly_issued_by(found)
    assert (tmp_path / "state/own/key.pem").stat().st_mode & 0o777 == 0o600


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    first = own_identity(tmp_path)

    assert own_identity(tmp_path, "192.0.2.9").certificate == first.certificate


def test_of_several_processes_that_make_it_at_once_one_wins(tmp_path: Path) -> None:
    """Seen to bite: with two files written into place one by one, keys and certificates mix."""
    program = (
        "import sys; from pathlib import Path; from collectors.opcua.certificate import *;"
        "print(fingerprint(own_identity(Path(sys.argv[1])).certificate))"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(4)
    ]

    shown = {child.communicate(timeout=60)[0] for child in children}

    assert len(shown) == 1
    assert [child.returncode for child in children] == [0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["own"], "and nothing is left over"


def test_a_clock_that_was_never_set_makes_no_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_module, "now_ns", lambda: 86_400 * 1_000_000_000)

    with pytest.raises(ValueError, match="clock says 1970-01-02: set it first"):
        own_identity(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_damaged_pair_is_named_and_not_replaced(tmp_path: Path) -> None:
    own_identity(tmp_path)
    other = own_identity(tmp_path / "other")
    content = other.certificate.public_bytes(Encoding.DER)
    (tmp_path / "own/cert.der").write_bytes(content)

    with pytest.raises(ValueError, match=r"key\.pem is not the key of cert\.der"):
        own_identity(tmp_path)

    assert (tmp_path / "own/cert.der").read_bytes() == content


def test_a_strangers_name_is_one_harmless_line() -> None:
    text = described(issued("x\n\x1b[2J" + "y" * 50).certificate)

    assert text.isprintable()
    assert "CN=x??[2Jyy" in text


def test_a_chain_in_one_message_is_taken_apart_and_garbage_is_refused() -> None:
    one, two = issued("plc"), issued("root", authority=True)

    assert certificates_in(one.der + two.der) == [one.certificate, two.certificate]
    for garbage in (b"", b"\x30", b"\x30\x85", b"\x31\x00", one.der[:-1], b"\x30\x00" * 3):
        with pytest.raises(ValueError, match=r"."):
            certificates_in(garbage)


def run(tmp_path: Path, *words: str) -> int:
    return trust.command(["--data", str(tmp_path), *words])


def test_a_person_exports_it_for_the_server_and_renews_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gateway.pem"

    assert run(tmp_path, "own", "--out", str(out)) == 0

    own = own_identity(tmp_path / "opcua")
    assert certificates_in(out.read_bytes()) == [own.certificate]
    said = capsys.readouterr().out
    assert f"SHA-256 {fingerprint(own.certificate)}" in said
    assert f"application URI {own.application_uri}" in said
    assert run(tmp_path, "renew") == 0
    assert own_identity(tmp_path / "opcua").certificate != own.certificate
    assert len(list((tmp_path / "opcua").glob("own.until-*/key.pem"))) == 1, "the old one is kept"


def test_the_command_says_what_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaf = issued("plc").files(tmp_path, "plc")[0]

    for words, advice in (
        (("accept", "press", "aa:bb"), "write the whole SHA-256"),
        (("accept", "press", "ab" * 32), "no certificate abab"),
        (("add", str(leaf)), "is no authority's certificate"),
        (("add", str(tmp_path / "nowhere")), "No such file"),
    ):
        assert run(tmp_path, *words) == 1
        assert advice in capsys.readouterr().err


def test_the_list_is_there_for_programs_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = issued("root", authority=True)
    assert run(tmp_path, "add", str(root.files(tmp_path, "root")[0])) == 0
    crl = tmp_path / "root.crl"
    crl.write_bytes(revocation_list(root).public_bytes(Encoding.PEM))
    assert run(tmp_path, "add", str(crl)) == 0
    capsys.readouterr()

    assert run(tmp_path, "list", "--json") == 0

    [row] = json.loads(capsys.readouterr().out)
    assert row["list"] == "trusted"
    assert row["device"] == ""
    assert row["fingerprint"] == fingerprint(root.certificate)


def test_it_is_a_program_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "collectors.opcua.trust", "list"],
        env=os.environ | {"TAILRACE_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "nothing is trusted, and no server has shown a certificate yet\n"
