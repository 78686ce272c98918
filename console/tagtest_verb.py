"""`tailrace test`: the tag tests that stand beside the tag tables."""

import sys

import click
import msgspec

from common.clock import monotonic_s
from common.errors import Finding
from common.places import Places
from common.trials import Rehearsals
from console.exits import EXIT_FOUND, stop
from console.globs import topic_filter
from console.places import in_places, json_option
from console.tagtest_files import FOLDER, WrittenTest, read_tests
from console.tagtest_results import Result, result_of, results_text, summary
from console.tagtest_runs import placed
from console.trying import RoomFailed, Tables, rehearsed, tables_of


class Document(msgspec.Struct, kw_only=True):
    """All of it, as `--json` prints it."""

    passed: bool
    tests: list[Result]
    findings: list[Finding]
    """What is wrong with the tests or the tag tables; nothing was run then."""


@click.command()
@in_places
@click.argument("names", metavar="[TEST]...", nargs=-1)
@json_option
def test(places: Places, names: tuple[str, ...], *, as_json: bool) -> None:
    r"""Run the tag tests: raw values in, what would be published out.

    Tests stand in ot/tests/*.toml. TEST picks some by file or name: a glob, or a word in it. No
    device is asked and nothing is stored, so it works beside a running gateway.

    \b
      tailrace test
      tailrace test press.toml "*overheated*"

    Exit code 1 when a test fails, or a test or a tag table is written wrongly.
    """
    began_s = monotonic_s()
    findings: list[Finding] = []
    tests = _chosen(read_tests(places.config_dir, findings), names)
    if not tests and not findings:
        stop(_nothing(places, names), EXIT_FOUND)
    try:
        results = _results(tables_of(places), tests, findings)
    except RoomFailed as error:
        stop(str(error), EXIT_FOUND)
    failed = bool(findings) or not all(result.passed for result in results)
    if as_json:
        shown = Document(passed=not failed, tests=results, findings=findings)
        click.echo(msgspec.json.encode(shown).decode())
        sys.exit(EXIT_FOUND if failed else 0)
    for line in [str(finding) for finding in findings] or results_text(results):
        click.echo(line)
    if findings:
        stop("Nothing was run: correct this first.", EXIT_FOUND)
    files = len({test.document.name for test in tests})
    click.echo(f"\n{summary(results, files, monotonic_s() - began_s)}")
    sys.exit(EXIT_FOUND if failed else 0)


def _chosen(tests: list[WrittenTest], names: tuple[str, ...]) -> list[WrittenTest]:
    filters = [topic_filter(name) for name in names]
    return [
        test
        for test in tests
        if not filters
        or any(wanted(f"{test.document.name} {test.config.name}") for wanted in filters)
        or any(wanted(test.config.name) for wanted in filters)
    ]


def _nothing(places: Places, names: tuple[str, ...]) -> str:
    folder = places.config_dir / FOLDER
    if names:
        return f"no test in {folder} is called {' or '.join(names)}; all of them: tailrace test"
    return f"no tests in {folder}; docs/testing-tags.md shows how to write one"


def _results(tables: Tables, tests: list[WrittenTest], findings: list[Finding]) -> list[Result]:
    """Return what each test came to; nothing after a finding."""
    findings += tables.findings
    ready = [
        found for test in tests if (found := placed(test, tables, findings)) is not None
    ]  # fmt: skip
    if findings:
        return []
    plans = [plan.encoded for plan in tables.plans]
    outcomes = rehearsed(Rehearsals(plans=plans, runs=[each.run for each in ready]))
    return [
        result_of(each, outcome) for each, outcome in zip(ready, outcomes.runs, strict=True)
    ]  # fmt: skip
