"""What the ends of connections to one broker say together, that no single one of them says.

    0x8E session taken over            another client uses our client_id
    closed without a word, three       the same, where nobody says it: MQTT 3.1.1 knows no reasons,
    times within seconds of a good     and some brokers of MQTT 5 only close. An idle connection, or
    welcome, and not over a message    one that had taken plenty, was not closed over a message
    0x87 not authorized                one message's topic is denied (AWS IoT Core disconnects for
                                       that): it is blamed while others are taken, and the client
                                       itself is refused when none ever is
    MQTT 3.1.1, closed the same way,   a message that it does not take, and has no way to refuse
    and always over a message
    0x94, 0x9A                         no topic aliases, no retained messages from now on

A place that is contested stays so until a connection has lasted: whoever comes back in between is
the same as before.
"""

from typing import NamedTuple

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from uplink.contract import MessageBlamed, TargetContested, TargetRefused
from uplink.targets.mqtt_reasons import (
    NOT_AUTHORIZED,
    RETAIN_NOT_SUPPORTED,
    TAKEN_OVER,
    TOPIC_ALIAS_INVALID,
    TargetRedirected,
)

SOON_S = 10.0
"""An end within this time of the welcome is one of a series."""
CUTS_MAX = 3
"""Of a series, after which it means something."""
LASTED_S = 600.0
"""A connection that lasts so long is nobody else's any more."""
UNSERVED_MAX = 2
"""Connections ended by 0x87 before anything was taken, that may yet be the fault of one message:
the first by chance of our status, the second of a first message."""


class Ending(NamedTuple):
    """How one connection ended, after its welcome."""

    error: TargetUnavailable
    code: int | None
    """Of the broker's DISCONNECT; None when it sent none."""
    closed: bool
    """The far side closed it, without a DISCONNECT."""
    lasted_s: float
    taken: int
    """Messages that it took."""
    in_flight: int
    """Messages that it had not answered."""


class Endings:
    """The memory of one target."""

    def __init__(self, client_id: str, *, plenty: int, reasons: bool, follows: bool) -> None:
        """`plenty` messages taken tell a cut from one over a message.

        `reasons` is false where the broker has no way to say them, `follows` true where it may
        send us elsewhere.
        """
        self._client_id = client_id
        self._plenty = plenty
        self._reasons = reasons
        self._cuts = 0
        self._blameless = 0
        self._unserved = 0
        self._contested_at_s: float | None = None
        self._follows = follows
        self.elsewhere = ""
        """The server that the last connection sent us to; whoever goes there empties it."""
        self.retain = True
        """False once the broker has shown that it takes nothing retained."""
        self.aliases = True
        """False once it has complained of a topic alias."""

    def judged(self, ending: Ending) -> TargetUnavailable:
        """Return what an end means, in the light of those before it."""
        code = ending.code
        if ending.lasted_s >= LASTED_S:
            self._contested_at_s = None
        if ending.taken:
            self._unserved = 0
        if code == TAKEN_OVER:
            self._contested_at_s = monotonic_s()
            return TargetContested(
                f"{ending.error}; another client uses our client_id {self._client_id!r}; "
                "give each gateway its own"
            )
        if code == NOT_AUTHORIZED:
            return self._unauthorised(ending)
        if isinstance(ending.error, TargetRedirected) and ending.error.reference and self._follows:
            self.elsewhere = ending.error.reference
            where = ending.error.reference
            return TargetUnavailable(f"the broker sends us to {where}: going there")
        if code == RETAIN_NOT_SUPPORTED:
            self.retain = False
            return TargetUnavailable(f"{ending.error}; retaining nothing from now on")
        if code == TOPIC_ALIAS_INVALID:
            self.aliases = False
            return TargetUnavailable(f"{ending.error}; using no topic aliases from now on")
        return self._cut(ending) if ending.closed else ending.error

    def note(self, lasted_s: float) -> str:
        """Return what is still to be known of the past, while a connection lasts; else nothing."""
        if self._contested_at_s is None:
            return ""
        if lasted_s >= LASTED_S:
            self._contested_at_s = None
            return ""
        return (
            f"another client pushed us out lately, probably one with our client_id "
            f"{self._client_id!r}; give each gateway its own"
        )

    def _unauthorised(self, ending: Ending) -> TargetUnavailable:
        if not ending.taken:
            self._unserved += 1
        if not ending.in_flight or self._unserved > UNSERVED_MAX:
            return ending.error
        return MessageBlamed(str(ending.error))

    def _cut(self, ending: Ending) -> TargetUnavailable:
        contested = self._contested_at_s is not None
        if ending.lasted_s > SOON_S and not contested:
            self._cuts = self._blameless = 0
            return ending.error
        self._cuts += 1
        blameless = not ending.in_flight or ending.taken > self._plenty
        self._blameless += blameless
        if (contested and blameless) or self._blameless >= CUTS_MAX:
            self._contested_at_s = monotonic_s()
            return TargetRefused(
                f"{ending.error} {ending.lasted_s:.0f} s after its welcome, {self._cuts} times in "
                "a row; unless it has another reason, which it does not tell, another client uses "
                f"our client_id {self._client_id!r}; give each gateway its own"
            )
        if not self._reasons and self._cuts >= CUTS_MAX and ending.taken and ending.in_flight:
            return MessageBlamed(
                f"{ending.error} over a message, without a reason: MQTT 3.1.1 has none"
            )
        return ending.error
