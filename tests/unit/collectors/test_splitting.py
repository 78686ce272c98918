"""Goal: a device that refuses some of what it is asked costs exactly the tags to blame.

Method: the survey against model devices with bad units: first a random set of them, which heals
later, then hand-made ones whose every request is written down. Time is ours: a probe is due when
the test says so.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.planning import Field, Hole, Placed, Read, plan_reads
from collectors.splitting import PROBE_READS_MAX, SPLIT_READS_MAX, Answer, Survey
from tests.unit.collectors.probes_at_will import ManyAtWill

UNITS_MAX = 40


def plan(fields: Sequence[Field], holes: Iterable[Hole] = ()) -> list[Read]:
    return plan_reads(fields, units_max=UNITS_MAX, gap_max=8, holes=holes)


Judge = Callable[[Read], Answer]


def refusing(bad: Iterable[int], area: str = "holding") -> Judge:
    """Refuse what touches a bad unit."""
    spoilt = set(bad)

    def judge(read: Read) -> Answer:
        touched = spoilt.intersection(range(read.start, read.start + read.length))
        return Answer.REFUSED if read.area == area and touched else Answer.GIVEN

    return judge


class Device:
    """Runs a survey against a judge, and keeps what one scan asked and was given."""

    def __init__(self, fields: Sequence[Field], judge: Judge) -> None:
        self.probes = ManyAtWill()
        self.survey = Survey(fields, plan, self.probes)
        self.judge = judge
        self.asked: list[Read] = []
        self.given: set[int] = set()

    def scan(self, *, probing: bool = False) -> None:
        self.probes.due(now=probing)
        self.asked, self.given = [], set()
        known = not self.survey.all_refused
        reads = self.survey.begin()
        while reads:
            answers = [(read, self.judge(read)) for read in reads]
            self.asked += reads
            self.given |= {c for read, a in answers if a is Answer.GIVEN for c, _ in read.fields}
            reads = self.survey.heard(answers)
        if known and not probing:
            assert len(set(self.asked)) == len(self.asked), "nothing is asked twice"

    @property
    def places(self) -> list[tuple[int, int]]:
        return [(read.start, read.length) for read in self.asked]


def registers(numbers: Iterable[int], length: int = 1) -> list[Field]:
    return [Field(column, "holding", at, length) for column, at in enumerate(numbers)]


FIELDS = st.lists(
    st.tuples(st.sampled_from(["holding", "coil"]), st.integers(0, 120), st.integers(1, 6)),
    min_size=1,
    max_size=60,
).map(lambda rows: [Field(column, *row) for column, row in enumerate(rows)])


def good_columns(fields: Iterable[Field], judge: Judge) -> set[int]:
    return {
        each.column
        for each in fields
        if judge(Read(each.area, each.start, each.length, ())) is Answer.GIVEN
    }


@given(fields=FIELDS, bad=st.sets(st.integers(0, 125), max_size=8))
def test_exactly_the_tags_that_touch_bad_units_are_bad_from_the_first_scan_on(
    fields: list[Field], bad: set[int]
) -> None:
    device = Device(fields, refusing(bad))
    good = good_columns(fields, device.judge)

    for _ in range(4):
        device.scan()
        assert device.given == good

    for _ in range(200):
        device.scan()
        if all(device.judge(read) is Answer.GIVEN for read in device.asked):
            break
    else:
        assert not good, "while anything is given, nothing that is refused is asked at each scan"


@given(fields=FIELDS, bad=st.sets(st.integers(0, 125), max_size=8), scans=st.integers(1, 5))
def test_a_device_that_heals_is_read_as_if_it_had_never_refused(
    fields: list[Field], bad: set[int], scans: int
) -> None:
    device = Device(fields, refusing(bad))
    for _ in range(scans):
        device.scan(probing=scans > 3)

    device.judge = refusing(())
    for _ in range(4):
        device.scan(probing=True)

    device.scan()
    assert device.given == {each.column for each in fields}
    assert device.asked == plan(fields)


@given(
    count=st.integers(2, 400),
    bad=st.sets(st.integers(0, 399), max_size=4),
)
def test_finding_a_bad_tag_costs_the_logarithm_of_its_read(count: int, bad: set[int]) -> None:
    """Seen to bite: a read cut behind its first tag instead of in the middle."""
    device = Device(registers(range(count)), refusing(bad))

    device.scan()

    each_max = 2 * math.ceil(math.log2(min(count, UNITS_MAX)))
    assert len(device.asked) <= math.ceil(count / UNITS_MAX) + len(bad) * each_max


@given(
    fields=FIELDS,
    answers=st.lists(st.sampled_from(list(Answer)), min_size=1, max_size=200),
    probing=st.booleans(),
)
def test_whatever_a_device_answers_a_scan_ends_and_asks_each_tag_that_is_not_left_out(
    fields: list[Field], answers: list[Answer], *, probing: bool
) -> None:
    """Answers at random: a device whose refusals follow no rule at all."""
    turn = iter(answers * 1_000)
    device = Device(fields, lambda _: next(turn))

    for _ in range(5):
        device.scan(probing=probing)
        asked = {column for read in device.asked for column, _ in read.fields}
        assert len(device.asked) <= 2 * len(fields) + SPLIT_READS_MAX + 2 * len(fields)
        assert asked | device.survey.left_out == {each.column for each in fields}


def test_the_bad_tag_is_left_out_and_the_others_are_merged_around_it() -> None:
    device = Device(registers(range(16)), refusing([5]))

    device.scan()
    assert device.places == [
        (0, 16), (0, 8), (8, 8), (0, 4), (4, 4), (4, 2), (6, 2), (4, 1), (5, 1),
    ]  # fmt: skip

    device.scan()
    assert device.places == [(0, 5), (6, 10)], "no read holds it, and it costs no request"

    device.scan(probing=True)
    assert device.places == [(0, 5), (6, 10), (5, 1)], "asked for by itself when it is time"

    device.judge = refusing(())
    device.scan(probing=True)
    assert device.given == set(range(16)), "its value is there in the scan that finds it"
    device.scan()
    assert device.places == [(0, 16)]


def test_a_hole_that_no_tag_needs_is_read_around_once_it_is_known() -> None:
    """Seen to bite: a survey that learns nothing of gaps, or never forgets a hole."""
    device = Device(registers([0, 1, 2, 3, 8, 9, 10, 11]), refusing([5]))

    device.scan()
    assert device.places == [(0, 12), (0, 4), (8, 4)]
    assert device.given == set(range(8))

    device.scan()
    assert device.places == [(0, 4), (8, 4)]

    device.scan(probing=True)
    assert device.places == [(0, 4), (8, 4), (0, 12)], "it may have been a moment of weakness"

    device.judge = refusing(())
    device.scan(probing=True)
    device.scan()
    assert device.places == [(0, 12)]


def test_a_device_that_gives_less_at_once_than_the_protocol_allows_is_asked_for_less() -> None:
    """Seen to bite: seams not learned, or only those of the smallest reads."""

    def judge(read: Read) -> Answer:
        return Answer.REFUSED if read.length > 10 else Answer.GIVEN

    device = Device(registers(range(40)), judge)
    device.scan()
    device.scan()

    assert device.given == set(range(40))
    assert device.places == [(0, 10), (10, 10), (20, 10), (30, 10)]


def test_a_device_that_starts_is_asked_little_and_its_first_scan_after_that_is_whole() -> None:
    """Seen to bite: no reads while everything is refused, but probes."""
    device = Device(registers(range(100)), refusing(range(100)))

    device.scan()
    assert not device.given
    for _ in range(5):
        device.scan()
        assert len(device.asked) <= 2
        assert device.survey.left_out == set(range(100))

    device.judge = refusing(())
    device.scan()
    assert device.given == set(range(100))
    device.scan()
    assert device.places == [(0, 40), (40, 40), (80, 20)]


def test_a_large_group_of_a_device_that_starts_is_not_looked_through() -> None:
    """Seen to bite: the search going on while nothing at all is given."""
    device = Device(registers(range(4_000)), refusing(range(4_000)))

    device.scan()
    assert len(device.asked) <= 100 + SPLIT_READS_MAX
    device.scan()
    assert len(device.asked) == 2

    device.judge = refusing(())
    device.scan()
    assert device.given == set(range(4_000))


def test_a_single_tag_that_is_refused_is_asked_for_once_a_scan() -> None:
    """Seen to bite: asked as the merged read, and once more as the tag alone."""
    device = Device(registers([7]), refusing([7]))

    for _ in range(3):
        device.scan()
        assert device.places == [(7, 1)]


def test_a_hole_that_heals_says_nothing_of_another() -> None:
    """Seen to bite: all of them forgotten with the first."""
    device = Device(registers([0, 8, 100, 108]), refusing([5, 105]))
    device.scan()

    device.judge = refusing([105])
    device.scan(probing=True)
    device.scan()

    assert device.places == [(0, 9), (100, 1), (108, 1)]


def test_a_device_that_has_started_with_one_bad_tag_is_whole_but_for_that_one() -> None:
    device = Device(registers(range(10)), refusing(range(10)))
    device.scan()

    device.judge = refusing([9])
    device.scan()
    device.scan()

    assert device.given == set(range(9))


def test_looking_for_what_is_refused_is_spread_over_scans() -> None:
    """2,000 tags of which every second is bad: 1,000 cannot be found within one scan's reads.

    Seen to bite: no limit to the reads of one scan.
    """
    fields = registers(range(0, 4_000, 2))
    bad = set(range(2, 4_000, 4))
    device = Device(fields, refusing(bad))
    whole = len(plan(fields))

    for _ in range(60):
        device.scan()
        assert len(device.asked) <= whole + 1_000 + 2 * SPLIT_READS_MAX
        if len(device.given) == 1_000:
            break

    assert device.given == good_columns(fields, device.judge)


def test_what_waits_to_be_split_is_not_lost_when_the_device_gives_it_meanwhile() -> None:
    """Seen to bite: a plan that is not made anew after the last of it was given."""
    fields = registers(range(0, 2_000, 2))
    device = Device(fields, refusing(range(2, 1_600, 4)))
    device.scan()
    assert device.survey.left_out > set(range(1, 100, 2)), "some of it was not asked for yet"

    device.judge = refusing(())
    for _ in range(3):
        device.scan()
    waiting_or_bad = device.survey.left_out
    for _ in range(4):
        device.scan(probing=True)
    device.scan()

    assert len(waiting_or_bad) < 400
    assert device.given == set(range(1_000))


def test_many_refused_tags_are_probed_a_few_at_a_time_and_each_in_its_turn() -> None:
    """Seen to bite: the same few at every turn."""
    device = Device(registers(range(0, 400, 2)), refusing(range(2, 400, 2)))
    for _ in range(10):
        device.scan()
    regular = set(device.asked)

    probed: set[Read] = set()
    for _ in range(80):
        device.scan(probing=True)
        extra = [read for read in device.asked if read not in regular]
        assert len(extra) <= PROBE_READS_MAX * len(device.probes.made)
        probed.update(extra)

    alone = {read.fields[0].column for read in probed if len(read.fields) == 1}
    assert alone >= set(range(1, 200)), "none is forgotten"


def test_what_was_refused_together_comes_back_together() -> None:
    device = Device(registers(range(30)), refusing(range(10, 20)))
    device.scan()
    device.scan()
    assert device.places == [(0, 10), (20, 10)]

    device.judge = refusing([10])
    device.scan(probing=True)

    assert device.given == set(range(30)) - {10}, "one that is given calls for the others"


@pytest.mark.parametrize("answer", [Answer.FAILED, Answer.UNSUPPORTED])
def test_a_read_is_not_split_where_splitting_cannot_help(answer: Answer) -> None:
    fields = [*registers(range(8)), Field(8, "coil", 0, 1)]
    device = Device(fields, lambda r: answer if r.area == "holding" else Answer.GIVEN)

    device.scan()
    assert len(device.asked) == 2
    device.scan()

    busy = answer is Answer.FAILED
    assert len(device.asked) == (2 if busy else 1), "asked again, or known not to exist"


def test_tags_of_one_place_share_one_request_to_the_end() -> None:
    """Sixteen bits of one register: asking for each of them would tell nothing more."""
    fields = [Field(column, "holding", 7, 1) for column in range(16)]
    fields.append(Field(16, "holding", 8, 1))
    device = Device(fields, refusing([7]))

    device.scan()

    assert device.places == [(7, 2), (7, 1), (8, 1)]
    assert device.asked[1].fields == tuple(Placed(column, 0) for column in range(16))
