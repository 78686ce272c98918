"""What tag tests came to: expectations against what was told, for people and for programs."""

import math
from typing import Any

import click
import msgspec
from msgspec import UNSET

from common.records import is_repeated, quality_word
from common.trials import Decision, Link, Sample, StepOutcome, unpacked
from console.notation import instant_ns, iso_time, printable, quality_text, shown_value
from console.tables import span
from console.tagtest_files import Expected
from console.tagtest_runs import PlacedScan, PlacedTest, unwanted

RELATIVE = 1e-9
"""Of a number without a tolerance: what calculating with floats may cost."""


class Difference(msgspec.Struct, kw_only=True):
    """One tag that did not do what the test says."""

    place: str
    scan: int
    """Counted from 1."""
    at: str
    tag: str
    expected: str
    got: str
    why: str | None
    chain: list[str]
    """From the raw value on; empty when nothing was read."""


class Result(msgspec.Struct, kw_only=True):
    """One test."""

    name: str
    place: str
    passed: bool
    differences: list[Difference]


def result_of(test: PlacedTest, outcomes: list[StepOutcome]) -> Result:
    """Return what a test came to."""
    found = [
        difference
        for number, scan in enumerate(test.scans, 1)
        for difference in _of_scan(test, number, scan, [outcomes[i] for i in scan.steps])
    ]
    name = test.written.config.name
    return Result(name=name, place=test.written.place, passed=not found, differences=found)


def _of_scan(
    test: PlacedTest, number: int, scan: PlacedScan, outcomes: list[StepOutcome]
) -> list[Difference]:
    told = {sample.topic: sample for outcome in outcomes for sample in outcome.told}
    decided = {each.topic: each for outcome in outcomes for each in outcome.decisions}
    wanted: dict[str, Expected | None] = dict(scan.written.expected)
    wanted |= dict.fromkeys(unwanted(scan.written, test.columns))
    found = []
    for tag, expected in wanted.items():
        topic = test.columns[tag].topic
        sample, decision = told.get(topic), decided.get(topic)
        if _fulfilled(expected, sample):
            continue
        key = f"expect.{tag}" if expected else "not_told"
        found.append(
            Difference(
                place=test.written.document.place(f"{scan.written.where}.{key}"),
                scan=number,
                at=iso_time(scan.at_ns),
                tag=tag,
                expected="not told" if expected is None else expected_text(expected),
                got=sample_text(sample, with_time=bool(expected and expected.at is not UNSET)),
                why=_why(decision),
                chain=[] if decision is None else chain_texts(decision.chain),
            )
        )
    return found


def _fulfilled(expected: Expected | None, sample: Sample | None) -> bool:
    if expected is None or sample is None:
        return expected is None and sample is None
    quality = "Good" if expected.quality is UNSET else expected.quality
    if quality not in (quality_word(sample.quality), quality_text(sample.quality)):
        return False
    at_ns = sample.read_at_ns if sample.source_at_ns is None else sample.source_at_ns
    if expected.at is not UNSET and instant_ns(expected.at) != at_ns:
        return False
    value = unpacked(sample.value)
    if expected.null:
        return value is None
    return expected.value is UNSET or _same(expected, expected.value, value)


def _same(expected: Expected, wanted: Any, value: Any) -> bool:
    if isinstance(value, bytes):
        return isinstance(wanted, str) and wanted.replace(" ", "").lower() == value.hex()
    if isinstance(wanted, bool) or isinstance(value, bool) or isinstance(wanted, str):
        return type(wanted) is type(value) and bool(wanted == value)
    if not isinstance(value, int | float):
        return False
    if isinstance(expected.tolerance, float):
        # 1.6 is further than 0.1 from 1.5, by what a float cannot hold of them.
        return bool(abs(value - wanted) <= expected.tolerance * (1 + RELATIVE))
    if isinstance(wanted, int) and isinstance(value, int):
        return wanted == value  # Counters beyond 2**53 have no other digits to lose.
    return math.isclose(value, wanted, rel_tol=RELATIVE, abs_tol=RELATIVE)


def expected_text(expected: Expected) -> str:
    """Return an expectation as it is compared."""
    quality = "Good" if expected.quality is UNSET else expected.quality
    value = "no value" if expected.null else shown_value(expected.value)
    value = "any value" if expected.value is UNSET and not expected.null else value
    tolerance = "" if expected.tolerance is UNSET else f" ± {expected.tolerance:g}"
    at = "" if expected.at is UNSET else f" at {iso_time(instant_ns(expected.at))}"
    return f"{value}{tolerance}  {quality}{at}"


def sample_text(sample: Sample | None, *, with_time: bool) -> str:
    """Return what was told."""
    if sample is None:
        return "not told"
    value = unpacked(sample.value)
    shown = "no value" if value is None else shown_value(value)
    at_ns = sample.read_at_ns if sample.source_at_ns is None else sample.source_at_ns
    at = f" at {iso_time(at_ns)}" if with_time else ""
    repeated = " (repeated)" if is_repeated(sample.quality) else ""
    return f"{shown}  {quality_text(sample.quality)}{at}{repeated}"


def _why(decision: Decision | None) -> str:
    if decision is None:
        return "it was not read and not calculated by this scan"
    return decision.why


def chain_texts(chain: list[Link]) -> list[str]:
    """Return a value's way, step by step."""
    texts = []
    before = 0
    for link in chain:
        value = shown_value(unpacked(link.value))
        quality = f"  {quality_text(link.quality)}" if link.quality != before else ""
        before = link.quality
        name = f"{link.what} " if link.what == "raw" else f"{link.what} = "
        texts.append(f"{name}{printable(value)}{quality}")
    return texts


def results_text(results: list[Result]) -> list[str]:
    """Return the lines for people."""
    lines = []
    for result in results:
        word = click.style("ok  ", fg="green") if result.passed else click.style("FAIL", fg="red")
        lines.append(f"{word}  {result.place}  {printable(result.name)}")
        for each in result.differences:
            lines += _difference_lines(each)
    return lines


def _difference_lines(each: Difference) -> list[str]:
    pairs = [("expected", each.expected), ("got", each.got)]
    pairs += [("because", each.why)] if each.why else []
    pairs += [("chain", "  →  ".join(each.chain))] if each.chain else []
    head = f"      {each.place}  scan {each.scan}: {each.tag}"
    return [head, *(f"        {name:<9} {text}" for name, text in pairs)]


def summary(results: list[Result], files: int, seconds: float) -> str:
    """Return the line that stands last."""
    failed = sum(not result.passed for result in results)
    tests = f"{len(results):,} test{'' if len(results) == 1 else 's'}"
    where = f"{files:,} file{'' if files == 1 else 's'}"
    outcome = f"{len(results) - failed:,} passed, {failed:,} failed" if failed else "all passed"
    return f"{tests} in {where}: {outcome} in {span(seconds)}"
