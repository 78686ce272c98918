"""Goal: groups are read at their own fixed rates, and what cannot be held is counted, not queued.

Method: the real poll on a clock that only moves when the code sleeps or the device answers.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import aclosing
from itertools import pairwise

import pytest

from collectors.polling import phase_of, poll
from common.errors import SourceUnavailable
from common.records import Plan, Scan


class Clock:
    """Instants of a test: time passes only where the test says so."""

    def __init__(self) -> None:
        self.start_ns = self.now_ns = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now_ns

    async def sleep(self, delay_s: float) -> None:
        self.now_ns += round(delay_s * 1e9)

    @property
    def elapsed_s(self) -> float:
        return (self.now_ns - self.start_ns) / 1e9


def plan(period_ms: int) -> Plan:
    return Plan("simulated", "press", f"every-{period_ms}", "press", period_ms, ())


async def polled(
    periods_ms: list[int],
    reply_s: Callable[[int], float],
    until_s: float,
    *,
    phase_s: float | None = None,
) -> tuple[list[tuple[int, float]], int]:
    """Return (group, instant at which its read began) of every read, and the overruns.

    Without a phase the second tick of a group comes a period after its first.
    """
    clock, reads, overruns = Clock(), [], 0
    plans = [plan(period_ms) for period_ms in periods_ms]

    async def read(group: int) -> Scan:
        reads.append((group, clock.elapsed_s))
        await clock.sleep(reply_s(group))
        return Scan(plans[group].fingerprint, 0, 0, [])

    def count(periods: int) -> None:
        nonlocal overruns
        overruns += periods

    def phase_ns(plan: Plan) -> int:
        return plan.period_ms * 1_000_000 if phase_s is None else round(phase_s * 1e9)

    polling = poll(plans, read, count, clock_ns=clock, sleep=clock.sleep, phase_ns=phase_ns)
    async with aclosing(polling) as scans:
        async for _ in scans:
            if clock.elapsed_s >= until_s:
                break
    return reads, overruns


async def test_each_group_is_read_at_its_own_rate() -> None:
    reads, overruns = await polled([100, 250], lambda _: 0.001, until_s=10)

    counts = Counter(group for group, _ in reads)
    assert counts[0] == pytest.approx(100, abs=1)
    assert counts[1] == pytest.approx(40, abs=1)
    assert overruns == 0


async def test_the_time_of_reading_does_not_add_up_to_a_drift() -> None:
    reads, overruns = await polled([100], lambda _: 0.03, until_s=100)

    assert reads[-1][1] == pytest.approx(0.1 * (len(reads) - 1)), "still on the grid it began on"
    assert overruns == 0


async def test_a_period_that_cannot_be_held_is_skipped_and_counted() -> None:
    reads, overruns = await polled([100], lambda _: 0.25, until_s=10)

    begun = [at for _, at in reads]
    gaps = [round(later - earlier, 6) for earlier, later in pairwise(begun)]
    assert min(gaps) >= 0.25, "the device is never asked while it still answers"
    assert len(reads) + overruns == pytest.approx(10 / 0.1, abs=3), "each period read or counted"
    assert overruns > len(reads)


async def test_one_long_silence_is_not_made_up_for_by_a_burst() -> None:
    slow_once = iter([5.0])

    reads, overruns = await polled([100], lambda _: next(slow_once, 0.001), until_s=7)

    assert overruns == 49, "5 s late: of the 50 ticks that passed, the newest is still read"
    assert [at for _, at in reads[:4]] == [0.0, 5.0, 5.1, 5.2]


async def test_a_group_too_fast_for_the_device_does_not_starve_the_slow_one() -> None:
    reads, _ = await polled([10, 1_000], lambda _: 0.05, until_s=20)

    slow = [at for group, at in reads if group == 1]
    assert len(slow) == pytest.approx(20, abs=1)


async def test_a_group_is_read_at_once_and_then_at_its_own_phase() -> None:
    reads, overruns = await polled([1_000], lambda _: 0.01, until_s=4, phase_s=0.3)

    assert [at for _, at in reads] == pytest.approx([0.0, 0.3, 1.3, 2.3, 3.3, 4.3])
    assert overruns == 0


async def test_a_first_read_that_takes_long_is_followed_by_the_grid() -> None:
    slow_once = iter([2.5])

    reads, overruns = await polled([1_000], lambda _: next(slow_once, 0.01), until_s=5, phase_s=0.3)

    assert [at for _, at in reads] == pytest.approx([0.0, 2.5, 3.3, 4.3, 5.3])
    assert overruns == 2, "the ticks at 0.3 and 1.3; that of 2.3 is read late"


def test_devices_of_one_period_are_spread_over_it() -> None:
    """Seen to bite: with one phase for all."""
    plans = [Plan("modbus", f"meter-{n}", "all", "m", 1_000, ()) for n in range(200)]

    phases_s = sorted(phase_of(plan) / 1e9 for plan in plans)

    assert 0 < phases_s[0] <= phases_s[-1] <= 1
    tenths = Counter(int(each * 10) for each in phases_s)
    assert max(tenths.values()) < 2.5 * 200 / 10, "no tenth of the second is crowded"


async def test_a_lost_device_ends_the_polling() -> None:
    async def read(_: int) -> Scan:
        raise SourceUnavailable("press is gone")

    with pytest.raises(SourceUnavailable, match="press is gone"):
        await anext(poll([plan(100)], read, lambda _: None))
