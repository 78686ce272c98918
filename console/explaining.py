"""The whole chain of one tag, gathered: tables, device, normalizer, queue, targets."""

from dataclasses import dataclass, field
from typing import Any

from common.clock import now_ns
from common.errors import QueueUnusable
from common.health import STALE_S, read_health
from common.places import Places
from common.queue import QueueReader
from common.records import Column, Expression, Plan, WindowValue
from common.trials import Decision, WordedMessage, packed
from console.accounts import CollectorAccount, account
from console.explain_found import (
    Explanation,
    Filter,
    Input,
    LastTold,
    Live,
    Step,
    TargetState,
    Window,
    changes,
)
from console.explain_live import Reading, calculated, decided, read_now
from console.explain_queue import Told, last_told, states, told_since
from console.explain_table import inputs_of, rule_sentences, table_sentences
from console.notation import iso_time, quality_text
from console.trying import RoomFailed, Tables, worded

_NS_PER_S = 1_000_000_000


@dataclass
class _Queued:
    """What the queue says."""

    told: Told | None = None
    note: str | None = None
    targets: list[TargetState] = field(default_factory=list)
    messages: list[WordedMessage] = field(default_factory=list)
    message_note: str | None = None
    in_window: int | None = None


@dataclass
class _Now:
    """What the device says, and what is made of it."""

    inputs: list[Input] = field(default_factory=list)
    live: Live | None = None
    note: str | None = None
    decision: Decision | None = None


def explain(
    places: Places, tables: Tables, plan: Plan, index: int, timeout_s: float | None
) -> Explanation:
    """Return everything that is known of a tag; without `timeout_s` no device is asked.

    Raises RoomFailed.
    """
    column = plan.columns[index]
    tag = tables.row_of(column)
    queued = _queued(places, plan, index)
    now = _Now(note="no device was asked (--offline)")
    if timeout_s is not None:
        now = _now(places, tables, (plan, index), queued.told, timeout_s)
    decision = now.decision
    return Explanation(
        tag=column.name,
        topic=column.topic,
        description=column.description,
        device=plan.device,
        protocol=plan.protocol,
        group=plan.group,
        period_ms=plan.period_ms,
        device_state=_device_state(places, plan.device),
        address=column.address,
        type=column.source_type,
        row=None if tag is None else tag.place,
        unit=column.unit,
        table=table_sentences(column, tag),
        rules=rule_sentences(column),
        expression=column.made.text if isinstance(column.made, Expression) else None,
        inputs=now.inputs,
        window=_window(column, queued),
        live=now.live,
        live_note=now.note,
        steps=[
            Step(what=each.what, value=each.value, quality=quality_text(each.quality))
            for each in (decision.chain if decision else [])
        ],
        quality=None if decision is None else quality_text(decision.quality),
        filter=None if decision is None else _filter(places, decision),
        last=None if queued.told is None else _last(queued.told, column),
        last_note=queued.note,
        targets=queued.targets,
        messages=queued.messages,
        message_note=queued.message_note,
    )


def _queued(places: Places, plan: Plan, index: int) -> _Queued:
    column = plan.columns[index]
    found = _Queued()
    try:
        reader = QueueReader.open(places.queue_dir)
    except QueueUnusable as error:
        return _Queued(note=str(error))
    try:
        found.told = last_told(reader, column.topic)
        if isinstance(column.made, WindowValue):
            topic = plan.columns[column.made.of].topic
            found.in_window = told_since(reader, topic, _window_begin_ns(column.made))
        if found.told is None:
            found.note = "the queue holds no value of it: none was told yet, or it was long ago"
            return found
        found.targets = states(places, reader, found.told)
    except QueueUnusable as error:
        found.note = str(error)
        return found
    finally:
        reader.close()
    try:
        found.messages = worded(places, found.told.record.sequence, found.told.number).messages
        if not found.messages:
            found.message_note = "no target in it/cloud.toml whose payload could be shown"
    except RoomFailed as error:
        found.message_note = str(error)
    return found


def _now(
    places: Places, tables: Tables, where: tuple[Plan, int], last: Told | None, timeout_s: float
) -> _Now:
    plan, index = where
    column = plan.columns[index]
    names = inputs_of(column, [each.name for each in plan.columns]) or [column.name]
    readings, note = read_now(places, tables, plan.device, names, timeout_s)
    decisions = decided(tables, readings, plan.device, last) if readings else []
    if column.made is None:
        live = _live(readings[0]) if readings else None
        return _Now(live=live, note=note, decision=decisions[0] if decisions else None)
    inputs = [_input(*each) for each in zip(readings, decisions, strict=True)]
    found = _Now(inputs=inputs, note=note)
    if isinstance(column.made, Expression) and decisions:
        by_tag = {each.tag: made for each, made in zip(readings, decisions, strict=True)}
        found.decision, why = calculated(plan, index, by_tag, last)
        found.note = note or why
    return found


def _filter(places: Places, decision: Decision) -> Filter:
    health = read_health(places.run_dir).get("normalizer")
    if health is not None and now_ns() - health.at_ns < STALE_S * _NS_PER_S:
        return Filter(outcome=decision.outcome, why=decision.why)
    idle = "the gateway does not run, and tells whatever it reads first"
    return Filter(outcome=decision.outcome, why=f"{decision.why}; {idle}")


def _input(reading: Reading, decision: Decision) -> Input:
    return Input(
        tag=reading.tag,
        address=reading.told.address,
        value=decision.value,
        quality=quality_text(decision.quality),
        note=reading.told.note or None,
    )


def _live(reading: Reading) -> Live:
    told = reading.told
    return Live(
        asked=told.wire,
        raw=told.raw,
        reply_s=told.reply_s,
        read_at=iso_time(told.read_at_ns),
        source_at=None if told.source_at_ns is None else iso_time(told.source_at_ns),
        note=told.note or None,
    )


def _last(told: Told, column: Column) -> LastTold:
    read_at_ns, source_at_ns = told.record.read_at_ns, told.source_at_ns
    value: Any = packed(told.record.values[told.place])
    return LastTold(
        sequence=told.record.sequence,
        index=told.number,
        value=value,
        quality=quality_text(told.code),
        read_at=iso_time(read_at_ns),
        source_at=None if source_at_ns is None else iso_time(source_at_ns),
        age_s=max(0.0, (now_ns() - read_at_ns) / _NS_PER_S),
        repeated=told.repeated,
        earlier_table=changes(column, told.column),
    )


def _window_begin_ns(made: WindowValue) -> int:
    at_ns, length_ns = now_ns(), int(made.window_s * _NS_PER_S)
    return at_ns - at_ns % length_ns


def _window(column: Column, queued: _Queued) -> Window | None:
    if not isinstance(column.made, WindowValue):
        return None
    began_ns = _window_begin_ns(column.made)
    ends_ns = began_ns + int(column.made.window_s * _NS_PER_S)
    return Window(
        began_at=iso_time(began_ns),
        ends_at=iso_time(ends_ns),
        left_s=max(0.0, (ends_ns - now_ns()) / _NS_PER_S),
        readings=queued.in_window,
    )


def _device_state(places: Places, device: str) -> str:
    """Return what its collector says of it, as a few words."""
    for health in read_health(places.run_dir).values():
        told = account(health, CollectorAccount).devices.get(device)
        if told is None:
            continue
        silent_s = (now_ns() - health.at_ns) / _NS_PER_S
        if silent_s >= STALE_S:
            return f"its collector has not spoken for {silent_s:,.0f} s"
        return f"{told.state}: {told.error}" if told.error else told.state
    return "no collector reads it at this moment"
