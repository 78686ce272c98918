"""Goal: a clock in doubt is marked on the samples it is true of, and changes nothing else.

Method: scans through the whole of a group's normalizer, as tests of derived tags do.
"""

from typing import Any

import msgspec
import pytest

from common.records import (
    TIME_MARKS,
    CounterDelta,
    CounterTotal,
    Expression,
    Plan,
    Quality,
    Scan,
    ScanMark,
    ValueType,
    WindowValue,
)
from normalizer.columns import GroupNormalizer
from normalizer.deriving import AssetMemory
from normalizer.timing import STEP_NS, STEP_SHOWN_NS, ClockWatch
from tests.unit.normalizer.test_deriving import DAY_NS, S, column, feed, group_of, made, told

STEPPED, UNSYNCHRONISED = Quality.CLOCK_STEPPED, Quality.CLOCK_UNSYNCHRONISED
LEFT_OUT = Quality.SOURCE_TIME_LEFT_OUT


def stepped(group: GroupNormalizer, at_s: float, value: Any, by_s: float) -> dict[str, Any]:
    """Feed a scan `at_s` after the start, by the clock that never steps; the other was set."""
    at_ns = DAY_NS + int(at_s * S)
    plan = group.layout.plan.fingerprint
    return told(group.normalise(Scan(plan, at_ns + int(by_s * S), at_ns, [value])))


def test_the_marks_are_in_bits_of_their_own() -> None:
    assert TIME_MARKS & 0xFFFF0000 == 0, "no code of the standard's"
    assert TIME_MARKS & 0x00000FDF == 0, "and none of its info bits, the repetition's among them"


def test_while_nothing_keeps_the_clock_right_every_sample_says_so() -> None:
    group = group_of(column("T"), made("Double", Expression("T * 2")))

    marked = feed(group, 0, 1.0, marks=ScanMark.UNSYNCHRONISED)
    fine = feed(group, 1, 2.0)

    assert marked == {"T": (1.0, UNSYNCHRONISED), "Double": (2.0, UNSYNCHRONISED)}
    assert fine == {"T": 2.0, "Double": 4.0}


def test_a_mark_that_comes_or_goes_is_no_change_of_quality() -> None:
    """Seen to bite: with the marks compared, all tags are told whenever NTP is lost or back."""
    group = group_of(column("T"))
    feed(group, 0, 1.0)

    assert feed(group, 1, 1.0, marks=ScanMark.UNSYNCHRONISED) == {}
    assert feed(group, 2, 1.0, qualities=[LEFT_OUT]) == {}
    assert feed(group, 3, 1.0) == {}


def test_a_left_out_source_time_is_marked_on_its_sample_alone() -> None:
    group = group_of(column("A"), column("B"), made("Sum", Expression("A + B")))

    marked = feed(group, 0, 1.0, 2.0, qualities=[LEFT_OUT, 0])

    assert marked == {"A": (1.0, LEFT_OUT), "B": 2.0, "Sum": 3.0}


def test_a_mark_does_not_hide_a_quality() -> None:
    """Seen to bite: with the mark left in the code, a bad value's own reason is not found."""
    group = group_of(column("T"))

    wrong = feed(group, 0, "text", qualities=[LEFT_OUT], marks=ScanMark.UNSYNCHRONISED)

    assert wrong == {"T": (None, Quality.BAD_TYPE_MISMATCH | LEFT_OUT | UNSYNCHRONISED)}


def test_what_was_held_back_keeps_its_mark() -> None:
    group = group_of(column("T", min_interval_ms=2_000))
    feed(group, 0, 1.0)
    feed(group, 1, 2.0, qualities=[LEFT_OUT])

    [(part, _)] = group.due(DAY_NS + 3 * S, alive=True)

    assert told(part) == {"T": (2.0, LEFT_OUT)}


@pytest.mark.parametrize("by_s", [-86_400.0, -1.1, 1.1, 86_400.0])
def test_the_scan_that_shows_a_step_says_so_and_the_next_does_not(by_s: float) -> None:
    """Seen to bite: compared with the first scan instead of the last, every later one is marked."""
    group = group_of(column("T"))
    stepped(group, 0, 1.0, 0)

    assert stepped(group, 1, 2.0, by_s) == {"T": (2.0, STEPPED)}
    assert stepped(group, 2, 3.0, by_s) == {"T": 3.0}


@pytest.mark.parametrize("by_s", [-1.0, 0.9])
def test_less_than_a_second_is_no_step(by_s: float) -> None:
    group = group_of(column("T"))
    stepped(group, 0, 1.0, 0)

    assert stepped(group, 1, 2.0, by_s) == {"T": 2.0}


def test_a_clock_that_is_slewed_is_never_a_step() -> None:
    group = group_of(column("T"))

    history = [stepped(group, n, float(n), n * 0.0005) for n in range(4_000)]

    assert all(isinstance(each["T"], float) for each in history), "2 s in all, 0.5 ms a second"


def test_a_step_is_seen_over_a_change_of_plan() -> None:
    """Seen to bite: with the memory of the clocks in the plan's own normalizer."""
    memory = AssetMemory()
    stepped(group_of(column("T"), memory=memory), 0, 1.0, 0)

    assert stepped(group_of(column("U"), memory=memory), 1, 1.0, 5) == {"U": (1.0, STEPPED)}


def test_a_step_changes_no_rate() -> None:
    """Seen to bite: an hour forwards makes 1 per second 1 per hour; back, minus that."""
    group = group_of(column("E"), made("Rate", Expression("rate(E)")))
    stepped(group, 0, 0.0, 0)

    forwards = stepped(group, 1, 1.0, 3_600)["Rate"]
    back = stepped(group, 2, 3.0, -3_600)["Rate"]

    assert forwards == (pytest.approx(1.0, abs=1e-3), STEPPED)
    assert back == (pytest.approx(2.0, abs=1e-3), STEPPED)


def window_of(group: GroupNormalizer) -> list[tuple[int, dict[str, Any]]]:
    """Return (seconds since midnight of the end, what is told) of the windows closed now."""
    return [((each.read_at_ns - DAY_NS) // S, told(each)) for each in group.take_closed()]


@pytest.mark.parametrize("by_s", [-3_600, 3_600])
def test_a_step_ends_the_running_window_uncertain_and_the_next_reading_begins_another(
    by_s: int,
) -> None:
    """Seen to bite: set back, nothing is counted for an hour; set forwards, 360 windows at once."""
    group = group_of(column("T"), made("N", WindowValue("count", 0, 10.0)))
    for n in range(13):
        stepped(group, n, float(n), 0)
    before = window_of(group)
    stepped(group, 13, 1.0, by_s)
    at_step = window_of(group)
    for n in range(14, 31):
        stepped(group, n, 1.0, by_s)

    after = window_of(group)

    uncertain = Quality.UNCERTAIN
    assert before == [(10, {"N": 10.0})]
    assert at_step == [(20, {"N": (3.0, uncertain | STEPPED)})]
    assert after == [(by_s + 20, {"N": (7.0, uncertain)}), (by_s + 30, {"N": 10.0})]


def test_a_window_around_a_restart_of_its_collector_is_uncertain() -> None:
    """Seen to bite: counts of a window in which nobody was reading for a while look whole."""
    group = group_of(column("T"), made("N", WindowValue("count", 0, 10.0)))
    for at_s in (0, 5, 8):
        feed(group, at_s, 1.0)
    feed(group, 12, 1.0, marks=ScanMark.FIRST)
    for at_s in (15, 20, 30):
        feed(group, at_s, 1.0)

    assert window_of(group) == [
        (10, {"N": (3.0, Quality.UNCERTAIN)}),
        (20, {"N": (2.0, Quality.UNCERTAIN)}),
        (30, {"N": 1.0}),
    ]


def test_an_expression_never_joins_readings_under_two_tables() -> None:
    """Seen to bite: with the other group's last reading kept, 10 - 7 is told of 10 - 70."""
    memory = AssetMemory()
    slow = GroupNormalizer(
        Plan("s7", "press", "slow", "Press", 1_000, (column("S"),)), None, memory
    )
    tenfold = Plan("s7", "press", "slow", "Press", 1_000, (column("S", scale=10.0),))
    fast = group_of(column("T"), made("Off", Expression("T - S")), memory=memory)
    feed(slow, 0, 7.0, marks=ScanMark.FIRST)
    before = feed(fast, 0, 10.0, marks=ScanMark.FIRST)

    early = feed(fast, 1, 10.0, marks=ScanMark.FIRST)
    feed(GroupNormalizer(tenfold, None, memory), 1, 7.0, marks=ScanMark.FIRST)
    after = feed(fast, 2, 10.0)

    assert before["Off"] == 3.0
    assert early == {"Off": (None, Quality.BAD_WAITING_FOR_INITIAL_DATA)}
    assert after == {"Off": -60.0}


def test_a_step_costs_no_count() -> None:
    group = group_of(
        column("C", ValueType.UINT64),
        made("C_total", CounterTotal(0, 0), ValueType.UINT64),
        made("C_delta", CounterDelta(0, 0), ValueType.UINT64),
    )
    stepped(group, 0, 5, 0)

    after = stepped(group, 1, 9, -86_400)

    assert after["C_total"] == (4, STEPPED)


def test_a_scan_of_an_older_collector_has_no_marks() -> None:
    """Its outbox may have been filled before an upgrade."""
    old = msgspec.msgpack.encode([b"plan", 1, 1, [1.0], None, None, None])

    assert msgspec.msgpack.decode(old, type=Scan).marks == 0


def test_the_gateways_own_account_says_how_its_clock_is() -> None:
    now_ns, monotonic_ns, answer = 5 * S, 0, True
    watch = ClockWatch(lambda: now_ns, lambda: monotonic_ns, lambda: answer)

    first = watch.detail()
    now_ns += STEP_NS + 1
    second = watch.detail()
    now_ns, monotonic_ns, answer = now_ns + STEP_SHOWN_NS, STEP_SHOWN_NS, False
    third = watch.detail()

    assert (first["clock"], first["clock_steps"]) == ("synchronised", 0)
    assert (second["clock"], second["clock_steps"]) == ("stepped", 1)
    assert second["clock_step_s"] == pytest.approx(1.0)
    assert (third["clock"], third["clock_steps"]) == ("unsynchronised", 1)


def test_a_plan_does_not_change_with_what_is_believed_of_times() -> None:
    """What a column means is one thing, what its times are worth another."""
    assert {"clock", "source_time"} & set(Plan.__struct_fields__) == set()
