"""When to ask a device again for what it had refused: soon at first, then ever more rarely."""

from common.clock import monotonic_s

FIRST_S = 1.0
"""A device that refuses while it starts is asked again soon."""
MOST_S = 60.0
"""What has been refused for long is most likely a wrong address."""


class Probes:
    """Due FIRST_S after the first refusal, then at twice the wait, at most every MOST_S."""

    def __init__(self) -> None:
        self._wait_s = FIRST_S
        self._at_s: float | None = None

    def start(self) -> None:
        """Wait for the first probe, unless one is waited for already."""
        if self._at_s is None:
            self._at_s = monotonic_s() + min(self._wait_s, MOST_S)

    def due(self) -> bool:
        """Return whether to ask now; if so, the next time is set."""
        if self._at_s is None or monotonic_s() < self._at_s:
            return False
        self._wait_s = min(2 * self._wait_s, MOST_S)
        self._at_s = monotonic_s() + self._wait_s
        return True

    def settled(self) -> None:
        """Nothing is refused any more: the next refusal is a new one."""
        self._wait_s, self._at_s = FIRST_S, None
