"""Goal: a person sees of a replay how much is told, and what another table changes."""

import click
import pytest

from common.trials import Replay, Replayed, TableReplayed, TagReplayed
from console.replay_text import replay_text
from console.replay_verb import shown
from console.trying import RoomFailed

START_NS = 1_763_892_900 * 10**9


def tag(name: str, read: int, told: int, **more: int) -> TagReplayed:
    return TagReplayed(device="press", tag=name, topic=f"Acme/{name}", read=read, told=told, **more)


def table(
    *tags: TagReplayed, unknown: list[str] | None = None, missing: list[str] | None = None
) -> TableReplayed:
    return TableReplayed(tags=list(tags), unknown=unknown or [], missing=missing or [])


def lines(found: TableReplayed, other: TableReplayed | None = None) -> list[str]:
    done = Replayed(
        scans=3_600,
        first_at_ns=START_NS,
        last_at_ns=START_NS + 3_600 * 10**9,
        devices=["press"],
        table=found,
        against=other,
    )
    return [click.unstyle(line) for line in replay_text(done, against="old")]


def test_each_tag_has_a_line_and_all_have_a_sum() -> None:
    found = table(
        tag("Level", 3_600, 120, held=7, repeated=3, not_good=1),
        tag("Mean", 0, 60),
        unknown=["press/Gone"],
        missing=[f"press/N{number}" for number in range(12)],
    )

    assert lines(found) == [
        "3,600 scans of press, 1 h 0 min from 2025-11-23 10:15:00Z",
        "",
        "TAG           READ  TOLD  TOLD %  HELD  REPEATED  NOT GOOD",
        "press/Level  3,600   120     3.3     7         3         1",
        "press/Mean       0    60       -     0         0         0",
        "",
        "3,600 values read, 180 told, one of 20.0",
        "Recorded, and not in the tag tables: press/Gone",
        (
            "In the tag tables, and not recorded: press/N0, press/N1, press/N2, press/N3, "
            "press/N4, press/N5, press/N6, press/N7, press/N8, press/N9 and 2 more"
        ),
    ]


def test_of_two_tables_only_what_differs_is_listed() -> None:
    new = table(tag("Level", 100, 10), tag("Same", 100, 5), tag("Fresh", 100, 1))
    old = table(
        tag("Level", 100, 90), tag("Same", 100, 5), tag("Gone", 100, 2), missing=["press/X"]
    )

    assert lines(new, old)[2:] == [
        "TAG          TOLD  AGAINST  CHANGE",
        "press/Level    10       90     -80",
        "press/Fresh     1        -      +1",
        "press/Gone      -        2      -2",
        "1 others are the same",
        "",
        "300 values read, 16 told, one of 18.8",
        "300 values read, 97 told, one of 3.1  against old",
        "In the tag tables of old, and not recorded: press/X",
    ]


def test_two_tables_that_tell_the_same_are_said_to() -> None:
    same = table(tag("Level", 100, 0))

    assert lines(same, same)[2:] == [
        "Of every tag the same number of values would be told.",
        "",
        "100 values read, 0 told",
        "100 values read, 0 told  against old",
    ]


def test_a_room_that_fails_is_said_to_have_failed() -> None:
    asked = Replay(path="nothing", plans=[])

    with pytest.raises(RoomFailed, match=r"nonsense failed, exit code 1: this is a bug, please"):
        shown(asked, as_json=False, room="collectors.nonsense")
