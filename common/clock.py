"""The only place that reads a clock, so that every instant in the house has one meaning."""

import time


def now_ns() -> int:
    """Nanoseconds since the Unix epoch, UTC, from the gateway's clock. May step."""
    return time.time_ns()


def monotonic_ns() -> int:
    """Nanoseconds on a clock that never steps; comparable only within one boot."""
    return time.monotonic_ns()


def monotonic_s() -> float:
    """Seconds on the clock that never steps; for timeouts and rates."""
    return time.monotonic()
