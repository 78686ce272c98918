"""Goal: symbols are understood as TIA Portal writes them, all else is answered with advice.

Method: addresses as people write them, and sample.toml as it is and with every default shown.
"""

import contextlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

import collectors.s7plus
from collectors.compiling import ResolvedArray
from collectors.s7plus.address import TYPES, library_name, parse_addresses, written_name
from collectors.s7plus.config import S7PlusSettings, _resolve, compile_device, keys_of_url
from collectors.s7plus.reading import ITEM_BYTES_MAX, GroupReads, found_at, item_bytes
from common.errors import Finding
from common.plant import load_plant
from common.records import ValueType
from common.tagtable import TagRow

SAMPLE = Path(collectors.s7plus.__file__).with_name("sample.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "type_cell", "canonical", "spelling"),
    [
        ('"Press"."Temperature"', "REAL", '"Press"."Temperature":REAL', "Press.Temperature"),
        ('"Press"."Temperature":real', "", '"Press"."Temperature":REAL', "Press.Temperature"),
        ('"Press"."Zones"[3]', "LReal", '"Press"."Zones"[3]:LREAL', "Press.Zones[3]"),
        ('"M"."Grid"[1,-2]."x":INT', "", '"M"."Grid"[1,-2]."x":INT', "M.Grid[1,-2].x"),
        ('"Größe 1"."in mm":STRING(20)', "", '"Größe 1"."in mm":STRING', "Größe 1.in mm"),
        ('"Door_closed"', "Bool", '"Door_closed":BOOL', "Door_closed"),
        ('"A"."t":Time_Of_Day', "time_of_day", '"A"."t":TOD', "A.t"),
        ("8a0e0028.a", "real", "8A0E0028.A:REAL", ""),
        ("52.3E8:BOOL", "", "52.3E8:BOOL", ""),
    ],
)
def test_an_address_is_understood(text: str, type_cell: str, canonical: str, spelling: str) -> None:
    [address] = parse_addresses(text, type_cell)

    assert (str(address), address.symbol) == (canonical, spelling)
    if address.symbol:
        assert written_name(address.symbol) == address.written


@pytest.mark.parametrize(
    ("type_cell", "first", "last"),
    [("REAL[3]", "0", "2"), ("real[1..3]", "1", "3"), ("REAL[-1..1]", "-1", "1")],
)
def test_an_array_is_a_tag_for_each_element(type_cell: str, first: str, last: str) -> None:
    resolved = _resolve(TagRow(name="Z", address='"Press"."Zones"', type=type_cell))

    assert isinstance(resolved, ResolvedArray)
    indexes = [index for index, _ in resolved.elements]
    assert (indexes[0], indexes[-1], len(indexes)) == (first, last, 3)
    assert resolved.elements[0][1].canonical == f'"Press"."Zones"[{first}]:REAL'


@pytest.mark.parametrize(
    ("text", "type_cell", "advice"),
    [
        ("DB40.DBD12", "REAL", 'protocol = "s7"'),
        ("%MW4", "INT", 'protocol = "s7"'),
        ('ns=3;s="Press"."Temperature"', "REAL", 'protocol = "opcua"'),
        ("Press.Temperature", "REAL", "quotation marks"),
        ('"Press".Temperature', "REAL", "quotation marks"),
        ('"Press"."Temperature', "REAL", "quotation marks"),
        ('"Press"."Temperature"', "", "needs its type"),
        ('"Press"."Temperature"', "FLOAT", "did you mean 'REAL'"),
        ('"Press"."Temperature":INT', "REAL", "two types"),
        ('"Press"."Start"', "DTL", "read its members"),
        ('"Press"."Zones"[1]', "REAL[3]", "element already"),
        ('"Press"."Zones"', "REAL[3..1]", "1 to 10000"),
        ('"Press"."Zones"', "REAL[0]", "1 to 10000"),
        ('"Press"."Zones"', "REAL[99999]", "1 to 10000"),
        ("8A0E0028.A", "REAL[3]", "read by its symbol"),
        ("8A0E0028", "REAL", "quotation marks"),
        ("8A0E00280.A", "REAL", "quotation marks"),
        ("DB1.DBB4.A", "BYTE", 'protocol = "s7"'),
        ('"a".' * 40 + '"a"', "REAL", "at most 32 names"),
    ],
)
def test_what_cannot_be_is_answered_with_advice(text: str, type_cell: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        parse_addresses(text, type_cell)


@given(st.text(), st.text())
def test_no_text_breaks_the_parser(text: str, type_cell: str) -> None:
    with contextlib.suppress(ValueError):
        parse_addresses(text, type_cell)


@given(st.lists(st.text("abc ÄÖ_1", min_size=1), min_size=1, max_size=5))
def test_a_name_goes_to_the_library_and_comes_back(names: list[str]) -> None:
    written = ".".join(f'"{name}"' for name in names)

    assert written_name(library_name(written)) == written


def test_every_type_leaves_as_something() -> None:
    assert {each.value_type for each in TYPES.values()} == set(ValueType) - {ValueType.BYTES}


@pytest.mark.parametrize(
    "text", [SAMPLE, re.sub(r"^#(?=[a-z_]+ = )", "", SAMPLE, flags=re.MULTILINE)]
)
def test_the_sample_is_a_configuration(text: str, tmp_path: Path) -> None:
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot/plant.toml").write_text(
        '[gateway]\nid = "g1"\nroot = "Acme"\n\n' + text, "utf-8"
    )
    findings: list[Finding] = []

    settings = compile_device(load_plant(tmp_path).devices[0], findings)

    assert findings == []
    assert isinstance(settings, S7PlusSettings)
    names = [column.name for column in settings.groups[0].plan.columns]
    assert names == [
        "Temperature_C",
        "Speed",
        "Zone/1",
        "Zone/2",
        "Zone/3",
        "Door_closed",
        "Recipe",
    ]


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        (
            "s7plus://192.0.2.40?experimental=true&fingerprint=AB",
            {"host": "192.0.2.40", "experimental": True, "fingerprint": "AB"},
        ),
        (
            "s7plus://plc.local:1102/?experimental=true&ca_file=ca.pem",
            {"host": "plc.local", "port": 1102, "experimental": True, "ca_file": "ca.pem"},
        ),
        ("s7plus://plc.local", {"host": "plc.local"}),
    ],
)
def test_a_url_means_the_keys_of_a_device(url: str, keys: dict[str, object]) -> None:
    assert keys_of_url(urlsplit(url)) == keys


@pytest.mark.parametrize(
    "url",
    [
        "s7plus://",
        "s7plus://h/1",
        "s7plus://h?plain=true",
        "s7plus://u@h",
        "s7plus://h?experimental=yes",
    ],
)
def test_another_url_is_answered_with_the_right_form(url: str) -> None:
    with pytest.raises(ValueError, match=r"s7plus://192.0.2.40\?experimental=true"):
        keys_of_url(urlsplit(url))


def test_a_single_name_is_a_tag_of_the_plcs_table() -> None:
    known = {
        "IArea.Door_closed": ((0x50, 9), "BOOL"),
        "MArea.Speed": ((0x52, 3), "INT"),
        "Press.Speed": ((0x8A0E0028, 4), "REAL"),
    }
    [door] = parse_addresses('"Door_closed"', "BOOL")
    [speed] = parse_addresses('"Press"."Speed"', "REAL")
    [nobody] = parse_addresses('"Door_closed"."x"', "BOOL")

    assert found_at(door, known) == ((0x50, 9), "BOOL")
    assert found_at(speed, known) == ((0x8A0E0028, 4), "REAL")
    assert found_at(nobody, known) is None


def test_no_read_is_larger_than_a_frame(tmp_path: Path) -> None:
    deep = "8A0E0001." + ".".join(["FFFFFFFF"] * 8)
    rows = "".join(f'{{ name = "T{i}", address = "{deep}", type = "INT" }},' for i in range(60))
    keys = f'experimental = true\nfingerprint = "{"00" * 32}"\n'
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot/plant.toml").write_text(
        '[gateway]\nid = "g1"\nroot = "Acme"\n\n[devices.p]\nprotocol = "s7plus"\nhost = "h"\n'
        f"{keys}[devices.p.groups.all]\ntags = [{rows}]\n"
    )
    findings: list[Finding] = []
    settings = compile_device(load_plant(tmp_path).devices[0], findings)
    assert settings is not None
    reads = GroupReads(settings.groups[0])

    sizes = [sum(item_bytes(reads.places[c] or ()) for c in batch) for batch in reads.batches]

    assert sum(map(len, reads.batches)) == 60, "every tag once"
    assert max(sizes) <= ITEM_BYTES_MAX
