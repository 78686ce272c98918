"""When messages at QoS 0 may be taken as delivered: behind a barrier that was acknowledged.

MQTT answers nothing at QoS 0, and Sparkplug demands QoS 0 for its data. One connection is one
ordered stream of bytes: a broker that acknowledges a message at QoS 1 has read everything before
it. So now and then such a message is published, and its acknowledgement answers for all before.
What this cannot show: that the broker passed on what it read, or that it was allowed to be there.

Accounting only; no network, no clock.
"""

from collections import deque

INTERVAL_S = 0.1
"""Between two barriers that are raised because the drain waits: the cursor is not moved more
often anyway."""
PAUSE_S = 1.0
"""After one that the broker did not take for now."""
BYTES_MAX = 256 * 1024
"""Published since the last barrier; then one is due."""


class Barrier:
    """The account of one connection."""

    def __init__(self, messages_max: int) -> None:
        self._messages_max = messages_max
        self._waiting: deque[int] = deque()
        """Tickets, ascending, of everything that is not confirmed."""
        self._raised: dict[int, int] = {}
        """Ticket of a barrier → the last ticket it answers for."""
        self._covered = 0
        self._since = 0
        self._since_bytes = 0
        self._not_before_s = 0.0
        self._paused_until_s = 0.0

    @property
    def unconfirmed(self) -> int:
        """How many messages no acknowledgement answers for yet."""
        return len(self._waiting)

    def sent(self, ticket: int, size: int) -> None:
        """Account for a message at QoS 0; tickets ascend."""
        self._waiting.append(ticket)
        self._since += 1
        self._since_bytes += size

    def due(self, now_s: float, *, idle: bool) -> bool:
        """Return whether a barrier must be raised now; `idle`: nothing more is published."""
        if not self._waiting or self._waiting[-1] <= self._covered or now_s < self._paused_until_s:
            return False
        full = self._since >= self._messages_max or self._since_bytes >= BYTES_MAX
        return full or (idle and now_s >= self._not_before_s)

    def raised(self, own_ticket: int, now_s: float) -> None:
        """Account for a message at QoS 1, which answers for all that were published before it."""
        self._covered = self._waiting[-1] if self._waiting else self._covered
        self._raised[own_ticket] = self._covered
        self._since = self._since_bytes = 0
        self._not_before_s = now_s + INTERVAL_S

    def taken(self, own_ticket: int) -> list[int]:
        """Return the tickets that an acknowledgement confirms, each once."""
        covered = self._raised.pop(own_ticket, 0)
        confirmed = []
        while self._waiting and self._waiting[0] <= covered:
            confirmed.append(self._waiting.popleft())
        return confirmed

    def refused(self, own_ticket: int, now_s: float) -> None:
        """Account for a barrier that was not taken: another one must answer, after a pause."""
        self._raised.pop(own_ticket, None)
        self._covered = max(self._raised.values(), default=0)
        self._paused_until_s = now_s + PAUSE_S
