"""Goal: an explanation reads from the device to the last target, without what is not there."""

from typing import Any

import click
import msgspec
import pytest

from common.answers import ReadingTold
from common.records import Column, Expression, Plan, ValueType
from common.trials import Decision, WordedMessage
from console.explain_found import (
    Explanation,
    Filter,
    Input,
    LastTold,
    Live,
    Step,
    TargetState,
    Window,
)
from console.explain_live import NEEDS_BEFORE, calculated, raw_value
from console.explain_text import explanation_text

READ_AT = "2026-11-23T10:15:00.000000000Z"
BARE = Explanation(
    tag="Level", topic="Acme/Level", description="", device="press", protocol="s7", group="fast",
    period_ms=1_000, device_state="good", address="DB40.DBD12:REAL", type="REAL", row=None, unit="",
    table=[], rules=["every change"], expression=None, inputs=[], window=None, live=None,
    live_note="no device was asked (--offline)", steps=[], quality=None, filter=None, last=None,
    last_note="no queue", targets=[], messages=[], message_note=None,
)  # fmt: skip


def lines(**parts: Any) -> list[str]:
    found = msgspec.structs.replace(BARE, **parts)
    return [click.unstyle(line) for line in explanation_text(found)]


def test_what_is_not_there_is_left_out_or_said() -> None:
    assert lines() == [
        "Acme/Level",
        "",
        "tag",
        "  device   press over s7, good",
        "  group    fast, every 1,000 ms",
        "  address  DB40.DBD12:REAL  REAL",
        "",
        "now",
        "  not read  no device was asked (--offline)",
        "",
        "filter",
        "  rule  every change",
        "",
        "queue",
        "  note  no queue",
    ]


def test_the_whole_way_is_shown() -> None:
    told = lines(
        description="Oil",
        row="ot/tags/press.csv:14",
        unit="bar",
        table=["raw * 0.5 + 0 bar"],
        live=Live(asked="DB 40, bytes 12 to 15", raw="422a0000", reply_s=0.0123, read_at=READ_AT,
                  source_at=None, note="slow"),
        live_note=None,
        steps=[Step(what="raw", value=42.5, quality="Good"),
               Step(what="* 0.5 + 0", value=21.25, quality="Good"),
               Step(what="held within 0 … 20", value=20.0, quality="Uncertain")],
        quality="Uncertain",
        filter=Filter(outcome="held", why="moved 1 bar from 19"),
        last_note=None,
        last=LastTold(sequence=4711, index=3, value=19.0, quality="Good", read_at=READ_AT,
                      source_at=READ_AT, age_s=3.21, repeated=True,
                      earlier_table=["deadband: 0.2 → 0.5"]),
        targets=[
            TargetState(target="uns", acknowledged=4711, state="acknowledged", behind=0,
                        last_ack_age_s=2.0),
            TargetState(target="lake", acknowledged=11, state="waiting", behind=4700,
                        last_ack_age_s=None),
            TargetState(target="mes", acknowledged=4711, state="set aside", behind=0,
                        last_ack_age_s=None, reason="too large"),
            TargetState(target="new", acknowledged=0, state="not begun", behind=4711,
                        last_ack_age_s=None),
            TargetState(target="old", acknowledged=0, state="not configured", behind=4711,
                        last_ack_age_s=None),
        ],
        messages=[WordedMessage(target="uns", profile="uns", topic="Acme/Level",
                                payload='{"value":19}', retain=True),
                  WordedMessage(target="umh", profile="umh", topic="umh/v1/Acme/_raw/Level",
                                payload='{"value":20}', retain=False,
                                headers=[("unit", "bar"), ("hist", "1")])],
    )  # fmt: skip

    assert told[5:] == [
        "  group    fast, every 1,000 ms",
        "  address  DB40.DBD12:REAL  REAL",
        "  row      ot/tags/press.csv:14",
        "  unit     bar",
        "",
        "table",
        "  raw * 0.5 + 0 bar",
        "",
        "now",
        "  asked      DB 40, bytes 12 to 15, reply 12.3 ms",
        "  bytes      42 2a 00 00",
        "  raw        42.5",
        "             * 0.5 + 0 = 21.25",
        "             held within 0 … 20 = 20  Uncertain",
        "  published  20 bar  Uncertain",
        f"  times      read {READ_AT}, source none",
        "  note       slow",
        "",
        "filter",
        "  rule  every change",
        "  now   would be held back: moved 1 bar from 19",
        "",
        "queue",
        "  last told  19 bar  Good, repeated",
        f"             read {READ_AT}, 3.2 s ago, source {READ_AT}",
        "  position   sequence 4,711, index 3",
        "  but then   the table was another: deadband: 0.2 → 0.5",
        "",
        "targets",
        "  uns   acknowledged (all up to 4,711), last acknowledgement 2.0 s ago",
        "  lake  waiting: 4,700 sequences behind, at 11",
        "  mes   set aside, never taken: too large",
        "  new   not begun: its uplink has not drained anything yet",
        "  old   no longer in it/cloud.toml: it gets nothing",
        "",
        "message",
        "  uns  Acme/Level  (payload uns, retained)",
        '       {"value":19}',
        "  umh  umh/v1/Acme/_raw/Level  (payload umh)",
        "       unit: bar, hist: 1",
        '       {"value":20}',
    ]


def test_what_is_made_shows_what_it_is_made_of() -> None:
    told = lines(
        expression="Level * 2",
        inputs=[Input(tag="Level", address="a", value=1.5, quality="Good")],
        live_note=None,
        steps=[Step(what="raw", value=3.0, quality="Good")],
        quality="Good",
        window=Window(began_at=READ_AT, ends_at=READ_AT, left_s=12.0, readings=41),
    )

    assert told[told.index("now") + 1 :][:5] == [
        "  Level      1.5  Good  from a",
        "  value      3",
        "  published  3  Good",
        f"  window     {READ_AT} to {READ_AT}, 12 s to go",
        "             values of its input that were told in it so far: 41",
    ]


def test_a_device_cannot_play_with_the_terminal() -> None:
    told = lines(description="\x1b[2J", device_state="away: \x07")

    assert not any("\x1b" in line or "\x07" in line for line in told)


@pytest.mark.parametrize(
    ("value_type", "value", "raw"),
    [
        (ValueType.FLOAT64, "Infinity", float("inf")),
        (ValueType.BYTES, "00ff", b"\x00\xff"),
        (ValueType.STRING, "00ff", "00ff"),
        (ValueType.INT64, 7, 7),
    ],
)
def test_what_json_could_not_hold_is_the_raw_value_again(
    value_type: ValueType, value: Any, raw: Any
) -> None:
    told = ReadingTold(
        asked="T", address="a", type="T", wire="w", value=value, read_at_ns=1, reply_s=0.1
    )

    assert raw_value(told, Column("T", "Acme/T", "a", "T", value_type)) == raw


@pytest.mark.parametrize(
    ("text", "value", "says"),
    [
        ("1 / Level", 0.0, "there is no such number"),
        ("rate(Level)", 1.0, NEEDS_BEFORE),
        ("Level * 2", None, "there is no number of Level"),
    ],
)
def test_what_cannot_be_calculated_says_why(text: str, value: Any, says: str) -> None:
    level = Column("Level", "Acme/Level", "a", "REAL", ValueType.FLOAT64)
    made = Column("M", "Acme/M", "=", "expression", ValueType.FLOAT64, made=Expression(text))
    plan = Plan("s7", "press", "fast", "Press", 1_000, (level, made))
    decision = Decision(topic="Acme/Level", value=value, at_ns=1, outcome="told", why="")

    found, why = calculated(plan, 1, {"Level": decision}, None)

    assert found is None
    assert why is not None
    assert says in why
