"""Goal: an expression means what it says, and nothing that could do harm is an expression.

Method: texts as a tag table has them; random arithmetic against Python's own.
"""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.expressions import Aggregate, Before, Formula, Moment, understood


def value(text: str, before: dict[str, Before] | None = None, **values: float) -> float | None:
    formula = understood(text)
    assert isinstance(formula, Formula)
    return formula.evaluate(Moment(values, 100.0, before or {}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(A + B) / 2", 5.0),
        ("-A + +B", 4.0),
        ("B // A % 3", 2.0),
        ("A ** 2", 9.0),
        ("A < B", 1.0),
        ("1 < A < B <= 7", 1.0),
        ("A == 3 and B != 3 or 0", 1.0),
        ("not A", 0.0),
        ("if(A > B, A, B)", 7.0),
        ("if (A > B, A, B)", 7.0),
        ("if(A>B,1,if(B>A,2,3))", 2.0),
        ("max(A, B) - min(A, B, 1)", 6.0),
        ("abs(A - B)", 4.0),
        ("round(B / A, 2)", 2.33),
        ("sqrt(A * 3)", 3.0),
        ("'Zone1/T' * 2", 20.0),
        ("'if(x)' + A", 14.0),
    ],
)
def test_an_expression_means_what_it_says(text: str, expected: float) -> None:
    values = {"A": 3.0, "B": 7.0, "Zone1/T": 10.0, "if(x)": 11.0}
    formula = understood(text)
    assert isinstance(formula, Formula)

    assert formula.evaluate(Moment(values, 100.0, {})) == pytest.approx(expected)


def test_the_branch_that_is_not_taken_is_not_calculated() -> None:
    assert value("if(A == 0, 0, B / A)", A=0.0, B=1.0) == 0


def test_rate_and_prev_look_back_and_have_nothing_to_say_at_first() -> None:
    before = {"A": Before(10.0, 98.0)}

    assert value("rate(A) * 60", before, A=14.0) == 120
    assert value("A - prev(A)", before, A=14.0) == 4
    assert value("rate(A)", A=14.0) is None
    assert value("prev(A) + 1", A=14.0) is None
    assert value("rate(A)", {"A": Before(10.0, 100.0)}, A=14.0) is None, "no time has passed"


@pytest.mark.parametrize(
    "text", ["A / 0", "sqrt(0 - A)", "(0 - A) ** 0.5", "A % 0", "(A + 8) ** 9999"]
)
def test_what_has_no_value_is_an_arithmetic_error(text: str) -> None:
    with pytest.raises(ArithmeticError):
        value(text, A=1.0)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("mean(T, 60)", Aggregate("mean", "T", 60.0)),
        ("on_time('Zone1/On', 3600)", Aggregate("on_time", "Zone1/On", 3600.0)),
        ("max(T, 900)", Aggregate("max", "T", 900.0)),
    ],
)
def test_a_window_is_an_expression_of_its_own(text: str, meaning: Aggregate) -> None:
    assert understood(text) == meaning


def test_the_larger_of_two_tags_is_no_window() -> None:
    assert isinstance(understood("max(A, B)"), Formula)
    assert isinstance(understood("max(A + 0, 60)"), Formula)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read"),
        ("A +", "cannot be read"),
        ("A; B", "cannot be read"),
        ("3 * 4", "names no tag"),
        ("__import__('os')", "unknown function '__import__'"),
        ("A.real", "'A.real' may not stand in an expression"),
        ("A[0]", "may not stand"),
        ("(lambda: A)()", "may not stand"),
        ("[A for A in B]", "may not stand"),
        ("A if B else 1", "may not stand"),
        ("A := 1", "cannot be read"),
        ("min(A, default=1)", "may not stand"),
        ("A & B", "may not stand"),
        ("A is B", "may not stand"),
        ("1j * A", "may not stand"),
        ("if(A, 1)", "if needs three things"),
        ("rate(A + 1)", "rate needs the name of one tag"),
        ("avg(A)", "unknown function 'avg'; known are"),
        ("abs(A, B)", "abs takes 1 to 1 values, found 2"),
        ("mean(T, 7)", "a day must hold a whole number"),
        ("mean(T, 0.5)", "cannot be aligned"),
        ("mean(T)", "mean needs a tag and a window"),
        ("mean(T, 60) * 2", "must be the whole expression"),
        ("A" + " + A" * 400, "at most 1000 characters"),
        ("(" * 60 + "A" + ")" * 60 + " + " + "-" * 60 + "A", "nested at most 50 deep"),
    ],
)
def test_what_may_not_be_is_refused_in_words(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(").replace(")", r"\)")):
        understood(text)


@given(st.text(max_size=60))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert understood(text)


@st.composite
def arithmetic(draw: st.DrawFn, depth: int = 0) -> str:
    if depth > 3 or draw(st.booleans()):
        return draw(st.sampled_from(["A", "B", "2.5", "7"]))
    left, right = draw(arithmetic(depth + 1)), draw(arithmetic(depth + 1))
    return f"({left} {draw(st.sampled_from(['+', '-', '*', '<', '>=', '==']))} {right})"


@given(arithmetic(), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_arithmetic_is_that_of_python(text: str, a: float, b: float) -> None:
    expected = float(eval(text, {"__builtins__": {}}, {"A": a, "B": b}))  # noqa: S307 - the reference, of a text made here
    if "A" in text or "B" in text:
        found = value(text, A=a, B=b)
        assert found is not None
        assert math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12)
