"""Aggregates over windows that begin on whole multiples of their length since midnight UTC.

A window is closed by the first reading after it, or by the clock when none comes. A value holds
until the next one; so on_time, off_time and time_mean begin with what held when the window began.
A window that was not seen from its beginning (after a start, a loss of the device) is Uncertain.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from common.records import Quality

WINDOWS_MAX = 1_440
"""Closed at once: a day of minutes."""
_NS_PER_S = 1_000_000_000


class Closed(NamedTuple):
    """The result of one window."""

    end_at_ns: int
    """UTC; the window's last instant, and the time of the value."""
    value: float | None
    quality: int

    def doubted(self) -> "Closed":
        """Return the result as of a window that was not seen whole."""
        return self if self.quality else self._replace(quality=Quality.UNCERTAIN)


@dataclass
class _Sums:
    """Of the readings within the window."""

    count: int = 0
    total: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")
    last: float | None = None
    held_s: float = 0.0
    """Seconds for which some value held."""
    weighted: float = 0.0
    on_s: float = 0.0
    doubtful: bool = False


@dataclass
class Window:
    """One aggregate of one tag. Readings come in order of time; an earlier one is left out."""

    function: str
    length_ns: int
    _begin_ns: int | None = None
    _sums: _Sums = field(default_factory=_Sums)
    _holds: float | None = None
    """The value that holds at `_since_ns`."""
    _since_ns: int = 0

    def add(self, at_ns: int, value: float | None, quality: int) -> list[Closed]:
        """Take a reading (None: there is none to be had); return the windows that it closes."""
        closed = self.close(at_ns)
        if self._begin_ns is None:
            self._begin_ns = at_ns - at_ns % self.length_ns
            self._since_ns = at_ns
            self._sums.doubtful = at_ns != self._begin_ns
        if at_ns < self._since_ns:
            return closed
        self._hold_until(at_ns)
        self._holds = value
        sums = self._sums
        sums.doubtful |= value is None or quality != Quality.GOOD
        if value is not None:
            sums.count += 1
            sums.total += value
            sums.least, sums.most = min(sums.least, value), max(sums.most, value)
            sums.last = value
        return closed

    def close(self, now_ns: int) -> list[Closed]:
        """Return the windows that are over by now, oldest first.

        While a value holds there is one for each, also when nothing was read in it; of a silence
        longer than WINDOWS_MAX windows the oldest are told.
        """
        closed: list[Closed] = []
        while self._begin_ns is not None and now_ns >= self._begin_ns + self.length_ns:
            end_ns = self._begin_ns + self.length_ns
            self._hold_until(end_ns)
            closed.append(self._result(end_ns))
            self._begin_ns, self._sums = end_ns, _Sums()
            if self._holds is None or len(closed) >= WINDOWS_MAX:
                current_ns = now_ns - now_ns % self.length_ns
                self._sums.doubtful = self._begin_ns != current_ns
                self._begin_ns = self._since_ns = current_ns
        return closed

    def doubt(self) -> None:
        """Have the running window's result be Uncertain."""
        self._sums.doubtful = True

    def cut(self) -> list[Closed]:
        """End the running window now, Uncertain: the clock that it is aligned to was set.

        The next reading begins another.
        """
        if self._begin_ns is None:
            return []
        self.doubt()
        closed = [self._result(self._begin_ns + self.length_ns)]
        self._begin_ns, self._sums = None, _Sums()
        return closed

    def _hold_until(self, at_ns: int) -> None:
        span_s = (at_ns - self._since_ns) / _NS_PER_S
        self._since_ns = at_ns
        if self._holds is None or span_s <= 0:
            return
        self._sums.held_s += span_s
        self._sums.weighted += self._holds * span_s
        if self._holds != 0:
            self._sums.on_s += span_s

    def _result(self, end_ns: int) -> Closed:
        value = self._value()
        quality = Quality.UNCERTAIN if self._sums.doubtful else Quality.GOOD
        return Closed(end_ns, value, quality if value is not None else Quality.BAD_NO_DATA)

    def _value(self) -> float | None:
        sums = self._sums
        match self.function:
            case "count":
                return float(sums.count)
            case "on_time":
                return sums.on_s if sums.held_s else None
            case "off_time":
                return sums.held_s - sums.on_s if sums.held_s else None
            case "time_mean":
                return sums.weighted / sums.held_s if sums.held_s else None
        if not sums.count:
            return None
        results = {
            "mean": sums.total / sums.count,
            "sum": sums.total,
            "min": sums.least,
            "max": sums.most,
            "last": sums.last,
        }
        return results[self.function]
