"""What one device is asked, and how fast it answers: the load that we are on it, made visible.

A PLC spends a part of its cycle on each request. The counters go into the collector's health file
once a second; `tailrace status` shows their rates, and the quantiles of the reply time.
"""

from collections import deque
from typing import Any

RECENT_REPLIES = 256
"""The quantiles are of so many replies, the newest."""


class Traffic:
    """Counters since the process started, over all connections to one device."""

    def __init__(self) -> None:
        self.requests = 0
        """Asked of the device, answered or not; of subscriptions, every service call."""
        self.bytes_sent = 0
        self.bytes_received = 0
        """Of the protocol's own messages, without TCP and IP."""
        self._replies_s: deque[float] = deque(maxlen=RECENT_REPLIES)

    def asked(self, sent_bytes: int) -> None:
        """Count a request when it is sent."""
        self.requests += 1
        self.bytes_sent += sent_bytes

    def received(self, received_bytes: int) -> None:
        """Count what the device sent, whatever it was."""
        self.bytes_received += received_bytes

    def answered(self, reply_s: float) -> None:
        """Note how long the device took from a request to its whole reply."""
        self._replies_s.append(reply_s)

    def quantile_s(self, share: float) -> float | None:
        """Return the reply time that `share` of the recent replies kept; None before the first."""
        if not self._replies_s:
            return None
        ordered = sorted(self._replies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def detail(self) -> dict[str, Any]:
        """Return the traffic's part of the health file."""
        return {
            "requests": self.requests,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "reply_p50_s": self.quantile_s(0.5),
            "reply_p95_s": self.quantile_s(0.95),
        }
