"""Goal: each kind of absence has waits of its own, and forgets them when it should.

Method: the sums of the waits; how they are drawn is in tests/unit/common/test_backoff.py.
"""

from common.errors import TargetUnavailable
from uplink.contract import TargetBusy, TargetContested, TargetRefused
from uplink.patience import (
    CONTESTED_FIRST_S,
    CONTESTED_MOST_S,
    EAGER_MOST_S,
    REFUSED_FIRST_S,
    RETRY_FIRST_S,
    Patience,
)
from uplink.targets.mqtt_reasons import disconnected, refused_connection

AWAY = TargetUnavailable("nobody there")
BUSY = TargetBusy("too much to do")
REFUSED = TargetRefused("who are you")
TRIES = 12


def waits_s(patience: Patience, error: TargetUnavailable, tries: int = TRIES) -> list[float]:
    return [patience.delay_s(error) for _ in range(tries)]


def test_who_is_away_is_asked_often_and_who_is_busy_or_refuses_ever_more_rarely() -> None:
    patience = Patience()

    assert max(waits_s(patience, AWAY)) <= EAGER_MOST_S
    assert waits_s(patience, BUSY)[-1] > 10 * EAGER_MOST_S
    refusals_s = waits_s(patience, REFUSED)
    assert refusals_s[0] >= REFUSED_FIRST_S / 2
    assert refusals_s[-1] > 20 * REFUSED_FIRST_S


def test_a_message_taken_ends_the_patience_with_absences_but_not_with_refusals() -> None:
    patience = Patience()
    for error in (AWAY, BUSY, REFUSED):
        waits_s(patience, error, 100)

    patience.served()

    assert patience.delay_s(AWAY) <= RETRY_FIRST_S
    assert patience.delay_s(BUSY) <= RETRY_FIRST_S
    assert patience.delay_s(REFUSED) > REFUSED_FIRST_S, "who refuses us stays remembered"


def test_a_connection_that_lasted_ends_the_patience_with_refusals() -> None:
    patience = Patience()
    waits_s(patience, REFUSED)

    patience.welcomed()

    assert patience.delay_s(REFUSED) <= REFUSED_FIRST_S


def test_a_broker_that_says_it_is_busy_is_not_treated_as_absent() -> None:
    for code in (0x88, 0x89, 0x97, 0x9F):
        assert isinstance(refused_connection("broker:8883", code, ""), TargetBusy)
    for code in (0x89, 0x96, 0x97, 0x9F):
        assert isinstance(disconnected("broker:8883", code, ""), TargetBusy)
    shutting_down = disconnected("broker:8883", 0x8B, "")
    assert not isinstance(shutting_down, TargetBusy), "a restart is a short absence"


def test_who_is_pushed_out_waits_minutes_whatever_happens_in_between() -> None:
    """Seen to bite: counted among the refusals, the wait began at 5 s after each good minute."""
    patience = Patience()
    contested = TargetContested("another client")

    waits = []
    for _ in range(TRIES):
        waits.append(patience.delay_s(contested))
        patience.welcomed()
        patience.served()

    assert min(waits) >= CONTESTED_FIRST_S / 2
    assert CONTESTED_MOST_S / 2 <= waits[-1] <= CONTESTED_MOST_S
