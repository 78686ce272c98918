"""Goal: what docs/ tells an engineer to write into ot/ is what the check accepts.

Method: the fenced examples of a page are put where the page says (```toml is ot/plant.toml, ```csv
the tag table that plant.toml names), with the certificates that they name, and the check of
`tailrace check` reads them.

Seen to bite: a `type` that OPC UA does not know, in the CSV example; a key misspelt in the TOML.
"""

import re
from pathlib import Path

import pytest

from collectors.check import check_plant
from common.plant import load_plant

HOUSE = Path(__file__).resolve().parents[2]
PAGE = (HOUSE / "docs/s7-1500-over-opcua.md").read_text("utf-8")
PLANT_PAGE = (HOUSE / "docs/plant.md").read_text("utf-8")
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n\n'
PEMS = {
    "gateway.pem": "-----BEGIN CERTIFICATE-----\n",
    "gateway.key": "-----BEGIN PRIVATE KEY-----\n",
    "press.der": "-----BEGIN CERTIFICATE-----\n",
    "press.password": "secret\n",
}
"""Only looked at by their beginning; a connection would want real ones."""


def examples(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def written(folder: Path, plant: str, table: str) -> Path:
    gateway = "" if plant.startswith("[gateway]") else GATEWAY
    (folder / "ot/tags").mkdir(parents=True)
    (folder / "ot/pki").mkdir()
    (folder / "ot/plant.toml").write_text(gateway + plant, "utf-8")
    (folder / "ot/tags/press.csv").write_text(table, "utf-8")
    for name, content in PEMS.items():
        (folder / "ot/pki" / name).write_text(content)
        (folder / "ot/pki" / name).chmod(0o600)
    return folder


@pytest.mark.parametrize("plant", examples("toml"), ids=lambda each: str(each.count("\n")))
@pytest.mark.parametrize("table", examples("csv"), ids=lambda each: str(each.count("\n")))
def test_the_examples_for_an_s7_1500_pass_the_check(plant: str, table: str, tmp_path: Path) -> None:
    findings = check_plant(written(tmp_path, plant, table))

    assert [str(finding) for finding in findings] == []


@pytest.mark.parametrize("number", range(2))
def test_the_examples_of_plant_toml_pass_the_check(number: int, tmp_path: Path) -> None:
    """Seen to bite: with `db` misspelt in the table of the template."""
    plants, [table] = examples("toml", PLANT_PAGE), examples("csv", PLANT_PAGE)
    folder = written(tmp_path, plants[number], table)

    assert [str(finding) for finding in check_plant(folder)] == []
    addresses = {
        tag.topic.partition("/SiteA/")[2]: tag.row.address
        for device in load_plant(folder).devices
        for group in device.groups
        for tag in group.tags
    }
    assert (
        addresses
        == [
            {"Stamping/Line1/Cell7/Press_Machine/Temperature_C": "DB40.DBD12"},
            {
                "press7/Temperature_C": "DB47.DBD12",
                "press7/Pressure_bar": "DB47.DBD24",
                "press7/Guard_Closed": "DB47.DBX20.1",
                "press8/Temperature_C": "DB48.DBD112",
                "press8/Pressure_bar": "DB48.DBD124",
                "press8/Cushion_bar": "DB48.DBD200",
                "press8/Runtime_h": "DB48.DBD204",
            },
        ][number]
    )


def test_every_way_of_quoting_names_the_same_symbol(tmp_path: Path) -> None:
    addresses = set()
    for i, table in enumerate(examples("csv")):
        folder = written(tmp_path / str(i), examples("toml")[0], table)
        first = load_plant(folder).devices[0].groups[0].tags[0].row
        addresses.add((first.address, first.deadband))

    assert addresses == {
        ('nsu=http://www.siemens.com/simatic-s7-opcua;s="Press"."Temperature"', 0.2)
    }


def test_the_page_has_its_examples() -> None:
    assert (len(examples("toml")), len(examples("csv"))) == (2, 2), "or nothing was tested"
