"""Goal: a batch holds whole samples in order, fits where it must go, and waits for nothing."""

import json
from typing import Any

import pytest

from common.records import GapRecord, Quality, Record, ValueType
from tests.unit.uplink.wordings import (
    ASSET,
    BACKFILL,
    CURRENT,
    EDGE,
    GAP,
    READ_AT_MS,
    messages,
    plan_of,
    record,
    wording,
)
from uplink.contract import Manner

WORDING = wording("batch")
PLAN = plan_of(*(f"Tag_{number}" for number in range(50)))


def told(found: list[Any]) -> list[dict[str, Any]]:
    return [sample for each in found for sample in json.loads(each.payload)["samples"]]


def scans(count: int, **fields: Any) -> list[Record]:
    return [
        record([n + c / 7 for c in range(50)], **{"plan": PLAN, "sequence": n, **fields})
        for n in range(1, count + 1)
    ]


def test_records_of_one_reading_are_one_message() -> None:
    first = record([42.5, None], indexes=[0, 1], qualities=[0, Quality.BAD_TIMEOUT])
    second = record([True], indexes=[4], sequence=4713, source_at_ns=[1_000_000_000])

    (message,) = messages(WORDING, [first, GapRecord(4712, GAP), second])

    assert (message.topic, message.retain, message.headers) == (f"{EDGE}/batch", False, ())
    assert json.loads(message.payload) == {
        "samples": [
            {
                "topic": f"{ASSET}/Temperature_C",
                "timestamp_ms": READ_AT_MS,
                "value": 42.5,
                "quality": "Good",
                "id": "sitea-line1:17:4711:0",
            },
            {
                "topic": f"{ASSET}/Pressure_bar",
                "timestamp_ms": READ_AT_MS,
                "value": None,
                "quality": "Bad",
                "id": "sitea-line1:17:4711:1",
                "reason": "BadTimeout",
            },
            {
                "topic": f"{ASSET}/Running",
                "timestamp_ms": 1_000,
                "value": True,
                "quality": "Good",
                "id": "sitea-line1:17:4713:4",
            },
        ],
        "gaps": [json.loads(messages(wording("uns"), [GapRecord(4712, GAP)])[0].payload)],
    }


def test_without_a_gap_nothing_is_said_of_gaps() -> None:
    (message,) = messages(WORDING, scans(1))

    assert json.loads(message.payload).keys() == {"samples"}


@pytest.mark.parametrize("manner", [CURRENT, BACKFILL])
def test_a_sample_is_what_uns_says_of_it_with_its_topic_in_front(manner: Manner) -> None:
    marks = Quality.REPEATED | Quality.CLOCK_UNSYNCHRONISED | Quality.SOURCE_TIME_LEFT_OUT
    codes = [0, Quality.UNCERTAIN | marks, Quality.BAD_TIMEOUT, marks]
    each = record([1.5, 2.5, None, 7], indexes=[0, 1, 2, 3], qualities=codes)

    found = told(messages(WORDING, [each], manner))
    alone = messages(wording("uns"), [each], manner)

    assert found == [{"topic": each.topic, **json.loads(each.payload)} for each in alone]
    assert messages(WORDING, [each], manner)[0].headers == alone[0].headers


@pytest.mark.parametrize("bytes_max", [1_024, 7_000, 100_000])
@pytest.mark.parametrize("far_side", [2_000, 100_000])
@pytest.mark.parametrize("code", [Quality.GOOD, Quality.BAD_TIMEOUT | Quality.REPEATED])
def test_a_message_is_no_larger_than_both_limits(bytes_max: int, far_side: int, code: int) -> None:
    """Seen to bite: with the bytes of a reason not counted."""
    manner = BACKFILL._replace(payload_bytes_max=far_side)
    records = scans(64, qualities=[code] * 50)

    found = messages(wording("batch", batch_bytes_max=bytes_max), records, manner)

    assert max(len(each.payload) for each in found) <= min(bytes_max, far_side)
    ids = [(sample["id"], sample["topic"]) for sample in told(found)]
    assert len(set(ids)) == len(ids) == 64 * 50
    sequences = [int(each.split(":")[2]) for each, _ in ids]
    assert sequences == sorted(sequences), "in the queue's order"


def test_a_full_backlog_makes_full_messages() -> None:
    found = messages(WORDING, scans(64))

    full = [len(each.payload) for each in found[:-1]]
    assert min(full) > 75_000, "the bound that is reckoned with is near what is needed"


def test_a_sample_too_large_for_the_limit_is_alone_in_its_message() -> None:
    plan = plan_of("Note", "Other", value_type=ValueType.STRING)
    each = record(["\x01" * 5_000, "short"], plan=plan)

    found = messages(wording("batch", batch_bytes_max=1_024), [each])

    assert [len(json.loads(each.payload)["samples"]) for each in found] == [1, 1]
    assert len(found[0].payload) > 30_000


def test_each_message_of_a_record_has_its_place_in_the_dead_letter_store() -> None:
    by = wording("batch", batch_bytes_max=1_024)
    gap = GapRecord(1, GAP)

    parcels = list(by.parcels([*scans(1), gap, *scans(1, sequence=2)], CURRENT))

    places = [(parcel.sequence, by.index(parcel, 0)) for parcel in parcels]
    assert len(set(places)) == len(places) > 10
    assert (1, -1) in places, "one begins with the gap"


def test_the_topic_may_be_another() -> None:
    by = wording("batch", batch_topic="$aws/rules/history/Acme")

    assert {each.topic for each in messages(by, scans(3))} == {"$aws/rules/history/Acme"}


def test_history_behind_current_values_may_be_told_in_batches() -> None:
    """What may be retained stays on the tags' topics: the last of it is what they keep.

    Seen to bite: with every history told in batches.
    """
    by = wording("uns", backfill_payload="batch")
    each = scans(1)

    behind = messages(by, each, BACKFILL)
    in_order = messages(by, each, BACKFILL._replace(retained=True))
    current = messages(by, each)

    assert behind == messages(WORDING, each, BACKFILL)
    assert in_order == messages(wording("uns"), each, BACKFILL._replace(retained=True))
    assert current == messages(wording("uns"), each)
    (parcel,) = by.parcels(each, BACKFILL)
    assert by.index(parcel, 0) == 0
