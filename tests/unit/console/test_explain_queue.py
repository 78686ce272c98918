"""Goal: the newest sample of a tag is found in the queue, and who has had it is told."""

from pathlib import Path

import pytest

from common.clock import now_ns
from common.health import write_health
from common.places import Places
from common.queue import Cursor, Island, QueueReader
from common.queue.cursor import DeadLetter
from common.records import Quality
from console.explain_found import TargetState
from console.explain_queue import FIRST_SPAN, Told, last_told, states, told_since
from tests.unit.common.block_builders import part_of
from tests.unit.console.filled_queue import METER, PRESS, START_NS, STEP_NS, create, fill

LEVEL = PRESS.columns[0].topic
POWER = METER.columns[0].topic


@pytest.fixture
def places(short_path: Path) -> Places:
    (short_path / "it").mkdir()
    (short_path / "it/cloud.toml").write_text("[targets.uns]\n[targets.late]\n")
    return Places(short_path, short_path / "run", short_path)


def found(places: Places, topic: str) -> Told | None:
    reader = QueueReader.open(places.queue_dir)
    try:
        return last_told(reader, topic)
    finally:
        reader.close()


@pytest.mark.parametrize("commits", [1, 3, FIRST_SPAN])
def test_the_newest_sample_of_every_topic_is_found(places: Places, commits: int) -> None:
    queue = create(places.config_dir)
    told = fill(queue, commits)
    queue.close()

    for topic in {each.topic for each in told if each.topic}:
        expected = [each for each in told if each.topic == topic][-1]
        newest = found(places, topic)
        assert newest is not None
        assert (newest.record.sequence, newest.number) == (expected.sequence, expected.index)
        assert newest.record.values[newest.place] == expected.value
        assert newest.source_at_ns == expected.source_at_ns


def test_a_tag_that_is_silent_for_long_is_found_further_back(places: Places) -> None:
    """Seen to bite: with the newest 256 sequences alone looked at it was not found."""
    queue = create(places.config_dir)
    queue.append([part_of(METER, START_NS, [7.0])], plans=[METER, PRESS])
    values: list[object] = [1.0, 2, "a", b"", True]
    for at in range(FIRST_SPAN * 6):
        queue.append([part_of(PRESS, START_NS + at * STEP_NS, values)])
    queue.close()

    newest = found(places, POWER)

    assert newest is not None
    assert newest.record.sequence == 1


def test_what_was_never_told_is_not_found(places: Places) -> None:
    queue = create(places.config_dir)
    queue.close()
    assert found(places, LEVEL) is None, "an empty queue"


def test_a_topic_that_no_plan_has_is_not_found(places: Places) -> None:
    queue = create(places.config_dir)
    fill(queue, 1)
    queue.close()

    assert found(places, "Acme/Nobody") is None


def test_a_repetition_is_known_without_its_mark(places: Places) -> None:
    queue = create(places.config_dir)
    code = Quality.UNCERTAIN | Quality.REPEATED
    queue.append([part_of(METER, START_NS, [7.0], qualities=[code])], plans=[METER])
    queue.close()

    newest = found(places, POWER)

    assert newest is not None
    assert (newest.code, newest.repeated) == (Quality.UNCERTAIN, True)


def test_what_was_told_since_an_instant_is_counted(places: Places) -> None:
    queue = create(places.config_dir)
    fill(queue, 5)
    queue.close()
    reader = QueueReader.open(places.queue_dir)

    counts = [told_since(reader, POWER, START_NS + first * STEP_NS) for first in (0, 9, 99)]
    reader.close()

    assert counts == [5, 3, 0]


def states_of(places: Places, newest: Told) -> dict[str, TargetState]:
    reader = QueueReader.open(places.queue_dir)
    found = states(places, reader, newest)
    reader.close()
    return {each.target: each for each in found}


def test_each_target_has_a_state_of_its_own(places: Places) -> None:
    queue = create(places.config_dir)
    fill(queue, 2)
    epoch = queue.epoch
    queue.close()
    newest = found(places, LEVEL)
    assert newest is not None
    sequence = newest.record.sequence
    for target, position in [("uns", sequence), ("late", sequence - 3), ("gone", sequence - 1)]:
        cursor = Cursor.open(places.queue_dir, target, epoch=epoch)
        cursor.advance(position)
        cursor.close()
    places.run_dir.mkdir()
    write_health(places.run_dir, "uplink-uns", "running", {"last_ack_at_ns": now_ns() - 10**9})

    told = states_of(places, newest)

    assert {name: (each.state, each.behind) for name, each in told.items()} == {
        "uns": ("acknowledged", 0),
        "late": ("waiting", 3),
        "gone": ("not configured", 1),
    }
    age_s = told["uns"].last_ack_age_s
    assert age_s is not None
    assert age_s >= 1
    assert told["late"].last_ack_age_s is None


def test_a_target_has_what_it_was_told_before_older_records(places: Places) -> None:
    """Seen to bite: by the position alone the newest sample waits until all the history is told."""
    queue = create(places.config_dir)
    fill(queue, 3)
    epoch = queue.epoch
    queue.close()
    newest = found(places, LEVEL)
    assert newest is not None
    sequence = newest.record.sequence
    cursor = Cursor.open(places.queue_dir, "uns", epoch=epoch)
    cursor.advance(2, islands=[Island(sequence - 2, sequence)])
    cursor.close()

    told = states_of(places, newest)["uns"]

    assert (told.state, told.behind) == ("acknowledged", 0)


def test_what_was_refused_for_good_is_not_called_acknowledged(places: Places) -> None:
    """Seen to bite: a cursor passes what was set aside, and alone says that all is well."""
    queue = create(places.config_dir)
    fill(queue, 2)
    epoch = queue.epoch
    queue.close()
    newest = found(places, LEVEL)
    assert newest is not None
    sequence = newest.record.sequence
    letter = DeadLetter(sequence, newest.number, LEVEL, b"{}", "0x97 quota exceeded", now_ns())
    cursor = Cursor.open(places.queue_dir, "uns", epoch=epoch)
    cursor.advance(sequence, [letter])
    cursor.close()

    told = states_of(places, newest)

    assert (told["uns"].state, told["uns"].reason) == ("set aside", "0x97 quota exceeded")
    assert told["late"].state == "not begun"
