"""Goal: whatever the profile, everything in the queue arrives, and the cursor follows.

Method: the real uplink drains into mosquitto; what arrived is compared with what was committed. A
batch is refused as a whole by a broker whose limit was not announced.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from uplink_rig import EDGE, OPEN, ROOT, Site, Subscriber, wait_until

from common.clock import now_ns
from common.records import Gap
from demo.broker import MosquittoBroker
from demo.pki import Pki

pytestmark = pytest.mark.process

TAGS = 20
RECORDS = 90
GAP = Gap("press", "process", "outbox-full", now_ns() - 1_000_000_000, now_ns(), 3, 60)
Place = tuple[int, str]
"""(sequence, tag) of a sample."""


def in_asset(subscriber: Subscriber) -> list[Place]:
    return [
        (int(row["_id"].split(":")[2]), key)
        for row in subscriber.on(f"{ROOT}/Press_Machine")
        for key in row
        if key.startswith("Tag_")
    ]


def in_batch(subscriber: Subscriber) -> list[Place]:
    return [
        (int(sample["id"].split(":")[2]), sample["topic"].rpartition("/")[2])
        for batch in subscriber.on(f"{EDGE}/batch")
        for sample in batch["samples"]
    ]


def in_umh(subscriber: Subscriber) -> list[Place]:
    """UMH's payload names no sequence; here a value tells it: tag number + place of the record."""
    return [
        (int(payload["value"]) - int(tag.removeprefix("Tag_")) + 1, tag)
        for topic, payload, _ in list(subscriber.messages)
        if topic.startswith(f"umh/v1/{ROOT}/Press_Machine/_raw/")
        for tag in [topic.rpartition("/")[2]]
    ]


@pytest.mark.parametrize(
    ("payload", "places", "retained"),
    [("asset", in_asset, True), ("batch", in_batch, False), ("umh", in_umh, True)],
)
def test_everything_arrives_in_any_profile(
    site: Site,
    subscribe: Callable[..., Subscriber],
    pki: Pki,
    tmp_path: Path,
    payload: str,
    places: Callable[[Subscriber], list[Place]],
    retained: bool,  # noqa: FBT001 - a parameter of the case
) -> None:
    with MosquittoBroker(tmp_path / "broker", pki, settings=OPEN) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, payload=payload)
        last = site.fill(RECORDS, TAGS, gaps=[GAP])
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        expected = {(n, f"Tag_{tag}") for n in range(1, RECORDS + 1) for tag in range(TAGS)}
        wait_until(lambda: {*places(subscriber)} >= expected, "everything arrived")
        assert site.stop() == 0

    assert {*places(subscriber)} == expected
    data = [each for each in subscriber.messages if "/_edge/" not in each[0] or "batch" in each[0]]
    assert any(flag for _, _, flag in data) is retained
    gaps = [
        *subscriber.on(f"{EDGE}/gap"),
        *(gap for batch in subscriber.on(f"{EDGE}/batch") for gap in batch.get("gaps", [])),
    ]
    assert {(gap["id"].split(":")[3], gap["samples"]) for gap in gaps} == {("gap", 60)}


def test_a_batch_that_is_refused_is_set_aside_whole_and_the_others_continue(
    site: Site, subscribe: Callable[..., Subscriber], pki: Pki, tmp_path: Path
) -> None:
    """Its first sample's sequence and index name it in the store; its payload has the rest."""
    limited = (*OPEN, "message_size_limit 30000")
    with MosquittoBroker(tmp_path / "broker", pki, settings=limited) as broker:
        subscriber = subscribe(broker.port)
        site.configure(broker.port, payload="batch")
        site.fill(RECORDS, TAGS)
        last = site.fill(1, TAGS)
        site.start()
        wait_until(lambda: site.detail.get("acked_sequence") == last, "everything is settled")
        wait_until(lambda: in_batch(subscriber), "the small batch arrived")
        assert site.stop() == 0

    cursor = site.cursor()
    letters = cursor.set_aside()
    cursor.close()
    aside = {sample["id"] for each in letters for sample in json.loads(each.payload)["samples"]}
    arrived = {
        sample["id"] for batch in subscriber.on(f"{EDGE}/batch") for sample in batch["samples"]
    }
    assert aside
    assert len(arrived | aside) == (RECORDS + 1) * TAGS, "nothing is lost"
    assert len({(letter.sequence, letter.index) for letter in letters}) == len(letters)
    assert {letter.topic for letter in letters} == {f"{EDGE}/batch"}
