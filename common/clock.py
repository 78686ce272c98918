"""The only place that reads a clock, so that every instant in the house has one meaning."""

import secrets
import time


def now_ns() -> int:
    """Nanoseconds since the Unix epoch, UTC, from the gateway's clock. May step."""
    return time.time_ns()


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
