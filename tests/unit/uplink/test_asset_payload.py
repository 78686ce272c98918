"""Goal: a message of the profile `asset` is a flat row, true as a whole, that its readers can take.

Method: what UMH Classic and Telegraf do with a payload is written down here as they do it (UMH
kafka-to-postgresql-v2 `parseValue`, Telegraf `FullFlattenJSON`), and fed with ours.
"""

import json
import math
from typing import Any

import pytest

from common.records import Column, GapRecord, Plan, Quality, ValueType
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
from uplink.payloads.asset import FIELDS_MAX

WORDING = wording("asset")
VALUES: list[Any] = [42.5, 6.1, 2**64 - 1, -(2**63), True, "Öl", b"\x00\xff", 21.0]


def payloads(*records: Any, manner: Any = CURRENT) -> list[dict[str, Any]]:
    return [json.loads(each.payload) for each in messages(WORDING, records, manner)]


def classic_tags(payload: bytes) -> dict[str, Any]:
    """Return the tags that UMH Classic's historian makes of a message; it refuses null."""

    def parsed(prefix: str, value: Any) -> dict[str, Any]:
        match value:
            case dict():
                found: dict[str, Any] = {}
                for key, inner in value.items():
                    found |= parsed(f"{prefix}${key}" if prefix else key, inner)
                return found
            case bool() | int() | float():
                return {prefix: float(value)}
            case str():
                return {prefix: value}
        raise TypeError(f"unsupported type {value!r} for tag {prefix}")

    body = json.loads(payload)
    assert len(body) > 1
    assert type(body.pop("timestamp_ms")) is int
    return parsed("", body)


def telegraf_fields(payload: bytes) -> dict[str, float]:
    """Return the fields that Telegraf's json parser makes of a message without configuration."""

    def flattened(name: str, value: Any) -> dict[str, float]:
        if isinstance(value, dict):
            found: dict[str, float] = {}
            for key, inner in value.items():
                found |= flattened(f"{name}_{key}" if name else key, inner)
            return found
        plain = isinstance(value, int | float) and not isinstance(value, bool)
        return {name: float(value)} if plain else {}

    return flattened("", json.loads(payload))


def test_a_scan_is_one_row_on_the_assets_topic() -> None:
    (message,) = messages(WORDING, [record(VALUES)])

    assert message.topic == ASSET
    assert message.retain
    assert message.headers == ()
    assert (
        message.payload
        == (
            '{"timestamp_ms":1733904005123,"Temperature_C":42.5,"Pressure_bar":6.1,'
            '"Strokes":18446744073709551615,"Offset":-9223372036854775808,"Running":true,'
            '"Recipe":"Öl","Frame":"AP8=","Zone1.Temperature_C":21.0,"_id":"sitea-line1:17:4711"}'
        ).encode()
    )


def test_what_is_not_good_is_named_and_what_has_no_value_has_no_key() -> None:
    codes = [Quality.GOOD, Quality.UNCERTAIN_LAST_USABLE_VALUE, Quality.BAD_TIMEOUT]
    each = record([42.5, 6.1, None], indexes=[0, 1, 2], qualities=codes)

    (found,) = payloads(each)

    assert found == {
        "timestamp_ms": READ_AT_MS,
        "Temperature_C": 42.5,
        "Pressure_bar": 6.1,
        "_quality": {"Pressure_bar": "Uncertain", "Strokes": "Bad"},
        "_reason": {"Pressure_bar": "UncertainLastUsableValue", "Strokes": "BadTimeout"},
        "_id": "sitea-line1:17:4711",
    }


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_json_cannot_carry_is_bad(value: float) -> None:
    (found,) = payloads(record([value, 1.0], indexes=[0, 1]))

    assert "Temperature_C" not in found
    assert found["_quality"] == {"Temperature_C": "Bad"}
    assert found["_reason"] == {"Temperature_C": "BadOutOfRange"}


def test_a_missing_value_is_named_even_where_nothing_is_said_against_it() -> None:
    (found,) = payloads(record([None], indexes=[3]))

    assert found["_quality"] == {"Offset": "Good"}
    assert "_reason" not in found


def test_samples_of_another_time_are_a_message_of_their_own_the_older_first() -> None:
    """Seen to bite: with every sample under the first one's time."""
    times = [2_000_000_000, 1_000_000_000, None, 1_000_999_999]
    each = record([1.0, 2.0, 3, 4], indexes=[0, 1, 2, 3], source_at_ns=times)

    assert payloads(each) == [
        {"timestamp_ms": 1_000, "Pressure_bar": 2.0, "Offset": 4, "_id": "sitea-line1:17:4711"},
        {"timestamp_ms": 2_000, "Temperature_C": 1.0, "_id": "sitea-line1:17:4711"},
        {"timestamp_ms": READ_AT_MS, "Strokes": 3, "_id": "sitea-line1:17:4711"},
    ]


def test_a_mark_holds_for_the_whole_message() -> None:
    codes = [
        Quality.GOOD,
        Quality.REPEATED,
        Quality.CLOCK_STEPPED | Quality.SOURCE_TIME_LEFT_OUT | Quality.REPEATED,
    ]
    each = record([1.0, 2.0, 3], indexes=[0, 1, 2], qualities=codes)

    marks = [
        {key: value for key, value in found.items() if key.startswith("_") and key != "_id"}
        for found in payloads(each)
    ]

    assert {} in marks
    assert {"_repeat": True} in marks
    assert {"_repeat": True, "_clock": "stepped", "_source_time": "left-out"} in marks
    assert len(marks) == 3


def test_history_is_marked_in_the_payload_and_beside_it() -> None:
    (message,) = messages(WORDING, [record(VALUES)], BACKFILL)

    assert json.loads(message.payload)["_hist"] is True
    assert message.headers == (("hist", "1"),)
    assert not message.retain


@pytest.mark.parametrize("payload_bytes_max", [300, 600, 2_000])
def test_a_record_that_is_too_large_is_told_in_several_messages(payload_bytes_max: int) -> None:
    """Seen to bite: with the size of the quality's words left out."""
    plan = plan_of(*(f"Tag_{number}" for number in range(40)))
    codes = [Quality.BAD_TIMEOUT if number % 3 else Quality.GOOD for number in range(40)]
    each = record([-1.2345678901234567e-300 * n for n in range(40)], plan=plan, qualities=codes)
    manner = CURRENT._replace(payload_bytes_max=payload_bytes_max)

    parcels = list(WORDING.parcels([each], manner))
    told = [json.loads(message.payload) for message in messages(WORDING, [each], manner)]

    assert len(told) > 1
    assert sum("Tag_" in key for found in told for key in found) == 40
    indexes = [WORDING.index(parcel, 0) for parcel in parcels]
    assert indexes == sorted(set(indexes)), "each has its place in the dead-letter store"
    sizes = [len(message.payload) for message in messages(WORDING, [each], manner)]
    alone = [sum("Tag_" in key for key in found) == 1 for found in told]
    assert all(
        size <= payload_bytes_max or single for size, single in zip(sizes, alone, strict=True)
    )


def test_no_message_has_more_fields_than_umh_reads() -> None:
    """Seen to bite: with a limit of bytes alone."""
    plan = plan_of(*(f"Tag_{number}" for number in range(2_000)))
    for code in (Quality.GOOD, Quality.UNCERTAIN):
        each = record([1.0] * 2_000, plan=plan, qualities=[code] * 2_000)
        told = messages(WORDING, [each], CURRENT._replace(payload_bytes_max=10**9))
        assert max(len(classic_tags(message.payload)) for message in told) <= FIELDS_MAX + 5
        assert sum(len(telegraf_fields(message.payload)) - 1 for message in told) == 2_000
    good = messages(WORDING, [record([1.0] * 900, plan=plan_of(*(f"T{n}" for n in range(900))))])
    assert len(good) == 1


def test_umh_classic_and_telegraf_take_every_message_as_it_is() -> None:
    """Seen to bite: with null for what has no value, which UMH's historian refuses."""
    codes = [0, 0, 0, 0, Quality.BAD_TIMEOUT, 0, 0, Quality.UNCERTAIN]
    each = record([*VALUES[:4], None, *VALUES[5:]], qualities=codes)
    (message,) = messages(WORDING, [each], BACKFILL)

    assert classic_tags(message.payload) == {
        "Temperature_C": 42.5,
        "Pressure_bar": 6.1,
        "Strokes": float(2**64 - 1),
        "Offset": -float(2**63),
        "Recipe": "Öl",
        "Frame": "AP8=",
        "Zone1.Temperature_C": 21.0,
        "_quality$Running": "Bad",
        "_quality$Zone1.Temperature_C": "Uncertain",
        "_reason$Running": "BadTimeout",
        "_reason$Zone1.Temperature_C": "Uncertain",
        "_hist": 1.0,
        "_id": "sitea-line1:17:4711",
    }
    assert telegraf_fields(message.payload).keys() == {
        *("timestamp_ms", "Temperature_C", "Pressure_bar", "Strokes", "Offset"),
        "Zone1.Temperature_C",
    }


def test_every_tag_has_a_key_of_its_own_whatever_it_is_called() -> None:
    plan = plan_of("Zone/T", "Zone.T", "timestamp_ms", "timestamp_ms_", "Zone.T_")

    (found,) = payloads(record([1.0, 2.0, 3.0, 4.0, 5.0], plan=plan))

    assert found.pop("timestamp_ms") == READ_AT_MS
    assert found.pop("_id")
    assert sorted(found.values()) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert found["Zone.T"] == 1.0


def test_an_array_is_told_element_by_element() -> None:
    columns = tuple(
        Column(f"Force/{n}", f"{ASSET}/Force/{n}", "DB1", "REAL", ValueType.FLOAT64)
        for n in range(3)
    )
    plan = Plan("s7", "press", "process", "Press_Machine", 250, columns)

    (message,) = messages(WORDING, [record([1.0, 2.0, 3.0], plan=plan)])

    assert message.topic == ASSET
    assert b'"Force.0":1.0,"Force.1":2.0,"Force.2":3.0' in message.payload


def test_a_gap_is_told_on_its_own_topic() -> None:
    gap = GapRecord(4712, GAP)

    (message,) = messages(WORDING, [gap])
    (parcel,) = WORDING.parcels([gap], CURRENT)

    assert (message.topic, message.retain) == (f"{EDGE}/gap", False)
    assert WORDING.index(parcel, 0) == -1
