"""Goal: each profile's messages are understood sample by sample, and nothing else is judged."""

import json
from typing import Any

import pytest

from subscribers.arrivals import Arrivals
from subscribers.identity import Identity
from subscribers.reading import Listener, Missing, Reading, Status

GAP = {
    "timestamp_ms": 9,
    "device": "press",
    "group": "process",
    "cause": "queue-full",
    "first_ms": 1,
    "last_ms": 9,
    "scans": 3,
    "samples": 12,
    "id": "sitea:17:9:gap",
}


class Heard(Listener):
    def __init__(self) -> None:
        self.statuses: list[tuple[str, Status]] = []
        self.told: list[tuple[Identity, int]] = []
        self.gaps: list[tuple[Identity, Missing]] = []

    def status(self, gateway: str, status: Status) -> None:
        self.statuses.append((gateway, status))

    def samples(self, identity: Identity, number: int) -> None:
        self.told.append((identity, number))

    def gap(self, identity: Identity, gap: Missing) -> None:
        self.gaps.append((identity, gap))


class Stand:
    def __init__(self) -> None:
        self.arrivals, self.heard = Arrivals(), Heard()
        self.reading = Reading(self.arrivals, self.heard)

    def take(self, topic: str, payload: Any, *, retain: bool = True) -> None:
        self.reading.take(topic, json.dumps(payload).encode(), retain=retain)


def test_uns_is_one_sample_on_its_own_topic() -> None:
    stand = Stand()
    for _ in range(2):
        stand.take("Acme/Press/T", {"timestamp_ms": 1, "value": 2.5, "id": "sitea:17:4:3"})

    assert stand.heard.told == [(Identity("sitea", 17, 4, 3), 1)], "a repeat is not told"
    assert stand.reading.assets == {"Acme/Press": 1}
    assert stand.reading.unread.count == 0


def test_asset_is_a_record_whose_samples_have_names() -> None:
    """Seen to bite: a tag that has no value, and so no key, was not counted."""
    stand = Stand()
    first = {"timestamp_ms": 1, "T": 2.5, "P": 1, "_quality": {"P": "Uncertain", "V": "Bad"}}
    stand.take("Acme/Press", {**first, "_id": "sitea:17:4"})
    stand.take("Acme/Press", {"timestamp_ms": 2, "T": 2.5, "W": 1, "_id": "sitea:17:4"})

    assert [number for _, number in stand.heard.told] == [3, 1], "T came before"
    assert stand.reading.assets == {"Acme/Press": 4}


def test_batch_carries_samples_of_many_topics_and_gaps() -> None:
    stand = Stand()
    samples = [{"topic": f"Acme/Press/T{i}", "value": 1, "id": f"sitea:17:4:{i}"} for i in (0, 1)]
    stand.take("Acme/SiteA/_edge/sitea/batch", {"samples": samples, "gaps": [GAP]}, retain=False)
    stand.take("any/topic", {"samples": samples}, retain=False)

    (found,) = stand.arrivals.found()
    assert (found.samples, found.repeats) == (2, 2)
    assert [gap.samples for _, gap in stand.heard.gaps] == [12]
    assert stand.reading.assets == {"Acme/Press": 2}


def test_the_gateways_own_branch_is_known_by_its_topic() -> None:
    stand = Stand()
    stand.take("Acme/SiteA/_edge/sitea/gap", GAP)
    stand.take("Acme/SiteA/_edge/sitea/status", {"online": False, "timestamp_ms": 1})
    stand.take("Acme/SiteA/_edge/sitea/something", {"new": True})
    stand.take("Acme/Press/_meta/T", {"unit": "Cel"})

    assert [identity.gap for identity, _ in stand.heard.gaps] == [0]
    assert [(name, each.online) for name, each in stand.heard.statuses] == [("sitea", False)]
    assert stand.reading.unread.count == 0, "what is added to the branch later is no fault"


@pytest.mark.parametrize(
    "payload",
    [
        b"12.5",
        b"{",
        b'{"timestamp_ms":1,"value":2}',
        b'{"id":"17:4"}',
        b'{"id":5}',
        b'{"_id":"sitea:17:4:gap","T":1}',
        b'{"samples":[{"topic":"t"}]}',
    ],
)
def test_what_cannot_be_judged_is_counted_with_its_topic(payload: bytes) -> None:
    stand = Stand()
    stand.reading.take("Acme/Press/T", payload, retain=False)

    assert stand.reading.unread.count == 1
    assert stand.reading.unread.examples == ["Acme/Press/T"]
    assert stand.heard.told == []
