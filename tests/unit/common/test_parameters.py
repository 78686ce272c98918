"""Goal: braces in a template's cells mean numbers, exactly those that a person would work out.

Method: cells as an engineer writes them; and random sums of products against Python's own.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.parameters import filled, names_in

PARAMETERS = {"db": 41, "base": 100, "zone": "North"}


@pytest.mark.parametrize(
    ("cell", "becomes"),
    [
        ("DB{db}.DBD12", "DB41.DBD12"),
        ("DB{ db }.DBD{base + 12}", "DB41.DBD112"),
        ("holding:{base+2*3}", "holding:106"),
        ("holding:{2*base-db*2+1}", "holding:119"),
        ("{zone} of press {db}", "North of press 41"),
        ('ns=3;s="Press{db}"."T"', 'ns=3;s="Press41"."T"'),
        ("{{literal}} {db}", "{literal} 41"),
        ("{{{db}}}", "{41}"),
        ("no hole", "no hole"),
        ("{7}", "7"),
    ],
)
def test_a_cell_is_filled_in(cell: str, becomes: str) -> None:
    assert filled(cell, PARAMETERS) == becomes


@given(
    st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=3), min_size=1, max_size=4),
    st.lists(st.sampled_from("+-"), min_size=3, max_size=3),
)
def test_products_come_before_sums(products: list[list[int]], signs: list[str]) -> None:
    """Seen to bite: with every operator applied from left to right."""
    texts = ["*".join(map(str, each)) for each in products]
    written = texts[0] + "".join(s + t for s, t in zip(signs, texts[1:], strict=False))

    assert filled("{" + written + "}", {}) == str(eval(written))  # noqa: S307 - digits, + - and *


@pytest.mark.parametrize("cell", ["{", "}", "DB{db", "{a{b}", "{}", "{db+}", "{-db}", "{db 2}"])
def test_braces_that_mean_nothing_are_refused(cell: str) -> None:
    with pytest.raises(ValueError, match=r"a single|cannot be understood"):
        names_in(cell)


@pytest.mark.parametrize("cell", ["{db/2}", "{db.x}", "{__import__('os')}", "{db**2}", "{(db)}"])
def test_nothing_but_sums_and_products_is_calculated(cell: str) -> None:
    with pytest.raises(ValueError, match="cannot be understood"):
        filled(cell, PARAMETERS)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("{bsae+1}", "unknown parameter 'bsae'; did you mean 'base'"),
        ("{zone+1}", "calculates with 'zone', which is the text 'North'"),
        ("{" + "*".join(["999999999999999999"] * 4) + "}", "is beyond 64 bits"),
    ],
)
def test_what_cannot_be_filled_in_says_why(cell: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        filled(cell, PARAMETERS)


def test_the_names_that_a_cell_needs_are_known_before_any_device() -> None:
    assert names_in("DB{db}.DBD{base + 4 * row} {{brace}}") == {"db", "base", "row"}
