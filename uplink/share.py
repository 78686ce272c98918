"""How much of the window the backlog may have: its share, its rate, and what the line bears.

On a slow line whatever is in flight stands in front of the next live message. So the bytes of the
backlog in flight follow the times in which answers come: they grow while these are near the
shortest seen on this connection, and shrink when they are longer. It is what LEDBAT (RFC 6817) does
with one-way delays.

Limits
    At least one message, at most BYTES_MAX bytes.
"""

from uplink.contract import Parcel
from uplink.drain import Drain

BYTES_FIRST = 4 * 1024
"""Half a second on a line of 64 kbit/s."""
BYTES_MAX = 4 * 1024**2
DELAY_MAX_S = 0.01
"""Beyond twice the shortest answer time: what the backlog may add to the latency of live values."""
SHRINK = 0.7
BURST_S = 0.1
"""Of the rate limit, what may go out at once."""


class BackfillShare:
    """The part of one target's window that its backlog may fill."""

    def __init__(self, share: float, rate_max_per_s: float) -> None:
        """`rate_max_per_s` in messages, 0 for no limit."""
        self._share = share
        self._rate_max_per_s = rate_max_per_s
        self._tokens = self._tokens_at_s = 0.0
        self.begin()

    def begin(self) -> None:
        """Know nothing of a new connection."""
        self.bytes_max = float(BYTES_FIRST)
        self._shortest_s = 0.0
        self._changed_at_s = 0.0
        self._published: dict[int, tuple[float, int]] = {}

    def open(self, drain: Drain[Parcel], window: int, now_s: float) -> bool:
        """Return whether one more message of the backlog may go out.

        `window` is how many messages may be in flight altogether.
        """
        flying = len(drain.in_flight)
        if flying and (
            flying >= max(1, int(window * self._share)) or drain.in_flight_bytes >= self.bytes_max
        ):
            return False
        return not self._rate_max_per_s or self._tokens_now(now_s) >= 1

    def published(self, ticket: int, size_bytes: int, now_s: float) -> None:
        """Account for a message of the backlog."""
        self._published[ticket] = now_s, size_bytes
        self._tokens -= 1

    def answered(self, ticket: int, now_s: float) -> None:
        """Learn from the time that an answer took."""
        published = self._published.pop(ticket, None)
        if published is None:
            return
        published_at_s, size_bytes = published
        took_s = now_s - published_at_s
        alone = not self._published
        if not self._shortest_s or took_s < self._shortest_s:
            self._shortest_s = took_s
        elif alone and self.bytes_max <= BYTES_FIRST:
            # Nothing of ours was in its way: the line itself has become longer.
            self._shortest_s += (took_s - self._shortest_s) / 8
        if took_s <= 2 * self._shortest_s + DELAY_MAX_S:
            self.bytes_max = min(self.bytes_max + size_bytes, BYTES_MAX)
        elif published_at_s >= self._changed_at_s:  # Once for all that were on their way then.
            self.bytes_max = max(self.bytes_max * SHRINK, 1.0)
            self._changed_at_s = now_s

    def _tokens_now(self, now_s: float) -> float:
        most = max(1.0, self._rate_max_per_s * BURST_S)
        gained = (now_s - self._tokens_at_s) * self._rate_max_per_s
        self._tokens = min(most, self._tokens + gained)
        self._tokens_at_s = now_s
        return self._tokens
