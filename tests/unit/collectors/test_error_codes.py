"""Goal: every message about ot/ has a code that stays, and a line of help; docs/errors.md has all.

Method: for each code the smallest configuration that deserves it, through the check that
`tailrace check` runs. A code without such a case, or without its row on the page, fails.

Seen to bite: a code added to HELP; a row taken out of the page; two codes exchanged in the code.
"""

import re
from pathlib import Path

import pytest

from collectors.check import check_plant
from common import config, plant
from common.codes import HELP
from common.errors import Finding
from common.outbox import GROUPS_MAX
from common.tagtable import TAGS_MAX

PAGE = (Path(__file__).parents[3] / "docs/errors.md").read_text("utf-8")
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'
TOY = '[devices.toy]\nprotocol = "simulated"\n'
ALL = '[devices.toy.groups.all]\ntags = "tags.csv"\n'
CSV = "name,address\nA,sine\n"
TEMPLATE = '[templates.t]\nprotocol = "simulated"\n[templates.t.groups.g]\ntags = "tags.csv"\n'
USES = '[devices.a]\ntemplate = "t"\n'


def row(cells: str, address: str = "counter") -> str:
    """Return a plant of one tag with these cells."""
    return GATEWAY + TOY + f'groups.all.tags = [{{name = "A", address = "{address}", {cells}}}]\n'


def expression(text: str, cells: str = "") -> str:
    """Return a plant of a number, a text, and a tag made of them."""
    made = f'{{name = "X", expression = "{text}"{cells}}}'
    given = '{name = "A", address = "sine"}, {name = "T", address = "constant:x"}'
    other = 'groups.slow.tags = [{name = "S", address = "counter"}]\n'
    return GATEWAY + TOY + other + f"groups.all.tags = [{given}, {made}]\n"


def addressed(protocol: str, keys: str) -> str:
    table = f'[devices.toy]\nprotocol = "{protocol}"\n{keys}'
    return GATEWAY + table + 'groups.all.tags = [{name = "A", address = "DB1,,?"}]\n'


MANY_DEVICES = "".join(
    f'[devices.d{i}]\nprotocol = "simulated"\ngroups.g.tags = [{{name = "A", address = "sine"}}]\n'
    for i in range(plant.DEVICES_MAX + 1)
)
MANY_GROUPS = "".join(
    f'groups.g{i}.tags = [{{name = "A{i}", address = "sine"}}]\n' for i in range(GROUPS_MAX + 1)
)
ARRAY = """[devices.p]
protocol = "s7plus"
host = "h"
groups.all.tags = [{name = "A", address = '"P"."Z"', type = "REAL[2]"},
{name = "A/0", address = '"P"."Y"', type = "REAL"}]
"""

PLANTS: list[tuple[str, str]] = [
    ("CF-05", "[gateway\n"),
    ("CF-06", GATEWAY + "[devices]\ntoy = 3\n"),
    ("CF-07", GATEWAY + "[device.toy]\n"),
    ("CF-07", GATEWAY + TOY + ALL + "perod_ms = 1\n"),
    ("CF-08", "[gateway]\n"),
    ("CF-09", GATEWAY + TOY + ALL + "period_ms = 1\n"),
    ("CF-10", addressed("opcua", 'endpoint = "opc.tcp://h:1"\nuser = "u"\n')),
    ("OT-0101", GATEWAY + 'levels = ["site", "site"]\n' + TOY + ALL),
    ("OT-0102", GATEWAY + 'levels = ["site"]\n' + TOY + ALL),
    ("OT-0102", GATEWAY + 'levels = ["a", "b"]\n' + TOY + 'path = "Cell7"\n' + ALL),
    ("OT-0103", GATEWAY + "[queue]\nthin_fine_s = 900\n" + TOY + ALL),
    ("OT-0104", GATEWAY + "[devices.toy]\n" + ALL),
    ("OT-0105", GATEWAY + '[devices.toy]\nprotocol = "modbuss"\n' + ALL),
    ("OT-0106", GATEWAY + TOY + '[devices.toy.groups."a b"]\ntags = "tags.csv"\n'),
    ("OT-0106", GATEWAY + (TOY + ALL).replace("devices.toy", 'devices."toy 1"')),
    ("OT-0107", GATEWAY + TOY + "asset = 3\n" + ALL),
    ("OT-0108", GATEWAY + TOY + 'asset = "_meta"\n' + ALL),
    ("OT-0109", GATEWAY + TOY),
    ("OT-0109", GATEWAY + "[templates.t]\nport = 1\n" + USES),
    ("OT-0110", GATEWAY + MANY_DEVICES),
    ("OT-0111", GATEWAY + TOY + MANY_GROUPS),
    ("OT-0112", GATEWAY + TOY + f'asset = "{"a/" * 40_000}b"\n' + ALL),
    (
        "OT-0113",
        GATEWAY
        + TOY
        + ALL
        + (TOY + ALL)
        .replace("toy]", 'two]\nasset = "TOY"', 1)
        .replace("devices.toy.", "devices.two."),
    ),
    ("OT-0114", GATEWAY + ARRAY),
    ("OT-0115", GATEWAY + 'ignore_warnings = ["OT-L99"]\n' + TOY + ALL),
    ("OT-0201", GATEWAY + TEMPLATE + USES.replace('"t"', '"tt"')),
    ("OT-0202", GATEWAY + TEMPLATE.replace("[templates.t]", '[templates.t]\nasset = "X"') + USES),
    ("OT-0203", GATEWAY + TEMPLATE.replace("t]", "t]\nparameters = {a-b = 1}", 1) + USES),
    ("OT-0204", GATEWAY + TEMPLATE + USES + "parameters = {db = 1}\n"),
    ("OT-0206", GATEWAY + TOY + "parameters = {db = 1}\n" + ALL),
    ("OT-0209", GATEWAY + TEMPLATE + USES + 'leave_out = ["B"]\n'),
    ("OT-0301", GATEWAY + TOY + ALL.replace("tags.csv", "tagz.csv")),
    ("OT-0310", GATEWAY + TOY + "groups.all.tags = []\n"),
    ("OT-0311", row("adress = 1")),
    ("OT-0312", GATEWAY + TOY + 'groups.all.tags = [{address = "sine"}]\n'),
    ("OT-0313", row('deadband = "x"')),
    ("OT-0314", row('expression = "B + 1"')),
    ("OT-0315", row("scale = 0")),
    ("OT-0316", row("raw_low = 0")),
    ("OT-0317", row("scale = 2, raw_low = 0, raw_high = 9, scaled_low = 0, scaled_high = 1")),
    ("OT-0318", row("raw_low = 0, raw_high = 0, scaled_low = 0, scaled_high = 1")),
    ("OT-0319", row('clamp = "both"')),
    ("OT-0320", row("deadband_percent = 1")),
    ("OT-0321", row('deadband = 1, deadband_percent = 1, deadband_of = "value"')),
    ("OT-0322", row("minimum = 1, maximum = 0")),
    ("OT-0323", row('semantic_id = "BAA120"')),
    ("OT-0401", addressed("modbus", 'host = "h"\n')),
    ("OT-0402", addressed("s7", 'host = "h"\n')),
    ("OT-0403", addressed("opcua", 'endpoint = "opc.tcp://h:1"\n')),
    ("OT-0404", addressed("s7plus", 'host = "h"\nexperimental = true\n')),
    ("OT-0405", addressed("simulated", "")),
    ("OT-0411", row("scale = 2", "constant:x")),
    ("OT-0412", row('source_unit = "furlong", unit = "m"')),
    ("OT-0413", row('source_unit = "bar", unit = "Cel"')),
    ("OT-0414", row('source_unit = "bar"')),
    ("OT-0415", row('deadband_percent = 1, deadband_of = "range"')),
    ("OT-0421", row('bits = "1", enum = "0=a"')),
    ("OT-0422", row('text = "clean"')),
    ("OT-0423", row('enum = "a"')),
    ("OT-0424", row('enum = "0=a|0=b"')),
    ("OT-0425", row('bits = "70"')),
    ("OT-0426", row('time_zone = "Europe/Nowhere"', "constant:x")),
    ("OT-0501", row('counter = "resets"', "sine")),
    ("OT-0502", row('counter = "17-bit"')),
    ("OT-0503", GATEWAY + TOY + 'groups.b.tags = [{name = "X", expression = "A + 1"}]\n' + ALL),
    ("OT-0504", expression("A + 1", ", scale = 2")),
    ("OT-0505", expression("A + 1", ', type = "REAL"')),
    ("OT-0506", expression("A +")),
    ("OT-0507", expression("B + 1")),
    ("OT-0508", expression("mean(S, 60)")),
    ("OT-0509", expression("T + 1")),
]

TABLES: list[tuple[str, str | bytes]] = [
    ("OT-0303", "name,address\nTemp\xe9rature,sine\n".encode("latin-1")),
    ("OT-0304", 'name,address\n"A,sine\n'),
    ("OT-0305", ""),
    ("OT-0306", "name,adress\nA,sine\n"),
    ("OT-0307", "name,address,name\nA,sine,A\n"),
    ("OT-0308", "name,unit\nA,bar\n"),
    ("OT-0309", "name,address\nA,sine,bar\n"),
    ("OT-0310", "name,address\n" + "".join(f"A{i},sine\n" for i in range(TAGS_MAX + 1))),
]
"""Of a device that names the table."""

CELLS = [
    ("OT-0205", "name,address\nA,{db}\n"),
    ("OT-0207", "name,address\nA,{db\n"),
    ("OT-0207", "name,address\nA,{db/2}\n"),
    ("OT-0208", "name,address\nA,{t*2}\n"),
]
"""Of a template that names the table, used with t = "x"."""

UNREADABLE = ["CF-01", "CF-02", "CF-03", "CF-04", "OT-0302"]


def written(folder: Path, text: str, table: str | bytes = CSV) -> Path:
    (folder / "ot").mkdir()
    (folder / "ot/plant.toml").write_text(text, "utf-8")
    (folder / "ot/tags.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return folder


def check_for(code: str, findings: list[Finding]) -> None:
    said = [each for each in findings if each.code == code]
    assert said, [str(each) for each in findings]
    for each in said:
        assert each.help == HELP[code]
        assert each.place.startswith("ot/")
        assert str(each).endswith(f" [{code}]")


@pytest.mark.parametrize(("code", "text"), PLANTS, ids=[code for code, _ in PLANTS])
def test_a_mistake_in_plant_toml_has_its_code(code: str, text: str, tmp_path: Path) -> None:
    check_for(code, check_plant(written(tmp_path, text)))


@pytest.mark.parametrize(("code", "table"), TABLES, ids=[code for code, _ in TABLES])
def test_a_mistake_in_a_tag_table_has_its_code(
    code: str, table: str | bytes, tmp_path: Path
) -> None:
    check_for(code, check_plant(written(tmp_path, GATEWAY + TOY + ALL, table)))


@pytest.mark.parametrize(("code", "table"), CELLS, ids=[code for code, _ in CELLS])
def test_a_mistake_in_a_templates_cell_has_its_code(code: str, table: str, tmp_path: Path) -> None:
    template = TEMPLATE.replace("t]", 't]\nparameters = {t = "x"}', 1)

    check_for(code, check_plant(written(tmp_path, GATEWAY + template + USES, table)))


@pytest.mark.parametrize("code", UNREADABLE)
def test_a_file_that_cannot_be_read_has_its_code(code: str, tmp_path: Path) -> None:
    folder = written(tmp_path, GATEWAY + TOY + ALL)
    file = folder / ("ot/tags.csv" if code == "OT-0302" else "ot/plant.toml")
    if code in ("CF-01", "OT-0302"):
        with file.open("r+b") as large:
            large.truncate(config.FILE_BYTES_MAX + 1)
    elif code == "CF-04":
        file.write_bytes(b"# Temp\xe9rature")
    else:
        file.unlink()
    if code == "CF-03":
        file.mkdir()

    check_for(code, check_plant(folder))


def test_every_code_has_a_case_and_a_row_on_its_page() -> None:
    cases = {*UNREADABLE, *(code for code, _ in [*PLANTS, *TABLES, *CELLS])}
    rows = dict(re.findall(r"^\| `((?:CF|OT)-\d+)` \| .*? \| (.*) \|$", PAGE, re.MULTILINE))

    assert cases == set(HELP)
    assert {code: text.replace("\\|", "|") for code, text in rows.items()} == HELP
