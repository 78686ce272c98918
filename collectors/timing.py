"""What a scan's times are worth, settled before it is handed over: the same for every protocol.

    source time                          source_time = "trust"  "corrected"            "ignore"
    none                                 read time              read time              read time
    until the tolerance after read time  as it is               less the clock offset  read time
    later still                          left out, marked       left out, marked       read time

With `corrected` the tolerance is applied to what was corrected, and before the offset is known
nothing is: left out, marked. An old source time is nothing to doubt: a subscribed value that last
changed days ago. Times are never put in order: they say when, the sequence says in which order.
"""

from collections.abc import Callable

import msgspec

from collectors.deviceclock import DeviceClock
from common.clock import monotonic_s, synchronised
from common.records import Quality, Scan, ScanMark
from common.sourcetimes import SourceTimeConfig

ASK_EVERY_S = 1.0
_NS_PER_S = 1_000_000_000


class GatewayClock:
    """Whether samples must say that nothing keeps the gateway's clock right."""

    def __init__(
        self,
        *,
        marked: bool = True,
        ask: Callable[[], bool | None] = synchronised,
        at_s: Callable[[], float] = monotonic_s,
    ) -> None:
        """`marked`: [gateway] clock is "mark"."""
        self._marked = marked
        self._ask = ask
        self._at_s = at_s
        self._next_s = float("-inf")
        self._mark = 0

    @property
    def mark(self) -> int:
        """What to add to a scan's marks; the kernel is asked once in ASK_EVERY_S."""
        if self._marked and (now_s := self._at_s()) >= self._next_s:
            self._next_s = now_s + ASK_EVERY_S
            # Where nobody can be asked there is nothing to say: the mark is for what is known.
            self._mark = ScanMark.UNSYNCHRONISED if self._ask() is False else 0
        return self._mark


class Timing:
    """The times of one device's scans."""

    def __init__(self, config: SourceTimeConfig, clock: GatewayClock) -> None:
        self._use = config.source_time
        self._ahead_max_ns = int(config.source_time_ahead_max_s * _NS_PER_S)
        self._clock = clock
        self._seen: set[bytes] = set()
        """Plans of which a scan was read since the process started."""

    def settled(self, scan: Scan, device_clock: DeviceClock) -> Scan:
        """Return the scan with the times that are believed, and with what is known of them."""
        marks = scan.marks | self._clock.mark
        if scan.plan not in self._seen:
            self._seen.add(scan.plan)
            marks |= ScanMark.FIRST
        if scan.source_at_ns is not None:
            scan = self._sourced(scan, device_clock)
        return msgspec.structs.replace(scan, marks=marks) if marks != scan.marks else scan

    def _sourced(self, scan: Scan, device_clock: DeviceClock) -> Scan:
        assert scan.source_at_ns is not None  # noqa: S101 - asked before
        if self._use == "ignore":
            return msgspec.structs.replace(scan, source_at_ns=None)
        offset_ns = device_clock.offset_ns if self._use == "corrected" else 0
        latest_ns = scan.read_at_ns + self._ahead_max_ns
        times = scan.source_at_ns
        if offset_ns is None:
            believed: list[int | None] = [None] * len(times)
        elif offset_ns == 0 and all(at_ns is None or at_ns <= latest_ns for at_ns in times):
            return scan
        else:
            shifted = [None if at_ns is None else at_ns - offset_ns for at_ns in times]
            believed = [None if at_ns and at_ns > latest_ns else at_ns for at_ns in shifted]
        qualities = scan.qualities
        left_out = [a is not None and b is None for a, b in zip(times, believed, strict=True)]
        if any(left_out):
            codes = qualities or [Quality.GOOD] * len(times)
            qualities = [
                code | Quality.SOURCE_TIME_LEFT_OUT if missing else code
                for code, missing in zip(codes, left_out, strict=True)
            ]
        return msgspec.structs.replace(scan, source_at_ns=believed, qualities=qualities)
