"""Goal: node ids and types are understood as people write them; an error says what is right.

Method: tables, a plant whose rows are wrong, and the decoder by itself.
"""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import collectors.opcua
from collectors.opcua.address import parse_address
from collectors.opcua.config import OpcuaSettings, compile_device
from collectors.opcua.decode import Notified, gather, instant_ns, scalar_of
from common.errors import Finding
from common.plant import load_plant
from common.records import Column, Plan, Quality, ValueType

Compile = Callable[..., OpcuaSettings]

SAMPLE = Path(collectors.opcua.__file__).with_name("sample.toml").read_text(encoding="utf-8")
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'
ENDPOINT = "opc.tcp://192.0.2.1:4840"

UNDERSTOOD = [
    ("ns=2;s=Line1.Temp", "ns=2;s=Line1.Temp", 2, "Line1.Temp"),
    (" ns = 2 ; s=Line1 Temp", "ns=2;s=Line1 Temp", 2, "Line1 Temp"),
    ('ns=3;s="Press"."Temp"', 'ns=3;s="Press"."Temp"', 3, '"Press"."Temp"'),
    ("ns=2;s=a;b=c", "ns=2;s=a;b=c", 2, "a;b=c"),
    ("ns=3;i=1001", "ns=3;i=1001", 3, 1001),
    ("i=2258", "i=2258", 0, 2258),
    ("ns=0;i=2258", "i=2258", 0, 2258),
    (
        "nsu=http://acme.com/line1;s=T",
        "nsu=http://acme.com/line1;s=T",
        "http://acme.com/line1",
        "T",
    ),
    ("nsu=urn:a%3Bb;i=7", "nsu=urn:a%3Bb;i=7", "urn:a;b", 7),
    (
        "ns=2;g=72962B91-FA75-4ae6-8d28-b404dc7daf63",
        "ns=2;g=72962b91-fa75-4ae6-8d28-b404dc7daf63",
        2,
        uuid.UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63"),
    ),
    ("ns=2;b=AAH/", "ns=2;b=AAH/", 2, b"\x00\x01\xff"),
]

REFUSED = [
    ("ns=2;Line1.Temp", "after the ';' comes i=, s=, g= or b="),
    ("Line1.Temp", "write it as ns=2;s=Line1.Temp"),
    ("ns=2;i=abc", "a name is written with s="),
    ("ns=2;i=4294967296", "at most 4294967295"),
    ("ns=70000;i=1", "the largest is 65535"),
    ("ns=2;g=nonsense", "a GUID such as"),
    ("ns=2;b=%%%", "base64"),
    ("ns=2", "double quotes"),
    ("/Objects/2:Line1/2:Temp", "browse paths are not understood"),
]


@pytest.mark.parametrize(("written", "canonical", "namespace", "identifier"), UNDERSTOOD)
def test_a_node_id_is_understood_and_shown_in_one_form(
    written: str, canonical: str, namespace: int | str, identifier: object
) -> None:
    address = parse_address(written, "Double")

    assert str(address) == canonical
    assert (address.namespace, address.identifier) == (namespace, identifier)
    assert parse_address(canonical, "Double") == address, "what is shown can be written"


@pytest.mark.parametrize(("written", "advice"), REFUSED)
def test_what_is_no_node_id_is_answered_by_what_is_right(written: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        parse_address(written, "Double")


def test_findings_name_file_line_and_what_would_be_right(compiled: Compile) -> None:
    with pytest.raises(ValueError, match=r"tags\.csv") as refused:
        compiled(
            ENDPOINT,
            ("Good", "ns=2;s=A", "Double"),
            ("NoType", "ns=2;s=B", ""),
            ("BadType", "ns=2;s=C", "Doubl"),
            ("BadNode", "Line1.Temp", "Double"),
            replay_timeout_ms=100,
        )

    lines = str(refused.value).splitlines()
    assert len(lines) == 4, lines
    assert "did you mean 'reply_timeout_ms'?" in lines[0]
    assert lines[1].startswith("ot/tags.csv:3: devices.press.groups.process tag NoType:")
    assert "'type' column is empty" in lines[1]
    assert lines[2].startswith("ot/tags.csv:4:")
    assert "did you mean 'Double'?" in lines[2]
    assert lines[3].startswith("ot/tags.csv:5:")


@pytest.mark.parametrize(
    ("endpoint", "keys", "advice"),
    [
        ("http://192.0.2.1:4840", {}, "opc"),
        ("opc.tcp://192.0.2.1", {}, "needs a port"),
        ("opc.tcp://me:secret@192.0.2.1:4840", {}, "endpoint"),
        (ENDPOINT, {"security": "basic256"}, "security"),
        (ENDPOINT, {"security": "basic256sha256", "cert_file": "a.pem"}, "belong together"),
        (ENDPOINT, {"security": "", "key_file": "a.pem"}, "security"),
        (ENDPOINT, {"user": "op", "password_file": "/x"}, "encrypted"),
        (ENDPOINT, {"password_file": "/x"}, "belong together"),
        (ENDPOINT, {"server_cert_file": "pki/a.pem"}, "pki/a.pem: no such file"),
        (ENDPOINT, {"server_cert_file": "/nowhere/a.pem"}, "no such file"),
    ],
)
def test_keys_that_cannot_work_are_found_before_any_connect(
    compiled: Compile, endpoint: str, keys: dict[str, str], advice: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        compiled(endpoint, ("A", "ns=2;s=A", "Double"), **keys)


def test_a_password_that_others_can_read_is_refused(compiled: Compile, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("cert_file", "server_cert_file", "key_file")}
    files["password_file"] = tmp_path / "password"
    for path in files.values():
        path.write_text("secret")
        path.chmod(0o600)
    files["password_file"].chmod(0o644)

    with pytest.raises(ValueError, match="chmod 600") as refused:
        compiled(
            ENDPOINT,
            ("A", "ns=2;s=A", "Double"),
            security="basic256sha256",
            user="op",
            **files,
        )

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("with_defaults", [False, True])
def test_the_sample_loads_and_its_comments_are_the_defaults(
    tmp_path: Path, *, with_defaults: bool
) -> None:
    lines = [
        line[1:] if with_defaults and line.startswith("#") and not line.startswith("# ") else line
        for line in SAMPLE.splitlines()
    ]
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot/plant.toml").write_text(GATEWAY + "\n".join(lines))
    findings: list[Finding] = []

    settings = compile_device(load_plant(tmp_path).devices[0], findings)

    assert settings is not None, findings
    assert settings.intervals(settings.groups[0]) == (1000, 1000, 1)


def test_sampling_faster_than_publishing_keeps_every_sample(compiled: Compile) -> None:
    settings = compiled(ENDPOINT, ("A", "ns=2;s=A", "Double"), sampling_interval_ms=20)

    assert settings.intervals(settings.groups[0]) == (50, 20, 3), "50 ms hold up to 3 samples"


def test_an_instant_is_utc_nanoseconds_whatever_zone_it_came_in() -> None:
    at = datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)

    assert instant_ns(at) == 1_772_366_400_000_001_000
    assert instant_ns(at.replace(tzinfo=None)) == instant_ns(at), "no zone means UTC"
    assert instant_ns(at.astimezone(timezone(timedelta(hours=2)))) == instant_ns(at)
    assert instant_ns(None) is None
    assert instant_ns(datetime(1601, 1, 1, tzinfo=UTC)) is None, "OPC UA's zero is no time"
    assert instant_ns(datetime(9999, 12, 31, tzinfo=UTC)) is None, "it must fit 64 bits"


@pytest.mark.parametrize(
    ("value", "value_type"),
    [
        (1, ValueType.BOOL),
        (True, ValueType.INT64),
        (1.5, ValueType.INT64),
        (2**63, ValueType.INT64),
        (-1, ValueType.UINT64),
        (2**64, ValueType.UINT64),
        (True, ValueType.FLOAT64),
        ("1.5", ValueType.FLOAT64),
        (1.5, ValueType.STRING),
        ("x", ValueType.BYTES),
        ([1.0, 2.0], ValueType.FLOAT64),
    ],
)
def test_a_value_of_another_kind_is_never_bent_to_fit(value: object, value_type: ValueType) -> None:
    with pytest.raises(ValueError, match="expected"):
        scalar_of(value, value_type)


def test_zero_false_and_empty_are_values() -> None:
    assert scalar_of(0, ValueType.INT64) == 0
    assert scalar_of(value=False, value_type=ValueType.BOOL) is False
    assert scalar_of("", ValueType.STRING) == ""
    assert scalar_of(b"", ValueType.BYTES) == b""


def test_values_of_one_publication_are_gathered_without_losing_order() -> None:
    columns = tuple(Column(n, n, n, "Double", ValueType.FLOAT64) for n in "abc")
    plan = Plan("opcua", "press", "g", "press", 100, columns)
    arrived = [
        Notified(2, 1.0, Quality.GOOD, 5),
        Notified(0, 2.0, Quality.GOOD, None),
        Notified(2, 3.0, Quality.UNCERTAIN, 6),
        Notified(1, 4.0, Quality.GOOD, None),
        Notified(2, 5.0, Quality.GOOD, 7),
    ]

    scans = gather(plan, arrived, read_at_ns=1, monotonic_ns=2)

    assert [(scan.indexes, scan.values) for scan in scans] == [
        (None, [2.0, 4.0, 1.0]),
        ([2], [3.0]),
        ([2], [5.0]),
    ]
    assert [scan.qualities for scan in scans] == [None, [Quality.UNCERTAIN], None]
    assert scans[0].source_at_ns == [None, None, 5]
