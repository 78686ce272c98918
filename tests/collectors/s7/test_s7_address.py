"""Goal: every dialect means what its users mean, and what is wrong is answered by what is right.

Method: tables of what people write, and a plant whose every row is wrong.
"""

import contextlib
import itertools
import re
import urllib.parse
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import collectors.s7
from collectors.compiling import CompiledGroup
from collectors.s7.address import Address, Array
from collectors.s7.config import S7Config, compile_device, keys_of_url
from collectors.s7.decode import decoder
from collectors.s7.dialects import parse_address
from collectors.s7.packing import Limits
from collectors.s7.reading import GroupReads
from collectors.s7.refusals import OUT_OF_RANGE, Refused
from collectors.s7.types import TYPES
from common.errors import Finding
from common.plant import load_plant
from common.records import Plan

PATIENT = settings(deadline=None)
"""How long an example takes is the machine's business."""

SAMPLE = Path(collectors.s7.__file__).with_name("sample.toml").read_text(encoding="utf-8")
GATEWAY = '[gateway]\nid = "box"\nroot = "Acme/SiteA"\n'

EXAMPLES = {
    "STRING": b"\x02\x02ab",
    "WSTRING": b"\0\x02\0\x02\0a\0b",
    "DT": bytes.fromhex("2601020304050607"),
    "DTL": bytes.fromhex("07ea0102060304050000000a"),
}
"""Bytes of the types that zeros are no value of."""

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
    # TIA Portal's other types, short and long names
    ("DB1.DBD8:TIME", "", "DB1.DBD8:TIME"),
    ("DB1.DBD8", "Time_Of_Day", "DB1.DBD8:TOD"),
    ("DB1.DBB8", "Date_And_Time", "DB1.DBB8:DT"),
    ("DB1.DBB8", "DTL", "DB1.DBB8:DTL"),
    ("DB1.DBW8", "S5Time", "DB1.DBW8:S5TIME"),
    ("DB1.DBB8", "LTime", "DB1.DBB8:LTIME"),
    ("DB1.DBB8:WSTRING(10)", "", "DB1.DBB8:WSTRING(10)"),
    ("DB1.DBB8", "WString[10]", "DB1.DBB8:WSTRING(10)"),
    ("DB1.DBB8", "WSTRING", "DB1.DBB8:WSTRING(254)"),
    ("PIW256:INT", "", "PIW256:INT"),
    ("PEW256", "int", "PIW256:INT"),
    ("%IW256:P", "int", "PIW256:INT"),
    ("%EW256:P:INT", "", "PIW256:INT"),
    # timers and counters
    ("T5", "", "T5:TIMER"),
    ("T5:TIMER", "", "T5:TIMER"),
    ("T5", "s5time", "T5:TIMER"),
    ("TM.W5", "", "T5:TIMER"),
    ("Z7", "", "C7:COUNTER"),
    ("C7", "counter", "C7:COUNTER"),
    ("CT.W7", "", "C7:COUNTER"),
    # arrays
    ("DB1.DBD4:REAL[20]", "", "DB1.DBD4:REAL[20]"),
    ("DB1.DBD4", "REAL[1..20]", "DB1.DBD4:REAL[1..20]"),
    ("DB1.DBD4", "Array[-2..2] of Real", "DB1.DBD4:REAL[-2..2]"),
    ("DB1.DBB0", "Array[1..5] of String[20]", "DB1.DBB0:STRING(20)[1..5]"),
    ("DB1.DBB0:STRING[20][5]", "", "DB1.DBB0:STRING(20)[5]"),
    ("DB1.DBX0.3:BOOL[16]", "", "DB1.DBX0.3:BOOL[16]"),
    ("%DB1:0.3:BOOL[4]", "", "DB1.DBX0.3:BOOL[4]"),
    ("DB1,REAL0.20", "", "DB1.DBD0:REAL[20]"),
    ("DB1,REAL0.1", "", "DB1.DBD0:REAL"),
    ("DB1,REAL0[20]", "", "DB1.DBD0:REAL[20]"),
    ("DB1,X0.3.8", "", "DB1.DBX0.3:BOOL[8]"),
    ("DB1,STRING12.20.3", "", "DB1.DBB12:STRING(20)[3]"),
    ("C5:COUNTER[3]", "", "C5:COUNTER[3]"),
    # Telegraf and UMH
    ("PE.X0.0", "", "I0.0:BOOL"),
    ("PA.B3", "", "QB3:BYTE"),
    ("MK.W10", "", "MW10:WORD"),
    ("DB1.W10", "", "DB1.DBW10:WORD"),
    ("DB1.W10", "int", "DB1.DBW10:INT"),
    ("DB1.DI4", "", "DB1.DBD4:DINT"),
    ("DB1.S12.20", "", "DB1.DBB12:STRING(20)"),
    ("DB1.DT20", "", "DB1.DBB20:DT"),
    ("DB1.C3", "", "DB1.DBB3:CHAR"),
    # nodeS7
    ("MR4", "", "MD4:REAL"),
    ("MI10", "", "MW10:INT"),
    ("MDI4", "", "MD4:DINT"),
    # Neuron: DBW says nothing, the column all
    ("DB40.DBW12", "FLOAT", "DB40.DBD12:REAL"),
    ("DB40.DBW12", "int16", "DB40.DBW12:INT"),
    ("DB40.DBW12", "UINT32", "DB40.DBD12:UDINT"),
    ("DB40.DBW12", "DOUBLE", "DB40.DBB12:LREAL"),
    ("DB1.DBW0.3", "BIT", "DB1.DBX0.3:BOOL"),
    ("DB1.DBW12.20", "STRING", "DB1.DBB12:STRING(20)"),
    ("F6", "INT16", "MW6:INT"),
    # LOGO!
    ("VD4", "DWORD", "DB1.DBD4:DWORD"),
    ("V0.1", "", "DB1.DBX0.1:BOOL"),
]

REFUSED = [
    ("DB40.DBD12", "", "REAL, DINT, DWORD, UDINT, TIME or TOD"),
    ("DB1.DBW4", "", "WORD, INT, UINT, WCHAR, S5TIME or DATE"),
    ("I0", "", "I0.0"),
    ("DB40.DBW12:REAL", "", "write DB40.DBD12:REAL"),
    ("DB1.DBX0.3", "int", "write DB1.DBW0:INT"),
    ("DB40.DBD12:REAL", "dint", "two types, REAL and DINT"),
    ("DB40.DBD12:FLOAT", "", "did you mean 'REAL'?"),
    ("DB40.DBD12", "DIMT", "did you mean 'DINT'?"),
    ("DB1.DBX0.8", "", "0 to 7"),
    ("DB1.DBX0", "", "such as DB1.DBX0.0:BOOL"),
    ("DB1.DBD0.20", "REAL", "written DB1.DBD0:REAL[20]"),
    ("DB1.DBD0:REAL[20000]", "", "1 to 10000 elements, found 20000"),
    ("DB1.DBD0:REAL[5..1]", "", "1 to 10000 elements, found -3"),
    ("DB1.DBD0:REAL[0..1,0..2]", "", "the number of all its elements"),
    ("DB1.DBD65000:REAL[500]", "", "behind byte 65535"),
    ("DB1.DBD0:REAL[5]", "REAL[6]", "two sizes"),
    ("DB1.DBD0:REAL(5)", "", "only a STRING or WSTRING has room"),
    ("DB1.DBW12:FLOAT", "", "did you mean 'REAL'?"),
    ("QW256:P", "INT", "read their process image, Q"),
    ("PAW5", "INT", "read their process image, Q"),
    ("T5", "INT", "is a TIMER, no INT"),
    ("DB1.DBW0:TIMER", "", "write T5:TIMER, or S5TIME"),
    ("T70000", "", "behind number 65535"),
    ("DB0.DBD0:REAL", "", "from 1 to 65535"),
    ("DB1.DBD65534:REAL", "", "behind byte 65535"),
    ("DB1.DBB0:STRING(300)", "", "1 to 254"),
    ("DB40.XYZ12", "", "unknown 'XYZ'"),
    ('"Press".Temperature', "", "opcua"),
    ("40001", "", "write it as DB40.DBD12:REAL"),
]


@pytest.mark.parametrize(("written", "cell", "canonical"), UNDERSTOOD)
def test_every_dialect_has_one_canonical_form(written: str, cell: str, canonical: str) -> None:
    address = parse_address(written, cell)

    assert str(address) == canonical
    assert parse_address(canonical, "") == address, "what is shown can be written"


def places() -> st.SearchStrategy[Address | Array]:
    """Return any place that an S7 can have, in no dialect."""

    @st.composite
    def place(draw: st.DrawFn) -> Address | Array:
        name = draw(st.sampled_from(sorted(TYPES)))
        area = {"TIMER": "T", "COUNTER": "C"}.get(name)
        area = area or draw(st.sampled_from(["DB", "I", "Q", "M", "PI"]))
        address = Address(
            area=area,
            db=draw(st.integers(1, 65_535)) if area == "DB" else 0,
            start=draw(st.integers(0, 20_000)),
            bit=draw(st.integers(0, 7)) if name == "BOOL" else 0,
            type_name=name,
            room=draw(st.integers(1, min(TYPES[name].room_max, 300)))
            if TYPES[name].room_max
            else 0,
        )
        count = draw(st.integers(0, 50))
        lower = draw(st.integers(-20, 20))
        return Array(address, lower, count) if count else address

    return place()


@PATIENT
@given(places())
def test_every_place_is_understood_as_it_is_shown(place: Address | Array) -> None:
    assert parse_address(str(place), "") == place


@PATIENT
@given(places())
def test_the_elements_of_an_array_follow_each_other_without_touching(
    place: Address | Array,
) -> None:
    if isinstance(place, Address):
        return
    elements = list(place.elements())

    assert len(elements) == place.count
    assert [int(name) for name, _ in elements] == list(
        range(place.lower, place.lower + place.count)
    ), "numbered as the program counts"
    spans = [
        (e.first_byte * 8 + e.bit, e.first_byte * 8 + e.bit + 1)
        if e.type_name == "BOOL"
        else (e.first_byte * 8, (e.first_byte + e.length) * 8)
        for _, e in elements
    ]
    gaps = {after[0] - before[1] for before, after in itertools.pairwise(spans)}
    assert gaps <= ({0, 8} if place.first.room else {0})
    assert elements[-1][1] == place.last


@PATIENT
@given(st.text(max_size=40), st.text(max_size=20))
def test_whatever_is_written_is_understood_or_refused_with_a_sentence(text: str, cell: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_address(text, cell), Address | Array)


@PATIENT
@given(
    st.lists(
        st.sampled_from(
            [
                "DB",
                "1",
                ".",
                ",",
                ":",
                "D",
                "W",
                "X",
                "B",
                "I",
                "E",
                "M",
                "P",
                "T",
                "C",
                "[",
                "]",
                "(",
                ")",
                "..",
                "REAL",
                "STRING",
                "BOOL",
                "0",
                "7",
                "9",
                "%",
                "ARRAY[",
                "OF ",
                "-",
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_what_looks_like_an_address_is_understood_or_refused_with_a_sentence(text: str) -> None:
    for cell in ("", text, "REAL", "FLOAT"):
        with contextlib.suppress(ValueError):
            place = parse_address(text, cell)
            canonical = str(place)
            assert canonical == str(parse_address(canonical, "")), "what is shown can be written"


@pytest.mark.parametrize(("written", "cell", "advice"), REFUSED)
def test_a_wrong_address_is_answered_by_what_is_right(written: str, cell: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)) as refused:
        parse_address(written, cell)

    assert written in str(refused.value), "what was found"


def test_what_the_page_shows_is_understood_and_no_type_is_forgotten() -> None:
    page = Path(collectors.s7.__file__).with_name("README.md").read_text(encoding="utf-8")
    rows = page.split("| you write | means |")[1].split("\n\n")[0].splitlines()[2:]
    for row in rows:
        cell = row.split("|")[1]
        written = re.findall(r"`([^`]+)`", cell)
        if "column" in cell or " with " in cell:
            parse_address(written[0], written[1])
            continue
        for each in written:
            parse_address(each, "")

    assert len(rows) > 10
    assert [name for name in TYPES if not re.search(rf"\b{name}\b", page)] == []


def test_every_type_takes_as_many_bytes_as_its_decoder_reads() -> None:
    for name, kind in TYPES.items():
        area = {"TIMER": "T", "COUNTER": "C"}.get(name, "DB")
        address = Address(area, 1, 0, 0, name, 2 if kind.room_max else 0)
        good = EXAMPLES.get(name, b"\0" * address.length)
        decoder(address)(good, 0)
        if address.type_name in ("BOOL", "BYTE", "CHAR"):
            continue
        assert len(good) == address.length


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


def group_of(*addresses: str) -> CompiledGroup[Address]:
    plan = Plan("s7", "press", "a", "press", 100, ())
    places = [parse_address(address, "") for address in addresses]
    return CompiledGroup(plan, tuple(each for each in places if isinstance(each, Address)))


def test_tags_of_a_block_are_one_read_and_far_ones_another() -> None:
    group = group_of("DB1.DBW0:INT", "DB1.DBD30:REAL", "DB1.DBW400:INT", "M0.0", "DB2.DBB0:BYTE")

    planned = GroupReads(group, limits=Limits(240), gap_max=32).planned

    spans = [(read.area, read.start, read.length) for read in planned.reads]
    assert spans == [
        (("DB", 1), 0, 34),
        (("DB", 1), 400, 2),
        (("M", 0), 0, 1),
        (("DB", 2), 0, 1),
    ]
    assert len(planned.requests) == 1, "four items of one request"


def test_a_refused_tag_leaves_the_reads_and_comes_back() -> None:
    group = group_of("DB1.DBW0:INT", "DB1.DBD8:REAL")
    reads = GroupReads(group, limits=Limits(240), gap_max=32)
    [whole] = reads.planned.reads

    reads.refuse({field.column: Refused(OUT_OF_RANGE) for field in reads.candidates(whole)[1:]})
    [without] = reads.planned.reads
    refused = set(reads.refused)
    reads.restore()

    assert (without.start, without.length) == (0, 2)
    assert refused == {1}
    assert reads.planned.reads == (whole,)


@pytest.mark.parametrize(
    ("url", "keys"),
    [
        ("s7://192.0.2.5", {"host": "192.0.2.5"}),
        ("s7://192.0.2.5:1102/0/2", {"host": "192.0.2.5", "port": 1102, "rack": 0, "slot": 2}),
        ("s7://logo?remote_tsap=02.00", {"host": "logo", "remote_tsap": "02.00"}),
        (
            "s7://logo?remote_tsap=0x0200&local_tsap=0x0100&reply_timeout_ms=500&merge=false",
            {
                "host": "logo",
                "remote_tsap": 0x0200,
                "local_tsap": 0x0100,
                "reply_timeout_ms": 500,
                "merge": False,
            },
        ),
    ],
)
def test_a_url_names_the_keys_of_a_device(url: str, keys: dict[str, object]) -> None:
    assert keys_of_url(urllib.parse.urlsplit(url)) == keys


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("s7:///0/1", "names no host"),
        ("s7://plc/1", "write s7://HOST/RACK/SLOT"),
        ("s7://plc/a/b", "S7-1200 and S7-1500: /0/1"),
        ("s7://plc?tsap=1", "'tsap' is no key"),
    ],
)
def test_a_wrong_url_is_answered_by_what_is_right(url: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        keys_of_url(urllib.parse.urlsplit(url))


@pytest.mark.parametrize(
    ("keys", "called"),
    [
        ({}, 0x0101),
        ({"rack": 0, "slot": 2}, 0x0102),
        ({"rack": 1, "slot": 3, "connection_type": "op"}, 0x0223),
        ({"connection_type": "basic"}, 0x0301),
        ({"remote_tsap": "02.00", "slot": 5}, 0x0200),
        ({"remote_tsap": 0x1000}, 0x1000),
    ],
)
def test_rack_slot_and_kind_make_the_tsap_unless_it_is_written(
    keys: dict[str, object], called: int
) -> None:
    config = msgspec.convert({"host": "plc", **keys}, S7Config)

    assert config.called_tsap == called
