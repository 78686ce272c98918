"""Goal: what a person is shown of a message is the message that would be sent."""

import json
from pathlib import Path

import pytest

from common.errors import ConfigError, QueueUnusable
from common.places import Places
from tests.unit.console.filled_queue import PRESS, create, fill
from uplink.wording import payloads_of, worded

PLANT = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'
CLOUD = """
[targets.uns]
kind = "mqtt"
[targets.other]
payload = "uns"
[targets.odd]
payload = "hieroglyphs"
"""
PROFILES = """
[targets.asset]
payload = "asset"
[targets.umh]
payload = "umh"
[targets.batch]
payload = "batch"
cloud_events = "binary"
[targets.history]
backfill_payload = "batch"
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name, text in (("ot/plant.toml", PLANT), ("it/cloud.toml", CLOUD)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    queue = create(tmp_path)
    fill(queue, 1)
    queue.close()
    return Places(tmp_path, tmp_path, tmp_path)


def test_a_sample_is_worded_for_each_target(places: Places) -> None:
    found = worded(places, 4, 2).messages

    assert [each.target for each in found] == ["uns", "other"]
    assert {(each.topic, each.profile, each.retain) for each in found} == {
        (PRESS.columns[2].topic, "uns", True)
    }
    payload = json.loads(found[0].payload)
    assert (payload["quality"], payload["reason"]) == ("Bad", "BadTimeout")
    assert payload["id"].endswith(":4:2")


def test_every_profile_shows_its_topic_its_payload_and_what_stands_beside_it(
    places: Places,
) -> None:
    (places.config_dir / "it/cloud.toml").write_text(PROFILES)
    epoch = json.loads(worded(places, 1, 0).messages[-1].payload)["id"].split(":")[1]
    asset, umh, batch, history = worded(places, 1, 0).messages

    assert (asset.topic, asset.profile, asset.headers) == ("Acme/SiteA/Press", "asset", [])
    assert json.loads(asset.payload)["_id"] == f"box:{epoch}:1"
    assert umh.topic == "umh/v1/Acme/SiteA/Press/_raw/Temperature_C"
    assert ("id", f"box:{epoch}:1:0") in umh.headers
    assert ("specversion", "1.0") in batch.headers
    assert (batch.topic, batch.retain) == ("Acme/SiteA/_edge/box/batch", False)
    assert json.loads(batch.payload)["samples"][0]["topic"] == "Acme/SiteA/Press/Temperature_C"
    assert history.topic == "Acme/SiteA/Press/Temperature_C", "it is shown as a current value"
    bad = [each.target for each in worded(places, 4, 2).messages]
    assert bad == ["asset", "batch", "history"], "what is Bad is not published to UMH"


@pytest.mark.parametrize(("sequence", "index"), [(4, 1), (3, 0), (99, 0)])
def test_what_is_not_in_the_queue_has_no_message(places: Places, sequence: int, index: int) -> None:
    assert worded(places, sequence, index).messages == []


def test_a_profile_that_nobody_knows_is_left_out(places: Places) -> None:
    found = payloads_of(places.config_dir)
    assert {name: each.payload for name, each in found.items()} == {"uns": "uns", "other": "uns"}
    (places.config_dir / "it/cloud.toml").unlink()
    assert payloads_of(places.config_dir) == {}


def test_without_a_queue_or_a_gateway_there_is_an_error(places: Places) -> None:
    with pytest.raises(QueueUnusable, match="no queue at"):
        worded(Places(places.config_dir, places.run_dir, Path("/nowhere")), 1, 0)
    (places.config_dir / "ot/plant.toml").write_text("")
    with pytest.raises(ConfigError):
        worded(places, 1, 0)
