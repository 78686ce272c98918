"""Goal: a lane is late by what was in the queue when, and by nothing else."""

from uplink.lag import LATE_S, MARK_INTERVAL_S, VERY_LATE_S, Lag

FEW = 10


def test_what_came_just_now_is_not_late() -> None:
    lag = Lag()
    lag.note(100.0, 50)
    lag.note(101.0, 1_000)

    assert not lag.late(101.0, 50, FEW)


def test_what_has_waited_for_two_seconds_is_late_when_it_is_many() -> None:
    lag = Lag()
    lag.note(100.0, 1_000)
    lag.note(100.0 + LATE_S, 1_000)

    assert lag.late(100.0 + LATE_S, 1_000 - FEW - 1, FEW)
    assert not lag.late(100.0 + LATE_S, 1_000 - FEW, FEW), "a few are told in order"
    assert not lag.late(100.0 + LATE_S, 1_000, FEW)


def test_a_few_are_late_when_they_have_waited_for_long() -> None:
    lag = Lag()
    for quarter in range(60):
        lag.note(100.0 + quarter * MARK_INTERVAL_S, 1_000)

    assert lag.late(100.0 + 59 * MARK_INTERVAL_S, 999, FEW)


def test_what_was_seen_before_an_absence_is_remembered_through_it() -> None:
    lag = Lag()
    lag.note(100.0, 1_000)
    lag.note(5_000.0, 9_000)

    assert lag.late(5_000.0, 500, FEW), "of the first mark, which is long ago"
    assert not lag.late(5_000.0, 1_000, FEW), "of what came since, nobody knows when"


def test_it_remembers_no_more_than_it_needs() -> None:
    lag = Lag()
    for step in range(100_000):
        lag.note(step / 10, step)

    assert len(lag._marks) <= VERY_LATE_S / MARK_INTERVAL_S + 2  # noqa: SLF001 - its memory
