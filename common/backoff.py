"""Waiting times between attempts: doubling, bounded, jittered."""

import random
from collections.abc import Iterator


def jittered_delays_s(first_s: float, most_s: float) -> Iterator[float]:
    """Yield waits that double from `first_s` up to `most_s`, each drawn from its upper half.

    The jitter keeps a thousand gateways from knocking on one broker in step.
    """
    ceiling_s = first_s
    while True:
        yield random.uniform(ceiling_s / 2, ceiling_s)  # noqa: S311 - spread, not secrecy
        ceiling_s = min(ceiling_s * 2, most_s)
