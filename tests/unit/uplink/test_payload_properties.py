"""Goal: whatever a record holds, each profile tells every sample once, as JSON, and nothing else.

Method: records of every type, quality, mark and time are drawn at random (common/records.py says
what a record may be), told by each profile, and read back from the bytes.

Seen to bite: null told by `umh`; a key of `asset` taken twice; NaN told as it is; a part of a
record that is cut without its last sample.
"""

import base64
import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from common.records import Gap, GapRecord, Quality, Record, Scalar, ValueType, quality_word
from tests.unit.uplink.wordings import ASSET, BACKFILL, CURRENT, PLAN, messages, wording
from uplink.contract import Manner, Message

FLOATS = st.floats(width=64)
VALUES = {
    ValueType.BOOL: st.booleans(),
    ValueType.INT64: st.integers(-(2**63), 2**63 - 1),
    ValueType.UINT64: st.integers(0, 2**64 - 1),
    ValueType.FLOAT64: FLOATS,
    ValueType.STRING: st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    ValueType.BYTES: st.binary(max_size=30),
}
NOT_GOOD = [Quality.UNCERTAIN, Quality.UNCERTAIN_LAST_USABLE_VALUE, Quality.BAD_TIMEOUT, 0x8FFF0000]
MARKS = [
    0,
    Quality.REPEATED,
    Quality.CLOCK_STEPPED,
    Quality.CLOCK_UNSYNCHRONISED,
    Quality.SOURCE_TIME_LEFT_OUT,
]
TIMES = st.integers(0, 2**62)
Told = tuple[str, int, Scalar, str]
"""(topic, time in ms, value, quality) of one sample."""


@st.composite
def records(draw: st.DrawFn, sequence: int) -> Record | GapRecord:
    if draw(st.integers(0, 9)) == 0:
        return GapRecord(sequence, Gap("press", draw(st.text(max_size=9)), "thinned", 1, 2, 0, 3))
    columns = sorted(draw(st.sets(st.integers(0, len(PLAN.columns) - 1), min_size=1)))
    codes = [draw(st.sampled_from([0, *NOT_GOOD])) | draw(st.sampled_from(MARKS)) for _ in columns]
    values = [
        None
        if codes[place] and draw(st.booleans())
        else draw(VALUES[PLAN.columns[column].value_type])
        for place, column in enumerate(columns)
    ]
    return Record(
        sequence,
        PLAN,
        draw(TIMES),
        values,
        None if len(columns) == len(PLAN.columns) else columns,
        codes if any(codes) else None,
        draw(st.none() | st.lists(st.none() | TIMES, min_size=len(columns), max_size=len(columns))),
    )


@st.composite
def readings(draw: st.DrawFn) -> list[Record | GapRecord]:
    return [draw(records(sequence)) for sequence in range(1, draw(st.integers(1, 6)) + 1)]


MANNERS = st.builds(
    lambda manner, bytes_max: manner._replace(payload_bytes_max=bytes_max),
    st.sampled_from([CURRENT, BACKFILL]),
    st.integers(200, 4_000),
)


def refused(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def body(message: Message) -> dict[str, Any]:
    found = json.loads(message.payload.decode(), parse_constant=refused)
    assert isinstance(found, dict)
    return found


def expected(each: Record | GapRecord) -> dict[int, Told]:
    """Return what must be told of a record, by column."""
    if isinstance(each, GapRecord):
        return {}
    found = {}
    for place, column in enumerate(each.indexes or range(len(each.values))):
        value = each.values[place]
        word = quality_word(each.qualities[place] if each.qualities else 0)
        if isinstance(value, float) and not math.isfinite(value):
            value, word = None, "Bad"
        source = each.source_at_ns[place] if each.source_at_ns else None
        time_ms = (each.read_at_ns if source is None else source) // 1_000_000
        if isinstance(value, bytes):
            value = base64.b64encode(value).decode()
        found[column] = PLAN.columns[column].topic, time_ms, value, word
    return found


def everything(reading: list[Record | GapRecord]) -> dict[tuple[int, int], Told]:
    return {
        (each.sequence, column): told for each in reading for column, told in expected(each).items()
    }


def once(found: list[tuple[tuple[int, int], Told]]) -> dict[tuple[int, int], Told]:
    by_place = dict(found)
    assert len(by_place) == len(found), "each sample once"
    return by_place


def place_in(identity: str) -> tuple[int, int]:
    gateway, epoch, sequence, index = identity.split(":")
    assert (gateway, epoch) == ("sitea-line1", "17")
    return int(sequence), int(index)


def split(found: list[Message]) -> tuple[list[Message], list[dict[str, Any]]]:
    """Return the messages of samples, and the gaps."""
    gaps = [body(each) for each in found if each.topic.endswith("/gap")]
    return [each for each in found if not each.topic.endswith("/gap")], gaps


def number_of_gaps(reading: list[Record | GapRecord]) -> int:
    return sum(isinstance(each, GapRecord) for each in reading)


@settings(deadline=None)
@given(readings(), MANNERS)
def test_uns_tells_every_sample_once(reading: list[Record | GapRecord], manner: Manner) -> None:
    found, gaps = split(messages(wording("uns"), reading, manner))

    told = []
    for each in found:
        said = body(each)
        sample = each.topic, said["timestamp_ms"], said["value"], said["quality"]
        told.append((place_in(said["id"]), sample))
    assert once(told) == everything(reading)
    assert len(gaps) == number_of_gaps(reading)


@settings(deadline=None)
@given(readings(), MANNERS)
def test_batch_tells_every_sample_once(reading: list[Record | GapRecord], manner: Manner) -> None:
    told, gaps = [], 0
    for each in messages(wording("batch"), reading, manner):
        said = body(each)
        assert len(each.payload) <= manner.payload_bytes_max or len(said["samples"]) <= 1
        gaps += len(said.get("gaps", []))
        for one in said["samples"]:
            sample = one["topic"], one["timestamp_ms"], one["value"], one["quality"]
            told.append((place_in(one["id"]), sample))
    assert once(told) == everything(reading)
    assert list(once(told)) == sorted(once(told)), "in order"
    assert gaps == number_of_gaps(reading)


@settings(deadline=None)
@given(readings(), MANNERS)
def test_asset_tells_every_sample_once(reading: list[Record | GapRecord], manner: Manner) -> None:
    columns = {column.name.replace("/", "."): n for n, column in enumerate(PLAN.columns)}
    found, gaps = split(messages(wording("asset"), reading, manner))

    told = []
    for each in found:
        said = body(each)
        assert each.topic == ASSET
        sequence = int(said.pop("_id").split(":")[2])
        time_ms, words = said.pop("timestamp_ms"), said.pop("_quality", {})
        values = {key: value for key, value in said.items() if not key.startswith("_")}
        names = values.keys() | words.keys()
        assert len(each.payload) <= manner.payload_bytes_max or len(names) == 1
        for name in names:
            column = columns[name]
            topic, word = PLAN.columns[column].topic, words.get(name, "Good")
            told.append(((sequence, column), (topic, time_ms, values.get(name), word)))
    assert once(told) == everything(reading)
    assert len(gaps) == number_of_gaps(reading)


@settings(deadline=None)
@given(readings(), MANNERS)
def test_umh_tells_every_sample_that_it_can_hold_once(
    reading: list[Record | GapRecord], manner: Manner
) -> None:
    found, gaps = split(messages(wording("umh"), reading, manner))

    told = []
    for each in found:
        said, headers = body(each), dict(each.headers)
        topic = each.topic.removeprefix("umh/v1/").replace("/_raw/", "/")
        sample = topic, said["timestamp_ms"], said["value"], headers.get("quality", "Good")
        told.append((place_in(headers["id"]), sample))
    holds = {
        place: sample
        for place, sample in everything(reading).items()
        if sample[2] is not None and sample[3] != "Bad"
    }
    assert once(told) == holds
    assert len(gaps) == number_of_gaps(reading)
