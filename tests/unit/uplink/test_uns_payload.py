"""Goal: what consumers of the profile `uns` read is what docs and README promise, byte for byte."""

import json
import math

import pytest

from common.records import Column, Gap, GapRecord, Plan, Quality, Record, ValueType
from uplink.contract import Manner, Message, Parcel
from uplink.payloads.uns import GAP_INDEX, UnsWording
from uplink.surroundings import Identity

EDGE = "Acme/SiteA/_edge/sitea-line1"
READ_AT_NS = 1_733_904_005_123_456_789
PLAN = Plan(
    "s7",
    "press",
    "process",
    "Press_Machine",
    250,
    tuple(
        Column(name, f"Acme/SiteA/L1/Press_Machine/{name}", "DB1.DBD0", "REAL", ValueType.FLOAT64)
        for name in ("A", "B", "C")
    ),
)
WORDING = UnsWording(Identity("sitea-line1", 17, "Acme/SiteA/L1", EDGE))
CURRENT = Manner(historical=False, retained=True, payload_bytes_max=100_000)
BACKFILL = Manner(historical=True, retained=False, payload_bytes_max=100_000)


def record(**fields: object) -> Record:
    return Record(**{"sequence": 4711, "plan": PLAN, "read_at_ns": READ_AT_NS, **fields})  # type: ignore[arg-type]


def parcel_of(each: Record | GapRecord, manner: Manner = CURRENT) -> Parcel:
    (parcel,) = WORDING.parcels([each], manner)
    return parcel


def message_of(each: Record | GapRecord, number: int = 0, manner: Manner = CURRENT) -> Message:
    return WORDING.message(parcel_of(each, manner), number)


def worded(each: Record, number: int = 0, manner: Manner = CURRENT) -> dict[str, object]:
    payload: dict[str, object] = json.loads(message_of(each, number, manner).payload)
    return payload


def test_a_good_sample_has_four_keys_and_nothing_else() -> None:
    message = message_of(record(values=[42.5, 1.0, 2.0]), 0)

    assert message.payload == (
        b'{"timestamp_ms":1733904005123,"value":42.5,"quality":"Good","id":"sitea-line1:17:4711:0"}'
    )
    assert message.topic == "Acme/SiteA/L1/Press_Machine/A"
    assert message.retain


def test_the_identity_names_the_column_of_the_plan_not_the_place_in_the_record() -> None:
    partial = record(values=[1.0, 2.0], indexes=[0, 2])

    assert worded(partial, 1)["id"] == "sitea-line1:17:4711:2"
    assert message_of(partial, 1).topic.endswith("/C")
    assert WORDING.index(parcel_of(partial), 1) == 2


def test_the_time_is_the_devices_own_where_it_gives_one() -> None:
    each = record(values=[1.0, 2.0, 3.0], source_at_ns=[1_000_000_999, None, 0])

    assert worded(each, 0)["timestamp_ms"] == 1_000
    assert worded(each, 1)["timestamp_ms"] == READ_AT_NS // 1_000_000
    assert worded(each, 2)["timestamp_ms"] == 0


@pytest.mark.parametrize(
    ("code", "keys"),
    [
        (Quality.CLOCK_UNSYNCHRONISED, {"clock": "unsynchronised"}),
        (Quality.CLOCK_STEPPED, {"clock": "stepped"}),
        (Quality.CLOCK_STEPPED | Quality.CLOCK_UNSYNCHRONISED, {"clock": "stepped"}),
        (Quality.SOURCE_TIME_LEFT_OUT, {"source_time": "left-out"}),
        (
            Quality.SOURCE_TIME_LEFT_OUT | Quality.CLOCK_UNSYNCHRONISED | Quality.REPEATED,
            {"source_time": "left-out", "clock": "unsynchronised", "repeat": True},
        ),
    ],
)
def test_what_is_to_be_known_of_a_samples_time_stands_beside_it(
    code: int, keys: dict[str, object]
) -> None:
    payload = worded(record(values=[1.0], indexes=[0], qualities=[code]))

    assert payload["quality"] == "Good", "it is no word about the value"
    plain = {"timestamp_ms", "value", "quality", "id"}
    assert {key: payload[key] for key in payload.keys() - plain} == keys


@pytest.mark.parametrize(
    ("code", "word", "reason"),
    [
        (Quality.BAD_NO_COMMUNICATION, "Bad", "BadNoCommunication"),
        (Quality.UNCERTAIN_LAST_USABLE_VALUE, "Uncertain", "UncertainLastUsableValue"),
        (0x80AB0000, "Bad", "BadInvalidArgument"),
        (0x8FFF0000, "Bad", "0x8FFF0000"),
    ],
)
def test_what_is_not_good_says_why(code: int, word: str, reason: str) -> None:
    payload = worded(record(values=[None], indexes=[0], qualities=[code]))

    assert (payload["value"], payload["quality"], payload["reason"]) == (None, word, reason)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("code", [Quality.GOOD, Quality.UNCERTAIN, Quality.BAD_SENSOR_FAILURE])
def test_a_value_that_json_cannot_carry_is_null_and_bad(value: float, code: int) -> None:
    payload = worded(record(values=[value], indexes=[0], qualities=[code]))

    assert (payload["value"], payload["quality"]) == (None, "Bad")
    known = code == Quality.BAD_SENSOR_FAILURE
    assert payload["reason"] == ("BadSensorFailure" if known else "BadOutOfRange")


@pytest.mark.parametrize(
    ("value", "on_the_wire"),
    [
        (True, b'"value":true'),
        (2**64 - 1, b'"value":18446744073709551615'),
        (-(2**63), b'"value":-9223372036854775808'),
        ("Öl", '"value":"Öl"'.encode()),
        (b"\x00\xff", b'"value":"AP8="'),
        (0.1, b'"value":0.1'),
    ],
)
def test_every_type_has_its_json(value: object, on_the_wire: bytes) -> None:
    message = message_of(record(values=[value], indexes=[0]), 0)

    assert on_the_wire in message.payload


def test_text_that_is_not_unicode_is_an_error_that_the_drain_expects() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        message_of(record(values=["\ud800"], indexes=[0]), 0)


def test_history_is_marked_and_what_is_told_as_history_is_not_retained() -> None:
    each = record(values=[1.0], indexes=[0], source_at_ns=[0])

    assert "hist" not in worded(each)
    assert worded(each, manner=BACKFILL)["hist"] is True
    assert message_of(each).retain
    assert not message_of(each, manner=BACKFILL).retain


def test_a_gap_says_what_is_missing_and_is_not_retained() -> None:
    gap = Gap("press", "process", "queue-full", 1_000_000_000, 2_000_000_000, 7, 70)

    message = message_of(GapRecord(9, gap), 0)

    assert (message.topic, message.retain) == (f"{EDGE}/gap", False)
    assert json.loads(message.payload) == {
        "timestamp_ms": 2_000,
        "device": "press",
        "group": "process",
        "cause": "queue-full",
        "first_ms": 1_000,
        "last_ms": 2_000,
        "scans": 7,
        "samples": 70,
        "id": "sitea-line1:17:9:gap",
    }
    assert parcel_of(GapRecord(9, gap)).messages == 1
    assert WORDING.index(parcel_of(GapRecord(9, gap)), 0) == GAP_INDEX


def test_gaps_of_one_sequence_have_identities_of_their_own() -> None:
    """Among themselves and beside the samples of it, on the wire and in the dead-letter store."""
    gap = Gap("press", "process", "thinned", 1, 2, 0, 7)
    gaps = [GapRecord(4711, gap, number) for number in range(3)]
    beside = record(values=[1.0, 2.0, 3.0])

    ids = [json.loads(message_of(each, 0).payload)["id"] for each in gaps]
    indexes = [WORDING.index(parcel_of(each), 0) for each in gaps]

    assert ids == [f"sitea-line1:17:4711:gap{number}" for number in ("", 1, 2)]
    assert indexes == [GAP_INDEX, GAP_INDEX - 1, GAP_INDEX - 2]
    assert not {worded(beside, number)["id"] for number in range(3)} & set(ids)
    assert not {WORDING.index(parcel_of(beside), number) for number in range(3)} & set(indexes)
