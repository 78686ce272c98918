"""Goal: the tag that a person means is found, and its row is told in sentences."""

import msgspec
import pytest

from collectors.plans import compiled_plans
from common.errors import Finding
from common.records import Column, ValueType
from console.explain_found import NoSuchTag, changes, tag_meant
from console.explain_table import inputs_of, rule_sentences, table_sentences
from console.trying import Tables

PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme/Line1"

[devices.press]
protocol = "simulated"
asset = "Press"
[devices.press.groups.fast]
tags = [
    { name = "Level", address = "sine", unit = "bar", source_unit = "kPa", raw_low = 0, raw_high = 27648, scaled_low = 0, scaled_high = 1000, clamp = "high", deadband = 0.5, min_interval_ms = 2000, heartbeat_s = 60 },
    { name = "Flow", address = "sine", unit = "l/min", scale = 2, offset = 1, minimum = 0, maximum = 9, deadband_percent = 2, deadband_of = "value" },
    { name = "State", address = "counter", enum = "0=Off|1=On|2=A|3=B|4=C|5=D|6=E|7=F|8=G|9=H" },
    { name = "Door", address = "counter", bits = "3" },
    { name = "Recipe", address = "constant:abc", text = "clean" },
    { name = "Started", address = "constant:abc", time_zone = "UTC" },
    { name = "Strokes", address = "counter", counter = "32-bit" },
    { name = "Power", expression = "Level * Flow" },
    { name = "Mean", expression = "mean(Level, 60)" },
]
[devices.meter]
protocol = "simulated"
asset = "Meter"
[devices.meter.groups.fast]
tags = [{ name = "Level", address = "sine" }, { name = "Alone", address = "sine" }]

[devices.half]
protocol = "simulated"
[devices.half.groups.fast]
tags = [{ name = "Torn", address = "sign" }]
"""  # noqa: E501 - as people write them


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("config")
    (folder / "ot").mkdir()
    (folder / "ot/plant.toml").write_text(PLANT)
    plans, findings = compiled_plans(folder)
    return Tables(folder, tuple(plans), tuple(findings))


@pytest.mark.parametrize(
    ("word", "topic"),
    [
        ("Acme/Line1/Press/Level", "Acme/Line1/Press/Level"),
        ("acme/line1/meter/LEVEL", "Acme/Line1/Meter/Level"),
        ("meter/Level", "Acme/Line1/Meter/Level"),
        ("Alone", "Acme/Line1/Meter/Alone"),
        ("strokes/total", "Acme/Line1/Press/Strokes/total"),
        ("Mean", "Acme/Line1/Press/Mean"),
    ],
)
def test_a_tag_is_named_as_people_do(tables: Tables, word: str, topic: str) -> None:
    plan, index = tag_meant(tables, word)

    assert plan.columns[index].topic == topic


@pytest.mark.parametrize(
    ("word", "says"),
    [
        (
            "Level",
            (
                "2 tags are called 'Level'; name one by its topic: Acme/Line1/Press/Level, "
                "Acme/Line1/Meter/Level"
            ),
        ),
        ("Leve", "did you mean 'Level' or 'Acme/Line1/Press/Level' or 'Acme/Line1/Meter/Level'?"),
        ("Stokes", "no tag or topic 'Stokes'; did you mean 'Strokes'?"),
        ("xyz", "no tag or topic 'xyz'; the tag tables in ot/ name all of them"),
        ("Torn", "tag Torn: unknown pattern 'sign'; did you mean 'sine'?"),
    ],
)
def test_what_is_no_tag_is_told_what_there_is(tables: Tables, word: str, says: str) -> None:
    with pytest.raises(NoSuchTag) as raised:
        tag_meant(tables, word)

    assert says in str(raised.value)


def test_of_very_many_tags_of_one_name_only_some_are_listed(tables: Tables) -> None:
    plan = tables.plans[0]
    column = plan.columns[0]
    many = tuple(msgspec.structs.replace(column, topic=f"Acme/{i}/Level") for i in range(14))
    crowd = Tables(tables.config_dir, (msgspec.structs.replace(plan, columns=many),), ())

    with pytest.raises(NoSuchTag, match=r"14 tags are called .*Acme/9/Level, and 4 more$"):
        tag_meant(crowd, "Level")


@pytest.mark.parametrize(
    ("findings", "says"),
    [
        ((), "; there is no device yet"),
        ((Finding("ot/plant.toml", "", "no such file"),), "understood:\not/plant.toml: no such"),
    ],
)
def test_without_any_device_the_reason_is_told(
    tables: Tables, findings: tuple[Finding, ...], says: str
) -> None:
    with pytest.raises(NoSuchTag) as raised:
        tag_meant(Tables(tables.config_dir, (), findings), "Level")

    assert says in str(raised.value)


def column_of(tables: Tables, name: str) -> Column:
    plan, index = tag_meant(tables, f"press/{name}")
    return plan.columns[index]


@pytest.mark.parametrize(
    ("name", "table", "rules"),
    [
        (
            "Level",
            [
                "raw 0 … 27648 becomes 0 … 1000 kPa",
                "kPa to bar: * 0.01 + 0",
                "together: published = raw * 0.000361689814815 + 0 bar",
                "held within -inf … 10 bar, Uncertain where it had to be",
            ],
            [
                "changes of more than 0.5 bar",
                "no more often than every 2,000 ms",
                "again after 60 s of silence",
            ],
        ),
        (
            "Flow",
            [
                "raw * 2 + 1 L/min",
                "together: published = raw * 2 + 1 L/min",
                "Uncertain outside of 0 … 9 L/min",
            ],
            ["changes of more than 2 % of what was told last"],
        ),
        (
            "State",
            ["states: 0 = Off, 1 = On, 2 = A, 3 = B, 4 = C, 5 = D, 6 = E, 7 = F, and 2 more"],
            ["every change"],
        ),
        ("Door", ["bits 3 of the integer"], ["every change"]),
        ("Recipe", ["the text is cleaned"], ["every change"]),
        ("Started", ["the time is one of UTC, published in UTC"], ["every change"]),
        (
            "Strokes",
            ["counter (32-bit): Strokes/total and Strokes/delta"],
            ["every change"],
        ),
        (
            "Strokes/total",
            ["all increments since the gateway first read the counter"],
            ["every change"],
        ),
        (
            "Strokes/delta",
            ["the increment of its counter with each reading"],
            ["every increment, none of 0"],
        ),
        ("Power", ["calculated: Level * Flow"], ["every change"]),
        ("Mean", ["mean over windows of 60 s"], ["once a window, when it is over"]),
    ],
)
def test_a_row_is_told_in_sentences(
    tables: Tables, name: str, table: list[str], rules: list[str]
) -> None:
    column = column_of(tables, name)

    assert table_sentences(column, tables.row_of(column)) == table
    assert rule_sentences(column) == rules


def test_what_a_tag_is_made_of_is_known(tables: Tables) -> None:
    names = [column.name for column in tables.plans[0].columns]

    assert inputs_of(column_of(tables, "Power"), names) == ["Level", "Flow"]
    assert inputs_of(column_of(tables, "Mean"), names) == ["Level"]
    assert inputs_of(column_of(tables, "Strokes/delta"), names) == ["Strokes"]
    assert inputs_of(column_of(tables, "Level"), names) == []


def test_the_row_of_what_is_made_of_a_counter_is_the_counters(tables: Tables) -> None:
    row = tables.row_of(column_of(tables, "Strokes/total"))

    assert row is not None
    assert row.row.name == "Strokes"


def test_what_changed_since_is_named() -> None:
    before = Column("T", "Acme/T", "a", "REAL", ValueType.FLOAT64, deadband=0.2)
    now = Column("T", "Acme/T", "a", "REAL", ValueType.FLOAT64, "bar", deadband=0.5)

    assert changes(now, before) == ["unit: nothing → bar", "deadband: 0.2 → 0.5"]
    assert changes(now, now) == []
