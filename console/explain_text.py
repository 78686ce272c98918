"""An explanation for people: one block for each place that a value passes."""

from collections.abc import Iterator
from typing import Any

import click

from common.trials import WordedMessage, unpacked
from console.explain_found import Explanation, LastTold, TargetState
from console.notation import printable, shown_value
from console.reading_text import spaced
from console.tables import milliseconds, span

WIDTH = 9
Pair = tuple[str, str]


def explanation_text(found: Explanation) -> list[str]:
    """Return the lines."""
    blocks = [
        ("tag", _tag(found)),
        ("table", [("", each) for each in found.table]),
        ("now", _now(found)),
        ("filter", _filter(found)),
        ("queue", _queue(found)),
        ("targets", [_target(each) for each in found.targets]),
        ("message", [pair for each in found.messages for pair in _message(each)]),
    ]
    lines = [click.style(printable(found.topic), bold=True)]
    for name, pairs in blocks:
        shown = list(pairs)
        if name == "message" and found.message_note:
            shown.append(("", found.message_note))
        if shown:
            lines += ["", click.style(name, bold=True), *_lines(shown)]
    return lines


def _lines(pairs: list[Pair]) -> list[str]:
    width = max(len(name) for name, _ in pairs)
    lines = []
    for name, text in pairs:
        first, *more = text.splitlines() or [""]
        lines.append(f"  {name:<{width}}  {first}" if width else f"  {first}")
        indent = " " * (width + 4 if width else 4)
        lines += [f"{indent}{line}" for line in more]
    return lines


def _tag(found: Explanation) -> Iterator[Pair]:
    if found.description:
        yield "is", printable(found.description)
    state = printable(found.device_state)
    yield "device", f"{found.device} over {found.protocol}, {state}"
    yield "group", f"{found.group}, every {found.period_ms:,} ms"
    yield "address", f"{printable(found.address)}  {printable(found.type)}"
    if found.row:
        yield "row", found.row
    if found.unit:
        yield "unit", found.unit


def _now(found: Explanation) -> Iterator[Pair]:
    for each in found.inputs:
        value = _value(each.value)
        yield printable(each.tag), f"{value}  {each.quality}  from {printable(each.address)}"
    if found.live is not None:
        yield "asked", f"{printable(found.live.asked)}, reply {milliseconds(found.live.reply_s)}"
        if found.live.raw is not None:
            yield "bytes", spaced(found.live.raw)
    yield from _steps(found)
    if found.live is not None:
        source = found.live.source_at
        yield "times", f"read {found.live.read_at}, source {source or 'none'}"
        if found.live.note:
            yield "note", printable(found.live.note)
    if found.window is not None:
        window = found.window
        yield "window", f"{window.began_at} to {window.ends_at}, {span(window.left_s)} to go"
        if window.readings is not None:
            yield "", f"values of its input that were told in it so far: {window.readings:,}"
    if found.live_note:
        yield "not read" if not found.inputs else "note", printable_lines(found.live_note)


def _steps(found: Explanation) -> Iterator[Pair]:
    """Yield a value's way; what is calculated begins with its result."""
    before = "Good"
    for number, step in enumerate(found.steps):
        quality = f"  {step.quality}" if step.quality != before else ""
        before = step.quality
        value = _value(step.value) + quality
        if number:
            yield "", f"{step.what} = {value}"
        else:
            yield "value" if found.expression else "raw", value
    if found.steps:
        unit = f" {found.unit}" if found.unit not in ("", "1") else ""
        yield "published", f"{_value(found.steps[-1].value)}{unit}  {found.quality}"


def _filter(found: Explanation) -> Iterator[Pair]:
    yield "rule", "; ".join(found.rules)
    if found.filter is not None:
        words = {
            "told": "would be told",
            "held": "would be held back",
            "repeated": "would be repeated",
            "unchanged": "would not be told",
        }
        yield "now", f"{words.get(found.filter.outcome, found.filter.outcome)}: {found.filter.why}"


def _queue(found: Explanation) -> Iterator[Pair]:
    if found.last_note:
        yield "note", printable(found.last_note)
    if found.last is not None:
        yield from _last(found.last, found.unit)


def _last(last: LastTold, unit: str) -> Iterator[Pair]:
    shown = f" {unit}" if unit not in ("", "1") else ""
    repeated = ", repeated" if last.repeated else ""
    yield "last told", f"{_value(last.value)}{shown}  {last.quality}{repeated}"
    source = f", source {last.source_at}" if last.source_at else ""
    yield "", f"read {last.read_at}, {span(last.age_s)} ago{source}"
    yield "position", f"sequence {last.sequence:,}, index {last.index}"
    if last.earlier_table:
        yield "but then", "the table was another: " + "; ".join(last.earlier_table)


def _target(each: TargetState) -> Pair:
    ack = f"last acknowledgement {span(each.last_ack_age_s)} ago"
    tail = "" if each.last_ack_age_s is None else f", {ack}"
    match each.state:
        case "acknowledged":
            text = f"acknowledged (all up to {each.acknowledged:,})"
        case "set aside":
            text = f"set aside, never taken: {printable(each.reason or '')}"
        case "waiting":
            text = f"waiting: {each.behind:,} sequences behind, at {each.acknowledged:,}"
        case "cut off":
            text = "cut off: more waited for it than its limit, and it never gets this"
        case "not begun":
            text = "not begun: its uplink has not drained anything yet"
        case _:
            text = "no longer in it/cloud.toml: it gets nothing"
    return each.target, text + tail


def _message(each: WordedMessage) -> Iterator[Pair]:
    retained = ", retained" if each.retain else ""
    yield each.target, f"{printable(each.topic)}  (payload {each.profile}{retained})"
    if each.headers:
        yield "", printable(", ".join(f"{name}: {value}" for name, value in each.headers))
    yield "", printable(each.payload)


def _value(value: Any) -> str:
    return printable(shown_value(unpacked(value)))


def printable_lines(text: str) -> str:
    """Return a text of several lines, each without control characters."""
    return "\n".join(printable(line) for line in text.splitlines())
