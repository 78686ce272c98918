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
