"""How long an uplink waits before it knocks again, by what ended the last try."""

from collections.abc import Iterator

from common.backoff import jittered_delays_s, outage_delays_s
from common.clock import monotonic_s
from common.errors import TargetUnavailable
from uplink.contract import TargetBusy, TargetContested, TargetRefused

RETRY_FIRST_S, RETRY_MOST_S = 0.5, 60.0
EAGER_MOST_S, EAGER_S = 2.0, 60.0
"""Between tries while an outage may yet be a short one: a broker restarted, a line switched."""
REFUSED_FIRST_S, REFUSED_MOST_S = 5.0, 300.0
"""A wrong password every half second looks like an attack and locks accounts."""
CONTESTED_FIRST_S, CONTESTED_MOST_S = 120.0, 600.0
"""Two clients of one name that both come back at once push each other out for ever."""
CONTEST_OVER_S = 1_800.0
"""After so long without being pushed out the next time counts as the first."""


class Patience:
    """The waits of one target; they grow from try to try, each kind for itself."""

    def __init__(self) -> None:
        self.served()
        self.welcomed()
        self._contested_at_s = -CONTEST_OVER_S

    def served(self) -> None:
        """Begin anew: the far side has taken messages. Its refusals stay remembered."""
        self._absences_s = outage_delays_s(
            RETRY_FIRST_S, eager_most_s=EAGER_MOST_S, eager_s=EAGER_S, most_s=RETRY_MOST_S
        )
        self._overloads_s = jittered_delays_s(RETRY_FIRST_S, RETRY_MOST_S)

    def welcomed(self) -> None:
        """Forget the refusals: a connection has lasted."""
        self._refusals_s = jittered_delays_s(REFUSED_FIRST_S, REFUSED_MOST_S)

    def delay_s(self, error: TargetUnavailable) -> float:
        """Return the seconds to wait after this error."""
        if isinstance(error, TargetContested):
            return self._contested_s()
        return next(self._delays_s(error))

    def _contested_s(self) -> float:
        now_s = monotonic_s()
        if now_s - self._contested_at_s > CONTEST_OVER_S:
            self._contests_s = jittered_delays_s(CONTESTED_FIRST_S, CONTESTED_MOST_S)
        self._contested_at_s = now_s
        return next(self._contests_s)

    def _delays_s(self, error: TargetUnavailable) -> Iterator[float]:
        if isinstance(error, TargetRefused):
            return self._refusals_s
        if isinstance(error, TargetBusy):
            return self._overloads_s
        return self._absences_s
