"""Goal: no connection sends more than its broker allows, and none much less.

Method: a clock that jumps.
"""

import pytest

from uplink.targets.mqtt_pacing import UNLIMITED, Pace, pace_of


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def sent_within(pace: Pace, clock: Clock, seconds: float, size: int) -> int:
    """Return how many messages go out when there is always one more."""
    sent, until_s = 0, clock.s + seconds
    while clock.s < until_s:
        for _ in range(pace.room):
            if not pace.room:
                break
            pace.published(size)
            sent += 1
        clock.s += pace.wait_s or 0.001
    return sent


@pytest.mark.parametrize(
    ("publishes_per_s", "bytes_per_s", "size", "per_s"),
    [(100, 0, 10, 100), (0, 512_000, 1_024, 500), (100, 512_000, 10_240, 50), (1, 0, 10, 1)],
)
def test_the_rate_is_kept_and_used(
    publishes_per_s: int, bytes_per_s: int, size: int, per_s: int
) -> None:
    """Seen to bite: with buckets of a second twice as much went out in the first one."""
    clock = Clock()
    pace = Pace(publishes_per_s, bytes_per_s, clock)

    burst = max(1, per_s * 0.1) + 1
    assert sent_within(pace, clock, 1.0, size) <= per_s + burst
    assert 0.95 * 100 * per_s - 1 <= sent_within(pace, clock, 100.0, size) <= 100 * per_s + burst


def test_one_message_larger_than_the_bucket_still_goes() -> None:
    clock = Clock()
    pace = Pace(0, 1_000, clock)

    assert pace.room
    pace.published(10_000)
    assert pace.room == 0
    assert pace.wait_s == pytest.approx(9.9)
    clock.s += 10
    assert pace.room == UNLIMITED


def test_without_a_limit_there_is_no_pace() -> None:
    assert pace_of(0, 0) is None
