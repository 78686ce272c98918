"""Goal: the names of an edge node are those that Sparkplug allows, and a mistake is found at once.

Method: real cloud.toml files through the check; names from a root, a gateway and plans.

Seen to bite: `+` let through in an id; a profile with sessions accepted for any kind.
"""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from common.records import Column, Plan, ValueType
from uplink.config import check_cloud, load_target
from uplink.registry import SESSION_KINDS, TARGETS, target_builder_of
from uplink.sparkplug.config import SparkplugConfig
from uplink.sparkplug.naming import Names
from uplink.surroundings import Identity
from uplink.targets import mqtt, sparkplug

SAMPLE = Path(__file__).parents[3] / "uplink" / "sample.toml"
IDENTITY = Identity("g1", 1, "Acme/SiteA/Stamping/Line1", "Acme/SiteA/_edge/g1")


def write(folder: Path, settings: str, kind: str = "mqtt") -> Path:
    (folder / "it").mkdir(exist_ok=True)
    (folder / "it" / "cloud.toml").write_text(
        f'[targets.scada]\nkind = "{kind}"\nhost = "b.example.com"\npayload = "sparkplug"\n'
        f"[targets.scada.sparkplug]\n{settings}\n"
    )
    return folder


def plan(topic: str, name: str) -> Plan:
    column = Column(name, topic, "DB1", "REAL", ValueType.FLOAT64)
    return Plan("s7", "press", "fast", topic.split("/")[-2], 250, (column,))


def test_the_names_are_those_of_root_gateway_and_asset() -> None:
    names = Names(SparkplugConfig(), IDENTITY)
    path = Names(SparkplugConfig(devices="path"), IDENTITY)
    press = plan("Acme/SiteA/Stamping/Line1/Cell7/Press/T/Oil", "T/Oil")

    assert names.topic("NBIRTH") == "spBv1.0/Acme:SiteA/NBIRTH/g1"
    assert names.topic("DDATA", names.device(press)) == "spBv1.0/Acme:SiteA/DDATA/g1/Cell7:Press"
    assert path.device(press) == "Acme:SiteA:Stamping:Line1:Cell7:Press"
    assert names.barrier == "Acme/SiteA/_edge/g1/barrier"


def test_an_asset_of_another_root_keeps_its_path() -> None:
    """Records that were read before the root was renamed."""
    assert Names(SparkplugConfig(), IDENTITY).device(plan("Old/Site/Press/T", "T")) == (
        "Old:Site:Press"
    )


def test_a_primary_host_is_subscribed_and_its_older_topic_where_asked_for() -> None:
    config = SparkplugConfig(primary_host="scada", primary_host_text=True)

    assert Names(config, IDENTITY).subscriptions == (
        "spBv1.0/Acme:SiteA/NCMD/g1",
        "spBv1.0/STATE/scada",
        "STATE/scada",
    )
    assert Names(SparkplugConfig(), IDENTITY).subscriptions == ("spBv1.0/Acme:SiteA/NCMD/g1",)


@pytest.mark.parametrize("wrong", ["a/b", "a+", "#", "a\\u0000b"])
@pytest.mark.parametrize("key", ["group_id", "edge_node_id", "primary_host"])
def test_an_id_is_one_level_of_a_topic(tmp_path: Path, key: str, wrong: str) -> None:
    (finding,) = check_cloud(write(tmp_path, f'{key} = "{wrong}"'))

    assert finding.where == f"targets.scada.sparkplug.{key}"


def test_an_unknown_key_is_found_with_what_was_meant(tmp_path: Path) -> None:
    (finding,) = check_cloud(write(tmp_path, 'groupid = "x"'))

    assert "group_id" in str(finding)


def test_a_profile_with_sessions_has_a_target_of_its_own() -> None:
    assert SESSION_KINDS == {"sparkplug": "mqtt"}
    assert target_builder_of("mqtt", "sparkplug") is sparkplug.build_target
    assert target_builder_of("mqtt", "uns") is mqtt.build_target


@pytest.mark.parametrize("kind", [kind for kind in TARGETS if kind != "mqtt"] or ["kafka"])
def test_another_kind_of_far_side_does_not_speak_it(tmp_path: Path, kind: str) -> None:
    found = {finding.where: str(finding) for finding in check_cloud(write(tmp_path, "", kind))}

    assert "spoken by kind 'mqtt' alone" in found["targets.scada.payload"]


def test_the_sample_shows_every_key_at_its_default(tmp_path: Path) -> None:
    text = re.sub(r"^#(\w+ = )", r"\1", SAMPLE.read_text(), flags=re.MULTILINE)
    shown = tomllib.loads(text)["targets"]["uns"]["sparkplug"]

    assert msgspec.convert(shown, SparkplugConfig) == SparkplugConfig()
    assert set(shown) == {each.name for each in msgspec.structs.fields(SparkplugConfig)}
    settings = load_target(write(tmp_path, ""), "scada", "g1")
    assert settings is not None
    assert settings.config.sparkplug == SparkplugConfig()
