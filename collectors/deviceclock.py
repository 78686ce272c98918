"""How far a device's clock is from the gateway's, and whether it jumped. Pure.

A device that is asked for its time answers somewhere between question and answer. So its offset is
known to half of that span: of the recent observations the one with the shortest span says most.

    offset = device's time - gateway's time        positive: the device's clock is ahead

Either clock may jump (a PLC loses its battery, somebody sets the gateway's). Then the times of
values before and after do not belong to one axis: from the observation that shows the jump until
the new offset is confirmed the clock is doubtful, and whoever publishes source times marks them
Uncertain.
"""

from collections import deque
from typing import Any, NamedTuple

RECENT = 8
"""Observations that the estimate is taken from."""
JUMP_NS = 1_000_000_000
"""A change beyond this (and beyond what the observation can tell) is a jump, not drift."""
CONFIRMATIONS = 2
"""Observations of the new offset after which a jump is over."""
OBSERVE_EVERY_S = 10.0
"""How often a device is asked; drift of 100 ppm is a millisecond in that time."""


class _Observation(NamedTuple):
    offset_ns: int
    error_ns: int


class DeviceClock:
    """The estimate of one device; outlives its connections."""

    def __init__(self) -> None:
        self._recent: deque[_Observation] = deque(maxlen=RECENT)
        self._to_confirm = 0
        self.jumps = 0

    @property
    def offset_ns(self) -> int | None:
        """The best estimate; None before the first observation."""
        return min(self._recent, key=lambda each: each.error_ns).offset_ns if self._recent else None

    @property
    def doubtful(self) -> bool:
        """True from a jump until the new offset is confirmed."""
        return self._to_confirm > 0

    def observe(
        self, device_at_ns: int, asked_at_ns: int, answered_at_ns: int, resolution_ns: int = 0
    ) -> bool:
        """Take what the device said its time was; return True when its offset jumped.

        All are UTC: the device's own time, and the gateway's before the question and after the
        answer. `resolution_ns` is the step of the device's clock. An observation during which the
        gateway's clock stepped back tells nothing, and is left out.
        """
        if answered_at_ns < asked_at_ns:
            return False
        middle_ns = (asked_at_ns + answered_at_ns) // 2
        error_ns = (answered_at_ns - asked_at_ns) // 2 + resolution_ns
        seen = _Observation(device_at_ns - middle_ns, error_ns)
        before_ns = self.offset_ns
        jumped = before_ns is not None and abs(seen.offset_ns - before_ns) > JUMP_NS + seen.error_ns
        if jumped:
            self.jumps += 1
            self._recent.clear()
            self._to_confirm = CONFIRMATIONS
        elif self._to_confirm:
            self._to_confirm -= 1
        self._recent.append(seen)
        return jumped

    def detail(self) -> dict[str, Any]:
        """Return the clock's part of the health file; nothing for a device without one."""
        if self.offset_ns is None:
            return {}
        return {
            "clock_offset_s": self.offset_ns / 1e9,
            "clock_jumps": self.jumps,
            "clock_doubtful": self.doubtful,
        }
