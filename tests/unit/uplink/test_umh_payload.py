"""Goal: what the profile `umh` publishes is what UMH Core's contracts let through."""

import json
import math
import re
from typing import Any

import msgspec
import pytest

from common.records import GapRecord, Quality
from tests.unit.uplink.wordings import (
    BACKFILL,
    CURRENT,
    EDGE,
    GAP,
    READ_AT_MS,
    messages,
    record,
    wording,
)
from uplink.settings import PayloadConfig

WORDING = wording("umh")
TOPIC = re.compile(r"umh(\.[A-Za-z0-9-][A-Za-z0-9_-]*){2,}\._[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+")
"""umh-topic-parser: location levels do not begin with _, the contract does; . stands for /."""
VALUES: list[Any] = [42.5, 6.1, 7, -7, True, "Öl", b"\x00\xff", 21.0]


def test_a_sample_has_two_keys_and_what_else_is_known_beside_them() -> None:
    message = messages(WORDING, [record(VALUES)])[0]

    assert message.topic == "umh/v1/Acme/SiteA/Stamping/Line1/Press_Machine/_raw/Temperature_C"
    assert message.payload == b'{"timestamp_ms":1733904005123,"value":42.5}'
    assert message.retain
    assert message.headers == (
        ("bridged_by", "tailrace_sitea-line1"),
        ("unit", "Cel"),
        ("id", "sitea-line1:17:4711:0"),
    )


def test_every_message_is_one_that_umh_accepts() -> None:
    for message in messages(WORDING, [record(VALUES)], BACKFILL):
        assert TOPIC.fullmatch(message.topic.replace("/", "."))
        body = json.loads(message.payload)
        assert list(body) == ["timestamp_ms", "value"]
        assert type(body["timestamp_ms"]) is int
        assert isinstance(body["value"], bool | int | float | str)


def test_levels_of_a_tag_are_the_virtual_path() -> None:
    by = wording("umh", umh_contract="_press_v2")

    message = messages(by, [record([21.0], indexes=[7])])[0]

    location = "umh/v1/Acme/SiteA/Stamping/Line1/Press_Machine"
    assert message.topic == f"{location}/_press_v2/Zone1/Temperature_C"


def test_what_has_no_value_or_is_bad_is_not_published() -> None:
    """Seen to bite: with a message for each sample of the record."""
    codes = [Quality.GOOD, Quality.BAD_TIMEOUT, Quality.BAD, Quality.UNCERTAIN, Quality.GOOD]
    each = record([1.0, None, 3, 4, math.nan], indexes=[0, 1, 2, 3, 7], qualities=codes)

    found = messages(WORDING, [each])

    assert [json.loads(each.payload)["value"] for each in found] == [1.0, 4]
    assert found[1].headers == (
        ("bridged_by", "tailrace_sitea-line1"),
        ("id", "sitea-line1:17:4711:3"),
        ("quality", "Uncertain"),
        ("reason", "Uncertain"),
    )
    (parcel,) = WORDING.parcels([each], CURRENT)
    assert [WORDING.index(parcel, number) for number in range(2)] == [0, 3]


def test_a_record_of_which_nothing_is_published_is_settled_all_the_same() -> None:
    each = record([None], indexes=[0], qualities=[Quality.BAD_TIMEOUT])

    (parcel,) = WORDING.parcels([each], CURRENT)

    assert (parcel.messages, parcel.sequence, parcel.last_sequence) == (0, 4711, 4711)


def test_times_and_marks_stand_beside_the_payload() -> None:
    code = Quality.REPEATED | Quality.CLOCK_STEPPED | Quality.SOURCE_TIME_LEFT_OUT
    each = record([1, 2], indexes=[3, 4], qualities=[code, 0], source_at_ns=[None, 5_000_000])

    first, second = messages(WORDING, [each], BACKFILL)

    assert first.headers[2:] == (
        ("repeat", "1"),
        ("clock", "stepped"),
        ("source_time", "left-out"),
        ("hist", "1"),
    )
    assert json.loads(first.payload)["timestamp_ms"] == READ_AT_MS
    assert json.loads(second.payload)["timestamp_ms"] == 5
    assert not second.retain


def test_a_gap_stays_outside_of_umh() -> None:
    (message,) = messages(WORDING, [GapRecord(4712, GAP)])

    assert message.topic == f"{EDGE}/gap"


@pytest.mark.parametrize("contract", ["raw", "_", "__raw", "_raw.v1", "_a/b", ""])
def test_a_contract_that_umh_would_refuse_is_refused_before(contract: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="umh_contract"):
        msgspec.convert({"umh_contract": contract}, PayloadConfig)
