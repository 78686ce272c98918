"""Goal: repeats are dropped exactly, and what is missing is named exactly.

Method: generated histories of a gateway (records of some columns, losses told by gaps, two lanes
that reconnect and repeat) and a naive set as the judge.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.queue.ledger import LOST_INSIDE as CAUSES
from subscribers.arrivals import LOST_INSIDE, STREAMS_MAX, Arrivals, Found, Lost, TooManyStreams
from subscribers.identity import Identity
from subscribers.spans import Spans

GATEWAY, EPOCH = "sitea-line1", 17


def sample(sequence: int, index: int = 0, epoch: int = EPOCH, gateway: str = GATEWAY) -> Identity:
    return Identity(gateway, epoch, sequence, index)


def gap(
    arrivals: Arrivals, sequence: int, scans: int, cause: str = "queue-full", n: int = 0
) -> bool:
    identity = Identity(GATEWAY, EPOCH, sequence, gap=n)
    return arrivals.take_gap(identity, device="press", cause=cause, scans=scans, samples=4 * scans)


def only(arrivals: Arrivals) -> Found:
    (found,) = arrivals.found()
    return found


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5), st.booleans()), max_size=300),
)
def test_each_sample_is_taken_once_whatever_the_order(
    told: list[tuple[int, int, bool]],
) -> None:
    """Seen to bite: with one bit for two columns; with the mask not written back."""
    arrivals = Arrivals()
    seen: set[tuple[int, int]] = set()
    for sequence, index, lane in told:
        fresh = arrivals.take(str(sample(sequence, index)), lane=lane)
        assert fresh == ((sequence, index) not in seen)
        seen.add((sequence, index))

    if told:
        found = only(arrivals)
        between = range(found.first, found.last + 1)
        assert found.samples == len(seen)
        assert found.repeats == len(told) - len(seen)
        assert found.doubtful == 0
        assert found.missing == sum(each not in {s for s, _ in seen} for each in between)
        for up_to in (0, 20, 60):
            naive = sum(sequence <= up_to for sequence, _ in seen)
            assert arrivals.samples_up_to(GATEWAY, EPOCH, up_to) == naive


@given(st.lists(st.integers(0, 50), max_size=200), st.integers(2, 6))
def test_spans_hold_what_a_set_holds(numbers: list[int], most: int) -> None:
    """Seen to bite: two spans that meet were not joined."""
    exact, narrow, naive = Spans(1_000), Spans(most), set[int]()
    for number in numbers:
        exact.add(number)
        narrow.add(number)
        naive.add(number)
        assert all((each in exact) == (each in naive) for each in range(51))
        holes = [each for first, last in exact.holes() for each in range(first, last + 1)]
        assert holes == sorted(set(range(exact.lowest, exact.highest)) - naive)
        assert all(first <= last for first, last in exact.holes()), "none is empty"
        assert sum(1 for _ in narrow.holes()) < most


@dataclass
class Gateway:
    """A queue as a gateway has it: what stands at each sequence."""

    columns: dict[int, list[int]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    gaps: dict[int, int] = field(default_factory=dict)
    """Sequence → records that are missing as a whole."""


@st.composite
def queues(draw: st.DrawFn) -> Gateway:
    """Regions that are whole, dropped, or thinned; records of 1 to 3 columns."""
    queue, sequence = Gateway(), 0
    for kind in draw(st.lists(st.sampled_from(["whole", "dropped", "thinned"]), max_size=8)):
        last = sequence + draw(st.integers(1, 6))
        going = [
            kind == "dropped" or (kind == "thinned" and draw(st.booleans()))
            for _ in range(sequence, last)
        ]
        for each, goes in zip(range(sequence + 1, last + 1), going, strict=True):
            if goes:
                queue.lost.add(each)
            else:
                queue.columns[each] = draw(st.lists(st.integers(0, 2), min_size=1, unique=True))
        if any(going):
            queue.gaps[last] = sum(going)
        sequence = last
    sequence += 1
    queue.columns[sequence] = [0]
    return queue


@settings(max_examples=200)
@given(queues(), st.data())
def test_what_is_missing_is_what_no_gap_tells(queue: Gateway, data: st.DataObject) -> None:
    """Two lanes, each repeating a part, and some records that vanish on the way.

    Seen to bite: with the stretch before a gap alone, what thinning took was missing.
    """
    records = sorted(queue.columns)
    vanished = data.draw(st.sets(st.sampled_from(records[1:-1]))) if len(records) > 2 else set()
    near_gap = {each for each in vanished if any(each <= at for at in queue.gaps)}
    vanished -= near_gap  # Which of the holes before a gap are its own, an id does not say.
    split = data.draw(st.integers(0, max(records)))
    arrivals = Arrivals()
    for lane, part in (
        ("live", [each for each in records if each > split]),
        ("history", records),
        ("live", records[-3:]),
    ):
        for sequence in part:
            if sequence not in vanished:
                for column in queue.columns[sequence]:
                    arrivals.take(sample(sequence, column), topic=f"t/{column}", lane=lane)
            if sequence in queue.gaps:
                gap(arrivals, sequence, queue.gaps[sequence], "thinned")
        for sequence in queue.gaps.keys() - queue.columns.keys():
            gap(arrivals, sequence, queue.gaps[sequence])

    found = only(arrivals)
    came = set(records) - vanished | queue.gaps.keys()
    holes = [each for each in range(min(came), max(came)) if each not in came]
    assert found.missing == len([each for each in holes if each in vanished])
    assert found.told == len([each for each in holes if each in queue.lost])
    assert found.disorder == 0


def test_a_gap_tells_no_more_sequences_than_it_names_records() -> None:
    """2 vanished; 4 and 5 were given up, and 6, where the gap stands.

    Seen to bite: with a budget that the stretch before the gap did not use up.
    """
    arrivals = Arrivals()
    for sequence in (1, 3, 7):
        arrivals.take(sample(sequence))
    gap(arrivals, 6, scans=3)

    assert only(arrivals).missing_spans == [(2, 2)]
    assert only(arrivals).told == 2


def test_a_hole_before_a_gap_that_cost_no_sequence_is_missing() -> None:
    """Seen to bite: every gap told the hole before it."""
    arrivals = Arrivals()
    arrivals.take(sample(1))
    gap(arrivals, 4, scans=10, cause="outbox-full")

    assert only(arrivals).missing_spans == [(2, 3)]
    assert only(arrivals).lost == {("press", "outbox-full"): Lost(1, 10, 40, 0)}


def test_gaps_are_counted_once_by_device_and_cause() -> None:
    arrivals = Arrivals()
    fresh = [gap(arrivals, 9, 5), gap(arrivals, 9, 5), gap(arrivals, 9, 0, n=1)]

    assert fresh == [True, False, True]
    assert only(arrivals).lost == {("press", "queue-full"): Lost(2, 5, 20, 1)}
    assert only(arrivals).repeats == 1


def test_data_that_shares_its_sequence_with_a_gap_is_neither_repeat_nor_doubtful() -> None:
    arrivals = Arrivals()
    gap(arrivals, 9, 3, "thinned")

    assert arrivals.take(sample(9, 2))
    assert (only(arrivals).repeats, only(arrivals).doubtful) == (0, 0)


def test_order_is_judged_by_topic_and_lane_and_repeats_do_not_count() -> None:
    """Seen to bite: one order for both lanes; repeats counted as disorder."""
    arrivals = Arrivals()
    for sequence, topic, lane in [
        (10, "a", "live"),
        (3, "a", "history"),
        (5, "b", "live"),
        (11, "a", "live"),
        (10, "a", "live"),
        (4, "a", "history"),
    ]:
        arrivals.take(sample(sequence), topic=topic, lane=lane)
    assert only(arrivals).disorder == 0

    arrivals.take(sample(2), topic="a", lane="history")

    assert only(arrivals).disorder == 1
    assert only(arrivals).disorder_topics == ["a"]


def test_epochs_and_gateways_are_streams_of_their_own() -> None:
    arrivals = Arrivals()
    fresh = [
        arrivals.take(sample(5)),
        arrivals.take(sample(5, epoch=18)),
        arrivals.take(sample(5, gateway="siteb")),
        arrivals.take(sample(5)),
    ]

    assert fresh == [True, True, True, False]
    assert [(each.gateway, each.epoch) for each in arrivals.found()] == [
        *(("sitea-line1", 17), ("sitea-line1", 18), ("siteb", 17))
    ]


def test_names_tell_the_samples_of_a_record_that_comes_in_parts() -> None:
    """Seen to bite: names numbered anew in each message."""
    arrivals = Arrivals()
    record = str(Identity(GATEWAY, EPOCH, 7))
    taken = [
        arrivals.take_named(record, names, topic="Acme/Press")
        for names in (["T", "P"], ["P"], ["V", "T"])
    ]

    assert taken == [["T", "P"], [], ["V"]]
    assert (only(arrivals).samples, only(arrivals).repeats) == (3, 2)


def test_a_form_in_the_wrong_place_is_refused() -> None:
    arrivals = Arrivals()
    with pytest.raises(ValueError, match="take_gap"):
        arrivals.take("sitea:1:1:gap")
    with pytest.raises(ValueError, match="take_named"):
        arrivals.take("sitea:1:1")
    with pytest.raises(ValueError, match="no gap"):
        arrivals.take_gap("sitea:1:1:0", device="", cause="", scans=0, samples=0)
    with pytest.raises(ValueError, match="whole record"):
        arrivals.take_named("sitea:1:1:0", ["a"], topic="t")


def test_memory_is_bounded_and_what_is_forgotten_is_given_rather_than_lost() -> None:
    """Seen to bite: forgotten sequences were repeats, so that late samples were thrown away."""
    arrivals = Arrivals(sequences_max=100, ahead_max=50)
    for sequence in range(1, 1_001):
        arrivals.take(sample(sequence), lane="live")

    assert not arrivals.take(sample(990), lane="live"), "recent repeats are known"
    assert arrivals.take(sample(1, 1), lane="live"), "what is doubtful is given"
    assert arrivals.take(sample(1, 1, epoch=18), lane="live")
    first, _ = arrivals.found()
    assert (first.samples, first.repeats, first.doubtful, first.missing) == (1_001, 1, 1, 0)


def test_what_the_live_lane_told_of_old_records_is_known_when_history_comes_to_them() -> None:
    """The newest of 50 tags stand in old records; then thousands of live ones pass.

    Seen to bite: without `ahead`, the first 50 were told twice.
    """
    arrivals = Arrivals(sequences_max=100, ahead_max=60)
    arrivals.take(sample(1), lane="history")
    for sequence in range(500, 550):
        arrivals.take(sample(sequence), lane="live")
    for sequence in range(1_000, 3_000):
        arrivals.take(sample(sequence), lane="live")
    taken = [
        (sequence, column)
        for sequence in range(2, 1_000)
        for column in (0, 1)
        if arrivals.take(sample(sequence, column), lane="history")
    ]

    assert taken == [
        (sequence, column)
        for sequence in range(2, 1_000)
        for column in (0, 1)
        if not (500 <= sequence < 550 and column == 0)
    ]
    assert only(arrivals).doubtful == 0
    assert only(arrivals).missing == 0


def test_invented_gateways_end_somewhere() -> None:
    arrivals = Arrivals()
    for epoch in range(STREAMS_MAX):
        arrivals.take(sample(1, epoch=epoch))

    with pytest.raises(TooManyStreams):
        arrivals.take(sample(1, epoch=STREAMS_MAX))


def test_the_causes_that_cost_sequences_are_those_of_the_queue() -> None:
    assert LOST_INSIDE == CAUSES
