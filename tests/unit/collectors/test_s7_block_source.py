"""Goal: a block's source gives each tag the address that the PLC gives it, or says why it cannot.

Method: a source as TIA Portal writes it, its offsets taken down by hand from the rules; random
declarations against a layout that marks byte after byte as taken; sources cut and garbled, which
may only be refused. What cannot be shown without hardware: that TIA Portal lays out the same. Seen
to bite: values of four bytes at every fourth byte, a byte that begins at an even one, structures
that do not end at an even byte.
"""

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.s7.blocksource import tags_of_source

PATIENT = settings(deadline=None)
"""How long an example takes is the machine's business."""

SOURCE = """\
TYPE "Motor"
VERSION : 0.1
   STRUCT
      On : Bool;
      Speed { ExternalWritable := 'False'} : Int := 5;   // in 1/min
   END_STRUCT;
END_TYPE

DATA_BLOCK "Press"
{ S7_Optimized_Access := 'FALSE' }
VERSION : 0.1
NON_RETAIN
   VAR RETAIN
      Temperature : Real := 21.5;   // Oil temperature
      A : Bool;
      B : Bool;
      C : Byte;
      D : Bool;
      E : DInt;
      Zones : Array[1..8] of Real;
      Bits : Array[0..9] of Bool;
      Name : String[20] := 'it$'s; (* nice *)';
      "odd name/x" : Char;
      (* two of
         them *)
      Motors : Array[-1..0] of "Motor";
      State : Struct   // what it does
         Running : Bool;
         Since : DTL;
      END_STRUCT;
      Last : Byte;
      Table : Array[0..1, 0..2] of Int;
      Wait : Time := T#5S;
   END_VAR
BEGIN
   Temperature := 0.0;
END_DATA_BLOCK
"""
BY_HAND = [
    ("Temperature", "DB40.DBD0:REAL"),
    ("A", "DB40.DBX4.0:BOOL"),
    ("B", "DB40.DBX4.1:BOOL"),
    ("C", "DB40.DBB5:BYTE"),
    ("D", "DB40.DBX6.0:BOOL"),
    ("E", "DB40.DBD8:DINT"),
    ("Zones", "DB40.DBD12:REAL[1..8]"),
    ("Bits", "DB40.DBX44.0:BOOL[10]"),
    ("Name", "DB40.DBB46:STRING(20)"),
    ("odd name_x", "DB40.DBB68:CHAR"),
    ("Motors/-1/On", "DB40.DBX70.0:BOOL"),
    ("Motors/-1/Speed", "DB40.DBW72:INT"),
    ("Motors/0/On", "DB40.DBX74.0:BOOL"),
    ("Motors/0/Speed", "DB40.DBW76:INT"),
    ("State/Running", "DB40.DBX78.0:BOOL"),
    ("State/Since", "DB40.DBB80:DTL"),
    ("Last", "DB40.DBB92:BYTE"),
    ("Table", "DB40.DBW94:INT[6]"),
    ("Wait", "DB40.DBD106:TIME"),
]


def test_a_source_gives_the_addresses_that_were_counted_by_hand() -> None:
    found = tags_of_source(SOURCE, 40)

    assert [(each.name, each.address) for each in found] == BY_HAND
    said = {each.name: each.description for each in found}
    assert said["Temperature"] == "Oil temperature"
    assert said["Motors/0/Speed"] == "in 1/min"
    assert said["A"] == ""


def test_step_7_names_the_block_by_its_number() -> None:
    classic = """
        DATA_BLOCK DB 7
        TITLE =
        STRUCT
          a : ARRAY [1 .. 3 ] OF //comment
              BYTE ;
          b : DATE_AND_TIME ;
        END_STRUCT ;
        BEGIN
        END_DATA_BLOCK"""

    assert [each.address for each in tags_of_source(classic)] == [
        "DB7.DBB0:BYTE[1..3]",
        "DB7.DBB4:DT",
    ]


BYTES = {
    "Bool": 0,
    "Byte": 1,
    "SInt": 1,
    "Int": 2,
    "Real": 4,
    "LReal": 8,
    "DTL": 12,
    "String[5]": 7,
}
KINDS = st.sampled_from(sorted(BYTES))
MEMBERS = st.lists(
    st.one_of(KINDS, st.lists(KINDS, min_size=1, max_size=6)), min_size=1, max_size=25
)


def laid_out(members: list[str | list[str]]) -> tuple[list[str], list[str]]:
    """Return the declarations, and the addresses by marking bits as taken one after the other."""
    source: list[str] = []
    addresses: list[str] = []
    taken = 0  # Bits.

    def even() -> None:
        nonlocal taken
        while taken % 16:
            taken += 1

    def place(kind: str) -> None:
        nonlocal taken
        name = kind.upper().replace("[", "(").replace("]", ")")
        if kind == "Bool":
            addresses.append(f"DB1.DBX{taken // 8}.{taken % 8}:BOOL")
            taken += 1
            return
        while taken % 8:
            taken += 1
        if BYTES[kind] > 1:
            even()
        letter = {1: "B", 2: "W", 4: "D"}.get(BYTES[kind], "B")
        addresses.append(f"DB1.DB{letter}{taken // 8}:{name}")
        taken += 8 * BYTES[kind]

    for number, member in enumerate(members):
        if isinstance(member, str):
            source.append(f"m{number} : {member};")
            place(member)
            continue
        even()
        inner = " ".join(f"x{at} : {kind};" for at, kind in enumerate(member))
        source.append(f"m{number} : Struct {inner} END_STRUCT;")
        for kind in member:
            place(kind)
        even()
    return source, addresses


@PATIENT
@given(MEMBERS)
def test_any_declarations_lie_where_the_rules_put_them(members: list[str | list[str]]) -> None:
    source, addresses = laid_out(members)
    text = "DATA_BLOCK DB1 STRUCT\n" + "\n".join(source) + "\nEND_STRUCT; BEGIN END_DATA_BLOCK"

    assert [each.address for each in tags_of_source(text)] == addresses


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (("'FALSE'", "'TRUE'"), "line 10: the block has optimised access and so no offsets"),
        (("D : Bool", "D : TON_TIME"), "line 18: TON_TIME is of a size that is not known"),
        (("[0..1, 0..2] of Int", "[0..1, 0..2] of Bool"), "line 32: an array of arrays"),
        (("A : Bool", "A Bool"), "line 15: expected ':', found 'Bool'"),
        (("[1..8]", "[8..1]"), "expected 1 to 10000 elements"),
        (("DATA_BLOCK", "FUNCTION_BLOCK"), "no DATA_BLOCK in this source"),
        (("      Running : Bool;\n         Since : DTL;\n", ""), "expected a declaration"),
        (("String[20]", "Array[0..40000] of Real"), "elements"),
    ],
)
def test_a_source_that_gives_no_addresses_is_answered_by_what_to_do(
    change: tuple[str, str], advice: str
) -> None:
    assert change[0] in SOURCE
    with pytest.raises(ValueError, match=re.escape(advice)):
        tags_of_source(SOURCE.replace(*change), 40)


def test_a_symbolic_block_needs_its_number() -> None:
    with pytest.raises(ValueError, match="give it, such as --db 40"):
        tags_of_source(SOURCE)


@PATIENT
@given(st.data())
def test_a_garbled_source_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(SOURCE)))
    end = data.draw(st.integers(start, len(SOURCE)))
    noise = data.draw(
        st.sampled_from(["", ";", "[", ":", "STRUCT", "END_STRUCT", '"', "Array[", "'"])
    )

    with contextlib.suppress(ValueError):
        tags_of_source(SOURCE[:start] + noise + SOURCE[end:], 40)
