"""Goal: a Kafka target is configured as its sample shows; messages look as docs/kafka.md says.

Method: real files; the sample as it ships; keys and headers of one message.
"""

import gc
import json
import re
import subprocess
import sys
import tomllib
import weakref
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import KafkaError

from common.errors import Caution, ConfigError
from demo.pki import make_pki
from uplink.config import check_cloud, is_error, load_target
from uplink.contract import Message
from uplink.settings import resolved_settings
from uplink.targets.kafka import KafkaTarget, build_target
from uplink.targets.kafka_config import KafkaConfig, client_id, kafka_config
from uplink.targets.kafka_connection import KafkaConnection, headers_of
from uplink.targets.kafka_reasons import Local, place_of

SAMPLE = Path(__file__).parents[3] / "uplink" / "sample_kafka.toml"
PAGE = Path(__file__).parents[3] / "docs" / "kafka.md"
GOOD = '[targets.lake]\nkind = "kafka"\nbootstrap_servers = ["k:9093"]\ntopic = "acme.sitea"\n'
EDGE = "Acme/SiteA/_edge/g1"


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    make_pki(tmp_path / "it" / "pki")
    return tmp_path


def write(config_dir: Path, text: str) -> None:
    (config_dir / "it" / "cloud.toml").write_text(text)


def connection(**keys: object) -> KafkaConnection:
    """Return a connection to nowhere: what it would say can be asked all the same."""
    table = {"kind": "kafka", "bootstrap_servers": ["127.0.0.1:1"], "topic": "t", **keys}
    settings = resolved_settings("lake", "g1", msgspec.convert(table, KafkaConfig), Path("it"))
    return KafkaConnection(settings, EDGE, {"bootstrap.servers": "127.0.0.1:1", "log_level": 0})


def test_the_sample_loads_as_it_is_and_with_every_default_written_out(config_dir: Path) -> None:
    text = SAMPLE.read_text()
    write(config_dir, text)
    assert check_cloud(config_dir) == []
    as_it_is = load_target(config_dir, "lake", "g1")

    written_out = re.sub(r"^#(\w+ = )", r"\1", text, flags=re.MULTILINE)
    write(config_dir, written_out)

    assert load_target(config_dir, "lake", "g1") == as_it_is, "what it shows are the defaults"
    keys = set(tomllib.loads(written_out)["targets"]["lake"])
    known = {each.name for each in msgspec.structs.fields(KafkaConfig)}
    assert keys == known - {"sparkplug"}, "every key; Sparkplug is spoken to brokers alone"
    assert as_it_is is not None
    assert client_id(as_it_is) == "tailrace-g1-lake"
    assert kafka_config(as_it_is).place == "kafka-1.example.com:9093, kafka-2.example.com:9093"


def test_what_the_page_tells_to_write_is_what_the_check_accepts(config_dir: Path) -> None:
    lines = PAGE.read_text().partition("    [targets.lake]\n")[2].partition("\n\n")[0]
    write(config_dir, "[targets.lake]\n" + lines)
    secret = config_dir / "it" / "lake.password"
    secret.write_text("x")
    secret.chmod(0o600)

    assert check_cloud(config_dir) == []
    assert load_target(config_dir, "lake", "g1") is not None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('security = "plaintext"\nca_file = "pki/ca.pem"', "need TLS"),
        ('security = "plaintext"\nuser = "u"\nsasl = "PLAIN"', "shows the password"),
        ('security = "none"', "expected one of 'plaintext', 'tls'"),
        ('sasl = "OAUTHBEARER"', "expected one of 'PLAIN'"),
        ('password_file = "p"', "needs user"),
        ("in_flight_max = 0", ">= 1"),
        ('acks = "1"', "unknown key 'acks'"),
    ],
)
def test_what_cannot_be_meant_is_found(config_dir: Path, line: str, says: str) -> None:
    write(config_dir, f"{GOOD}{line}\n")

    found = check_cloud(config_dir)

    assert any(says in finding.message for finding in found), found
    with pytest.raises(ConfigError):
        load_target(config_dir, "lake", "g1")


@pytest.mark.parametrize("topic", ["acme/sitea", "..", "", "a" * 250, "a b"])
def test_a_name_that_kafka_does_not_allow_is_found(config_dir: Path, topic: str) -> None:
    write(config_dir, GOOD.replace("acme.sitea", topic))

    assert any("topic" in str(finding) for finding in check_cloud(config_dir))


@pytest.mark.parametrize(
    "server", ["kafka-1", "kafka-1:", ":9092", "ssl://k:9093", "k:9093,l:9093"]
)
def test_a_broker_is_a_name_and_a_port(config_dir: Path, server: str) -> None:
    write(config_dir, GOOD.replace("k:9093", server))

    assert any("bootstrap_servers" in str(finding) for finding in check_cloud(config_dir))


def test_plaintext_is_warned_about_and_stops_nothing(config_dir: Path) -> None:
    """Seen to bite: without `cautions`, the check is silent."""
    write(config_dir, f'{GOOD}security = "plaintext"\n')

    (finding,) = check_cloud(config_dir)

    assert isinstance(finding, Caution)
    assert not is_error(finding)
    assert finding.where == "targets.lake.security"
    assert finding.place.endswith("cloud.toml:5")
    assert load_target(config_dir, "lake", "g1") is not None


@pytest.mark.process
def test_where_the_library_is_not_installed_the_check_says_how_to_get_it(config_dir: Path) -> None:
    """Python is started so that it cannot find confluent_kafka.

    Seen to bite: without `_check_library` the check is content.
    """
    write(config_dir, GOOD)
    hidden = (
        "import sys; from importlib.machinery import PathFinder as P; find = P.find_spec;"
        "P.find_spec = classmethod(lambda c, name, *a: None if name == 'confluent_kafka' else "
        "find(name, *a)); sys.argv = ['uplink', '--check', '--json', '--config', sys.argv[1]];"
        "from uplink.__main__ import command; command()"
    )
    told = subprocess.run(
        [sys.executable, "-c", hidden, str(config_dir)], capture_output=True, text=True, check=False
    )

    (finding,) = json.loads(told.stdout)
    assert finding["where"] == "targets.lake.kind"
    assert "pip install 'tailrace[kafka]'" in finding["message"]
    assert told.returncode == 1


def test_headers_carry_a_cloud_event_in_binary_mode() -> None:
    event = (("specversion", "1.0"), ("id", "g1:1:2:3"), ("source", "Grüße"), ("hist", "true"))
    message = Message("a/b", b"1", retain=True, headers=event)

    assert headers_of(message) == [
        ("content-type", "application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", b"g1:1:2:3"),
        ("ce_source", "Grüße".encode()),
        ("hist", b"true"),
    ]


def test_other_headers_keep_their_names_and_no_content_type_is_none() -> None:
    message = Message("a/b", b"1", retain=True, headers=(("id", "g1:1:2:3"),), content_type="")

    assert headers_of(message) == [("id", b"g1:1:2:3")]


@pytest.mark.parametrize(
    ("payload_bytes", "headers", "taken"),
    [(600, (), True), (1_000, (), False), (600, (("x", "y" * 400),), False)],
)
def test_what_the_topic_would_not_take_is_never_sent(
    payload_bytes: int, headers: tuple[tuple[str, str], ...], *, taken: bool
) -> None:
    message = Message("a/b/c", b"x" * payload_bytes, retain=True, headers=headers)
    opened = connection(message_bytes_max=1_000)

    rejection = opened.rejection(message)
    opened.drop()

    assert (rejection is None) == taken
    assert taken or "message_bytes_max is 1000" in str(rejection)


def test_the_largest_message_that_is_not_rejected_is_one_that_librdkafka_takes() -> None:
    """Seen to bite: without the headers in the size, librdkafka says that it is too large."""
    opened = connection(message_bytes_max=1_000_000)
    payload_bytes = 1_000_000
    headers = tuple((f"h{number}", "v" * number) for number in range(20))
    while opened.rejection(
        message := Message("a/b/c", b"x" * payload_bytes, retain=True, headers=headers)
    ):
        payload_bytes -= 1

    ticket = opened.publish(message)
    answers = opened.exchange(0)
    opened.drop()

    assert (ticket, answers) == (1, []), "it is on its way"


def test_room_ends_with_the_window_and_with_the_bytes() -> None:
    opened = connection(in_flight_max=3, message_bytes_max=20_000_000)
    assert opened.room == 3
    opened.publish(Message("a", b"1", retain=False))
    assert opened.room == 2
    opened.publish(Message("a", b"x" * 17 * 1024**2, retain=False))
    assert opened.room == 0, "of bytes there is none left"
    opened.drop()


@pytest.mark.parametrize("name", [each.name for each in Local])
def test_librdkafkas_own_errors_have_its_numbers(name: str) -> None:
    assert getattr(KafkaError, f"_{name}") == Local[name]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (
            "sasl_ssl://k-1:9093/bootstrap: SASL failed: x (after 3ms in state AUTH_REQ)",
            ("k-1", 9093, "SASL failed: x", "AUTH_REQ"),
        ),
        (
            "k-1:9092/2: Connect failed: refused (after 0ms in state CONNECT, 1 suppressed)",
            ("k-1", 9092, "Connect failed: refused", "CONNECT"),
        ),
        ("ssl://[::1]:9093/1: Disconnected", ("[::1]", 9093, "Disconnected", "")),
        ("3/3 brokers are down", None),
    ],
)
def test_an_error_is_told_without_what_changes_from_try_to_try(
    text: str, place: tuple[str, int, str, str] | None
) -> None:
    assert place_of(text) == place


def test_building_a_target_touches_no_network(config_dir: Path) -> None:
    write(config_dir, GOOD)
    settings = load_target(config_dir, "lake", "g1")
    assert settings is not None

    target = KafkaTarget(settings, EDGE)

    assert target.address == "k:9093"
    assert callable(build_target)


def test_a_connection_that_was_dropped_leaves_nothing_behind() -> None:
    """Seen to bite: with the reports of what was purged not heard, it is kept for ever."""
    opened = connection()
    for _ in range(10):
        opened.publish(Message("a/b", b"1", retain=True))
    watched = weakref.ref(opened)

    opened.drop()
    del opened
    gc.collect()

    assert watched() is None
