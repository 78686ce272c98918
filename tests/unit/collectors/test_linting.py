"""Goal: what is valid and hardly meant is said, with a code and help, and nothing else is.

Method: a plant of one or two simulated devices whose names and rows have the one thing in question;
what `python -m collectors --check` would say of it.
"""

import re
from pathlib import Path

import pytest

from collectors.check import check_plant
from common.codes import LINTS
from common.errors import Caution, Finding
from common.unitnames import unit_in_name

PAGE = (Path(__file__).parents[3] / "docs/plant.md").read_text("utf-8")
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'


def device(name: str, rows: str, keys: str = "") -> str:
    table = f'[devices.{name}]\nprotocol = "simulated"\n{keys}'
    return f"{table}[devices.{name}.groups.all]\ntags = [{rows}]\n"


def checked(folder: Path, plant: str) -> list[Finding]:
    (folder / "ot").mkdir()
    (folder / "ot/plant.toml").write_text(plant, "utf-8")
    return check_plant(folder)


def said(folder: Path, rows: str, gateway: str = GATEWAY) -> list[tuple[str, str]]:
    """Return (code, message) of every finding about one device of these rows."""
    return [(each.code, each.message) for each in checked(folder, gateway + device("toy", rows))]


@pytest.mark.parametrize(
    ("rows", "code", "says"),
    [
        (
            '{name = "Temperature_C", address = "sine", unit = "bar"}',
            "OT-L05",
            "the name ends in °C, and unit is bar",
        ),
        (
            '{name = "Zone1/Flow_m3_h", address = "sine", unit = "l/min"}',
            "OT-L05",
            "the name ends in m³/h, and unit is L/min",
        ),
        ('{name = "Power_kW", address = "sine"}', "OT-L06", "ends in kW, and unit is empty"),
        (
            '{name = "Speed", address = "sine", unit = "rpmm"}',
            "OT-L07",
            "unit 'rpmm' is not known; did you mean 'rpm'?",
        ),
        ('{name = "StrokeCount", address = "counter"}', "OT-L08", "StrokeCount looks like a count"),
        (
            '{name = "A", address = "sine"}, {name = "B", address = "sine"}',
            "OT-L09",
            "reads sine, as does A (ot/plant.toml:7)",
        ),
        (
            '{name = "A", address = "sine", minimum = -1, maximum = 1, deadband = 2}',
            "OT-L10",
            "deadband 2 in a range that is 2 wide",
        ),
        (
            """{name = "A", address = "sine", source_unit = "bar", unit = "mbar", deadband = 1000,
            raw_low = 0, raw_high = 10, scaled_low = 0, scaled_high = 1}""".replace("\n", ""),
            "OT-L10",
            "deadband 1000 in a range that is 1000 wide",
        ),
        ('{name = "A.B", address = "sine"}', "OT-L02", "'A.B' holds a dot"),
    ],
)
def test_what_is_hardly_meant_is_a_warning(tmp_path: Path, rows: str, code: str, says: str) -> None:
    [(found, message)] = said(tmp_path, rows)

    assert found == code
    assert says in message


@pytest.mark.parametrize(
    "rows",
    [
        '{name = "Temperature_C", address = "sine", unit = "°C"}',
        '{name = "Temperature_min", address = "sine", unit = "Cel"}',
        '{name = "Flow_m3_h", address = "sine", unit = "m³/h"}',
        '{name = "Pump_A", address = "sine", unit = "bar"}',
        """{name = "Current_V", address = "sine", unit = "A"},
        {name = "Current_W", address = "constant:1.5", unit = "A"}""".replace("\n", ""),
        '{name = "Strokes", address = "counter", counter = "resets"}',
        '{name = "Status_bit", address = "counter", bits = "3"}',
        """{name = "Low", address = "counter", bits = "0-7"},
        {name = "High", address = "counter", bits = "8-15"}""".replace("\n", ""),
        """{name = "A_C", address = "sine", unit = "Cel"},
        {name = "A_F", address = "sine", source_unit = "Cel", unit = "[degF]"}""".replace("\n", ""),
        '{name = "A", address = "sine", minimum = -1, maximum = 1, deadband = 0.1}',
        '{name = "Twice", expression = "2 * A"}, {name = "A", address = "sine"}',
    ],
)
def test_what_may_well_be_meant_is_no_warning(tmp_path: Path, rows: str) -> None:
    assert said(tmp_path, rows) == []


def test_the_limits_of_a_broker_profile_count_every_level(tmp_path: Path) -> None:
    """AWS: 7 slashes, 256 bytes. Seen to bite: with `>=` the first device warns too."""
    gateway = GATEWAY + 'broker_profiles = ["aws", "azure"]\n'
    fits = device("fits", '{name = "c/d/e/f/g", address = "sine"}')  # Acme/SiteA/fits/…: 7 slashes.
    deep = device("deep", '{name = "c/d/e/f/g/h", address = "sine"}')
    long = device("long", f'{{name = "{"x" * 241}", address = "sine"}}')

    found = checked(tmp_path, gateway + fits + deep + long)

    assert [(each.code, each.where.partition(".groups")[0]) for each in found] == [
        ("OT-L01", "devices.deep"),
        ("OT-L01", "devices.long"),
        ("OT-L01", "devices.long"),
    ]
    assert "8 slashes, aws allows 7" in found[0].message
    assert "257 bytes, azure allows 256" in found[2].message


def test_the_elements_beneath_a_counter_count_for_the_limits(tmp_path: Path) -> None:
    gateway = GATEWAY + 'broker_profiles = ["aws"]\n'
    row = '{name = "c/d/e/f/Strokes", address = "counter", counter = "resets"}'

    [(code, message)] = said(tmp_path, row, gateway)

    assert code == "OT-L01"
    assert "Strokes/total: 8 slashes" in message
    assert "so are 1 more of toy" in message


def test_the_same_branch_in_two_spellings_is_a_warning(tmp_path: Path) -> None:
    one = device("one", '{name = "A", address = "sine"}', 'asset = "Press"\n')
    two = device("two", '{name = "B", address = "sine"}', 'asset = "PRESS"\npath = "Cell7"\n')
    three = device("three", '{name = "C", address = "sine"}', 'asset = "press"\n')

    [only] = checked(tmp_path, GATEWAY + one + two + three)

    assert (only.code, only.where) == ("OT-L04", "devices.three.asset")
    assert only.message == "press and Press (devices.one.asset) differ in case only"


def test_a_prefix_that_others_reserve_is_a_warning(tmp_path: Path) -> None:
    gateway = GATEWAY.replace("Acme", "spBv1.0")

    found = said(tmp_path, '{name = "A", address = "sine"}', gateway)

    assert found == [("OT-L03", "'spBv1.0' is the prefix of Sparkplug B")]


def test_a_template_that_nobody_uses_is_a_warning(tmp_path: Path) -> None:
    template = '[templates.press.groups.g]\ntags = [{name = "A", address = "sine"}]\n'

    found = said(tmp_path, '{name = "A", address = "sine"}', template + GATEWAY)

    assert found == [("OT-L11", "no device uses the template press")]


def test_an_experimental_protocol_is_a_warning(tmp_path: Path) -> None:
    plant = (
        '[devices.p]\nprotocol = "s7plus"\nhost = "h"\n[devices.p.groups.g]\n'
        """tags = [{name = "A", address = '"Press"."A"', type = "REAL"}]\n"""
    )

    found = [each for each in checked(tmp_path, GATEWAY + plant) if isinstance(each, Caution)]

    assert [each.code for each in found] == ["OT-L12"]


def test_a_code_can_be_ignored_and_an_unknown_one_is_an_error(tmp_path: Path) -> None:
    gateway = GATEWAY + 'ignore_warnings = ["OT-L06", "OT-L99"]\n'

    [wrong] = checked(tmp_path, gateway + device("toy", '{name = "P_kW", address = "sine"}'))

    assert not isinstance(wrong, Caution)
    assert str(wrong).startswith(
        "ot/plant.toml:4: gateway.ignore_warnings: no warning has the code"
    )


def test_a_thousand_warnings_of_one_kind_do_not_hide_another(tmp_path: Path) -> None:
    dots = ", ".join(f'{{name = "A.{i}", address = "constant:{i}"}}' for i in range(1_000))
    last = ', {name = "P_kW", address = "sine"}'

    found = said(tmp_path, dots + last)

    assert [code for code, _ in found] == ["OT-L02"] * 20 + ["OT-L06", "OT-L02"]
    assert found[-1][1].startswith("'A.999' holds a dot; 1,000 warnings of this kind in all")


def test_every_warning_has_its_code_and_help_in_one_line(tmp_path: Path) -> None:
    [warning] = checked(tmp_path, GATEWAY + device("toy", '{name = "P_kW", address = "sine"}'))

    assert str(warning).startswith("warning: ot/plant.toml:7: devices.toy.groups.all tag P_kW: ")
    assert str(warning).endswith(" [OT-L06]")
    assert warning.help == LINTS["OT-L06"].help


def test_every_warning_is_tested_here_and_is_on_the_page() -> None:
    """Seen to bite: a code left out of the page; a code added to LINTS without a test."""
    tested = set(re.findall(r"OT-L\d\d", Path(__file__).read_text("utf-8"))) - {"OT-L99"}
    rows = dict(re.findall(r"^\| `(OT-L\d\d)` \| (.*?) \|", PAGE, re.MULTILINE))

    assert tested == set(LINTS)
    assert rows == {code: lint.title for code, lint in LINTS.items()}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Temperature_C", "Cel"),
        ("Oven_degF", "[degF]"),
        ("Energy_kWh", "kW.h"),
        ("Load_pct", "%"),
        ("Speed_rpm", "{rev}/min"),
        ("Speed_m_s", "m/s"),
        ("Runtime_h", "h"),
        ("Temperature", None),
        ("Temperature_min", None),
        ("Valve_N", None),
        ("C", None),
        ("Shift_A", None),
    ],
)
def test_the_unit_in_a_name(name: str, code: str | None) -> None:
    unit = unit_in_name(name)

    assert (unit.code if unit else None) == code
