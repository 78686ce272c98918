"""Goal: every dialect means what its users mean, and what is wrong is answered by what is right.

Method: tables of what people write, and a plant whose every row is wrong.
"""

import re
import struct
import tomllib
from pathlib import Path

import pytest

import collectors.s7
from collectors.compiling import CompiledGroup
from collectors.s7.address import TYPES, parse_address
from collectors.s7.config import compile_device
from collectors.s7.decode import decoder
from collectors.s7.reading import GroupReads
from common.errors import Finding
from common.plant import load_plant
from common.records import Plan

SAMPLE = Path(collectors.s7.__file__).with_name("sample.toml").read_text(encoding="utf-8")
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'

UNDERSTOOD = [
    ("DB40.DBD12:REAL", "", "DB40.DBD12:REAL"),
    ("DB40.DBD12", "real", "DB40.DBD12:REAL"),
    ("%DB40.DBD12:REAL", "", "DB40.DBD12:REAL"),
    ("%DB40.DBD12", "REAL", "DB40.DBD12:REAL"),
    ("DB40.DBD12:REAL", "Real", "DB40.DBD12:REAL"),
    ("db40.dbd12:real", "", "DB40.DBD12:REAL"),
    ("DB40,REAL12", "", "DB40.DBD12:REAL"),
    ("DB40.R12", "", "DB40.DBD12:REAL"),
    ("%DB40:12:REAL", "", "DB40.DBD12:REAL"),
    ("DB1.DBX0.3:BOOL", "", "DB1.DBX0.3:BOOL"),
    ("DB1.DBX0.3", "", "DB1.DBX0.3:BOOL"),
    ("DB1,X0.3", "", "DB1.DBX0.3:BOOL"),
    ("DB1.X0.3", "", "DB1.DBX0.3:BOOL"),
    ("DB1,INT4", "", "DB1.DBW4:INT"),
    ("DB1.DW4", "", "DB1.DBD4:DWORD"),
    ("DB1.DBW4", "word", "DB1.DBW4:WORD"),
    ("DB1,STRING12.20", "", "DB1.DBB12:STRING(20)"),
    ("DB1.DBB12:STRING(20)", "", "DB1.DBB12:STRING(20)"),
    ("DB1.DBB12", "string[20]", "DB1.DBB12:STRING(20)"),
    ("DB1.DBB12", "STRING", "DB1.DBB12:STRING(254)"),
    ("DB1.DBX8.0:LREAL", "", "DB1.DBB8:LREAL"),
    ("DB1.DBB8", "lint", "DB1.DBB8:LINT"),
    ("I0.0", "", "I0.0:BOOL"),
    ("E0.7", "", "I0.7:BOOL"),
    ("%A1.7", "bool", "Q1.7:BOOL"),
    ("QB3", "byte", "QB3:BYTE"),
    ("EW2:INT", "", "IW2:INT"),
    ("M0.0", "", "M0.0:BOOL"),
    ("MW4:INT", "", "MW4:INT"),
    ("MD4", "real", "MD4:REAL"),
    ("MREAL4", "", "MD4:REAL"),
    ("%M4:REAL", "", "MD4:REAL"),
]

REFUSED = [
    ("DB40.DBD12", "", "REAL, DINT, DWORD or UDINT"),
    ("DB1.DBW4", "", "WORD, INT or UINT"),
    ("I0", "", "I0.0"),
    ("DB40.DBW12:REAL", "", "write DB40.DBD12:REAL"),
    ("DB1.DBX0.3", "int", "write DB1.DBW0:INT"),
    ("DB40.DBD12:REAL", "dint", "two types, REAL and DINT"),
    ("DB40.DBD12:FLOAT", "", "did you mean 'REAL'?"),
    ("DB40.DBD12", "DIMT", "did you mean 'DINT'?"),
    ("DB1.DBX0.8", "", "0 to 7"),
    ("DB1.DBX0", "", "such as DB1.DBX0.0:BOOL"),
    ("DB1,REAL0.20", "", "arrays are not read"),
    ("DB0.DBD0:REAL", "", "from 1 to 65535"),
    ("DB1.DBD65534:REAL", "", "behind byte 65535"),
    ("DB1.DBB0:STRING(300)", "", "1 to 254"),
    ("DB40.XYZ12", "", "unknown 'XYZ'"),
    ("T5", "", "timers and counters are not read"),
    ('"Press".Temperature', "", "opcua"),
    ("40001", "", "write it as DB40.DBD12:REAL"),
]


@pytest.mark.parametrize(("written", "cell", "canonical"), UNDERSTOOD)
def test_every_dialect_has_one_canonical_form(written: str, cell: str, canonical: str) -> None:
    address = parse_address(written, cell)

    assert str(address) == canonical
    assert parse_address(canonical, "") == address, "what is shown can be written"


@pytest.mark.parametrize(("written", "cell", "advice"), REFUSED)
def test_a_wrong_address_is_answered_by_what_is_right(written: str, cell: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)) as refused:
        parse_address(written, cell)

    assert written in str(refused.value), "what was found"


def test_every_type_takes_as_many_bytes_as_its_decoder_reads() -> None:
    for name, kind in TYPES.items():
        address = parse_address(f"DB1.DBX0.0:{name}" if kind.letter == "X" else f"DB1:0:{name}", "")
        if name == "STRING":
            assert decoder(address)(b"\xfe\x02ab" + b"\0" * 252, 0) == "ab"
            continue
        decoder(address)(b"\xff" * address.length, 0)
        with pytest.raises((struct.error, IndexError)):
            decoder(address)(b"\xff" * (address.length - 1), 0)


def write_plant(config_dir: Path, devices: str, rows: str) -> None:
    (config_dir / "ot").mkdir()
    (config_dir / "ot/plant.toml").write_text(GATEWAY + devices)
    (config_dir / "ot/press.csv").write_text(rows)


def test_findings_name_file_line_and_what_would_be_right(tmp_path: Path) -> None:
    write_plant(
        tmp_path,
        '[devices.press]\nprotocol = "s7"\nhost = "192.0.2.1"\nslott = 2\nrack = 9\n'
        '[devices.press.groups.a]\ntags = "press.csv"\n',
        "name,address,type,scale\nGood,DB1.DBW0,int,\nTemp,DB40.DBD12,,\nOn,DB1.DBX0.0,,2\n",
    )
    findings: list[Finding] = []

    settings = compile_device(load_plant(tmp_path).devices[0], findings)

    assert settings is None
    text = [str(finding) for finding in findings]
    assert len(text) == 4, text
    assert "devices.press.slott" in text[0]
    assert "did you mean 'slot'?" in text[0]
    assert "devices.press.rack" in text[1]
    assert text[2].startswith("ot/press.csv:3: devices.press.groups.a tag Temp:")
    assert "DB40.DBD12:REAL" in text[2]
    assert text[3].startswith("ot/press.csv:4:")
    assert "scale" in text[3], "a bit cannot be scaled"


@pytest.mark.parametrize("with_defaults", [False, True])
def test_the_sample_loads_and_its_comments_are_the_defaults(
    tmp_path: Path, *, with_defaults: bool
) -> None:
    lines = [
        line[1:] if with_defaults and line.startswith("#") and not line.startswith("# ") else line
        for line in SAMPLE.splitlines()
    ]
    (tmp_path / "ot").mkdir()
    (tmp_path / "ot/plant.toml").write_text(GATEWAY + "\n".join(lines))
    findings: list[Finding] = []

    settings = compile_device(load_plant(tmp_path).devices[0], findings)

    assert settings is not None, findings
    (tmp_path / "ot/plant.toml").write_text(GATEWAY + SAMPLE)
    assert settings == compile_device(load_plant(tmp_path).devices[0], findings)
    shown = set(tomllib.loads(SAMPLE.replace("\n#", "\n"))["devices"]["press"])
    assert set(type(settings.config).__struct_fields__) <= shown, "every key is in the sample"


def group_of(*addresses: str) -> CompiledGroup:  # type: ignore[type-arg]
    plan = Plan("s7", "press", "a", "press", 100, ())
    return CompiledGroup(plan, tuple(parse_address(address, "") for address in addresses))


def test_tags_of_a_block_are_one_read_and_far_ones_another() -> None:
    group = group_of("DB1.DBW0:INT", "DB1.DBD30:REAL", "DB1.DBW400:INT", "M0.0", "DB2.DBB0:BYTE")

    reads = GroupReads(group, bytes_max=222, gap_max=32).reads

    spans = [(read.area, read.start, read.length) for read in reads]
    assert spans == [
        (("DB", 1), 0, 34),
        (("DB", 1), 400, 2),
        (("M", 0), 0, 1),
        (("DB", 2), 0, 1),
    ]


def test_a_refused_tag_leaves_the_reads_and_comes_back() -> None:
    group = group_of("DB1.DBW0:INT", "DB1.DBD8:REAL")
    reads = GroupReads(group, bytes_max=222, gap_max=32)
    [whole] = reads.reads

    reads.refuse(reads.candidates(whole)[1:])
    [without] = reads.reads
    back = reads.restore()

    assert (without.start, without.length) == (0, 2)
    assert back == [1]
    assert reads.reads == [whole]
