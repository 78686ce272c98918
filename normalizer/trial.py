"""`python -m normalizer.trial`: what the normalizer would make of scans, and why. Stores nothing.

    rehearse   runs of scans on a clock that is told (`tailrace test`)
    judge      single readings against what was last told (`tailrace explain`)
    replay     a recording, under one or two tag tables (`tailrace replay`)

Takes one JSON document on standard input and gives one on standard output (common/trials.py); a
replay gives a line for each value that is told, if that is asked for, and then its document.
"""

import argparse
import os
import sys
from collections.abc import Iterator

import msgspec

from common.records import Column, Plan, Quality, Scan, decode_plan
from common.trials import (
    Decision,
    Link,
    Outcomes,
    Question,
    Questions,
    Rehearsals,
    Replay,
    Replayed,
    ReplayRefused,
    Run,
    Step,
    StepOutcome,
    Verdicts,
    packed,
    unpacked,
)
from normalizer.chain import Link as ChainLink
from normalizer.chain import chain
from normalizer.judging import judged
from normalizer.rehearsing import Reasons, Rehearsal
from normalizer.replaying import answered, samples
from normalizer.watching import Reason


def rehearse(asked: Rehearsals) -> Outcomes:
    """Return what each step of each run brings. Raises ScanMalformed, ValueError."""
    plans = [decode_plan(each) for each in asked.plans]
    return Outcomes(runs=[_run(plans, run) for run in asked.runs])


def judge(asked: Questions) -> Verdicts:
    """Return what becomes of each reading."""
    return Verdicts(decisions=[_verdict(each) for each in asked.questions])


def _run(plans: list[Plan], run: Run) -> list[StepOutcome]:
    reasons = Reasons()
    rehearsal = Rehearsal(plans, reasons.watch_of)
    wanted = set(run.asked)
    return [_step(rehearsal, reasons, step, wanted) for step in run.steps]


def _step(rehearsal: Rehearsal, reasons: Reasons, step: Step, wanted: set[str]) -> StepOutcome:
    parts = list(rehearsal.advance(step.at_ns))
    if step.restart:
        rehearsal.restart()
    decisions: list[Decision] = []
    for raw in step.scans:
        values = [unpacked(value) for value in raw.values]
        scan = Scan(
            raw.plan, step.at_ns, step.at_ns, values, raw.indexes, raw.qualities, raw.source_at_ns
        )
        parts += rehearsal.take(scan)
        decisions += _decisions(reasons, scan, wanted)
    parts += rehearsal.look(step.at_ns)
    return StepOutcome(told=[s for part in parts for s in samples(part)], decisions=decisions)


def _decisions(reasons: Reasons, scan: Scan, wanted: set[str]) -> Iterator[Decision]:
    """Yield what became of the scan that was taken last, of the topics that are wanted."""
    indexes = range(len(scan.values)) if scan.indexes is None else scan.indexes
    places = {index: place for place, index in enumerate(indexes)}
    for column, reason in reasons.taken():
        if column.topic not in wanted:
            continue
        links: list[ChainLink] = []
        if reason.column in places:
            place = places[reason.column]
            quality = scan.qualities[place] if scan.qualities else Quality.GOOD
            links = chain(column, scan.values[place], quality)
        yield _decision(column, reason, links)


def _verdict(question: Question) -> Decision:
    column = decode_plan(question.plan).columns[question.column]
    links = chain(column, unpacked(question.value), question.quality)
    return _decision(column, judged(column, links[-1], question), links)


def _decision(column: Column, reason: Reason, links: list[ChainLink]) -> Decision:
    return Decision(
        topic=column.topic,
        value=packed(reason.value),
        quality=reason.quality,
        at_ns=reason.at_ns,
        outcome=reason.outcome,
        why=reason.why,
        last_value=packed(reason.last.value) if reason.last else None,
        last_at_ns=reason.last.at_ns if reason.last else None,
        chain=[
            Link(what=each.what, value=packed(each.value), quality=each.quality) for each in links
        ],
    )


def command() -> None:
    """Answer what the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m normalizer.trial", description=__doc__)
    parser.add_argument("verb", choices=["rehearse", "judge", "replay"])
    verb = parser.parse_args().verb
    try:
        sys.stdout.buffer.write(msgspec.json.encode(_answer(verb, sys.stdin.buffer.read())) + b"\n")
        sys.stdout.flush()
    except BrokenPipeError:  # Whoever asked has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _answer(verb: str, asked: bytes) -> Outcomes | Verdicts | Replayed | ReplayRefused:
    if verb == "replay":
        return answered(msgspec.json.decode(asked, type=Replay), sys.stdout.buffer)
    if verb == "rehearse":
        return rehearse(msgspec.json.decode(asked, type=Rehearsals))
    return judge(msgspec.json.decode(asked, type=Questions))


if __name__ == "__main__":
    command()
