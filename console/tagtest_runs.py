"""Tag tests → the scans that a normalizer is given, every name checked against the tag tables."""

import fnmatch
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from common.config import suggestion
from common.errors import Finding
from common.records import Column, Plan, Quality, ValueType
from common.statuscodes import STATUS_NAMES
from common.trials import RawScan, Run, Step, packed
from console.notation import instant_ns
from console.tagtest_files import WrittenScan, WrittenTest
from console.trying import Tables

CODES = {name: upper << 16 for upper, name in STATUS_NAMES.items()}
"""OPC UA's name → status code."""
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000

Refuse = Callable[[str, str], None]
"""Key and sentence → a finding."""


@dataclass
class PlacedScan:
    """One written scan, and which steps of the run are its."""

    written: WrittenScan
    steps: range
    at_ns: int
    """Of its last step."""


@dataclass
class PlacedTest:
    """One test, ready to be run."""

    written: WrittenTest
    run: Run
    scans: list[PlacedScan]
    columns: dict[str, Column]
    """Of the device, by the tag's name."""


def placed(test: WrittenTest, tables: Tables, findings: list[Finding]) -> PlacedTest | None:
    """Return the test as a run, or None after a finding for everything wrong."""
    device = test.config.device
    if device not in tables.devices:
        hint = suggestion(device, tables.devices) if tables.devices else "; there is none"
        text = f"no device {device!r}{hint}"
        findings.append(test.document.finding(f"{test.where}.device", text))
        return None
    return _Placing(test, tables, findings).done()


class _Placing:
    """One test on its way."""

    def __init__(self, test: WrittenTest, tables: Tables, findings: list[Finding]) -> None:
        self._test = test
        self._findings = findings
        self._places = tables.of_asset(test.config.device)
        of_asset = {plan.fingerprint for plan, _ in self._places.values()}
        self._plans = [plan for plan in tables.plans if plan.fingerprint in of_asset]
        self._now_ns = instant_ns(test.config.start)
        self._steps: list[Step] = []
        self._before = len(findings)

    def done(self) -> PlacedTest | None:
        scans = [self._scan(written) for written in self._test.scans]
        columns = {name: plan.columns[index] for name, (plan, index) in self._places.items()}
        asked = {name for scan in scans for name in scan.written.expected}
        asked |= {name for scan in scans for name in unwanted(scan.written, columns)}
        if len(self._findings) > self._before:
            return None
        topics = sorted(columns[name].topic for name in asked)
        return PlacedTest(self._test, Run(steps=self._steps, asked=topics), scans, columns)

    def _scan(self, written: WrittenScan) -> PlacedScan:
        config = written.config

        def refuse(key: str, text: str) -> None:
            where = f"{written.where}.{key}"
            self._findings.append(self._test.document.finding(where, text))

        self._check_names(written, refuse)
        scans = self._raw_scans(written, refuse)
        first = len(self._steps)
        for number in range(config.times):
            self._now_ns += self._wait_ns(written, scans, first=not self._steps)
            restart = config.restart and number == 0
            self._steps.append(Step(at_ns=self._now_ns, scans=scans, restart=restart))
        return PlacedScan(written, range(first, len(self._steps)), self._now_ns)

    def _wait_ns(self, written: WrittenScan, scans: list[RawScan], *, first: bool) -> int:
        if written.config.after_s is not UNSET:
            return round(written.config.after_s * _NS_PER_S)
        if first:
            return 0
        read = {scan.plan for scan in scans}
        periods = [plan.period_ms for plan in self._plans if plan.fingerprint in read]
        return min(periods, default=0) * _NS_PER_MS

    def _check_names(self, written: WrittenScan, refuse: Refuse) -> None:
        known = list(self._places)
        for tag, expected in written.expected.items():
            if tag not in self._places:
                refuse(f"expect.{tag}", _no_tag(tag, known))
            elif isinstance(expected.quality, str):
                _code(expected.quality, f"expect.{tag}.quality", refuse)
        for tag in written.config.not_told:
            if tag not in self._places and not fnmatch.filter(known, tag):
                refuse("not_told", _no_tag(tag, known))

    def _raw_scans(self, written: WrittenScan, refuse: Refuse) -> list[RawScan]:
        """Return a scan of each group that is read, in the order of the configuration."""
        config = written.config
        if config.away:
            return [
                RawScan(
                    plan=plan.fingerprint,
                    values=[None] * len(plan.scanned),
                    qualities=[Quality.BAD_NO_COMMUNICATION] * len(plan.scanned),
                )
                for plan in self._plans
                if plan.device == self._test.config.device
            ]
        values = self._by_column("raw", _elements(config.raw, self._places), refuse)
        codes = self._by_column("qualities", config.qualities.items(), refuse)
        times = self._by_column("source_at", config.source_at.items(), refuse)
        for tag in (tag for tag in times if tag not in values and tag not in codes):
            refuse(f"source_at.{tag}", "the tag is not read by this scan; give its raw value")
        scans = []
        for plan in self._plans:
            names = [c.name for c in plan.scanned if c.name in values or c.name in codes]
            if names:
                scans.append(_raw_scan(plan, names, (values, codes, times), refuse))
        return scans

    def _by_column(
        self, key: str, written: Iterable[tuple[str, Any]], refuse: Refuse
    ) -> dict[str, Any]:
        """Return what is written of tags that a scan can bring."""
        found = {}
        for tag, value in written:
            if tag not in self._places:
                refuse(f"{key}.{tag}", _no_tag(tag, list(self._places)))
                continue
            plan, index = self._places[tag]
            if plan.columns[index].made is not None:
                text = f"{tag} is made by the gateway and never read; give what it is made of"
                refuse(f"{key}.{tag}", text)
                continue
            found[tag] = value
        return found


def unwanted(written: WrittenScan, columns: dict[str, Column]) -> list[str]:
    """Return the tags of which nothing shall be told."""
    return [
        name
        for name in columns
        if name not in written.expected
        and any(fnmatch.fnmatchcase(name, glob) for glob in written.config.not_told)
    ]


def _elements(
    raw: dict[str, Any], places: dict[str, tuple[Plan, int]]
) -> Iterable[tuple[str, Any]]:
    """Yield tags and values; the elements of an array one by one."""
    for tag, value in raw.items():
        if isinstance(value, list) and tag not in places:
            yield from ((f"{tag}/{number}", element) for number, element in enumerate(value))
        else:
            yield tag, value


def _raw_scan(
    plan: Plan, names: list[str], written: tuple[dict[str, Any], ...], refuse: Refuse
) -> RawScan:
    values, codes, times = written
    index_of = {column.name: index for index, column in enumerate(plan.scanned)}
    indexes = [index_of[name] for name in names]
    qualities = [_code(codes.get(name, "Good"), f"qualities.{name}", refuse) for name in names]
    sources = [instant_ns(times[name]) if name in times else None for name in names]
    raw = [_raw(values.get(name), plan.columns[index_of[name]], refuse) for name in names]
    for name, quality in zip(names, qualities, strict=True):
        if name not in values and quality == Quality.GOOD:
            refuse(f"qualities.{name}", "a tag without a raw value cannot be Good")
    return RawScan(
        plan=plan.fingerprint,
        values=raw,
        indexes=None if len(indexes) == len(plan.scanned) else indexes,
        qualities=qualities if any(qualities) else None,
        source_at_ns=sources if any(sources) else None,
    )


def _raw(value: Any, column: Column, refuse: Refuse) -> Any:
    if isinstance(value, str) and column.value_type is ValueType.BYTES:
        try:
            return packed(bytes.fromhex(value))
        except ValueError:
            refuse(f"raw.{column.name}", f"bytes are written in hexadecimal, found {value!r}")
            return None
    if value is None or isinstance(value, bool | int | float | str):
        return packed(value)
    text = f"must be a number, a text, true or false, found {value!r}"
    if isinstance(value, list):
        text = f"is no array: {column.name} is one value, found {value!r}"
    refuse(f"raw.{column.name}", text)
    return None


def _code(name: str, key: str, refuse: Refuse) -> int:
    if name not in CODES:
        refuse(key, f"unknown quality {name!r}{suggestion(name, list(CODES))}")
        return Quality.BAD
    return CODES[name]


def _no_tag(tag: str, known: list[str]) -> str:
    near = suggestion(tag, known) if known else ""
    return f"the device has no tag {tag!r}{near if 'did you mean' in near else ''}"
