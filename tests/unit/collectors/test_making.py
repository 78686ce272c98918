"""Goal: a tag table that derives is compiled as it is meant, or refused with its row and a remedy.

Method: tag tables of a simulated device through the whole compiler.
"""

from pathlib import Path

import pytest

from collectors.registry import compiler_of
from common.errors import Finding
from common.plant import load_plant
from common.records import CounterDelta, CounterTotal, Expression, Plan, ValueType, WindowValue

PLANT = """
[gateway]
id = "g1"
root = "Acme"
[devices.demo]
protocol = "simulated"
[devices.demo.groups.fast]
tags = "fast.csv"
[devices.demo.groups.slow]
tags = [
  { name = "Setpoint", address = "constant:7.5" },
  { name = "Recipe", address = "constant:A" },
]
"""
HEADER = "name,address,type,expression,counter,scale,deadband,unit\n"


def compiled(folder: Path, *rows: str) -> tuple[Plan | None, list[str]]:
    (folder / "ot").mkdir()
    (folder / "ot/plant.toml").write_text(PLANT)
    (folder / "ot/fast.csv").write_text(HEADER + "".join(f"{row}\n" for row in rows))
    findings: list[Finding] = []
    [device] = load_plant(folder).devices
    settings = compiler_of("simulated")(device, findings)
    plan = settings.groups[0].plan if settings is not None else None  # type: ignore[attr-defined]
    return plan, [str(finding) for finding in findings]


def test_made_columns_stand_behind_those_of_the_device(tmp_path: Path) -> None:
    plan, findings = compiled(
        tmp_path,
        "Off,,,Level - Setpoint,,,0.5,m",
        "Parts,counter,,,32-bit,,,",
        "High,,bool,Level > 1,,,,",
        "Level,sine,,,,,,m",
        'Mean,,,"mean(Level, 60)",,,,m',
    )

    assert findings == []
    assert plan is not None
    assert [(each.name, each.made) for each in plan.columns] == [
        ("Parts", None),
        ("Level", None),
        ("Parts/total", CounterTotal(0, 2**32)),
        ("Parts/delta", CounterDelta(0, 2**32)),
        ("Off", Expression("Level - Setpoint")),
        ("High", Expression("Level > 1")),
        ("Mean", WindowValue("mean", 1, 60.0)),
    ]
    off, high = plan.columns[4:6]
    assert (off.topic, off.deadband, off.unit) == ("Acme/demo/Off", 0.5, "m")
    assert high.value_type is ValueType.BOOL
    assert [each.name for each in plan.scanned] == ["Parts", "Level"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("X,,,,,,,", "fast.csv:3: X: a tag needs an address or an expression, and not both"),
        ("X,sine,,Level,,,,", "a tag needs an address or an expression, and not both"),
        (
            "X,,,Levl * 2,,,,",
            "names 'Levl', which no device of this asset gives; did you mean",
        ),
        (
            "X,,,Level *,,,,",
            "fast.csv:3: devices.demo.groups.fast tag X: expression 'Level *'",
        ),
        ("X,,,Level,,2,,", "scale: not for a tag that has an expression"),
        ("X,,REAL,Level,,,,", "type 'REAL': an expression is a number"),
        ("X,,,Recipe + 1,,,,", "Recipe is a string; an expression needs numbers"),
        ('X,,,"mean(Setpoint, 60)",,,,', "Setpoint is read in another group"),
        ("X,,,Level + rate(Setpoint),,,,", "put the window, rate or prev into that group"),
        ("X,sine,,,32-bit,,,", "a counter must be a whole number as the device gives it"),
        ("X,counter,,,32-bit,0.1,,", "X is float64; leave scale"),
        ("X,counter,,,33-bit,,,", "counter: '33-bit' is not resets, 16-bit"),
        ("X,counter,,,1,,,", "counter: '1' is not"),
        ("X,,,X2 + 1,,,,\nX2,,,Level,,,,", "a tag that has an expression itself cannot be used"),
        ("X,counter,,,resets,,,\nX/total,sine,,,,,,", "the topic Acme/demo/X/total; rename one"),
    ],
)
def test_what_cannot_be_is_refused_with_its_row(tmp_path: Path, row: str, says: str) -> None:
    try:
        _, findings = compiled(tmp_path, "Level,sine,,,,,,m", *row.split("\n"))
    except Exception as refused:  # noqa: BLE001 - whichever of the two halves of the check says it
        findings = [str(refused)]

    assert any(says in finding for finding in findings), findings


def test_another_device_of_the_same_asset_may_give_a_part_of_it(tmp_path: Path) -> None:
    """Seen to bite: without what stands beside it, the meter's tag is an unknown name."""
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot/plant.toml").write_text(
        """
[gateway]
id = "g1"
root = "Acme"
[devices.plc]
protocol = "simulated"
asset = "Press"
[devices.plc.groups.fast]
tags = [
  { name = "Parts", address = "counter" },
  { name = "Per_part", expression = "Energy / Parts" },
]
[devices.meter]
protocol = "simulated"
asset = "Press"
[devices.meter.groups.slow]
tags = [{ name = "Energy", address = "sine" }]
[devices.other]
protocol = "simulated"
[devices.other.groups.slow]
tags = [{ name = "X", address = "sine" }, { name = "Y", expression = "Energy + X" }]
""",
        "utf-8",
    )
    findings: list[Finding] = []
    devices = {device.name: device for device in load_plant(tmp_path).devices}

    press = compiler_of("simulated")(devices["plc"], findings)
    assert findings == []
    other = compiler_of("simulated")(devices["other"], findings)

    assert press is not None
    assert other is None, "another asset's tags are another asset's"
    assert "names 'Energy', which no device of this asset gives" in str(findings[0])
