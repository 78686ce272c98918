"""Goal: a reading says all that an engineer needs, on one screen, and nothing that is not so.

Method: readings as the collectors tell them, and the lines that are made of them.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from common.answers import Connected, GuessTold, ReadingTold, Wrong
from common.health import write_health
from common.places import Places
from common.records import Quality
from console.asking import NoAnswer, held_by_us, told_by
from console.durations import Duration
from console.notation import printable, shown_value
from console.read_verb import show_once, show_watched
from console.reading_text import Watched, document, guesses_text, readings_text, shown

AT_NS = 1_764_067_200_123_456_789
"""2025-11-25 10:40:00.123456789 UTC."""


def told(address: str = "DB40.DBD12", **others: Any) -> ReadingTold:
    """Return a good reading of 42.5."""
    fields: dict[str, Any] = {
        "asked": address,
        "type": "REAL",
        "wire": "DB 40, bytes 12 to 15",
        "raw": "422a0000",
        "value": 42.5,
        "read_at_ns": AT_NS,
        "reply_s": 0.0123,
    }
    return ReadingTold(address=address, **(fields | others))


def plain(lines: list[str]) -> list[str]:
    """Return lines without colours."""
    return [click.unstyle(line) for line in lines]


def test_a_reading_shows_value_quality_and_what_came_over_the_wire() -> None:
    assert plain(readings_text([told()])) == [
        "ADDRESS     TYPE  VALUE  QUALITY  REPLY",
        "DB40.DBD12  REAL   42.5  Good     12.3 ms",
        "    raw 42 2a 00 00  asked: DB 40, bytes 12 to 15",
    ]


def test_a_tag_shows_its_scaled_value_beside_the_raw_one() -> None:
    tag = told(
        asked="Temperature_C",
        tag="Temperature_C",
        scaled=85.2,
        unit="Cel",
        source_at_ns=AT_NS - 2_000_000_000,
    )

    assert plain(readings_text([tag])) == [
        "TAG            ADDRESS     TYPE  VALUE  SCALED  UNIT  QUALITY  AGE    REPLY",
        "Temperature_C  DB40.DBD12  REAL   42.5    85.2  Cel   Good     2.0 s  12.3 ms",
        "    raw 42 2a 00 00  asked: DB 40, bytes 12 to 15",
        "    source time 2025-11-25T10:39:58.123456789Z",
    ]


def test_a_refusal_shows_its_note_and_no_value() -> None:
    note = "exception 2, illegal data address; holding:1 answers"
    refused = told(value=None, raw=None, quality=Quality.BAD_OUT_OF_RANGE, note=note)

    lines = readings_text([refused])

    assert plain(lines)[1].split() == ["DB40.DBD12", "REAL", "-", "BadOutOfRange", "12.3", "ms"]
    assert plain(lines)[-1] == f"    {note}"
    assert "\x1b[31mBadOutOfRange" in lines[1], "red, as a failing process in status"


def test_a_reading_fits_100_columns() -> None:
    tag = told(
        tag="Hydraulics/Temperature_C",
        address="holding:40:FLOAT32",
        type="FLOAT32@CDAB",
        scaled=123456.5,
        unit="Cel",
    )

    assert max(len(line) for line in plain(readings_text([tag]))) <= 100


def test_the_keys_of_a_json_document_never_change() -> None:
    """A program relies on each of them, whatever was asked."""
    met = Connected(device="press", protocol="s7", after_s=0.02)
    guess = GuessTold(asked="a", type="INT16", value=1, plausible=True)

    found = msgspec.to_builtins(document(met, [told()], [guess], [Wrong(asked="b", text="no")]))

    assert list(found) == [
        *("device", "protocol", "connected_after_s", "readings", "guesses", "wrong")
    ]
    assert found["readings"] == [
        {
            "asked": "DB40.DBD12",
            "tag": None,
            "address": "DB40.DBD12",
            "type": "REAL",
            "wire": "DB 40, bytes 12 to 15",
            "raw": "422a0000",
            "value": 42.5,
            "scaled": None,
            "unit": None,
            "quality": "Good",
            "quality_code": 0,
            "read_at": "2025-11-25T10:40:00.123456789Z",
            "source_at": None,
            "source_age_s": None,
            "reply_s": 0.0123,
            "note": None,
        }
    ]
    assert found["guesses"] == [{"asked": "a", "type": "INT16", "value": 1, "plausible": True}]
    assert found["wrong"] == [{"asked": "b", "text": "no"}]


def test_a_source_time_ahead_of_the_gateway_is_not_of_negative_age() -> None:
    assert shown(told(source_at_ns=AT_NS + 10**9)).source_age_s == 0.0


def test_guesses_keep_their_order_and_say_what_to_do_with_them() -> None:
    guesses = [
        GuessTold(asked="a", type="FLOAT32", value=42.5, plausible=True),
        GuessTold(asked="a", type="FLOAT32@CDAB", value=1e-38, plausible=False),
    ]

    assert plain(guesses_text(guesses)) == [
        "a",
        "TYPE          VALUE  PLAUSIBLE",
        "FLOAT32       42.5   yes",
        "FLOAT32@CDAB  1e-38  no",
        "",
        "Write the one that fits behind the address, or into the tag table's column `type`.",
    ]


def test_watching_shows_what_changed_since_the_last_time() -> None:
    watched = Watched(10)
    values = [
        told(value=1.5),
        told(value=1.25),
        told(value=64.34268188476562),
        told(value=64.55953979492188),
        told(value="open"),
        told(value=None, quality=Quality.BAD, note="gone"),
        told(value=None, quality=Quality.BAD, note="gone"),
    ]

    lines = [plain(watched.lines(each)) for each in values]

    assert [re.split(" {2,}", each[0])[-1] for each in lines[1:6]] == [
        "-0.25",
        "+63.0927",
        "+0.216858",
        "was 64.55954",
        "was open",
    ]
    assert [len(each) for each in lines] == [1, 1, 1, 1, 1, 2, 1], "a note once, not every period"


def test_the_exit_code_is_that_of_the_last_round() -> None:
    bad, good = told(value=None, quality=Quality.BAD), told()

    assert show_watched(iter([bad, good]), 10, as_json=True) == 0
    assert show_watched(iter([good, bad]), 10, as_json=True) == 1


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([told()], 0),
        ([told(quality=Quality.UNCERTAIN)], 0),
        ([told(), told(value=None, quality=Quality.BAD_TIMEOUT)], 1),
        ([told(), Wrong(asked="x", text="no such table")], 2),
    ],
)
def test_the_exit_code_says_whether_there_is_a_value(answers: list[Any], code: int) -> None:
    met = Connected(device="press", protocol="s7", after_s=0.02)

    assert show_once(iter([met, *answers]), as_json=False) == code


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "true"),
        (21.299999237060547, "21.3"),  # the 32-bit float nearest to 21.3
        (16777217.0, "16777217"),
        (2.1300000000000003, "2.13"),
        (1e300, "1e+300"),
        (-0.0, "-0"),
        (2**64 - 1, "18446744073709551615"),
        ("NaN", "NaN"),
        ("x" * 200, "x" * 120 + "…"),
    ],
)
def test_a_value_is_written_without_the_noise_of_its_binary_form(value: object, text: str) -> None:
    assert shown_value(value) == text


def test_a_device_cannot_steer_the_terminal() -> None:
    """Seen to bite: without `printable` the escape sequences reach the terminal."""
    hostile = told(value="\x1b[2J", note="a\rb", address="x\x1b]0;t\x07", type="\x1b[31m")

    for line in plain(readings_text([hostile])) + Watched(5).lines(hostile):
        assert click.unstyle(line).isprintable()
    assert printable("\x1b[2J\n") == r"\x1b[2J\n"


def test_a_period_that_would_burden_a_plc_is_refused_with_the_reason() -> None:
    period = Duration(0.2, 3_600, "a PLC spends a part of its cycle on every request")

    assert [period.convert(text, None, None) for text in ("200ms", "1.5s", "2", "1min")] == [
        *(0.2, 1.5, 2.0, 60.0)
    ]
    with pytest.raises(click.BadParameter, match=r"not between 0\.2 s .* a PLC spends"):
        period.convert("10ms", None, None)
    with pytest.raises(click.BadParameter, match="is no duration; write 500ms"):
        period.convert("sine", None, None)


@pytest.mark.parametrize(
    ("script", "text", "code"),
    [
        ('print(\'{"told":"refusal","kind":"unreachable","text":"a\\\\u001b"}\')', "a\\x1b", 3),
        ('print(\'{"told":"refusal","kind":"usage","text":"a"}\')', "a", 2),
        ("raise SystemExit(9)", "exit code 9: this is a bug", 1),
        ("import os; os.kill(os.getpid(), 9)", "exit code -9", 1),
        ("print('Segmentation fault')", "does not understand", 1),
    ],
)
def test_a_question_that_fails_is_never_an_empty_answer(script: str, text: str, code: int) -> None:

    with (
        told_by([sys.executable, "-c", script], dict(os.environ)) as answers,
        pytest.raises(NoAnswer) as refused,
    ):
        list(answers)

    assert text in str(refused.value)
    assert refused.value.code == code


def test_a_device_that_the_gateway_reads_well_may_allow_no_second_connection(
    tmp_path: Path,
) -> None:
    told = {"devices": {"press": {"state": "good"}, "meter": {"state": "away"}}}
    write_health(tmp_path, "collector-s7", "running", told)
    places = Places(tmp_path, tmp_path, tmp_path)

    assert "The running gateway reads press at this moment" in held_by_us(places, "press")
    assert held_by_us(places, "meter") == ""
    assert held_by_us(places, "s7://10.0.0.1") == ""


def test_a_lost_connection_is_told_beside_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    script = 'print(\'{"told":"lost","text":"press closed the connection"}\')'

    with told_by([sys.executable, "-c", script], dict(os.environ)) as answers:
        assert list(answers) == []

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "connection lost: press closed the connection; trying again\n"
