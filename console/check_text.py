"""`tailrace check` for people."""

import shutil
import sys
import textwrap

import click

from common.errors import Finding
from common.places import Places
from common.plant import QueueConfig
from console.check import Report

WIDTH_MAX = 100


def check_text(report: Report, places: Places) -> list[str]:
    """Return what was found, place by place, and what to do next."""
    looked_at = ", ".join(_many(number, name) for name, number in report.checked.items())
    lines = [*_lines(report.findings), *_lines(report.warnings, "warning: ")]
    if not report.findings:
        ok = f"{click.style('OK', fg='green')}  {looked_at} in {places.config_dir}"
        kept = [_kept(report.queue)] if report.queue else []
        return [*lines, "", *kept, ok] if lines else [*kept, ok]
    files = {_file_and_line(finding)[0] for finding in report.findings}
    things = f"{_many(len(report.findings), 'things')} to change in {_many(len(files), 'files')}"
    again = f"tailrace check --config {places.config_dir}"
    return [*lines, "", f"{things}. Then check again: {again}"]


def _kept(queue: QueueConfig) -> str:
    """Return what the gateway will keep while no target takes it."""
    age = f" and {queue.age_max_days:g} days" if queue.age_max_days else ""
    return f"The queue keeps up to {queue.capacity_mib:,} MiB{age}, then: {queue.when_full}"


def _lines(findings: list[Finding], mark: str = "") -> list[str]:
    lines: list[str] = []
    for finding in sorted(findings, key=_file_and_line):
        where = f"  {finding.where}" if finding.where else ""
        place = click.style(finding.place, bold=True)
        code = f" [{finding.code}]" if finding.code else ""
        lines += [f"{place}{where}", *_indented(f"{mark}{finding.message}{code}")]
        lines += _indented(f"help: {finding.help}") if finding.help else []
    return lines


def _many(number: int, plural: str) -> str:
    return f"{number:,} {plural if number != 1 else plural.removesuffix('s')}"


def _file_and_line(finding: Finding) -> tuple[str, int]:
    file, _, line = finding.place.rpartition(":")
    return (file, int(line)) if file and line.isdigit() else (finding.place, 0)


def _indented(message: str) -> list[str]:
    if not sys.stdout.isatty():
        return [f"    {message}"]  # One finding, one line: for grep.
    width = min(shutil.get_terminal_size().columns, WIDTH_MAX)
    return textwrap.wrap(message, width, initial_indent="    ", subsequent_indent="    ")
