"""Goal: nobody but the PLC that is trusted is ever asked for anything, and never in clear.

Method: emulators with certificates of several authorities; what reached them is what they recorded.
And every configuration that would leave trust open is refused before there is a network.
"""

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from s7plus_server import Plc, identity

from collectors.s7plus.config import S7PlusConfig, S7PlusSettings
from collectors.s7plus.device import build_collector
from collectors.s7plus.plc import Trust
from common.errors import SourceUnavailable

Compile = Callable[..., S7PlusSettings]

ROW = ("Temperature_C", '"Press"."Temperature"', "REAL")


def fingerprint(cert_file: Path) -> str:
    der = ssl.PEM_cert_to_DER_cert(cert_file.read_text())
    return hashlib.sha256(der).hexdigest()


async def first_values(settings: S7PlusSettings) -> list[object]:
    async with asyncio.timeout(20), build_collector(settings).connect() as session:
        scan = await anext(session.scans())
        return scan.values


async def test_a_plc_of_the_right_authority_is_read(plc: Plc, s7plus_compiled: Compile) -> None:
    plc.run()

    assert await first_values(s7plus_compiled(plc.port, ROW)) == [61.5]


async def test_a_plc_is_known_by_its_name_as_well(plc: Plc, s7plus_compiled: Compile) -> None:
    plc.run()

    assert await first_values(s7plus_compiled(plc.port, ROW, host="localhost")) == [61.5]


async def test_a_plc_of_the_right_fingerprint_is_read(plc: Plc, s7plus_compiled: Compile) -> None:
    plc.run()
    digits = fingerprint(plc.identity.cert_file).upper()
    as_openssl_prints_it = ":".join(digits[i : i + 2] for i in range(0, 64, 2))

    settings = s7plus_compiled(plc.port, ROW, fingerprint=as_openssl_prints_it)

    assert await first_values(settings) == [61.5]


async def test_another_authority_is_refused_before_a_session(
    plc: Plc, s7plus_compiled: Compile, tmp_path: Path
) -> None:
    identity(tmp_path / "ot/other")
    plc.run()

    with pytest.raises(SourceUnavailable, match=r"certificate that is not trusted.*check ca_file"):
        await first_values(s7plus_compiled(plc.port, ROW, ca_file="other/ca.pem"))
    assert set(plc.counted) <= {"INIT_SSL"}, "it was asked for nothing"


async def test_another_fingerprint_is_refused_before_a_session(
    plc: Plc, s7plus_compiled: Compile
) -> None:
    """Seen to bite: without the fingerprint in `Plc.connect` the session goes on."""
    plc.run()
    other = "0" * 63 + "1"

    with pytest.raises(SourceUnavailable, match="another certificate than the one"):
        await first_values(s7plus_compiled(plc.port, ROW, fingerprint=other))
    assert set(plc.counted) <= {"INIT_SSL"}, "it was asked for nothing"


async def test_authority_and_fingerprint_must_both_be_right(
    plc: Plc, s7plus_compiled: Compile
) -> None:
    plc.run()
    settings = s7plus_compiled(plc.port, ROW, ca_file="pki/ca.pem", fingerprint="00" * 32)

    with pytest.raises(SourceUnavailable, match="another certificate"):
        await first_values(settings)


async def test_a_certificate_for_another_host_is_refused(
    s7plus_compiled: Compile, tmp_path: Path
) -> None:
    _, elsewhere = identity(tmp_path / "ot/pki", "192.0.2.1")
    plc = Plc(elsewhere)
    plc.run()
    try:
        with pytest.raises(SourceUnavailable, match="names the host as it is written"):
            await first_values(s7plus_compiled(plc.port, ROW))
    finally:
        plc.stop()
    assert set(plc.counted) <= {"INIT_SSL"}


async def test_a_plc_without_tls_is_refused(plc: Plc, s7plus_compiled: Compile) -> None:
    plc.run(use_tls=False)

    with pytest.raises(SourceUnavailable):
        await first_values(s7plus_compiled(plc.port, ROW, connect_timeout_ms=500))
    assert set(plc.counted) <= {"INIT_SSL"}, "nothing was said in clear"


async def test_an_authority_that_was_emptied_trusts_nobody(
    plc: Plc, s7plus_compiled: Compile, tmp_path: Path
) -> None:
    plc.run()
    settings = s7plus_compiled(plc.port, ROW)
    (tmp_path / "ot/pki/ca.pem").chmod(0o600)
    (tmp_path / "ot/pki/ca.pem").write_text("")

    with pytest.raises(SourceUnavailable):
        await first_values(settings)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "needs ca_file or fingerprint"),
        ({"ca_file": "", "fingerprint": ""}, "needs ca_file or fingerprint"),
        ({"fingerprint": "abc"}, "64 hexadecimal digits"),
        ({"fingerprint": " "}, "64 hexadecimal digits"),
        ({"fingerprint": "any"}, "64 hexadecimal digits"),
        ({"fingerprint": "g" * 64}, "64 hexadecimal digits"),
    ],
)
def test_a_configuration_that_trusts_anybody_cannot_be_written(
    keys: dict[str, str], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        S7PlusConfig(host="h", experimental=True, **keys)


def test_a_connection_cannot_be_made_without_trust() -> None:
    with pytest.raises(ValueError, match="anybody could answer"):
        Trust(ca_file="", fingerprint="")


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nno\n", None])
def test_an_authority_that_is_none_is_found_by_the_check(
    s7plus_compiled: Compile, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "ot").mkdir()
        (tmp_path / "ot/ca.pem").write_text(content)

    with pytest.raises(ValueError, match=r"ca_file: ca.pem: (holds no certificate|cannot be read)"):
        s7plus_compiled(102, ROW, ca_file="ca.pem")


def test_without_the_word_experimental_nothing_is_read(s7plus_compiled: Compile) -> None:
    with pytest.raises(ValueError, match=r"was never run on hardware here.*experimental = true"):
        s7plus_compiled(102, ROW, experimental=False, fingerprint="00" * 32)
