"""Reading a device's groups in turn, each at its own fixed rate, over one connection.

Every group is read once at the start. From then on its ticks stand on a grid of its own, start +
phase + n * period on the monotonic clock, so that a rate does not drift by the time that reading
takes. A tick that passes while its predecessor is still late is skipped and counted, never queued:
a slow device is asked less often, not ever later. The phase follows from the group's name: two
hundred devices with a period of a second are asked one after the other and not all at once, which
is kinder to the network, and every value leaves sooner.
"""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from common.clock import monotonic_ns
from common.records import ALL_COLUMNS, Plan, Scalar, Scan

_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
PHASE_STEP_NS = 50 * _NS_PER_MS
"""Measured: without steps a normalizer of many small scans costs three times the CPU; without
phases the median value is twice as old when it leaves."""


class Schedule:
    """Which group is due next, and when. Pure: instants come in, none are asked for.

    Instants are nanoseconds on one monotonic clock. Every group is due at once at the start.
    """

    def __init__(
        self, periods_ns: Sequence[int], start_ns: int, phases_ns: Sequence[int] | None = None
    ) -> None:
        """`phases_ns`: from the first tick to the second, at most a period; absent: a period."""
        self._periods_ns = periods_ns
        self._due_ns = [start_ns] * len(periods_ns)
        self._first_steps_ns: list[int | None] = list(phases_ns or periods_ns)

    def earliest(self) -> tuple[int, int]:
        """Return the group that is due first, and its instant. The longest overdue never waits."""
        due_ns = min(self._due_ns)
        return self._due_ns.index(due_ns), due_ns

    def begin(self, group: int, now_ns: int) -> int:
        """Take the group's newest tick at `now_ns`; return how many older ones were skipped."""
        period_ns, step_ns = self._periods_ns[group], self._first_steps_ns[group]
        if step_ns is not None and now_ns < self._due_ns[group] + step_ns:
            self._first_steps_ns[group] = None
            self._due_ns[group] += step_ns
            return 0
        if step_ns is not None:
            self._first_steps_ns[group] = None
            self._due_ns[group] += step_ns - period_ns
        skipped = max(0, (now_ns - self._due_ns[group]) // period_ns)
        self._due_ns[group] += (skipped + 1) * period_ns
        return skipped


def phase_of(plan: Plan) -> int:
    """Return where within its period a group is read, in ns: above 0, at most the period.

    In steps, so that some scans still come together: they share a commit and its fsync.
    """
    period_ns = plan.period_ms * _NS_PER_MS
    share = zlib.crc32(f"{plan.device}/{plan.group}".encode()) / 2**32
    return period_ns - int(share * period_ns) // PHASE_STEP_NS * PHASE_STEP_NS


async def poll(
    plans: Sequence[Plan],
    read: Callable[[int], Awaitable[Scan]],
    count_overruns: Callable[[int], None],
    *,
    clock_ns: Callable[[], int] = monotonic_ns,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    phase_ns: Callable[[Plan], int] = phase_of,
) -> AsyncGenerator[Scan, None]:
    """Yield a scan of each plan at its period, until closed or until `read` raises.

    `read(i)` reads the group of `plans[i]`; the next one is asked only after it has answered.
    `count_overruns(n)` is told of n periods that could not be held. A consumer that is slow to
    take a scan delays the device too, and its lost periods are counted in the same way.
    """
    periods_ns = [plan.period_ms * _NS_PER_MS for plan in plans]
    schedule = Schedule(periods_ns, clock_ns(), [phase_ns(plan) for plan in plans])
    while True:
        group, due_ns = schedule.earliest()
        # Slept even when overdue: a source that never waits must not hold the event loop.
        await sleep(max(0, due_ns - clock_ns()) / _NS_PER_S)
        if skipped := schedule.begin(group, clock_ns()):
            count_overruns(skipped)
        yield await read(group)


def whole_scan(
    plan: Plan,
    read_at_ns: int,
    monotonic_at_ns: int,
    values: list[Scalar],
    qualities: list[int],
) -> Scan:
    """Return the scan of every tag of a group; qualities are only kept where one is not Good.

    The instants are those at which the last reply had come.
    """
    return Scan(
        plan=plan.fingerprint,
        read_at_ns=read_at_ns,
        monotonic_ns=monotonic_at_ns,
        values=values,
        indexes=ALL_COLUMNS,
        qualities=qualities if any(qualities) else None,  # Good is 0.
    )
