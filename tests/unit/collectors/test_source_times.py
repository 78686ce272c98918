"""Goal: a device's times are believed as far as docs/time.md says, and no further.

Method: scans of a plan, settled as the runner settles them; a device's clock of known offset.
"""

import pytest

from collectors.deviceclock import DeviceClock
from collectors.timing import ASK_EVERY_S, GatewayClock, Timing
from common.clock import synchronised
from common.records import Quality, Scan, ScanMark
from common.sourcetimes import SourceTimeConfig

S = 1_000_000_000
NOW_NS = 1_700_000_000 * S
LEFT_OUT = Quality.SOURCE_TIME_LEFT_OUT


def scan(*source_at_ns: int | None, qualities: list[int] | None = None) -> Scan:
    values = [1.0] * len(source_at_ns)
    return Scan(b"plan", NOW_NS, 1, values, None, qualities, list(source_at_ns))


def settled(each: Scan, config: SourceTimeConfig, offset_ns: int | None = None) -> Scan:
    clock = DeviceClock()
    if offset_ns is not None:
        clock.observe(NOW_NS + offset_ns, NOW_NS, NOW_NS)
    return Timing(config, GatewayClock(marked=False)).settled(each, clock)


def test_an_old_source_time_is_believed_however_old() -> None:
    """Seen to bite: with the tolerance applied to both sides."""
    read = settled(scan(NOW_NS - 400 * 86_400 * S, None), SourceTimeConfig())

    assert read.source_at_ns == [NOW_NS - 400 * 86_400 * S, None]
    assert read.qualities is None


def test_a_source_time_later_than_the_tolerance_is_left_out_and_marked() -> None:
    """Seen to bite: without the mark nobody knows why the read time stands."""
    times = (NOW_NS + 60 * S, NOW_NS + 60 * S + 1, None)

    read = settled(scan(*times), SourceTimeConfig())
    strict = settled(scan(*times), SourceTimeConfig(source_time_ahead_max_s=0))

    assert (read.source_at_ns, read.qualities) == ([times[0], None, None], [0, LEFT_OUT, 0])
    assert (strict.source_at_ns, strict.qualities) == ([None] * 3, [LEFT_OUT, LEFT_OUT, 0])


def test_the_mark_is_beside_the_devices_own_quality() -> None:
    read = settled(scan(NOW_NS + 61 * S, qualities=[Quality.UNCERTAIN]), SourceTimeConfig())

    assert read.qualities == [Quality.UNCERTAIN | LEFT_OUT]


@pytest.mark.parametrize("offset_s", [-3_600, 0, 7_200])
def test_the_offset_of_the_devices_clock_is_applied_only_when_configured(offset_s: int) -> None:
    """Seen to bite: with the sign the other way round, and with `trust` correcting too."""
    at_ns = NOW_NS - 5 * S + offset_s * S

    corrected = settled(scan(at_ns), SourceTimeConfig(source_time="corrected"), offset_s * S)
    trusted = settled(scan(at_ns), SourceTimeConfig(source_time_ahead_max_s=86_400), offset_s * S)

    assert corrected.source_at_ns == [NOW_NS - 5 * S]
    assert corrected.qualities is None
    assert trusted.source_at_ns == [at_ns]


def test_before_the_offset_is_known_there_is_nothing_to_correct_by() -> None:
    read = settled(scan(NOW_NS, None), SourceTimeConfig(source_time="corrected"))

    assert (read.source_at_ns, read.qualities) == ([None, None], [LEFT_OUT, 0])


def test_ignored_source_times_are_gone_without_a_word() -> None:
    read = settled(scan(NOW_NS + 999 * S), SourceTimeConfig(source_time="ignore"))

    assert (read.source_at_ns, read.qualities) == (None, None)


def test_repeated_and_decreasing_source_times_are_data() -> None:
    timing = Timing(SourceTimeConfig(), GatewayClock(marked=False))
    times = [NOW_NS, NOW_NS, NOW_NS - 9 * S]

    read = [timing.settled(scan(at_ns), DeviceClock()).source_at_ns for at_ns in times]

    assert read == [[at_ns] for at_ns in times]


def test_the_first_scan_of_a_process_says_so() -> None:
    timing = Timing(SourceTimeConfig(), GatewayClock(marked=False))
    plain = Scan(b"plan", NOW_NS, 1, [1.0])

    marks = [timing.settled(plain, DeviceClock()).marks for _ in range(3)]

    assert marks == [ScanMark.FIRST, 0, 0]


@pytest.mark.parametrize(
    ("state", "marked", "mark"),
    [
        (True, True, 0),
        (False, True, ScanMark.UNSYNCHRONISED),
        (None, True, 0),
        (False, False, 0),
    ],
)
def test_a_clock_that_nothing_keeps_right_is_marked_unless_it_is_trusted(
    state: bool | None,  # noqa: FBT001 - pytest gives it by name
    marked: bool,  # noqa: FBT001 - pytest gives it by name
    mark: int,
) -> None:
    assert GatewayClock(marked=marked, ask=lambda: state).mark == mark


def test_the_kernel_is_asked_once_a_second_and_its_change_of_mind_is_noticed() -> None:
    answers = iter([False, True])
    at_s = 0.0
    clock = GatewayClock(ask=lambda: next(answers), at_s=lambda: at_s)

    early = [clock.mark, clock.mark]
    at_s = ASK_EVERY_S

    assert early == [ScanMark.UNSYNCHRONISED] * 2
    assert clock.mark == 0


def test_this_kernel_can_be_asked() -> None:
    """What it answers depends on the machine; a container has its host's clock and answer."""
    assert synchronised() in (True, False)
