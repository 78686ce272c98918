"""Goal: the IT engineer sees everything that is wrong at once, with place, key and what to do.

Method: real files, real certificates; the sample and the command line as they ship.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509.oid import NameOID

from common.clock import now_ns
from common.errors import ConfigError
from common.places import Places
from console.crossing import topics_beyond
from demo.pki import Pki, make_pki
from uplink.certificates import validity_of
from uplink.config import (
    CONFIGS,
    ValidityFinding,
    check_cloud,
    is_error,
    load_gateway,
    load_target,
)
from uplink.registry import (
    PAYLOADS,
    TARGETS,
    target_builder_of,
    wording_builder_of,
)
from uplink.targets.mqtt_config import MqttConfig, client_id, mqtt_config

SAMPLE = Path(__file__).parents[3] / "uplink" / "sample.toml"
OPENSSL = shutil.which("openssl") or "openssl"
GOOD = """\
[targets.uns]
kind = "mqtt"
host = "uns.example.com"
ca_file = "pki/ca.pem"
cert_file = "pki/gateway.pem"
key_file = "pki/gateway.key"
"""


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot" / "plant.toml").write_text('[gateway]\nid = "g1"\nroot = "Acme/SiteA"\n')
    make_pki(tmp_path / "it" / "pki")
    write(tmp_path, GOOD)
    return tmp_path


def write(config_dir: Path, text: str) -> None:
    (config_dir / "it" / "cloud.toml").write_text(text)


def test_the_sample_loads_as_it_is_and_with_every_default_written_out(config_dir: Path) -> None:
    text = SAMPLE.read_text()
    write(config_dir, text)
    assert check_cloud(config_dir) == []
    as_it_is = load_target(config_dir, "uns", "g1")

    written_out = re.sub(r"^#(\w+ = )", r"\1", text, flags=re.MULTILINE)
    write(config_dir, written_out)

    assert check_cloud(config_dir) == []
    assert load_target(config_dir, "uns", "g1") == as_it_is, "what it shows are the defaults"
    keys = set(tomllib.loads(written_out)["targets"]["uns"])
    assert keys == {each.name for each in msgspec.structs.fields(MqttConfig)}, "every key"


def test_files_are_relative_to_it_and_the_client_id_names_gateway_and_target(
    config_dir: Path,
) -> None:
    settings = load_target(config_dir, "uns", load_gateway(config_dir).id)

    assert settings is not None
    assert settings.ca_file == config_dir / "it" / "pki" / "ca.pem"
    assert client_id(settings) == "tailrace-g1-uns"
    assert mqtt_config(settings).verified_name == "uns.example.com"


def test_everything_that_is_wrong_is_found_at_once(config_dir: Path) -> None:
    write(
        config_dir,
        """\
[targets.uns]
kind = "mqqt"
host = "uns.example.com"
prot = 8883
keepalive_s = 1
payload = "usn"
[targets.lake]
kind = "mqtt"
host = "lake.example.com"
ca_file = "pki/none.pem"
cert_file = "pki/gateway.pem"
[broker]
""",
    )

    found = {finding.where: str(finding) for finding in check_cloud(config_dir)}

    assert "did you mean 'mqtt'" in found["targets.uns.kind"]
    assert "it/cloud.toml:2" in found["targets.uns.kind"]
    assert "did you mean 'port'" in found["targets.uns.prot"]
    assert ">= 5" in found["targets.uns.keepalive_s"]
    assert "did you mean 'uns'" in found["targets.uns.payload"]
    assert "belong together" in found["targets.lake"]
    assert "unknown table 'broker'" in found["broker"]


@pytest.mark.parametrize("key", ["kind", "payload", "broker", "drain"])
def test_a_list_where_a_word_belongs_is_found_like_any_other_mistake(
    config_dir: Path, key: str
) -> None:
    """Seen to bite, `payload` and `broker`: looked up in a table, a list ended the check."""
    write(config_dir, re.sub(rf"^{key} = .*\n", "", GOOD, flags=re.MULTILINE) + f'{key} = ["x"]\n')

    (finding, *_) = check_cloud(config_dir)

    assert finding.where == f"targets.uns.{key}"
    assert topics_beyond(Places(config_dir, config_dir, config_dir)) == []


def foreign_key(pki: Pki, folder: Path) -> None:
    other = make_pki(folder / "other")
    pki.client.key_file.write_bytes(other.client.key_file.read_bytes())


def key_with_passphrase(pki: Pki, _: Path) -> None:
    subprocess.run(
        [OPENSSL, "ec", "-aes256", "-passout", "pass:x", "-in", "k", "-out", "k2"],
        cwd=_prepared(pki),
        check=True,
        capture_output=True,
    )
    pki.client.key_file.write_bytes((pki.client.key_file.parent / "k2").read_bytes())


def _prepared(pki: Pki) -> Path:
    folder = pki.client.key_file.parent
    (folder / "k").write_bytes(pki.client.key_file.read_bytes())
    return folder


@pytest.mark.parametrize(
    ("spoil", "key", "says"),
    [
        (lambda pki, _: pki.ca_file.unlink(), "ca_file", "No such file"),
        (lambda pki, _: pki.ca_file.write_text("x"), "ca_file", "no PEM certificate"),
        (lambda pki, _: pki.client.cert_file.unlink(), "cert_file", "No such file"),
        (lambda pki, _: pki.client.cert_file.write_text("x"), "cert_file", "no PEM certificate"),
        (lambda pki, _: pki.client.key_file.unlink(), "key_file", "No such file"),
        (lambda pki, _: pki.client.key_file.write_text("x"), "key_file", "not a PEM private key"),
        (lambda pki, _: pki.client.key_file.chmod(0o640), "key_file", "chmod 600"),
        (foreign_key, "key_file", "is not the key of"),
        (key_with_passphrase, "key_file", "without a passphrase"),
    ],
)
def test_a_file_that_cannot_be_used_is_found_before_the_start(
    config_dir: Path, spoil: Callable[[Pki, Path], None], key: str, says: str
) -> None:
    folder = config_dir / "it" / "pki"
    spoil(make_pki(folder), config_dir)

    (finding,) = check_cloud(config_dir)

    assert finding.where == f"targets.uns.{key}"
    assert says in finding.message
    with pytest.raises(ConfigError, match=key):
        load_target(config_dir, "uns", "g1")


def test_a_missing_authority_does_not_hide_a_key_that_does_not_fit(config_dir: Path) -> None:
    pki = make_pki(config_dir / "it" / "pki")
    foreign_key(pki, config_dir)
    pki.client.key_file.chmod(0o640)
    pki.ca_file.unlink()

    found = {finding.message.partition("/pki/")[2] for finding in check_cloud(config_dir)}

    assert {text.partition(" ")[0] for text in found} == {"ca.pem", "gateway.key"}
    assert len(found) == 3, "no file, open to others, and not the key of this certificate"


def valid(config_dir: Path, begin: timedelta, end: timedelta) -> None:
    """Replace the gateway's certificate by one of the same key, valid as told from now."""
    folder = config_dir / "it" / "pki"
    key = serialization.load_pem_private_key((folder / "gateway.key").read_bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "g1")])
    now = datetime.fromtimestamp(now_ns() / 1e9, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.not_valid_before(now + begin).not_valid_after(now + end)
    made = builder.public_key(key.public_key()).serial_number(1).sign(key, hashes.SHA256())
    (folder / "gateway.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("begin", "end", "severity", "says"),
    [
        (-DAY, 365 * DAY, None, ""),
        (-335 * DAY, 29 * DAY, "warning", "expires on"),
        (-335 * DAY, 31 * DAY, None, ""),
        (-DAY, 6 * DAY, None, ""),
        (-5 * DAY, 2 * DAY, "warning", "in 1 days; renew it"),
        (-9 * DAY, -DAY, "error", "expired on"),
        (DAY, 9 * DAY, "error", "is the clock right?"),
    ],
)
def test_when_a_certificate_is_valid_is_told_and_stops_nothing(
    config_dir: Path, begin: timedelta, end: timedelta, severity: str | None, says: str
) -> None:
    valid(config_dir, begin, end)

    found = check_cloud(config_dir)

    assert [each.severity for each in found if isinstance(each, ValidityFinding)] == (
        [severity] if severity else []
    )
    assert [is_error(each) for each in found] == ([severity == "error"] if severity else [])
    assert all(says in each.message for each in found)
    assert load_target(config_dir, "uns", "g1") is not None, "the broker judges, not our clock"


def test_the_end_of_a_certificate_is_read_from_its_file(tmp_path: Path) -> None:
    pki = make_pki(tmp_path)
    shown = subprocess.run(
        [OPENSSL, "x509", "-noout", "-startdate", "-enddate", "-in", str(pki.ca_file)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    judged = [
        datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
        for line in shown.splitlines()
    ]

    assert list(validity_of(pki.ca_file)) == judged, "as openssl reads it"


@pytest.mark.parametrize("cut", [0, 1, 50, 200])
def test_a_damaged_certificate_is_an_error_not_a_crash(tmp_path: Path, cut: int) -> None:
    pki = make_pki(tmp_path)
    lines = pki.ca_file.read_text().splitlines()
    body = "".join(lines[1:-1])[:cut]
    pki.ca_file.write_text(f"{lines[0]}\n{body}\n{lines[-1]}\n")

    with pytest.raises(ValueError, match="certificate"):
        validity_of(pki.ca_file)


def test_another_targets_mistake_does_not_stop_this_one(config_dir: Path) -> None:
    write(config_dir, GOOD + '[targets.uns2]\nkind = "mqtt"\n')

    assert load_target(config_dir, "uns", "g1") is not None
    with pytest.raises(ConfigError, match="missing required key 'host'"):
        load_target(config_dir, "uns2", "g1")
    assert load_target(config_dir, "sap", "g1") is None, "not configured is not an error"


def test_a_wrong_tag_table_does_not_stop_the_drain(config_dir: Path) -> None:
    with (config_dir / "ot" / "plant.toml").open("a") as plant:
        plant.write(
            '[devices.press]\nprotocol = "s7"\n[devices.press.groups.g]\ntags = "none.csv"\n'
        )

    assert load_gateway(config_dir).root == "Acme/SiteA"


def test_every_kind_and_profile_that_is_accepted_can_be_built() -> None:
    assert list(TARGETS) == list(CONFIGS)
    assert all(target_builder_of(kind) for kind in TARGETS)
    assert all(wording_builder_of(payload) for payload in PAYLOADS)


def check(config_dir: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uplink", "--check", "--config", str(config_dir), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.process
def test_a_certificate_that_ends_soon_does_not_fail_the_check(config_dir: Path) -> None:
    valid(config_dir, -300 * DAY, 10 * DAY)

    told, for_people = check(config_dir, "--json"), check(config_dir)
    valid(config_dir, -300 * DAY, -DAY)

    assert (told.returncode, for_people.returncode) == (0, 0)
    assert [each["severity"] for each in json.loads(told.stdout)] == ["warning"]
    assert for_people.stdout.startswith("warning: it/cloud.toml:5: targets.uns.cert_file: ")
    assert check(config_dir).returncode == 1, "one that has ended does"


@pytest.mark.process
def test_the_check_prints_findings_for_people_and_for_programs(config_dir: Path) -> None:
    assert (check(config_dir).returncode, check(config_dir).stdout) == (0, "")
    assert json.loads(check(config_dir, "--json").stdout) == []
    write(config_dir, GOOD.replace("host", "hots"))

    found = check(config_dir, "--json")

    assert found.returncode == 1
    assert {tuple(each) for each in json.loads(found.stdout)} == {
        ("place", "where", "message", "code", "help")
    }
    assert "did you mean 'host'" in check(config_dir).stdout
    assert found.stderr == ""
