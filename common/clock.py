"""The only place that reads a clock, so that every instant in the house has one meaning."""

import ctypes
import functools
import secrets
import time
from collections.abc import Callable

_TIMEX_BYTES = 512
"""More than struct timex has on any Linux (208 on 64 bits). All zero: a question, no setting."""
_TIME_ERROR = 5
"""adjtimex(2): the clock is not kept in step by NTP or PTP, or no longer is."""


def now_ns() -> int:
    """Nanoseconds since the Unix epoch, UTC, from the gateway's clock. May step."""
    return time.time_ns()


def synchronised() -> bool | None:
    """Return whether something keeps the gateway's clock right; None where nobody can say.

    The kernel's own account (adjtimex), which NTP and PTP daemons keep. It takes 2 us.
    """
    if (ask := _adjtimex()) is None:
        return None
    state = ask(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _TIME_ERROR


@functools.cache
def _adjtimex() -> Callable[[ctypes.Array[ctypes.c_char]], int] | None:
    try:
        found: Callable[[ctypes.Array[ctypes.c_char]], int] = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    return found


def new_epoch() -> int:
    """Return a number that no other epoch has: seconds since 1970 in front of 20 random bits.

    The random part is for boxes without a battery, which boot at the same instant every time.
    Below 2**53, so that every consumer can read it as a JSON number.
    """
    return time.time_ns() // 1_000_000_000 << 20 | secrets.randbits(20)


def monotonic_ns() -> int:
    """Nanoseconds on a clock that never steps; comparable only within one boot."""
    return time.monotonic_ns()


def monotonic_s() -> float:
    """Seconds on the clock that never steps; for timeouts and rates."""
    return time.monotonic()
