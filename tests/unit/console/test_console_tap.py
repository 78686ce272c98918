"""Goal: `tailrace tap` shows every committed sample that was asked for, and every gap.

Method: a real queue; its writer and a follower in one process.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from common.block import Layout, Part
from common.errors import QueueUnusable
from common.queue import Bounds, QueueWriter
from common.records import Column, Gap, Plan, Quality, ValueType
from console.globs import topic_filter
from console.tap import Missing, Shown, follow, line, print_values

TOPIC = "Acme/SiteA/Press"
AT_NS = 1_700_000_000_123_000_000
PLAN = Plan(
    "simulated",
    "press",
    "fast",
    "Press",
    100,
    (
        Column("Temperature_C", f"{TOPIC}/Temperature_C", "sine", "", ValueType.FLOAT64, "Cel"),
        Column("Pressure_bar", f"{TOPIC}/Pressure_bar", "sine", "", ValueType.FLOAT64, "bar"),
    ),
)


def part(*values: float) -> Part:
    """Return a scan of the whole plan."""
    return Part(Layout(PLAN), AT_NS, {ValueType.FLOAT64: np.array(values)}, 2)


def bad_pressure() -> Part:
    """Return a scan of only the second column, which has no value."""
    return Part(
        Layout(PLAN),
        AT_NS,
        {ValueType.FLOAT64: np.array([0.0])},
        1,
        indexes=np.array([1], np.uint16),
        nulls=np.array([0], np.uint16),
        quality_at=np.array([0], np.uint16),
        qualities=np.array([Quality.BAD_NO_COMMUNICATION], np.uint32),
    )


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[QueueWriter]:
    """Return a queue that already holds a record nobody asked for."""
    writer = QueueWriter.create(tmp_path / "queue", Bounds(capacity_bytes=64 * 1024**2))
    writer.append([part(1.0, 1.0)], plans=[PLAN])
    yield writer
    writer.close()


def until_nothing_more(following: Iterator[Shown | Missing | None]) -> list[Shown | Missing]:
    """Return what comes until the follower has caught up."""
    return list(iter(following.__next__, None))


def test_values_committed_from_now_on_are_shown(queue: QueueWriter) -> None:
    following = follow(queue, topic_filter("*"))
    before = until_nothing_more(following)
    queue.append([part(61.25, 4.5), bad_pressure()])

    shown = until_nothing_more(following)

    assert before == [], "what was there before is history, not live"
    assert [(each.topic, each.value, each.quality, each.reason) for each in shown] == [
        (f"{TOPIC}/Temperature_C", 61.25, "Good", ""),
        (f"{TOPIC}/Pressure_bar", 4.5, "Good", ""),
        (f"{TOPIC}/Pressure_bar", None, "Bad", "BadNoCommunication"),
    ]
    assert {each.timestamp_ms for each in shown} == {AT_NS // 1_000_000}


def test_a_gap_is_shown_whatever_the_filter(queue: QueueWriter) -> None:
    following = follow(queue, topic_filter("nothing-matches"))
    assert until_nothing_more(following) == []
    queue.append([part(1.0, 2.0), Gap("press", "fast", "queue-full", AT_NS, AT_NS + 10**9, 7, 14)])

    (gap,) = until_nothing_more(following)

    assert isinstance(gap, Missing)
    assert line(gap, 0) == (
        "22:13:20.123Z  gap: 7 scans of press/fast missing until 22:13:21.123Z (queue-full)"
    )


@pytest.mark.parametrize(
    ("gap", "says"),
    [
        (Gap("press", "fast", "outbox-full", AT_NS, AT_NS, 7_000, 14), "7,000 scans of press/fast"),
        (Gap("press", "fast", "thinned", AT_NS, AT_NS, 0, 14), "14 samples of press/fast"),
        (Gap("press", "fast", "outbox-lost", AT_NS, AT_NS, 0, 0), "an unknown number of scans of"),
        (Gap("", "", "queue-new", AT_NS, AT_NS, 0, 0), "scans of unknown devices missing"),
    ],
)
def test_a_gap_says_how_much_is_missing_as_far_as_known(
    queue: QueueWriter, gap: Gap, says: str
) -> None:
    following = follow(queue, topic_filter("*"))
    until_nothing_more(following)
    queue.append([gap])

    (told,) = until_nothing_more(following)

    assert says in line(told, 0)


@pytest.mark.parametrize(
    ("glob", "wanted"),
    [
        ("*", True),
        ("*Temperature*", True),
        ("temperature", True),
        ("Acme/*/Press/*", True),
        ("Acme/SiteA/Press/Temperature_?", True),
        ("Temperature*", False),
        ("pressure", False),
    ],
)
def test_topics_are_picked_by_glob_or_by_word(glob: str, *, wanted: bool) -> None:
    assert topic_filter(glob)(f"{TOPIC}/Temperature_C") is wanted


def test_a_mark_beside_good_is_no_reason_to_doubt_the_value(queue: QueueWriter) -> None:
    """Seen to bite: on a box without NTP every line said `Good (Good)`."""
    following = follow(queue, topic_filter("*"))
    until_nothing_more(following)
    marked = bad_pressure()
    marked.nulls, marked.qualities = None, np.array([Quality.CLOCK_UNSYNCHRONISED], np.uint32)
    queue.append([marked])

    [shown] = until_nothing_more(following)

    assert isinstance(shown, Shown)
    assert (shown.quality, shown.reason) == ("Good", "")


def test_a_line_has_time_topic_value_unit_and_quality() -> None:
    shown = Shown(timestamp_ms=1_700_000_000_123, topic="a/b", value=61.256789, quality="Good")
    shown.unit = "Cel"

    assert line(shown, 5) == "22:13:20.123Z  a/b    61.2568 Cel       Good"


def test_without_a_queue_there_is_nothing_to_follow(tmp_path: Path) -> None:
    with pytest.raises(QueueUnusable, match="no queue at"):
        print_values(tmp_path, topic_filter("*"), limit=1, as_json=False)
