"""Waiting times between attempts: doubling, bounded, jittered.

The jitter keeps a thousand gateways from knocking on one far side in step.
"""

import random
from collections.abc import Iterator


def jittered_delays_s(first_s: float, most_s: float) -> Iterator[float]:
    """Yield waits that double from `first_s` up to `most_s`, each drawn from its upper half."""
    ceiling_s = first_s
    while True:
        yield random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311 - spread, not secrecy
        ceiling_s = min(ceiling_s * 2, most_s)


def outage_delays_s(
    first_s: float, *, eager_most_s: float, eager_s: float, most_s: float
) -> Iterator[float]:
    """Yield waits that stay at or below `eager_most_s` for `eager_s`, and grow to `most_s` then.

    Most outages are short, and who waits out a long one's back-off after a short one is late for
    nothing. `eager_s` is counted in waits, not in attempts: those that hang are rare by themselves.
    """
    waited_s = 0.0
    for delay_s in jittered_delays_s(first_s, eager_most_s):
        waited_s += delay_s
        yield delay_s
        if waited_s >= eager_s:
            break
    yield from jittered_delays_s(2 * eager_most_s, most_s)
