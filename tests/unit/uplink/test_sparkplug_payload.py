"""Goal: records become the metrics of DDATA, in Sparkplug's words, whatever is in them.

Method: parcels of plain records are worded and read by Eclipse Tahu's decoder. Records of chance,
of many plans, are worded in messages that may be small, and every sample must be found once.

Seen to bite: the fast way taken with a quality beside it; pieces cut by the size of the first text;
metrics of one message not sorted by time; a mark of time taken for a bad quality.
"""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tahutils.tahu import sparkplug_b_pb2 as tahu

from common.records import Column, Gap, GapRecord, Plan, Quality, Record, ValueType, quality_word
from uplink.contract import Manner, Message
from uplink.payloads.sparkplug import SparkplugWording, build_wording
from uplink.settings import PayloadConfig
from uplink.sparkplug.config import SparkplugConfig
from uplink.sparkplug.judging import judged
from uplink.surroundings import Identity

ROOT = "Acme/SiteA/Stamping/Line1"
IDENTITY = Identity("g1", 7, ROOT, "Acme/SiteA/_edge/g1")
CURRENT = Manner(historical=False, retained=True, payload_bytes_max=100_000)
HISTORY = CURRENT._replace(historical=True)
T_NS = 1_733_904_005_123_000_000
T_MS = T_NS // 1_000_000
DDATA = "spBv1.0/Acme:SiteA/DDATA/g1/"


def plan(*types: ValueType, asset: str = "Press", group: str = "fast", named: str = "T") -> Plan:
    columns = tuple(
        Column(f"{named}{i}", f"{ROOT}/{asset}/{named}{i}", f"DB1.{i}", "X", each)
        for i, each in enumerate(types)
    )
    return Plan("s7", asset.lower(), group, asset, 250, columns)


DOUBLES = plan(*[ValueType.FLOAT64] * 3)


def wording(*plans: Plan, **settings: Any) -> SparkplugWording:
    """Return a wording in whose session the plans are current."""
    built = build_wording(PayloadConfig(sparkplug=SparkplugConfig(**settings)), IDENTITY)
    built.book.begin(lambda: list(plans))
    return built


def messages(built: SparkplugWording, *records: Any, manner: Manner = CURRENT) -> list[Message]:
    return [
        built.message(parcel, number)
        for parcel in built.parcels(records, manner)
        for number in range(parcel.messages)
    ]


def metrics(message: Message) -> list[Any]:
    return list(tahu.Payload.FromString(message.payload).metrics)


def test_a_record_is_one_message_of_its_device_told_by_alias() -> None:
    (message,) = messages(wording(DOUBLES), Record(1, DOUBLES, T_NS, [1.5, -2.0, 0.0]))

    assert (message.topic, message.retain, message.content_type) == (f"{DDATA}Press", False, "")
    found = metrics(message)
    assert [(m.alias, m.timestamp, m.double_value) for m in found] == [
        (128, T_MS, 1.5),
        (129, T_MS, -2.0),
        (130, T_MS, 0.0),
    ]
    assert not any(m.HasField("name") or m.HasField("datatype") for m in found)
    assert not any(m.HasField("is_historical") or m.HasField("properties") for m in found)
    assert not tahu.Payload.FromString(message.payload).HasField("seq"), "given when published"


def test_history_is_marked_in_both_ways_of_writing() -> None:
    records = [
        Record(1, DOUBLES, T_NS, [1.5, -2.0, 0.0]),
        Record(2, DOUBLES, T_NS, [1.0], [1], [Quality.BAD_TIMEOUT]),
    ]
    (message,) = messages(wording(DOUBLES), *records, manner=HISTORY)

    assert [m.is_historical for m in metrics(message)] == [True] * 4


def test_a_part_of_a_record_is_told_under_its_own_columns() -> None:
    (message,) = messages(wording(DOUBLES), Record(1, DOUBLES, T_NS, [5.0, 6.0], [0, 2]))

    assert [(m.alias, m.double_value) for m in metrics(message)] == [(128, 5.0), (130, 6.0)]


def properties(metric: Any) -> dict[str, Any]:
    said = metric.properties
    return {
        key: value.int_value if value.type == 3 else value.string_value or value.boolean_value
        for key, value in zip(said.keys, said.values, strict=True)
    }


def test_quality_and_time_are_properties_where_there_is_something_to_say() -> None:
    codes = [
        Quality.GOOD,
        Quality.UNCERTAIN_LAST_USABLE_VALUE,
        Quality.BAD_SENSOR_FAILURE,
        Quality.GOOD | Quality.REPEATED,
        Quality.GOOD | Quality.CLOCK_STEPPED | Quality.SOURCE_TIME_LEFT_OUT,
    ]
    made = plan(*[ValueType.FLOAT64] * 5)
    record = Record(1, made, T_NS, [1.0, 2.0, None, 4.0, 5.0], None, codes)
    (message,) = messages(wording(made), record)

    found = metrics(message)
    assert [properties(m) for m in found] == [
        {},
        {"Quality": 500, "reason": "UncertainLastUsableValue"},
        {"Quality": 0, "reason": "BadSensorFailure"},
        {"repeat": True},
        {"clock": "stepped", "source_time": "left-out"},
    ]
    assert [m.is_null for m in found] == [False, False, True, False, False]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_null_and_bad(value: float) -> None:
    (message,) = messages(wording(DOUBLES), Record(1, DOUBLES, T_NS, [1.0, value, 3.0]))

    found = metrics(message)
    assert [m.is_null for m in found] == [False, True, False]
    assert properties(found[1]) == {"Quality": 0, "reason": "BadOutOfRange"}


def test_large_numbers_whose_sum_is_infinite_are_numbers_all_the_same() -> None:
    values = [1.7e308, 1.7e308, 1.0]
    (message,) = messages(wording(DOUBLES), Record(1, DOUBLES, T_NS, values))

    assert [m.double_value for m in metrics(message)] == values


def test_current_values_stand_in_the_order_of_their_times() -> None:
    """A device's own times need not ascend."""
    late = Record(1, DOUBLES, T_NS, [1.0, 2.0], [0, 1], None, [T_NS + 9_000_000, None])
    early = Record(2, DOUBLES, T_NS - 5_000_000, [3.0], [2])
    (current,) = messages(wording(DOUBLES), late, early)
    (history,) = messages(wording(DOUBLES), late, early, manner=HISTORY)

    assert [(m.timestamp - T_MS, m.double_value) for m in metrics(current)] == [
        (-5, 3.0),
        (0, 2.0),
        (9, 1.0),
    ]
    assert [m.double_value for m in metrics(history)] == [1.0, 2.0, 3.0], "of the queue"


def test_devices_of_one_parcel_have_a_message_each() -> None:
    meter = plan(ValueType.INT64, asset="Meter")
    records = [
        Record(1, DOUBLES, T_NS, [1.0, 1.0, 1.0]),
        Record(2, meter, T_NS, [-5]),
        Record(3, DOUBLES, T_NS, [2.0, 2.0, 2.0]),
    ]
    found = messages(wording(DOUBLES, meter), *records)

    assert [each.topic for each in found] == [f"{DDATA}Press", f"{DDATA}Meter"]
    assert len(metrics(found[0])) == 6
    assert metrics(found[1])[0].long_value == 2**64 - 5


def test_two_groups_of_one_asset_are_one_device() -> None:
    slow = Plan(
        "s7",
        "press",
        "slow",
        "Press",
        1_000,
        (Column("Note", f"{ROOT}/Press/Note", "DB1", "STRING", ValueType.STRING),),
    )
    built = wording(DOUBLES, slow)
    (message,) = messages(
        built, Record(1, DOUBLES, T_NS, [1.0], [0]), Record(2, slow, T_NS, ["Grüße"])
    )

    assert [m.alias for m in metrics(message)] == [128, 131]
    assert metrics(message)[1].string_value == "Grüße"
    assert list(built.book.devices["Press"]) == ["T0", "T1", "T2", "Note"]


def test_a_gap_is_a_message_of_the_node_and_stands_between_the_data() -> None:
    gap = GapRecord(2, Gap("press", "fast", "queue-full", T_NS - 10**9, T_NS, 3, 9), 1)
    built = wording(DOUBLES)
    record = Record(1, DOUBLES, T_NS, [1.0, 1.0, 1.0])
    parcels = list(built.parcels([record, gap, record], CURRENT))
    message = built.message(parcels[1], 0)

    assert [len(parcel.records) for parcel in parcels] == [1, 1, 1]
    assert built.index(parcels[1], 0) == -2
    assert message.topic == "spBv1.0/Acme:SiteA/NDATA/g1"
    (told,) = metrics(message)
    assert (told.alias, told.timestamp) == (4, T_MS)
    assert told.string_value.endswith('"scans":3,"samples":9,"id":"g1:7:2:gap1"}')


def test_a_value_of_another_type_than_its_tag_has_now_is_converted_or_bad() -> None:
    """Records that were read before a reload may carry the old type of a tag."""
    old, new = plan(ValueType.STRING, ValueType.INT64), plan(ValueType.FLOAT64, ValueType.STRING)
    built = wording(new)
    (message,) = messages(built, Record(1, old, T_NS, ["12.5", 7]), Record(2, old, T_NS, ["x", 8]))

    found = metrics(message)
    assert [m.WhichOneof("value") for m in found] == [
        "double_value",
        "string_value",
        None,
        "string_value",
    ]
    assert (found[0].double_value, found[1].string_value) == (12.5, "7")
    assert properties(found[2]) == {"Quality": 0, "reason": "BadTypeMismatch"}


def test_a_plan_never_met_makes_births_necessary_and_keeps_every_alias() -> None:
    meter = plan(ValueType.INT64, asset="Meter")
    built = wording(DOUBLES)
    built.book.unborn = False
    (before,) = messages(built, Record(1, DOUBLES, T_NS, [1.0], [2]))
    known = built.book.unborn
    messages(built, Record(2, meter, T_NS, [1]))
    (after,) = messages(built, Record(3, DOUBLES, T_NS, [1.0], [2]))

    assert not known
    assert built.book.unborn
    assert metrics(before)[0].alias == metrics(after)[0].alias == 130


def test_a_new_session_has_new_marks() -> None:
    built = wording(DOUBLES)
    (first,) = messages(built, Record(1, DOUBLES, T_NS, [1.0], [2]))
    built.book.begin(lambda: [plan(ValueType.BOOL, asset="A"), DOUBLES])
    (second,) = messages(built, Record(1, DOUBLES, T_NS, [1.0], [2]))

    assert first.headers != second.headers == built.book.mark
    assert (metrics(first)[0].alias, metrics(second)[0].alias) == (130, 131)


def test_without_aliases_and_before_any_session_metrics_have_their_names() -> None:
    record = Record(1, DOUBLES, T_NS, [1.0, 2.0, 3.0])
    unmet = build_wording(PayloadConfig(), IDENTITY)
    for built in (wording(DOUBLES, aliases=False), unmet):
        (message,) = messages(built, record)
        assert [(m.name, m.HasField("alias")) for m in metrics(message)] == [
            ("T0", False),
            ("T1", False),
            ("T2", False),
        ]


def test_a_record_that_is_too_large_is_divided() -> None:
    wide = plan(*[ValueType.FLOAT64] * 2_000)
    record = Record(1, wide, T_NS, [float(i) for i in range(2_000)])
    found = messages(wording(wide), record, manner=CURRENT._replace(payload_bytes_max=10_000))

    values = [m.double_value for each in found for m in metrics(each)]
    assert values == record.values
    assert max(len(each.payload) for each in found) <= 10_000


def text(chance: random.Random) -> str:
    return "".join(
        chance.choice("aß\u20ac\U0001f600\ud800\0") for _ in range(chance.randint(0, 300))
    )


def test_texts_are_divided_by_the_longest_of_them() -> None:
    notes = plan(*[ValueType.STRING] * 50)
    record = Record(1, notes, T_NS, ["", *["€" * 300] * 49])
    found = messages(wording(notes), record, manner=CURRENT._replace(payload_bytes_max=10_000))

    assert [m.string_value for each in found for m in metrics(each)] == record.values
    assert max(len(each.payload) for each in found) <= 10_000


KINDS: dict[ValueType, Callable[[random.Random], Any]] = {
    ValueType.BOOL: lambda chance: chance.random() < 0.5,
    ValueType.INT64: lambda chance: chance.randint(-(2**63), 2**63 - 1),
    ValueType.UINT64: lambda chance: chance.randint(0, 2**64 - 1),
    ValueType.FLOAT64: lambda chance: chance.choice([1.5, -0.0, math.nan, math.inf, 1e308]),
    ValueType.STRING: text,
    ValueType.BYTES: lambda chance: chance.randbytes(chance.randint(0, 300)),
}
CODES = [0, 0, 0, Quality.BAD_TIMEOUT, Quality.UNCERTAIN, Quality.REPEATED, 0x80310000 | 0x2000]


def records_of_chance(chance: random.Random) -> list[Record]:
    kinds = [[ValueType.FLOAT64], list(ValueType)]
    plans = [
        plan(
            *chance.choices(chance.choice(kinds), k=chance.randint(1, 30)),
            asset=f"A{i % 2}",
            group=f"g{i}",
            named=f"T{i}_",
        )
        for i in range(chance.randint(1, 3))
    ]
    found = []
    for sequence in range(1, chance.randint(1, 8) + 1):
        of = chance.choice(plans)
        present = list(range(len(of.columns)))
        indexes = None
        if chance.random() < 0.5:
            present = indexes = sorted(chance.sample(present, chance.randint(1, len(present))))
        codes = [chance.choice(CODES) for _ in present] if chance.random() < 0.5 else None
        times = [T_NS + 7_000_000 * i for i in present] if chance.random() < 0.3 else None
        values = [KINDS[of.columns[i].value_type](chance) for i in present]
        found.append(
            Record(sequence, of, T_NS + sequence * 10**9, values, indexes, codes, times)  # type: ignore[arg-type]  # some have no time
        )
    return found


@given(st.integers(), st.integers(60, 3_000))
def test_every_sample_is_told_once_whatever_it_is(seed: int, bytes_max: int) -> None:
    chance = random.Random(seed)
    given_, historical = records_of_chance(chance), chance.random() < 0.5
    plans = list({each.plan.fingerprint: each.plan for each in given_}.values())
    built = wording(*plans)
    manner = Manner(historical, retained=False, payload_bytes_max=bytes_max)
    found = messages(built, *given_, manner=manner)

    told = []
    for message in found:
        count = 0
        last_ms = 0
        for each in metrics(message):
            count += 1
            told.append((each.alias, each.timestamp, properties(each).get("Quality", 192)))
            assert each.is_historical == historical
            assert historical or each.timestamp >= last_ms
            last_ms = each.timestamp
        assert count == 1 or len(message.payload) <= bytes_max
    expected = []
    for record in given_:
        for at, i in enumerate(record.indexes or range(len(record.values))):
            metric = built.book.metrics_of(record.plan)[i]
            at_ns = record.source_at_ns[at] if record.source_at_ns else None
            _, code = judged(record.values[at], record.qualities[at] if record.qualities else 0)
            worth = {"Good": 192, "Uncertain": 500, "Bad": 0}[quality_word(code)]
            expected.append((metric.alias, (at_ns or record.read_at_ns) // 1_000_000, worth))
    assert sorted(told) == sorted(expected)
