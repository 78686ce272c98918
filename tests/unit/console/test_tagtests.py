"""Goal: a tag test says what it means, and what is written wrongly is named with its line.

Method: files as people write them, read and placed against a compiled configuration of the
simulated device; the runs themselves are the business of tests/process/test_tag_tests.py.
"""

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from collectors.plans import compiled_plans
from common.errors import Finding
from common.records import Quality, ValueType
from common.trials import Decision, Link, Sample, StepOutcome
from console.tagtest_files import (
    AFTER_S_MAX,
    FILES_MAX,
    TESTS_MAX,
    WrittenTest,
    lines_of_tests,
    read_tests,
)
from console.tagtest_results import Result, result_of, results_text, summary
from console.tagtest_runs import PlacedTest, placed
from console.trying import Tables

PLANT = """
[gateway]
id = "sitea-line1"
root = "Acme"

[devices.press]
protocol = "simulated"
[devices.press.groups.fast]
period_ms = 100
tags = [
    { name = "Level", address = "sine", unit = "m", deadband = 0.5 },
    { name = "Zone/0", address = "sine" },
    { name = "Zone/1", address = "sine" },
    { name = "Twice", expression = "Level * 2" },
]
[devices.press.groups.slow]
period_ms = 5000
tags = [{ name = "Parts", address = "counter" }]

[devices.helper]
protocol = "simulated"
asset = "press"
[devices.helper.groups.own]
tags = [{ name = "Extra", address = "sine" }]
"""


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    (tmp_path / "ot/tests").mkdir(parents=True)
    (tmp_path / "ot/plant.toml").write_text(PLANT)
    plans, findings = compiled_plans(tmp_path)
    assert not findings
    return Tables(tmp_path, tuple(plans), ())


def read(tables: Tables, text: str) -> tuple[list[WrittenTest], list[PlacedTest], list[str]]:
    (tables.config_dir / "ot/tests/press.toml").write_text(text)
    findings: list[Finding] = []
    tests = read_tests(tables.config_dir, findings)
    ready = [each for test in tests if (each := placed(test, tables, findings)) is not None]
    return tests, ready, [str(finding) for finding in findings]


def one(tables: Tables, scan: str) -> PlacedTest:
    """Return a test of one scan, or of several that begin with [[tests.scans]] themselves."""
    _, ready, findings = read(tables, STORY + scan)
    assert not findings
    return ready[0]


STORY = """[[tests]]
name = "level"
device = "press"
[[tests.scans]]
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[tests]", "ot/tests/press.toml:1: is not TOML"),
        ("", "ot/tests/press.toml: tests: holds no test; write [[tests]] with its scans"),
        ("[[test]]\nname = 1", "press.toml:1: test: unknown table 'test'; write [[tests]]"),
        ("[[tests]]\nname = 'a'\ndevice = 'press'",
         "ot/tests/press.toml:1: tests.0: missing required key 'scans'"),
        ("[[tests]]\nname = 'a'\ndevise = 'press'\nscans = [{}]",
         "ot/tests/press.toml:3: tests.0.devise: unknown key 'devise'; did you mean 'device'?"),
        ("[[tests]]\nname = 'a'\ndevice = 'pres'\nscans = [{raw = {Level = 1}}]",
         "ot/tests/press.toml:3: tests.0.device: no device 'pres'; did you mean 'press'?"),
        (STORY + "raw = {}", ("ot/tests/press.toml:4: tests.0.scans.0: reads nothing, so it only "
         "lets time pass: give after_s, or raw")),
        (STORY + "away = true\nraw = { Level = 1 }", "away: the device gives nothing; leave out"),
        (STORY + "after_s = -1", "after_s: expected `float` >= 0.0, found -1"),
        (STORY + f"after_s = {AFTER_S_MAX + 1}", "expected `float` <= 604800.0"),
        (STORY + "times = 0\nraw = { Level = 1 }", "times: expected `int` >= 1, found 0"),
        (STORY + "times = 10000\nraw = { Level = 1 }\n[[tests.scans]]\nraw = { Level = 1 }",
         "tests.0: more than 10000 scans, repetitions counted; write several tests"),
        (STORY + "raw = { Levle = 1 }", ("ot/tests/press.toml:5: tests.0.scans.0.raw.Levle: the "
         "device has no tag 'Levle'; did you mean 'Level'?")),
        (STORY + "raw = { Twice = 1 }", "raw.Twice: Twice is made by the gateway and never read"),
        (STORY + "raw = { Level = [1, 2] }", "raw.Level: is no array: Level is one value"),
        (STORY + "raw = { Zone = [1, 2, 3] }", "raw.Zone/2: the device has no tag 'Zone/2'"),
        (STORY + "raw = { Level = 2026-01-01 }", "raw.Level: must be a number, a text, true or"),
        (STORY + "raw = { Level = 1 }\nqualities = { Level = 'BadTimeuot' }",
         ("ot/tests/press.toml:6: tests.0.scans.0.qualities.Level: unknown quality 'BadTimeuot'; "
         "did you mean 'BadTimeout'?")),
        (STORY + "qualities = { Level = 'Good' }", "a tag without a raw value cannot be Good"),
        (STORY + "raw = { Level = 1 }\nsource_at = { Parts = 2026-01-01T00:00:00Z }",
         "source_at.Parts: the tag is not read by this scan; give its raw value"),
        (STORY + "raw = { Level = 1 }\n[tests.scans.expect]\nLevle = 1",
         "ot/tests/press.toml:7: tests.0.scans.0.expect.Levle: the device has no tag 'Levle'"),
        (STORY + "raw = { Level = 1 }\nexpect.Level = { quality = 'Godo' }",
         "expect.Level.quality: unknown quality 'Godo'; did you mean 'Good'?"),
        (STORY + "raw = { Level = 1 }\nexpect.Level = { valeu = 1 }",
         "expect.Level.valeu: unknown key 'valeu'; did you mean 'value'?"),
        (STORY + "raw = { Level = 1 }\nexpect.Level = { value = 1, null = true }",
         "expect.Level: null and value contradict each other; keep one of them"),
        (STORY + "raw = { Level = 1 }\nexpect.Level = { tolerance = 1.0 }",
         "expect.Level: tolerance needs a number as value"),
        (STORY + "raw = { Level = 1 }\nexpect.Level = [1]",
         "expect.Level: must be a value or a table, { value = …, quality = … }, found [1]"),
        (STORY + "raw = { Level = 1 }\nnot_told = ['Levle']",
         "not_told: the device has no tag 'Levle'; did you mean 'Level'?"),
    ],
)  # fmt: skip
def test_what_is_written_wrongly_is_named_with_its_line(
    tables: Tables, text: str, says: str
) -> None:
    _, ready, findings = read(tables, text)

    assert not ready
    assert any(says in finding for finding in findings), findings


def test_a_folder_holds_so_many_files_and_tests(tables: Tables) -> None:
    folder = tables.config_dir / "ot/tests"
    test = '[[tests]]\nname = "a"\ndevice = "press"\nscans = [{ after_s = 1 }]\n'
    (folder / "many.toml").write_text(test * (TESTS_MAX + 1))
    findings: list[Finding] = []

    tests = read_tests(tables.config_dir, findings)
    for number in range(FILES_MAX):
        (folder / f"{number}.toml").touch()
    nothing = read_tests(tables.config_dir, findings)

    assert (len(tests), nothing) == (TESTS_MAX, [])
    assert [str(each) for each in findings] == [
        "ot/tests: 10001 tests; at most 10000",
        "ot/tests: 1001 files; at most 1000",
    ]


def test_bytes_are_written_in_hexadecimal(tables: Tables) -> None:
    first, second, _ = tables.plans
    frame = msgspec.structs.replace(second.columns[0], value_type=ValueType.BYTES)
    plans = (first, msgspec.structs.replace(second, columns=(frame,)))
    of_bytes = Tables(tables.config_dir, plans, ())

    _, [test], none = read(of_bytes, STORY + "raw = { Parts = '00 ff' }")
    _, nothing, [finding] = read(of_bytes, STORY + "raw = { Parts = 'xyz' }")

    assert (test.run.steps[0].scans[0].values, none) == ([{"bytes": "00ff"}], [])
    assert not nothing
    assert "raw.Parts: bytes are written in hexadecimal, found 'xyz'" in finding


def test_the_line_of_each_table_is_known() -> None:
    text = """[[tests]]
name = "a"
[[tests.scans]]
raw = { A = 1 }
[[tests.scans]]
[tests.scans.expect]
A = 1
[[tests]]
[[tests.scans]]
after_s = 1
"""
    lines = lines_of_tests(text)

    assert lines["tests.0.scans.1.expect.A"] == 7
    assert lines["tests.0.scans.1"] == 5
    assert lines["tests.1.scans.0.after_s"] == 10
    assert lines["tests.1"] == 8


def test_a_scan_of_two_groups_is_a_scan_of_each(tables: Tables) -> None:
    test = one(tables, "raw = { Level = 1.5, Zone = [1, 2], Parts = 7 }")

    (step,) = test.run.steps
    assert [(scan.values, scan.indexes) for scan in step.scans] == [
        ([1.5, 1, 2], None),
        ([7], None),
    ]


def test_tags_of_another_device_of_the_asset_may_be_read_too(tables: Tables) -> None:
    test = one(tables, "raw = { Parts = 7, Extra = 2.5 }")

    (step,) = test.run.steps
    assert [scan.values for scan in step.scans] == [[7], [2.5]]


def test_a_tag_that_is_missing_is_not_read(tables: Tables) -> None:
    test = one(tables, "raw = { 'Zone/1' = 2 }\nqualities = { Level = 'BadTimeout' }")

    (scan,) = test.run.steps[0].scans
    assert (scan.values, scan.indexes) == ([None, 2], [0, 2])
    assert scan.qualities == [Quality.BAD_TIMEOUT, Quality.GOOD]


def test_a_device_that_is_away_gives_nothing_in_every_group(tables: Tables) -> None:
    test = one(tables, "away = true")

    scans = test.run.steps[0].scans
    assert [scan.values for scan in scans] == [[None] * 3, [None]]
    assert all(set(scan.qualities or []) == {Quality.BAD_NO_COMMUNICATION} for scan in scans)


def test_time_goes_on_by_the_period_of_what_is_read_unless_it_is_given(tables: Tables) -> None:
    test = one(
        tables,
        "raw = { Level = 1 }\n[[tests.scans]]\nraw = { Level = 1 }\ntimes = 2\n"
        "[[tests.scans]]\nraw = { Parts = 1 }\n[[tests.scans]]\nafter_s = 0.5\n",
    )

    start_ns = test.run.steps[0].at_ns
    assert [step.at_ns - start_ns for step in test.run.steps] == [
        each * 1_000_000 for each in (0, 100, 200, 5_200, 5_700)
    ]
    assert [list(scan.steps) for scan in test.scans] == [[0], [1, 2], [3], [4]]


def test_a_source_time_goes_with_its_value(tables: Tables) -> None:
    test = one(
        tables, "raw = { Level = 1, 'Zone/0' = 2 }\nsource_at = { Level = 2026-01-01T00:00:01 }"
    )

    (scan,) = test.run.steps[0].scans
    assert scan.source_at_ns == [1_767_225_601 * 10**9, None]


def outcome_of(value: Any, quality: int = 0, at_ns: int = 0) -> StepOutcome:
    sample = Sample(topic="Acme/press/Level", value=value, quality=quality, read_at_ns=at_ns)
    return StepOutcome(told=[sample])


@pytest.mark.parametrize(
    ("expect", "value", "quality", "passes"),
    [
        ("1.5", 1.5, 0, True),
        ("1.5", 1.5 + 1e-12, 0, True),
        ("1.5", 1.5001, 0, False),
        ("1.5", 1.5, Quality.UNCERTAIN, False),
        ("true", 1, 0, False),
        ("1", True, 0, False),
        ("'a'", "a", 0, True),
        ("9007199254740993", 9007199254740992, 0, False),
        ("'00 FF'", {"bytes": "00ff"}, 0, True),
        ("{ value = 1.5, tolerance = 0.1 }", 1.6, 0, True),
        ("{ value = 1.5, tolerance = 0.1 }", 1.7, 0, False),
        ("{ null = true, quality = 'Bad' }", None, Quality.BAD_TIMEOUT, True),
        ("{ null = true, quality = 'BadTimeout' }", None, Quality.BAD_TIMEOUT, True),
        ("{ null = true, quality = 'BadNoData' }", None, Quality.BAD_TIMEOUT, False),
        ("{ null = true, quality = 'Bad' }", 1.0, Quality.BAD_TIMEOUT, False),
        ("{ quality = 'Bad' }", None, Quality.BAD_TIMEOUT, True),
        ("{ value = 1.5, at = 1970-01-01T00:00:01Z }", 1.5, 0, True),
        ("{ value = 1.5, at = 1970-01-01T00:00:02Z }", 1.5, 0, False),
    ],
)
def test_what_counts_as_the_same(
    tables: Tables, expect: str, value: Any, quality: int, passes: object
) -> None:
    test = one(tables, f"raw = {{ Level = 1 }}\nexpect.Level = {expect}")

    result = result_of(test, [outcome_of(value, quality, 10**9)])

    assert result.passed is passes, result


def test_of_several_values_the_last_one_counts(tables: Tables) -> None:
    test = one(tables, "raw = { Level = 1 }\nexpect.Level = 2")
    both = StepOutcome(told=[*outcome_of(1).told, *outcome_of(2).told])

    assert result_of(test, [both]).passed


def test_a_glob_forbids_all_but_what_is_expected(tables: Tables) -> None:
    test = one(tables, "raw = { Level = 1 }\nexpect.Level = 1\nnot_told = ['*']")
    others = StepOutcome(told=[Sample(topic="Acme/press/Twice", value=2.0, read_at_ns=0)])

    assert result_of(test, [outcome_of(1)]).passed
    failed = result_of(test, [StepOutcome(told=[*outcome_of(1).told, *others.told])])
    assert [(each.tag, each.expected, each.got) for each in failed.differences] == [
        ("Twice", "not told", "2  Good")
    ]


def test_a_difference_says_what_why_and_where(tables: Tables) -> None:
    test = one(tables, "raw = { Level = 1 }\nexpect.Level = 1.5")
    decision = Decision(
        topic="Acme/press/Level",
        at_ns=0,
        outcome="unchanged",
        why="moved 0.1 m from 1: within the deadband of 0.5 m (told 1 s before)",
        chain=[Link(what="raw", value=1), Link(what="* 2 + 0", value=2.0, quality=0x40000000)],
    )

    result = result_of(test, [StepOutcome(decisions=[decision])])

    assert [click.unstyle(line) for line in results_text([result])] == [
        "FAIL  ot/tests/press.toml:1  level",
        "      ot/tests/press.toml:6  scan 1: Level",
        "        expected  1.5  Good",
        "        got       not told",
        f"        because   {decision.why}",
        "        chain     raw 1  →  * 2 + 0 = 2  Uncertain",
    ]


def test_what_was_not_read_says_so(tables: Tables) -> None:
    test = one(tables, "raw = { 'Zone/0' = 1 }\nexpect.Level = 1.5")

    (difference,) = result_of(test, [StepOutcome()]).differences

    assert difference.why == "it was not read and not calculated by this scan"
    assert difference.chain == []


def test_a_wrong_time_and_a_repetition_are_shown(tables: Tables) -> None:
    test = one(tables, "raw = { Level = 1 }\nexpect.Level = { at = 1970-01-01T00:00:02Z }")

    (difference,) = result_of(test, [outcome_of(1, Quality.REPEATED, 10**9)]).differences

    assert difference.expected == "any value  Good at 1970-01-01T00:00:02.000000000Z"
    assert difference.got == "1  Good at 1970-01-01T00:00:01.000000000Z (repeated)"


def test_the_last_line_counts() -> None:
    passed, failed = (
        Result(name="a", place="p", passed=passes, differences=[]) for passes in (True, False)
    )

    assert summary([passed], 1, 0.31) == "1 test in 1 file: all passed in 0.3 s"
    assert summary([passed, failed], 2, 1) == (
        "2 tests in 2 files: 1 passed, 1 failed in 1.0 s"
    )  # fmt: skip
