"""Goal: docs/sparkplug.md names, for every statement of the specification, a test that there is.

Method: the tables are read; each row has an id of the specification's form, once, and either the
name of a test (or of a state machine) in a file of ours or a reason. The keys of the page are those
of the configuration, with their defaults, and its example is put through the check.

Seen to bite: a test renamed; a statement twice; a row without a reason; a key left out of the page.
"""

import re
from pathlib import Path

import msgspec
import pytest

from demo.pki import make_pki
from uplink.config import check_cloud
from uplink.sparkplug.config import SparkplugConfig

HOUSE = Path(__file__).resolve().parents[2]
PAGE = (HOUSE / "docs/sparkplug.md").read_text("utf-8")
ROWS = re.findall(r"^\| `tck-id-([A-Za-z0-9-]+)` \| (.+) \|$", PAGE, re.MULTILINE)
"""(statement, where it is shown or why not)"""
TESTS = sorted({where.strip("`") for _, where in ROWS if where.startswith("`")})


def test_there_are_statements_and_none_stands_twice() -> None:
    statements = [statement for statement, _ in ROWS]

    assert len(statements) == PAGE.count("| `tck-id-"), "every row has the form of a row"
    assert len(statements) > 150, "or nothing was tested"
    assert sorted(set(statements)) == sorted(statements)


@pytest.mark.parametrize("named", TESTS)
def test_every_test_that_is_named_exists(named: str) -> None:
    file, _, name = named.partition("::")
    text = (HOUSE / file).read_text("utf-8")

    assert re.search(rf"^(def|class) {name}\(", text, re.MULTILINE), named


def test_what_is_not_tested_says_why() -> None:
    reasons = [where for _, where in ROWS if not where.startswith("`")]

    assert all(re.fullmatch(r"— \S.{15,}", reason) for reason in reasons)


def test_every_key_of_the_configuration_is_explained() -> None:
    keys = {each.name for each in msgspec.structs.fields(SparkplugConfig)}
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE)

    assert {name for name, _ in rows} == keys
    stated = dict(rows)
    for each in msgspec.structs.fields(SparkplugConfig):
        if each.default not in ("", "asset"):
            shown = str(each.default).lower()
            assert shown in stated[each.name], f"{each.name} is {shown} by default"


def test_the_example_passes_the_check(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    make_pki(tmp_path / "it" / "pki")
    (tmp_path / "it" / "cloud.toml").write_text(example, "utf-8")

    assert [str(finding) for finding in check_cloud(tmp_path)] == []
