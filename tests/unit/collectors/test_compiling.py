"""Goal: a plan says everything that its tag table says, whatever the protocol."""

from pathlib import Path

import msgspec

from collectors.compiling import Resolved, ResolvedArray, compile_groups
from collectors.registry import compiler_of
from common.errors import Finding
from common.plant import load_plant
from common.records import Column, LossClass, Plan, ValueType, decode_plan
from common.tagtable import TagRow

PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme/SiteA"

[devices.demo]
protocol = "simulated"

[devices.demo.groups.fast]
tags = "tags.csv"
"""
CSV = """name,address,unit,scale,offset,deadband,class,semantic_id,description
Level,sine,m,2,5,0.1,keep,urn:acme:level,Of the tank
Parts,counter,,,,,first-to-go,,
Setpoint,constant:42.5,,,,,,,
"""


def test_every_column_of_the_tag_table_reaches_the_plan(tmp_path: Path) -> None:
    """Seen to bite: without `loss_class=row.loss_class` every tag is a normal one."""
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot" / "plant.toml").write_text(PLANT, encoding="utf-8")
    (tmp_path / "ot" / "tags.csv").write_text(CSV, encoding="utf-8")
    (device,) = load_plant(tmp_path).devices
    findings: list[Finding] = []

    compiled = compiler_of("simulated")(device, findings)

    assert findings == []
    (group,) = compiled.groups
    level, parts, setpoint = group.plan.columns
    assert level == Column(
        name="Level",
        topic="Acme/SiteA/demo/Level",
        address=level.address,
        source_type=level.source_type,
        value_type=ValueType.FLOAT64,
        unit="m",
        scale=2.0,
        offset=5.0,
        deadband=0.1,
        description="Of the tank",
        loss_class=LossClass.KEEP,
        semantic_id="urn:acme:level",
    )
    assert decode_plan(group.plan.encoded).columns[0] == level, "and with it the queue's catalog"
    assert parts.loss_class is LossClass.FIRST_TO_GO
    assert setpoint.loss_class is LossClass.NORMAL


def test_a_plan_knows_what_the_levels_above_its_asset_are_called(tmp_path: Path) -> None:
    """Seen to bite: without `levels=device.levels` there are none."""
    (tmp_path / "ot").mkdir()
    plant = PLANT.replace('protocol = "simulated"', 'protocol = "simulated"\npath = "North/Line1"')
    plant = plant.replace('"simulated"', '"simulated"\nasset = "Tank/Top"')
    (tmp_path / "ot" / "plant.toml").write_text(plant, encoding="utf-8")
    (tmp_path / "ot" / "tags.csv").write_text(CSV, encoding="utf-8")
    (device,) = load_plant(tmp_path).devices

    plan = decode_plan(compiler_of("simulated")(device, []).groups[0].plan.encoded)

    assert plan.location == {
        "enterprise": "Acme",
        "site": "SiteA",
        "area": "North",
        "line": "Line1",
    }
    assert plan.columns[0].topic == "Acme/SiteA/North/Line1/Tank/Top/Level"


def test_a_plan_of_before_levels_were_named_is_still_read() -> None:
    column = Column("T", "Acme/Press/T", "a", "t", ValueType.BOOL)
    old = Plan("s7", "press", "fast", "Press", 250, (column,))
    written = msgspec.msgpack.decode(old.encoded)
    written[5] = [column[:11] for column in written[5]]

    plan = decode_plan(msgspec.msgpack.encode(written[:6]))

    assert (plan.columns, plan.levels, plan.location) == (old.columns, (), {})


def compiled_arrays(tmp_path: Path, csv: str, findings: list[Finding]) -> list[Column] | None:
    """Compile rows; an address `sine*N` is an array of N elements."""

    def resolve(row: TagRow) -> Resolved[str] | ResolvedArray[str]:
        one = Resolved(row.address, row.address, "REAL", ValueType.FLOAT64)
        _, star, number = row.address.partition("*")
        many = ResolvedArray(tuple((str(each), one) for each in range(int(number or 0))))
        return many if star else one

    (tmp_path / "ot").mkdir()
    (tmp_path / "ot" / "plant.toml").write_text(PLANT, encoding="utf-8")
    (tmp_path / "ot" / "tags.csv").write_text(csv, encoding="utf-8")
    groups = compile_groups(load_plant(tmp_path).devices[0], resolve, findings)
    return None if groups is None else list(groups[0].plan.columns)


def test_an_array_is_a_column_for_each_element(tmp_path: Path) -> None:
    findings: list[Finding] = []

    columns = compiled_arrays(
        tmp_path, "name,address,unit,scale\nZones,sine*3,Cel,0.1\nLevel,sine,,\n", findings
    )

    assert columns is not None
    assert [each.name for each in columns] == ["Zones/0", "Zones/1", "Zones/2", "Level"]
    assert columns[1].topic == "Acme/SiteA/demo/Zones/1"
    assert {(each.unit, each.scale) for each in columns[:3]} == {("Cel", 0.1)}


def test_an_element_may_not_take_the_topic_of_another_tag(tmp_path: Path) -> None:
    """Seen to bite: without the check both publish on one topic."""
    findings: list[Finding] = []

    columns = compiled_arrays(tmp_path, "name,address\nZones,sine*3\nzones/1,sine\n", findings)

    assert columns is None
    [finding] = findings
    assert "zones/1" in str(finding)
    assert "rename one" in str(finding)


def test_elements_count_towards_the_tags_of_a_group(tmp_path: Path) -> None:
    findings: list[Finding] = []

    columns = compiled_arrays(tmp_path, "name,address\nZones,sine*10001\n", findings)

    assert columns is None
    assert "at most 10000 tags, found 10001" in str(findings[0])


def test_what_a_transform_makes_has_its_own_type(tmp_path: Path) -> None:
    """Seen to bite: with the type of the raw value a state's name was Bad, a type mismatch."""
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot" / "plant.toml").write_text(PLANT, encoding="utf-8")
    table = (
        "name,address,enum,bits\nState,counter,0=Off|1=On,\nDoor,counter,,3\nStep,counter,,4-7\n"
    )
    (tmp_path / "ot" / "tags.csv").write_text(table, encoding="utf-8")
    findings: list[Finding] = []

    (group,) = compiler_of("simulated")(load_plant(tmp_path).devices[0], findings).groups

    assert findings == []
    assert [column.value_type for column in group.plan.columns] == [
        ValueType.STRING,
        ValueType.BOOL,
        ValueType.UINT64,
    ]
