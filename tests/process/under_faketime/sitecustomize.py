"""Imported by Python itself in every process under libfaketime (clocked_gateway.py).

libfaketime 0.9.10 takes the deadline of a sleep for one of the clock it fakes, though it is the
monotonic one that it was told to leave alone: after a step `time.sleep` fails with EINVAL or sleeps
for decades. Waiting on nothing takes as long, and is left alone.
"""

import select
import time


def sleep(seconds: float) -> None:
    """Sleep as time.sleep does."""
    select.select([], [], [], seconds)


time.sleep = sleep
