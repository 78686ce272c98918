"""Goal: nobody but the trusted server is spoken to, and a person always learns what to do next.

Method: a real server with certificates made for each case, the trust list on disk, the command
that people use; a man in the middle who edits what is said in clear. What a server was told of a
user is read at the server.
"""

import asyncio
import logging
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.utils import ServiceError
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from issuing import issued, revocation_list
from secured_server import SecuredServer, between

from collectors.opcua import trust
from collectors.opcua.certificate import fingerprint
from collectors.opcua.config import OpcuaSettings
from collectors.opcua.device import build_collector
from collectors.opcua.trustlist import REJECTED_MAX, TrustList
from common.errors import SourceUnavailable

Compile = Callable[..., OpcuaSettings]

POLICIES = ["basic256sha256", "aes128_sha256_rsaoaep", "aes256_sha256_rsapss"]
ROW = ("A", "nsu=urn:acme;s=A", "Double")


@pytest.fixture
async def server() -> AsyncIterator[SecuredServer]:
    server = SecuredServer()
    yield server
    await server.stop()


@pytest.fixture
def listed(tmp_path: Path) -> TrustList:
    """The trust list of the settings that `compiled` makes."""
    return TrustList(tmp_path / "data/opcua")


def settings_of(compiled: Compile, endpoint: str, **keys: object) -> OpcuaSettings:
    keys = {"security": "basic256sha256", "reply_timeout_ms": 20_000} | keys
    return compiled(endpoint, ROW, **keys)


async def value_of(settings: OpcuaSettings) -> Any:
    async with build_collector(settings).connect() as session, aclosing(session.scans()) as scans:
        return (await anext(scans)).values[0]


async def refusal(settings: OpcuaSettings) -> str:
    with pytest.raises(SourceUnavailable) as refused:
        await value_of(settings)
    return str(refused.value)


def secret(folder: Path, text: str) -> Path:
    path = folder / "password"
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", ["sign", "sign_and_encrypt"])
@pytest.mark.parametrize("security", POLICIES)
async def test_every_policy_and_mode_takes_every_kind_of_user(
    server: SecuredServer,
    compiled: Compile,
    listed: TrustList,
    tmp_path: Path,
    security: str,
    mode: str,
) -> None:
    owner, person = issued("plc"), issued("person", purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
    server.guests.certificate = person.der
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")
    certificate, key = person.files(tmp_path, "person")
    users: list[dict[str, object]] = [
        {},
        {"user": "op", "password_file": secret(tmp_path, "right")},
        {"user_cert_file": certificate, "user_key_file": key},
    ]

    for user in users:
        keys = {"security": security, "security_mode": mode, **user}
        assert await value_of(settings_of(compiled, server.endpoint, **keys)) == 4.5

    assert server.guests.seen == ["anonymous", "op:right", "certificate"]


async def test_first_contact_is_refused_then_trusted_by_fingerprint_then_revoked(
    server: SecuredServer,
    compiled: Compile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Seen to bite: with `Unknown` not raised, the first read succeeds."""
    owner = issued("plc")
    await server.start(owner)
    keys = {"user": "op", "password_file": secret(tmp_path, "right")}
    settings = settings_of(compiled, server.endpoint, **keys)
    shown = fingerprint(owner.certificate)

    text = await refusal(settings)

    assert server.guests.seen == [], "no user was named to a stranger"
    assert "presented an unknown certificate: CN=plc, self-signed, valid " in text
    command = text.partition("tailrace trust ")[2]
    assert command == f"accept press {shown}"
    place = ["--data", str(tmp_path / "data")]
    assert trust.command([*place, "list"]) == 0
    assert "rejected  press: CN=plc, self-signed" in capsys.readouterr().out
    assert trust.command([*place, *command.split()]) == 0
    assert await value_of(settings) == 4.5, "without any restart"
    assert trust.command([*place, "revoke", "press", shown.lower()]) == 0
    assert "unknown certificate" in await refusal(settings)


async def test_trust_is_for_one_device_and_not_for_its_neighbour(
    server: SecuredServer, compiled: Compile, listed: TrustList
) -> None:
    """Seen to bite: with the device left out of the folder, the value is read."""
    owner = issued("plc")
    await server.start(owner)
    listed.add("trusted", owner.certificate, "robot")

    assert "unknown certificate" in await refusal(settings_of(compiled, server.endpoint))


async def test_a_certificate_of_an_authority_is_trusted_with_its_chain_and_lists(
    server: SecuredServer, compiled: Compile, tmp_path: Path
) -> None:
    root = issued("root", authority=True)
    middle = issued("middle", root, authority=True, path_length=0)
    await server.start(issued("plc", middle))
    settings = settings_of(compiled, server.endpoint)
    place = ["--data", str(tmp_path / "data"), "add"]
    assert "unknown certificate: CN=plc, issued by CN=middle" in await refusal(settings)

    assert trust.command([*place, str(root.files(tmp_path, "root")[0])]) == 0
    assert "unknown certificate" in await refusal(settings), "a link of the chain is missing"
    assert trust.command([*place, "--issuer", str(middle.files(tmp_path, "middle")[0])]) == 0
    assert "no revocation list of CN=middle" in await refusal(settings)
    for authority in (root, middle):
        path = tmp_path / "list.crl"
        path.write_bytes(revocation_list(authority).public_bytes(Encoding.DER))
        assert trust.command([*place, str(path)]) == 0

    assert await value_of(settings) == 4.5


async def test_another_application_behind_a_trusted_certificate_gets_no_password(
    server: SecuredServer, compiled: Compile, listed: TrustList, tmp_path: Path
) -> None:
    """Seen to bite: without the check of the session, the server is told `op:right`."""
    owner = issued("plc", uri="urn:another")
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")
    keys = {"user": "op", "password_file": secret(tmp_path, "right")}

    text = await refusal(settings_of(compiled, server.endpoint, **keys))

    assert "it is the application 'urn:plc', but its certificate names 'urn:another'" in text
    assert server.guests.seen == []
    relaxed = settings_of(compiled, server.endpoint, accept='["application_uri"]', **keys)
    assert await value_of(relaxed) == 4.5


async def test_what_is_accepted_is_said_once_in_the_log(
    server: SecuredServer, compiled: Compile, listed: TrustList, caplog: pytest.LogCaptureFixture
) -> None:
    owner = issued("plc", days=(-400, -3))
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")

    text = await refusal(settings_of(compiled, server.endpoint))

    assert "its certificate has expired on" in text
    assert 'accept = ["expired"]' in text
    relaxed = settings_of(compiled, server.endpoint, accept='["expired"]')
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert await value_of(relaxed) == 4.5
    said = [each.getMessage() for each in caplog.records if "let pass" in each.getMessage()]
    assert len(said) == 1, said


async def test_a_server_without_the_key_of_the_certificate_it_shows_is_not_spoken_to(
    server: SecuredServer, compiled: Compile, listed: TrustList, tmp_path: Path
) -> None:
    owner = issued("plc")
    await server.start(owner, key_of=issued("thief"))
    listed.add("trusted", owner.certificate, "press")
    keys = {"user": "op", "password_file": secret(tmp_path, "right"), "reply_timeout_ms": 4_000}

    text = await refusal(settings_of(compiled, server.endpoint, **keys))

    assert "does it hold the key of its certificate?" in text
    assert server.guests.seen == []


async def test_an_answer_that_was_changed_on_its_way_ends_the_session_before_a_password(
    server: SecuredServer, compiled: Compile, listed: TrustList, tmp_path: Path
) -> None:
    """The man in the middle hides the strongest policy.

    Seen to bite: without the comparison of the endpoints, the server is told `op:right`.
    """
    owner = issued("plc")
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")
    keys = {"user": "op", "password_file": secret(tmp_path, "right")}

    def weaken(data: bytes) -> bytes:
        return data.replace(b"#Aes256_Sha256_RsaPss", b"#Aes128_Sha256_RsaOae")

    async with between(server.port, weaken) as endpoint:
        text = await refusal(settings_of(compiled, endpoint, **keys))
    async with between(server.port, bytes) as endpoint:
        assert await value_of(settings_of(compiled, endpoint, **keys)) == 4.5, (
            "only the edit matters"
        )

    assert "describes other endpoints inside the secure channel" in text
    assert server.guests.seen == ["op:right"], "of the unchanged one"


async def test_a_certificate_exchanged_on_its_way_is_a_first_contact(
    server: SecuredServer, compiled: Compile, listed: TrustList
) -> None:
    owner = issued("plc")
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")
    forged = issued("plc").der
    assert len(forged) == len(owner.der), "so that it fits the place"

    async with between(server.port, lambda data: data.replace(owner.der, forged)) as endpoint:
        text = await refusal(settings_of(compiled, endpoint))

    assert "presented an unknown certificate" in text
    [entry] = listed.entries("rejected")
    assert entry.certificate != owner.certificate


async def test_a_server_that_offers_only_less_is_refused_with_what_it_offers(
    server: SecuredServer, compiled: Compile, listed: TrustList
) -> None:
    server.policies = [
        ua.SecurityPolicyType.NoSecurity,
        ua.SecurityPolicyType.Basic256Sha256_Sign,
    ]
    owner = issued("plc")
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")

    text = await refusal(settings_of(compiled, server.endpoint))

    assert "does not offer security = 'basic256sha256' with security_mode = 'sign_and_en" in text
    assert "Basic256Sha256 Sign (anonymous, user and password, user certificate)" in text


async def test_a_kind_of_user_that_the_server_does_not_take_is_named(
    server: SecuredServer, compiled: Compile, listed: TrustList
) -> None:
    server.tokens = [ua.UserNameIdentityToken]
    owner = issued("plc")
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")

    text = await refusal(settings_of(compiled, server.endpoint))

    assert "does not take a session as anonymous here, but: user and password" in text


async def test_a_password_is_not_sent_unprotected_over_a_connection_that_is_only_signed(
    server: SecuredServer, compiled: Compile, listed: TrustList, tmp_path: Path
) -> None:
    """Seen to bite: without the check, asyncua logs `Sending plain-text password` and sends it."""
    owner = issued("plc")
    await server.start(owner)
    for endpoint in server.described():
        for token in endpoint.UserIdentityTokens:
            if token.TokenType == ua.UserTokenType.UserName:
                token.SecurityPolicyUri = "http://opcfoundation.org/UA/SecurityPolicy#None"
    listed.add("trusted", owner.certificate, "press")
    keys = {"user": "op", "password_file": secret(tmp_path, "right")}

    text = await refusal(settings_of(compiled, server.endpoint, security_mode="sign", **keys))

    assert 'set security_mode = "sign_and_encrypt"' in text
    assert server.guests.seen == []
    assert await value_of(settings_of(compiled, server.endpoint, **keys)) == 4.5


REFUSED_BY_SERVER = {
    ua.StatusCodes.BadCertificateUntrusted: "trust the gateway's certificate at the server",
    ua.StatusCodes.BadSecurityChecksFailed: "trust the gateway's certificate at the server",
    ua.StatusCodes.BadCertificateTimeInvalid: "compare the clocks",
    ua.StatusCodes.BadCertificateHostNameInvalid: "misses a host name",
    ua.StatusCodes.BadCertificateUriInvalid: "the certificate's URI must be",
    ua.StatusCodes.BadTooManySessions: "no session free",
}


@pytest.mark.parametrize("code", REFUSED_BY_SERVER)
async def test_a_server_that_refuses_us_is_answered_by_what_to_do_there(
    server: SecuredServer, compiled: Compile, listed: TrustList, code: int
) -> None:
    owner = issued("plc")
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")

    def refuse(_certificate: object) -> None:
        raise ServiceError(code)

    server.trusts_client = refuse

    assert REFUSED_BY_SERVER[code] in await refusal(settings_of(compiled, server.endpoint))


async def test_a_server_that_closes_without_a_word_may_not_trust_us(
    compiled: Compile, tmp_path: Path
) -> None:
    async def close_at_the_channel(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        hello = await reader.readexactly(8)
        await reader.readexactly(int.from_bytes(hello[4:], "little") - 8)
        writer.write(b"ACKF" + struct.pack("<6I", 28, 0, 65_535, 65_535, 0, 0))
        await reader.readexactly(8)
        writer.close()

    pinned, _ = issued("plc").files(tmp_path, "plc")
    async with await asyncio.start_server(close_at_the_channel, "127.0.0.1", 0) as raw:
        endpoint = f"opc.tcp://127.0.0.1:{raw.sockets[0].getsockname()[1]}"
        text = await refusal(settings_of(compiled, endpoint, server_cert_file=pinned))

    assert "closed the connection (" in text
    assert "if it does so at every attempt, trust the gateway's certificate at the server" in text


async def test_our_own_certificate_is_spoken_of_before_its_end_and_refused_after_it(
    server: SecuredServer,
    compiled: Compile,
    listed: TrustList,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    owner = issued("plc")
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")
    settings = settings_of(compiled, server.endpoint)
    folder = tmp_path / "data/opcua/own"
    folder.mkdir()

    def keep(days: tuple[int, int]) -> None:
        ours = issued("gateway", days=days, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
        ours.files(folder, "cert")
        (folder / "cert.pem").rename(folder / "key.pem")

    keep((-300, 59))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert await value_of(settings) == 4.5
    said = [each.getMessage() for each in caplog.records if "certificate ends on" in str(each.msg)]
    assert len(said) == 1, "once, not at every connect"

    keep((-300, -1))
    text = await refusal(settings)

    assert "the gateway's own certificate has expired on" in text
    assert "make a new one: tailrace trust renew" in text


async def test_a_renewed_certificate_is_taken_at_the_next_connect(
    server: SecuredServer, compiled: Compile, tmp_path: Path
) -> None:
    owner, ours = issued("plc"), issued("gateway", purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
    await server.start(owner)
    shown: list[object] = []
    server.trusts_client = shown.append
    certificate, key = ours.files(tmp_path, "gateway")
    pinned, _ = owner.files(tmp_path, "plc")
    keys = {"cert_file": certificate, "key_file": key, "server_cert_file": pinned}
    settings = settings_of(compiled, server.endpoint, **keys)
    collector = build_collector(settings)

    for each in (ours, issued("gateway-2", purpose=ExtendedKeyUsageOID.CLIENT_AUTH)):
        each.files(tmp_path, "gateway")
        async with collector.connect():
            assert shown[-1] == each.certificate


async def test_the_gateway_makes_its_certificate_once_and_shows_it_to_every_server(
    server: SecuredServer, compiled: Compile, listed: TrustList, tmp_path: Path
) -> None:
    """Seen to bite: made anew at each connect, the two that were shown differ."""
    owner = issued("plc")
    await server.start(owner)
    listed.add("trusted", owner.certificate, "press")
    shown: list[Any] = []
    server.trusts_client = shown.append

    for _ in range(2):
        await value_of(settings_of(compiled, server.endpoint))

    assert shown[0] == shown[1]
    assert (
        shown[0].public_bytes(Encoding.DER) == (tmp_path / "data/opcua/own/cert.der").read_bytes()
    )


@pytest.mark.process
async def test_the_process_keeps_its_certificate_and_what_it_was_shown_in_the_data_folder(
    server: SecuredServer, compiled: Compile, listed: TrustList, tmp_path: Path
) -> None:
    """Seen to bite: when the process does not pass its data folder on, nothing is ever kept."""
    owner = issued("plc")
    await server.start(owner)
    settings_of(compiled, server.endpoint)  # Writes ot/plant.toml.
    places = [f"--config={tmp_path}", f"--run={tmp_path / 'run'}", f"--data={tmp_path / 'data'}"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "collectors", "opcua", *places, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(90):
            while not listed.entries("rejected"):  # noqa: ASYNC110 - another process has no event
                await asyncio.sleep(0.05)
    finally:
        process.terminate()
        await process.wait()

    [entry] = listed.entries("rejected")
    assert (entry.device, entry.certificate) == ("press", owner.certificate)
    assert (tmp_path / "data/opcua/own/key.pem").stat().st_mode & 0o077 == 0


async def test_an_unsecured_connection_is_said_once_and_names_what_it_means(
    server: SecuredServer, compiled: Compile, caplog: pytest.LogCaptureFixture
) -> None:
    await server.start(issued("plc"))
    settings = compiled(server.endpoint, ROW, security="none")

    with caplog.at_level(logging.INFO):
        for _ in range(2):
            assert await value_of(settings) == 4.5

    said = [each.getMessage() for each in caplog.records if "not secured" in each.getMessage()]
    assert len(said) <= 1, "once in the life of a process, and another test may have been first"


def test_a_device_without_security_is_asked_to_decide_and_told_what_each_choice_means(
    compiled: Compile,
) -> None:
    with pytest.raises(ValueError, match="say with `security` how the server is spoken to"):
        compiled("opc.tcp://192.0.2.1:4840", ROW, security=None)


def test_strangers_cannot_fill_the_disk_with_certificates(listed: TrustList) -> None:
    """Seen to bite: without the removal there are 23."""
    shown = [issued("stranger").certificate for _ in range(REJECTED_MAX + 3)]

    for certificate in shown:
        listed.reject("press", certificate)

    kept = [entry.certificate for entry in listed.entries("rejected")]
    assert len(kept) == REJECTED_MAX
    assert shown[-1] in kept
    assert shown[0] not in kept
