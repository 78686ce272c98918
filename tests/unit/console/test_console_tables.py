"""Goal: what the console prints can be read and aligned by anybody, terminal or not."""

import re

import pytest

from console.tables import count, rate, size, span, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3_599, "59 min 59 s"),
        (3_600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (30 * 86_400 + 7_200, "30 d 2 h"),
    ],
)
def test_a_duration_shows_the_two_units_that_matter(seconds: float | None, text: str) -> None:
    assert span(seconds) == text


def test_numbers_are_written_for_people() -> None:
    assert (count(None), count(1_234_567)) == ("-", "1,234,567")
    assert (rate(None), rate(1_999.96), rate(-0.1)) == ("-", "2,000.0", "0.0")
    assert (size(999), size(8_000_000_000), size(4_200)) == ("999 B", "8.0 GB", "4.2 kB")


def test_columns_stand_under_each_other_and_numbers_to_the_right() -> None:
    rows = [("press", "1,000"), ("energy_meter", "7")]

    lines = [plain(line) for line in table(("DEVICE", "SCANS"), rows, [None, "it is away"])]

    assert lines == [
        "DEVICE        SCANS",
        "press         1,000",
        "energy_meter      7",
        "    it is away",
    ]


def plain(line: str) -> str:
    """Return the line without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", line)
