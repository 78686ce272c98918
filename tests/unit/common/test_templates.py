"""Goal: a press described once is twenty presses, and a mistake names the row and the device.

Method: a plant file with a template as an engineer writes it, read as the collectors read it.
"""

from pathlib import Path

import pytest

from collectors.check import check_plant
from common.config import PLANT_FILE, read_document
from common.errors import ConfigError, Finding
from common.plant import Plant, load_plant, read_device

GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA/Line1"\n'
TEMPLATE = """[templates.press]
protocol = "s7"
rack = 0
parameters = { base = 0 }
[templates.press.groups.process]
period_ms = 250
tags = "tags/press.csv"
"""
PRESS_7 = """[devices.press7]
template = "press"
host = "10.0.0.7"
parameters = { db = 47 }
"""
PRESS_8 = """[devices.press8]
template = "press"
host = "10.0.0.8"
rack = 1
parameters = { db = 48, base = 100 }
"""
CSV = """name,address,type,unit,deadband,maximum,description
Temperature_C,DB{db}.DBD{base + 12},REAL,Cel,0.2,{base*2+90},Oil of press {db}
Strokes,DB{db}.DBD{base+16},UDINT,1,,,
"""


def written(folder: Path, plant: str, csv: str = CSV) -> Path:
    (folder / "ot/tags").mkdir(parents=True)
    (folder / "ot/plant.toml").write_text(plant, "utf-8")
    (folder / "ot/tags/press.csv").write_text(csv, "utf-8")
    return folder


def load(folder: Path, plant: str, csv: str = CSV) -> Plant:
    return load_plant(written(folder, plant, csv))


def found(folder: Path, plant: str, csv: str = CSV) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(folder, plant, csv)
    return [str(finding) for finding in refused.value.findings]


def test_each_device_has_the_templates_tags_with_its_own_numbers(tmp_path: Path) -> None:
    plant = load(tmp_path, GATEWAY + TEMPLATE + PRESS_7 + PRESS_8)

    seven, eight = plant.devices
    assert [tag.row.address for tag in seven.groups[0].tags] == ["DB47.DBD12", "DB47.DBD16"]
    assert [tag.row.address for tag in eight.groups[0].tags] == ["DB48.DBD112", "DB48.DBD116"]
    first = eight.groups[0].tags[0]
    assert first.row.description == "Oil of press 48"
    assert first.row.maximum == 290.0, "a number cell too"
    assert first.topic == "Acme/SiteA/Line1/press8/Temperature_C"
    assert (first.place, first.where) == (
        "ot/tags/press.csv:2",
        "devices.press8.groups.process tag Temperature_C",
    )
    assert (seven.protocol, seven.settings) == ("s7", {"host": "10.0.0.7", "rack": 0})
    assert eight.settings["rack"] == 1, "a key of the device goes before the template's"
    assert (seven.groups[0].period_ms, seven.template) == (250, "press")


def test_a_device_changes_cells_leaves_tags_out_and_adds_its_own(tmp_path: Path) -> None:
    """Seen to bite: with the changed cells kept for the next device that uses the template."""
    own = """[devices.press7.tags.Temperature_C]
deadband = 0.5
address = "DB99.DBD0"
[devices.press7.groups.process]
period_ms = 500
tags = [{name = "Extra", address = "DB47.DBX0.0", type = "BOOL"}]
[devices.press7.groups.slow]
tags = [{name = "Hours", address = "DB47.DBD80", type = "UDINT"}]
"""
    plant = load(
        tmp_path, GATEWAY + TEMPLATE + PRESS_7 + 'leave_out = ["Strokes"]\n' + own + PRESS_8
    )

    process, slow = plant.devices[0].groups
    assert [tag.row.name for tag in process.tags] == ["Temperature_C", "Extra"]
    assert (process.tags[0].row.deadband, process.tags[0].row.unit) == (0.5, "Cel")
    assert process.tags[0].row.address == "DB99.DBD0"
    assert (process.period_ms, slow.period_ms) == (500, 1_000)
    [untouched] = plant.devices[1].groups
    assert [tag.row.name for tag in untouched.tags] == ["Temperature_C", "Strokes"]
    assert untouched.tags[0].row.deadband == 0.2


def test_a_group_of_which_everything_is_left_out_is_not_read(tmp_path: Path) -> None:
    both = 'leave_out = ["Strokes", "Temperature_C"]\n'
    own = '[devices.press7.groups.own]\ntags = [{name = "A", address = "DB1.DBW0", type = "INT"}]\n'

    plant = load(tmp_path, GATEWAY + TEMPLATE + PRESS_7 + both + own)

    assert [group.name for group in plant.devices[0].groups] == ["own"]


@pytest.mark.parametrize(
    ("device", "says"),
    [
        (
            '[devices.a]\ntemplate = "pres"\n',
            "ot/plant.toml:12: devices.a.template: no template 'pres'; did you mean 'press'?",
        ),
        (
            '[devices.a]\ntemplate = "press"\nhost = "h"\n',
            "devices.a.parameters: template press needs parameters = {db = …}",
        ),
        (
            PRESS_7.replace("db = 47", "db = 47, bas = 1"),
            "devices.press7.parameters.bas: template press has no parameter 'bas'; did you mean",
        ),
        (
            PRESS_7.replace("47", "true"),
            "devices.press7.parameters: expected `int | str`, got `bool`",
        ),
        (
            PRESS_7.replace("47", '"x y"'),
            "ot/tags/press.csv:2: devices.press7.groups.process tag Temperature_C",
        ),
        (
            PRESS_7 + 'leave_out = ["Stroke"]\n',
            "devices.press7.leave_out: template press has no tag 'Stroke'; did you mean 'Strokes'?",
        ),
        (
            PRESS_7 + "[devices.press7.tags.Temp]\ndeadband = 1\n",
            "ot/plant.toml:15: devices.press7.tags.Temp: template press has no tag 'Temp'",
        ),
        (
            PRESS_7 + "[devices.press7.tags.Strokes]\ndedband = 1\n",
            "ot/plant.toml:15: devices.press7.tags.Strokes: unknown key 'dedband'; did you mean",
        ),
        (
            PRESS_7 + '[devices.press7.tags.Strokes]\ndeadband = "x"\n',
            "devices.press7.tags.Strokes: column 'deadband': expected `float`",
        ),
        (
            '[devices.a]\nprotocol = "s7"\nparameters = { db = 1 }\n',
            "devices.a: parameters, tags and leave_out belong to template",
        ),
        (
            PRESS_7 + "[devices.press7.groups.process]\nperiod_ms = 5\n",
            "devices.press7.groups.process.period_ms: expected `int` >= 10, found 5",
        ),
        (PRESS_7 + "rck = 1\n", "ot/plant.toml:15: devices.press7.rck: unknown key 'rck'"),
    ],
)
def test_a_wrong_use_of_a_template_names_its_device(tmp_path: Path, device: str, says: str) -> None:
    folder = written(tmp_path, GATEWAY + TEMPLATE + device)

    findings = [str(finding) for finding in check_plant(folder)]

    assert any(says in finding for finding in findings), findings


@pytest.mark.parametrize(
    ("template", "csv", "says"),
    [
        (TEMPLATE + 'asset = "X"\n', CSV, "templates.press.groups.process.asset: unknown key"),
        (
            TEMPLATE.replace("rack = 0", 'asset = "X"'),
            CSV,
            "ot/plant.toml:6: templates.press.asset: asset belongs to each device",
        ),
        (
            TEMPLATE.replace("base = 0", '"a-b" = 0, base = 0'),
            CSV,
            "templates.press.parameters.a-b: a parameter is named with letters",
        ),
        ("[templates]\npress = 3\n", CSV, "templates.press: must be a table, [templates.press]"),
        ("[templates.press]\nrack = 0\n", CSV, "templates.press: needs at least one group"),
        (
            TEMPLATE,
            CSV.replace("{base+16}", "{base/16}"),
            "csv:3: templates.press.groups.process tag Strokes: column 'address': {base/16} cannot",
        ),
        (TEMPLATE.replace("press.csv", "prss.csv"), CSV, "tag table ot/tags/prss.csv cannot be re"),
    ],
)
def test_what_is_wrong_with_the_template_itself_is_told_once(
    tmp_path: Path, template: str, csv: str, says: str
) -> None:
    """Method: two devices use it. Seen to bite: with the template read for each device."""
    findings = found(tmp_path, GATEWAY + template + PRESS_7 + PRESS_8, csv)

    assert sum(says in finding for finding in findings) == 1, findings


def test_a_wrong_row_names_the_row_and_every_device(tmp_path: Path) -> None:
    csv = CSV.replace("UDINT,1,,,", "UDINT,1,0.1,,")
    csv = csv.replace("deadband", "scale").replace("0.1", "0")

    findings = check_plant(written(tmp_path, GATEWAY + TEMPLATE + PRESS_7 + PRESS_8, csv))

    [one] = [str(each) for each in findings if "scale must" in str(each)]
    assert one.startswith("ot/tags/press.csv:3: devices.press7.groups.process tag Strokes: ")
    assert one.endswith("; the same in 1 more: press8 [OT-0315]"), "the sentence is not said twice"


def test_a_key_from_the_template_is_found_where_it_stands(tmp_path: Path) -> None:
    """Seen to bite: without `stands_at` the line is that of [devices.press7]."""
    template = TEMPLATE.replace("rack = 0", "rack = 99")

    findings = check_plant(written(tmp_path, GATEWAY + template + PRESS_7))

    [one] = [str(each) for each in findings]
    assert one.startswith("ot/plant.toml:6: devices.press7.rack: ")


def test_one_device_is_read_with_its_template_and_without_the_others(tmp_path: Path) -> None:
    """As `tailrace read press7` does. Seen to bite: with every template read at once."""
    other = '[templates.other.groups.g]\ntags = "gone.csv"\n'
    folder = written(tmp_path, GATEWAY + TEMPLATE + other + PRESS_7 + PRESS_8)
    findings: list[Finding] = []
    document = read_document(folder, PLANT_FILE, findings)
    assert document is not None

    device = read_device(folder, document, "press7", findings)

    assert findings == []
    assert device is not None
    assert device.groups[0].tags[0].row.address == "DB47.DBD12"


def test_twenty_presses_of_five_hundred_tags_are_one_table(tmp_path: Path) -> None:
    rows = "".join(f"T{i},DB{{db}}.DBD{{base+{4 * i}}},REAL\n" for i in range(500))
    presses = "".join(
        f'[devices.p{i}]\ntemplate = "press"\nhost = "h{i}"\nparameters = {{db = {i + 1}}}\n'
        for i in range(20)
    )
    folder = written(tmp_path, GATEWAY + TEMPLATE + presses, "name,address,type\n" + rows)

    assert check_plant(folder) == []
    plant = load_plant(folder)
    assert sum(len(group.tags) for device in plant.devices for group in device.groups) == 10_000
    assert plant.devices[19].groups[0].tags[499].row.address == "DB20.DBD1996"
