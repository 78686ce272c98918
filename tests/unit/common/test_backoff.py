"""Goal: who was away for a moment is found again at once, who is away for long is left in peace.

Method: the waits themselves, of many gateways; no clock.
"""

from itertools import accumulate, islice, takewhile

import pytest

from common.backoff import jittered_delays_s, outage_delays_s

FIRST_S, EAGER_MOST_S, EAGER_S, MOST_S = 0.5, 2.0, 60.0, 60.0
GATEWAYS = 1_000


def outage(attempts: int) -> list[float]:
    """Return the first waits of one gateway."""
    delays_s = outage_delays_s(FIRST_S, eager_most_s=EAGER_MOST_S, eager_s=EAGER_S, most_s=MOST_S)
    return list(islice(delays_s, attempts))


def test_waits_double_to_their_bound_and_are_never_shorter_than_half() -> None:
    for gateway in (islice(jittered_delays_s(1.0, 8.0), 6) for _ in range(GATEWAYS)):
        for delay_s, ceiling_s in zip(gateway, (1, 2, 4, 8, 8, 8), strict=True):
            assert ceiling_s / 2 <= delay_s <= ceiling_s


def test_in_the_first_minute_nobody_waits_longer_than_two_seconds() -> None:
    """Seen to bite: with jittered_delays_s(0.5, 60.0) a wait of 17 s came within the minute."""
    for waits_s in (outage(100) for _ in range(GATEWAYS)):
        began_s = [end - wait for end, wait in zip(accumulate(waits_s), waits_s, strict=True)]
        early = [wait for begin, wait in zip(began_s, waits_s, strict=True) if begin < EAGER_S]
        assert max(early) <= EAGER_MOST_S


def test_after_the_first_minute_the_waits_grow_to_a_minute_each() -> None:
    waits_s = outage(100)

    late = waits_s[sum(1 for _ in takewhile(lambda end: end < EAGER_S, accumulate(waits_s))) + 1 :]
    assert 2.0 <= late[0] <= 4.0, "no jump: the next step doubles"
    assert all(30.0 <= wait <= MOST_S for wait in late[4:])


@pytest.mark.parametrize("away_s", [5, 30, 600])
def test_a_thousand_gateways_do_not_knock_in_step(away_s: int) -> None:
    """All lose one far side at the same instant; it comes back after `away_s`."""
    knocks: dict[int, int] = {}
    for _ in range(GATEWAYS):
        first = next(at for at in accumulate(outage(200)) if at >= away_s)
        tenth = int(first * 10)
        knocks[tenth] = knocks.get(tenth, 0) + 1

    share = max(knocks.values()) / GATEWAYS
    assert share < 0.15, "of all gateways, in any tenth of a second"
