"""Goal: an encrypted session is with the one server that is pinned; errors say whose turn it is.

Method: a real server that insists on SignAndEncrypt and a user; certificates made for the test.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
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


async def test_a_server_that_insists_on_encryption_says_so_to_a_plain_session(
    plc: Plc, compiled: Compile, identity: Identity
) -> None:
    plc.identity = await identity("plc")
    await plc.start({"A": ua.Variant(4.5, ua.VariantType.Double)})
    settings = compiled(plc.endpoint, ("A", "ns=2;s=A", "Double"))

    with pytest.raises(SourceUnavailable, match="does not offer security = 'none'"):
        async with build_collector(settings).connect():
            pass
