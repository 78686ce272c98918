"""Goal: an encrypted session is with the one server that is pinned; errors say whose turn it is.

Method: a real server that insists on SignAndEncrypt and a user; certificates made for the test.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from opcua_server import Plc

from collectors.opcua.config import OpcuaSettings
from collectors.opcua.device import build_collector
from common.errors import SourceUnavailable

Compile = Callable[..., OpcuaSettings]
Identity = Callable[[str], Awaitable[tuple[Path, Path]]]


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    """Return a function: name → certificate (DER) and key (PEM) of an application of that name."""

    async def make(name: str) -> tuple[Path, Path]:
        certificate, key = tmp_path / f"{name}.der", tmp_path / f"{name}.pem"
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        await setup_self_signed_certificate(key, certificate, f"urn:{name}", "localhost", uses, {})
        key.chmod(0o600)
        return certificate, key

    return make


async def keys_for(identity: Identity, server_certificate: Path, password: str) -> dict[str, Path]:
    certificate, key = await identity("gateway")
    secret = key.with_name("password")
    secret.write_text(password + "\n")
    secret.chmod(0o600)
    return {
        "cert_file": certificate,
        "key_file": key,
        "server_cert_file": server_certificate,
        "password_file": secret,
    }


@pytest.mark.parametrize("security", ["basic256sha256", "aes256_sha256_rsapss"])
async def test_an_encrypted_session_with_a_user_reads_the_pinned_server(
    plc: Plc, compiled: Compile, identity: Identity, security: str
) -> None:
    plc.identity = await identity("plc")
    await plc.start({"A": ua.Variant(4.5, ua.VariantType.Double)})
    keys = await keys_for(identity, plc.identity[0], "right")
    row = ("A", f"ns={plc.index};s=A", "Double")
    settings = compiled(plc.endpoint, row, security=security, user="op", **keys)

    async with build_collector(settings).connect() as session, aclosing(session.scans()) as scans:
        assert (await anext(scans)).values == [4.5]


async def test_a_server_with_another_key_than_the_pinned_one_is_not_spoken_to(
    plc: Plc, compiled: Compile, identity: Identity
) -> None:
    plc.identity = await identity("plc")
    somebody_else, _ = await identity("other")
    await plc.start({"A": ua.Variant(4.5, ua.VariantType.Double)})
    keys = await keys_for(identity, somebody_else, "right")
    row = ("A", "ns=2;s=A", "Double")
    settings = compiled(plc.endpoint, row, security="basic256sha256", user="op", **keys)

    with pytest.raises(SourceUnavailable, match="is server_cert_file its own"):
        async with build_collector(settings).connect():
            pass


async def test_a_wrong_password_is_named_as_such_and_not_shown(
    plc: Plc, compiled: Compile, identity: Identity
) -> None:
    plc.identity = await identity("plc")
    await plc.start({"A": ua.Variant(4.5, ua.VariantType.Double)})
    keys = await keys_for(identity, plc.identity[0], "wrong-secret")
    row = ("A", "ns=2;s=A", "Double")
    settings = compiled(plc.endpoint, row, security="basic256sha256", user="op", **keys)

    with pytest.raises(SourceUnavailable, match="check user and password_file") as refused:
        async with build_collector(settings).connect():
            pass

    assert "wrong-secret" not in str(refused.value)


def pem_of(key: object, *, passphrase: bytes | None = None, der: bool = False) -> bytes:
    form = serialization.Encoding.DER if der else serialization.Encoding.PEM
    lock = serialization.NoEncryption()
    if passphrase:
        lock = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(form, serialization.PrivateFormat.PKCS8, lock)


async def test_pem_files_are_read_whatever_their_names_end_in(
    plc: Plc, compiled: Compile, identity: Identity
) -> None:
    plc.identity = await identity("plc")
    await plc.start({"A": ua.Variant(4.5, ua.VariantType.Double)})
    keys = await keys_for(identity, plc.identity[0], "right")
    certificate = x509.load_der_x509_certificate(keys["cert_file"].read_bytes())
    keys["cert_file"] = keys["cert_file"].with_suffix(".crt")
    keys["cert_file"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    keys["key_file"] = keys["key_file"].rename(keys["key_file"].with_suffix(".key"))
    row = ("A", f"ns={plc.index};s=A", "Double")
    settings = compiled(plc.endpoint, row, security="basic256sha256", user="op", **keys)

    async with build_collector(settings).connect() as session, aclosing(session.scans()) as scans:
        assert (await anext(scans)).values == [4.5]


UNUSABLE = {
    "passphrase": ("key_file", "has a passphrase.*openssl pkey"),
    "junk": ("key_file", "is neither PEM nor DER"),
    "empty": ("cert_file", "is neither PEM nor DER"),
    "swapped": ("cert_file", "holds no certificate"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
async def test_a_file_that_cannot_be_used_is_found_before_any_connect(
    compiled: Compile, identity: Identity, fault: str
) -> None:
    keys = await keys_for(identity, (await identity("plc"))[0], "right")
    file, advice = UNUSABLE[fault]
    private = serialization.load_pem_private_key(keys["key_file"].read_bytes(), None)
    content = {
        "passphrase": pem_of(private, passphrase=b"secret"),
        "junk": b"not a key",
        "empty": b"",
        "swapped": keys["key_file"].read_bytes(),
    }[fault]
    keys[file].write_bytes(content)

    with pytest.raises(ValueError, match=advice) as refused:
        compiled(
            "opc.tcp://127.0.0.1:4840",
            ("A", "ns=2;s=A", "Double"),
            security="basic256sha256",
            user="op",
            **keys,
        )

    assert f"devices.press.{file}" in str(refused.value)


@pytest.mark.parametrize("fault", ["passphrase", "curve", "another", "cut", "broken certificate"])
async def test_a_key_that_only_the_library_can_judge_is_away_with_advice(
    plc: Plc, compiled: Compile, identity: Identity, fault: str
) -> None:
    plc.identity = await identity("plc")
    await plc.start({"A": ua.Variant(4.5, ua.VariantType.Double)})
    keys = await keys_for(identity, plc.identity[0], "right")
    private = serialization.load_pem_private_key(keys["key_file"].read_bytes(), None)
    if fault == "broken certificate":
        keys["cert_file"].write_bytes(keys["cert_file"].read_bytes()[:100])
    else:
        keys["key_file"].write_bytes(
            {
                "passphrase": pem_of(private, passphrase=b"secret", der=True),
                "curve": pem_of(ec.generate_private_key(ec.SECP256R1())),
                "another": pem_of(rsa.generate_private_key(65537, 2048)),
                "cut": keys["key_file"].read_bytes()[:-200] + b"\n-----END PRIVATE KEY-----\n",
            }[fault]
        )
    row = ("A", "ns=2;s=A", "Double")
    settings = compiled(plc.endpoint, row, security="basic256sha256", user="op", **keys)

    with pytest.raises(SourceUnavailable, match=r"cannot be used: .*; a key needs RSA and no pass"):
        async with build_collector(settings).connect():
            pass


async def test_a_server_that_insists_on_encryption_says_so_to_a_plain_session(
    plc: Plc, compiled: Compile, identity: Identity
) -> None:
    plc.identity = await identity("plc")
    await plc.start({"A": ua.Variant(4.5, ua.VariantType.Double)})
    settings = compiled(plc.endpoint, ("A", "ns=2;s=A", "Double"))

    with pytest.raises(SourceUnavailable, match="does not offer security = 'none'"):
        async with build_collector(settings).connect():
            pass
