"""Goal: what a device offers becomes a tag table that the house takes, whatever the device says.

Method: things found, as the collectors tell them, hostile ones included; the CSV is read back by
the house's own reader of tag tables and compiled by the protocol.
"""

import csv
import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.check import check_plant
from common.answers import Busy, Connected, FoundTold, Told
from common.errors import Caution
from common.plant import Plant, read_plant
from common.tagtable import TAGS_MAX
from console.browsing import TagRows, chosen, topic_levels, write_json, write_table
from console.globs import topic_filter

PLANT = """
[gateway]
id = "g"
root = "Acme"
[devices.toy]
protocol = "simulated"
[devices.toy.groups.all]
tags = "tags/toy.csv"
"""


def written(found: list[FoundTold], tmp_path: Path) -> tuple[Plant, TagRows]:
    """Write what was found as a tag table, and return the plant that reads it, without findings."""
    rows, out = TagRows(), io.StringIO()
    rows.write(found, out)
    (tmp_path / "ot/tags").mkdir(parents=True, exist_ok=True)
    (tmp_path / "ot/plant.toml").write_text(PLANT)
    (tmp_path / "ot/tags/toy.csv").write_text(out.getvalue())
    plant = read_plant(tmp_path, [])
    assert plant is not None
    assert [each for each in check_plant(tmp_path) if not isinstance(each, Caution)] == []
    return plant, rows


def test_rows_come_back_as_they_were_found(tmp_path: Path) -> None:
    """Seen to bite: with the cells joined by commas the tag table is refused."""
    found = [
        FoundTold(
            name="Line1/Press.Temp",
            address='constant:say "A;B", or\tC',
            type="string",
            unit="Cel",
            description='oil; "hot", both\nlines',
        ),
        FoundTold(name="Sine", address="sine"),
    ]

    plant, rows = written(found, tmp_path)

    first, second = (tag.row for tag in plant.devices[0].groups[0].tags)
    assert (first.name, first.address, first.type) == (
        *("Line1/Press.Temp", 'constant:say "A;B", or\tC', "string"),
    )
    assert first.unit == "Cel"
    assert first.description == 'oil; "hot", both\\nlines', "one line, whatever the device says"
    assert (second.name, second.address) == ("Sine", "sine")
    assert rows.notes() == []


def test_names_that_a_topic_cannot_hold_or_that_are_taken_are_mended(tmp_path: Path) -> None:
    """Seen to bite: without casefold the plant refuses `temp` beside `Temp`."""
    names = ["Temp", "temp", "Öl #1", "_private", "a//b", "$SYS/+", "Temp_2"]
    found = [FoundTold(name=name, address="sine") for name in names]

    plant, rows = written(found, tmp_path)

    assert [tag.row.name for tag in plant.devices[0].groups[0].tags] == [
        *("Temp", "temp_2", "l__1", "private", "a/b", "SYS", "Temp_2_2")
    ]
    assert rows.notes() == ["6 renamed: a topic cannot hold the name, or it is taken"]


@given(st.text(max_size=400))
def test_every_name_becomes_levels_of_a_topic(name: str) -> None:
    levels = topic_levels(name)

    assert 1 <= len(levels) <= 256
    for level in levels.split("/"):
        assert level
        assert level.replace("_", "").replace(".", "").replace("-", "").isascii()
        assert not level.startswith("_")


def test_a_text_of_the_device_is_never_a_formula(tmp_path: Path) -> None:
    """Seen to bite: without the quote the cell begins with `=`."""
    found = [FoundTold(name="a", address="sine", unit="-", description='=HYPERLINK("http://x")')]

    plant, _ = written(found, tmp_path)

    row = plant.devices[0].groups[0].tags[0].row
    assert row.description == '\'=HYPERLINK("http://x")'
    assert row.unit == "'-"


def test_what_no_tag_table_can_hold_is_left_out_and_counted(tmp_path: Path) -> None:
    found = [
        FoundTold(name="a", address="sine"),
        FoundTold(name="b", address="sine ", readable=True),
        FoundTold(name="c", address="x" * 2_000),
        FoundTold(name="d", address="counter", readable=False),
    ]

    plant, rows = written(found, tmp_path)

    assert [tag.row.name for tag in plant.devices[0].groups[0].tags] == ["a"]
    assert [note.partition(" left out")[0] for note in rows.notes()] == ["1", "2"]


def many(number: int) -> Iterator[FoundTold]:
    """Yield things that nobody keeps."""
    for each in range(number):
        yield FoundTold(name=f"Area{each % 7}/Tag{each}", address=f"ns=2;i={each}", type="Double")


class Nowhere(io.StringIO):
    """A file that keeps nothing but the number of its lines."""

    lines = 0

    def write(self, text: str) -> int:
        """Count."""
        self.lines += text.count("\n")
        return len(text)


@pytest.mark.parametrize("form", ["csv", "json", "table"])
def test_100_000_tags_pass_through_in_constant_memory(form: str) -> None:
    """Seen to bite: a table whose widths need all of its rows takes 33 MB."""
    out, rows = Nowhere(), TagRows()
    write = {"csv": rows.write, "json": write_json, "table": write_table}[form]

    tracemalloc.start()
    try:
        number = write(many(100_000), out)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert number == 100_000
    assert out.lines == number + (form != "json")
    assert peak < 16_000_000
    if form == "csv":
        (note,) = rows.notes()
        assert note.startswith(f"a group takes {TAGS_MAX:,} tags, this is 100,000; pick fewer")


def test_a_filter_picks_names_and_a_limit_ends_the_question() -> None:
    met: list[Told] = [Connected(device="d", protocol="p", after_s=0.1), Busy(doing="b", for_s=0.5)]

    found = list(chosen(iter([*met, *many(1_000)]), topic_filter("area3/*"), 3))

    assert [each.name if each else None for each in found] == [
        *(None, "Area3/Tag3", "Area3/Tag10", "Area3/Tag17")
    ]


def test_a_table_stands_under_its_first_rows_even_when_more_are_slow() -> None:
    """Half a second without more shows what is there: a slow server is seen to work."""
    out = io.StringIO()
    shown_at_pause: list[str] = []

    def slow() -> Iterator[FoundTold | None]:
        yield FoundTold(name="Speed", address="ns=2;i=1", type="Double", unit="m/s", value=1.5)
        yield None
        shown_at_pause.append(out.getvalue())
        yield FoundTold(name="Secret\x1b[2J", address="ns=2;i=2", type="Double", readable=False)

    write_table(slow(), out)

    assert "Speed" in shown_at_pause[0]
    assert [click.unstyle(line) for line in out.getvalue().splitlines()] == [
        "NAME   ADDRESS   TYPE    UNIT  VALUE  ACCESS",
        "Speed  ns=2;i=1  Double  m/s     1.5  read",
        r"Secret\x1b[2J  ns=2;i=2  Double  -         -  none",
    ]


def test_the_columns_of_the_csv_are_those_of_a_tag_table() -> None:
    out = io.StringIO()
    TagRows().write([], out)

    assert next(csv.reader([out.getvalue()])) == ["name", "address", "type", "unit", "description"]
