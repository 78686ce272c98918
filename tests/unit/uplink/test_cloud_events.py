"""Goal: with `cloud_events` a message is an event by the binding's rules, its payload untouched.

Method: MQTT Protocol Binding for CloudEvents 1.0.2, 3.1.3, and the attributes of CloudEvents 1.0.2.
"""

import json
import re
from typing import Any

import pytest

from common.records import GapRecord
from tests.unit.uplink.wordings import (
    BACKFILL,
    CURRENT,
    EDGE,
    GAP,
    messages,
    plan_of,
    record,
    wording,
)
from uplink.registry import PAYLOADS

PROFILES = ("uns", "asset", "batch", "umh")
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def event(payload: str, *records: Any, **keys: Any) -> dict[str, str]:
    message = messages(wording(payload, cloud_events="binary", **keys), records)[0]
    return dict(message.headers)


def test_a_sample_is_an_event_named_by_its_identity() -> None:
    message = messages(wording("uns", cloud_events="binary"), [record([42.5], indexes=[0])])[0]

    assert message.headers == (
        ("specversion", "1.0"),
        ("type", "tailrace.uns.v1"),
        ("source", EDGE),
        ("subject", message.topic),
        ("id", json.loads(message.payload)["id"]),
        ("time", "2024-12-11T08:00:05.123Z"),
    )


@pytest.mark.parametrize("payload", PROFILES)
def test_the_payload_and_everything_else_stay_as_they_are(payload: str) -> None:
    records = [record([1.0, 2.0], indexes=[0, 1]), GapRecord(4712, GAP)]
    plain = messages(wording(payload), records, BACKFILL)
    events = messages(wording(payload, cloud_events="binary"), records, BACKFILL)

    assert [each._replace(headers=()) for each in events] == [
        each._replace(headers=()) for each in plain
    ]
    for before, after in zip(plain, events, strict=True):
        headers = dict(after.headers)
        assert len(headers) == len(after.headers), "each attribute once"
        assert headers.keys() >= {"specversion", "type", "source", "subject", "id"}
        assert RFC_3339.fullmatch(headers["time"])
        assert {*before.headers} - {*after.headers} == set(), "what was said before is said too"


def test_a_gap_is_an_event_of_its_own_type() -> None:
    found = event("asset", GapRecord(4712, GAP, 1))

    assert (found["type"], found["id"]) == ("tailrace.gap.v1", "sitea-line1:17:4712:gap1")
    assert found["time"] == "1970-01-01T00:00:02.000Z"


@pytest.mark.parametrize("payload", ["asset", "batch"])
def test_a_message_with_other_samples_is_another_event(payload: str) -> None:
    """Consumers may drop an event whose source and id they know: then a sample would be lost.

    Seen to bite: without the digest.
    """
    some = event(payload, record([1.0], indexes=[0]))
    more = event(payload, record([1.0, 2.0], indexes=[0, 1]))
    again = event(payload, record([1.0], indexes=[0]))

    assert some["id"] != more["id"]
    assert some["id"] == again["id"]


def test_the_time_is_the_samples_own_and_absent_where_no_calendar_has_it() -> None:
    each = record([1.0, 2.0], indexes=[0, 1], source_at_ns=[-1_000_000, 2**62])
    found = [dict(m.headers) for m in messages(wording("uns", cloud_events="binary"), [each])]

    assert found[0]["time"] == "1969-12-31T23:59:59.999Z"
    assert found[1]["time"].startswith("2116-")
    beyond = record([1.0], indexes=[0], source_at_ns=[10**21], plan=plan_of("A"))
    assert "time" not in event("uns", beyond)


def test_history_in_batches_is_of_the_batches_type() -> None:
    by = wording("uns", cloud_events="binary", backfill_payload="batch")
    each = record([1.0], indexes=[0])

    assert dict(messages(by, [each], BACKFILL)[0].headers)["type"] == "tailrace.batch.v1"
    assert dict(messages(by, [each], CURRENT)[0].headers)["type"] == "tailrace.uns.v1"


def test_every_profile_is_tried_here() -> None:
    assert {*PROFILES} <= {*PAYLOADS}
