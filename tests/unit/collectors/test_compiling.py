"""Goal: a plan says everything that its tag table says, whatever the protocol."""

from pathlib import Path

from collectors.registry import compiler_of
from common.errors import Finding
from common.plant import load_plant
from common.records import Column, LossClass, ValueType

PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme/SiteA"

[devices.demo]
protocol = "simulated"

[devices.demo.groups.fast]
tags = "tags.csv"
"""
CSV = """name,address,unit,scale,offset,deadband,class,description
Level,sine,m,2,5,0.1,keep,Of the tank
Parts,counter,,,,,first-to-go,
Setpoint,constant:42.5,,,,,,
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
    )
    assert parts.loss_class is LossClass.FIRST_TO_GO
    assert setpoint.loss_class is LossClass.NORMAL
