"""Goal: keys of a broker that cannot go together, or that its kind does not allow, are found early.

Method: the struct itself, and a whole configuration of which `tailrace check` crosses the halves.
"""

from pathlib import Path

import msgspec
import pytest

from common.naming import BROKER_PROFILES, beyond
from common.places import Places
from console.crossing import topics_beyond
from uplink.config import check_cloud
from uplink.targets.mqtt_config import MqttConfig, rates_of, server_of

PLANT = """[gateway]
id = "g1"
root = "Acme/SiteA/Stamping/Line1/Cell1"
[devices.press]
protocol = "simulated"
asset = "Press"
[devices.press.groups.all]
period_ms = 1000
tags = "tags.csv"
"""


def config(**keys: object) -> MqttConfig:
    return msgspec.convert({"kind": "mqtt", "host": "h", **keys}, MqttConfig)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"mqtt_version": "3.1.1", "live_expiry_s": 60}, "live_expiry_s needs mqtt_version 5"),
        ({"mqtt_version": "3.1.1", "topic_aliases_max": 1}, "topic_aliases_max needs"),
        ({"mqtt_version": "3.1.1", "session_expiry_s": 60}, "session_expiry_s needs"),
        ({"will_delay_s": 10, "session_expiry_s": 5}, "must not be above session_expiry_s"),
        ({"client_id_from": "broker", "client_id": "x"}, "client_id has no use"),
        ({"client_id_from": "broker", "session_expiry_s": 5}, "a client_id that stays"),
        ({"broker": "azure", "keepalive_s": 1_161}, "keepalive_s: azure allows 1160"),
        ({"basic_ingest_rule": "lake"}, 'needs broker = "aws"'),
        ({"broker": "unknown"}, "Invalid enum value"),
    ],
)
def test_what_cannot_go_together_is_refused(keys: dict[str, object], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        config(**keys)


def test_the_kind_of_broker_sets_the_pace_unless_told_otherwise() -> None:
    assert rates_of(config()) == (0, 0)
    assert rates_of(config(broker="aws")) == (100, 512 * 1024)
    assert rates_of(config(broker="aws", publishes_max_per_s=0, bytes_max_per_s=7)) == (0, 7)


def test_every_profile_can_be_named_in_a_target() -> None:
    for profile in BROKER_PROFILES:
        assert config(broker=profile).broker == profile


@pytest.mark.parametrize(
    ("reference", "server"),
    [
        ("a.example.com", ("a.example.com", 0)),
        ("a.example.com:1234 b.example.com", ("a.example.com", 1234)),
        ("[2001:db8::1]:8883", ("2001:db8::1", 8883)),
        ("", None),
        ("a:99999", None),
        ("a:b", None),
        ("http://a", None),
    ],
)
def test_a_server_reference(reference: str, server: tuple[str, int] | None) -> None:
    assert server_of(reference) == server


def test_the_levels_of_umh_are_those_of_its_convention() -> None:
    assert beyond("umh", "umh/v1/ent/site.a/_raw/tag-1_x") is None
    assert "allows letters" in str(beyond("umh", "ent/Straße"))
    assert beyond("emqx", "/".join(["a"] * 128)) is None
    assert "emqx allows 127" in str(beyond("emqx", "/".join(["a"] * 129)))


def write(folder: Path, target: str) -> Places:
    for half in ("ot", "it"):
        (folder / half).mkdir(exist_ok=True)
    (folder / "ot" / "plant.toml").write_text(PLANT)
    (folder / "ot" / "tags.csv").write_text("name,address\nA,x\nB/C,x\nB/D,x\n")
    (folder / "it" / "cloud.toml").write_text(f'[targets.uns]\nkind = "mqtt"\nhost = "h"\n{target}')
    return Places(folder, folder, folder)


def test_topics_that_a_targets_broker_would_refuse_are_warned_of(tmp_path: Path) -> None:
    """Whether or not ot/ names the broker as well."""
    assert topics_beyond(write(tmp_path, "")) == []
    assert topics_beyond(write(tmp_path, 'broker = "aws"\n')) == [], "7 slashes are allowed"
    deeper = PLANT.replace("Cell1", "Cell1/Station")
    places = write(tmp_path, 'broker = "aws"\n')
    (tmp_path / "ot" / "plant.toml").write_text(deeper)

    (warning,) = topics_beyond(places)

    assert (warning.place, warning.where) == ("it/cloud.toml:4", "targets.uns.broker")
    assert "Station/Press/B/C would be set aside: 8 slashes, aws allows 7" in warning.message
    assert "so are 1 more topics of ot/" in warning.message


def test_the_topics_of_other_profiles_are_those_that_are_checked(tmp_path: Path) -> None:
    """Seen to bite: checked as `uns`, the three levels more of `umh` are found by the broker."""
    aws = 'broker = "aws"\n'

    (warning,) = topics_beyond(
        write(tmp_path, f'{aws}payload = "umh"\numh_contract = "_pump_v1"\n')
    )

    assert "topic umh/v1/" in warning.message
    assert "/_pump_v1/A would be set aside: 9 slashes" in warning.message
    assert topics_beyond(write(tmp_path, f'{aws}payload = "asset"\n')) == []
    assert topics_beyond(write(tmp_path, f'{aws}payload = "batch"\n')) == []


def test_what_mqtt_3_1_1_cannot_say_is_warned_of(tmp_path: Path) -> None:
    write(tmp_path, 'mqtt_version = "3.1.1"\n')

    (warning,) = check_cloud(tmp_path)

    assert (warning.severity, warning.where) == ("warning", "targets.uns.mqtt_version")
    assert "counts as delivered" in warning.message


def test_a_client_id_that_is_too_long_for_the_broker_is_found(tmp_path: Path) -> None:
    name = "x" * 127
    write(tmp_path, f'broker = "aws"\nclient_id = "{name}"\n')
    assert check_cloud(tmp_path) == []
    write(tmp_path, f'broker = "aws"\nconnections = 16\nclient_id = "{name}"\n')

    (finding,) = check_cloud(tmp_path)

    assert finding.where == "targets.uns.client_id"
    assert "has 130 bytes, aws allows 128" in finding.message
