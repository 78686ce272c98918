"""What a kind of target gives the drain, and what a payload profile gives it.

Nothing here knows MQTT: a target publishes messages and says, later and in any order, what became
of each. Who is responsible: the queue, until the far side has answered `Verdict.TAKEN`.
"""

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from common.errors import TargetUnavailable
from common.records import GapRecord, Record


class TargetRefused(TargetUnavailable):
    """It answered, and will not take us until a person changes something. Knock rarely."""


class TargetContested(TargetRefused):
    """Another client takes our place there again and again. Give it minutes between tries."""


class TargetBusy(TargetUnavailable):
    """It answered that it has too much to do. Knock more rarely each time, from the first on."""


class MessageBlamed(TargetUnavailable):
    """The far side cut the connection because of one of the messages in flight."""


class Verdict(enum.Enum):
    """What became of one message."""

    TAKEN = "taken"
    """The far side is responsible for it now."""
    LATER = "later"
    """Not now (a quota): pause, then publish it again, as often as it takes."""
    RETRY = "retry"
    """Failed without a reason that blames the message: publish it again a few times."""
    NEVER = "never"
    """The far side will never take it: set it aside."""


class Answer(NamedTuple):
    """What became of the message that was published under `ticket`."""

    ticket: int
    verdict: Verdict
    reason: str
    """Why it was not taken, for a person. Empty when it was."""


JSON = "application/json"


class Message(NamedTuple):
    """One message as the far side sees it."""

    topic: str
    payload: bytes
    retain: bool
    headers: tuple[tuple[str, str], ...] = ()
    """What is said beside the payload, in order: user properties of MQTT 5, headers of Kafka."""
    content_type: str = JSON
    """Empty: not said, as for a payload that is not text."""
    expiry_s: int = 0
    """After which the far side may throw it away; 0: never. Of current values alone."""


class Manner(NamedTuple):
    """How records are to be told."""

    historical: bool
    """They waited, and are told to complete the history."""
    retained: bool
    """The far side may keep them as the newest value of their topics."""
    payload_bytes_max: int
    """Of one message; what a single sample needs may exceed it."""


class Parcel(NamedTuple):
    """Records, following each other, that are worded together; accounted for as one."""

    records: tuple[Record | GapRecord, ...]
    messages: int
    """May be 0."""
    manner: Manner

    @property
    def sequence(self) -> int:
        """Of the first record."""
        return self.records[0].sequence

    @property
    def last_sequence(self) -> int:
        """Of the last record."""
        return self.records[-1].sequence


class Connection(Protocol):
    """One open connection to the far side. Used by one thread."""

    @property
    def room(self) -> int:
        """How many more messages may be published before answers must come. Never negative."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What this far side cannot do, each as a sentence for a person."""
        ...

    @property
    def payload_bytes_max(self) -> int:
        """What a payload may have here, roughly; `rejection` is exact."""
        ...

    def rejection(self, message: Message) -> str | None:
        """Return why the far side would never take it (its announced limits), None when it may."""
        ...

    def publish(self, message: Message) -> int:
        """Hand over one message and return its ticket. Sent by the next `exchange`.

        Only while `room` is above 0.
        """
        ...

    def exchange(self, wait_s: float) -> list[Answer]:
        """Send what was published, wait up to `wait_s` for answers and return them.

        Raises TargetUnavailable when the connection is lost, or an answer is overdue: everything
        without an answer must be published again on the next connection.
        """
        ...

    def close(self) -> None:
        """Say goodbye, so that the far side does not announce a death. Never raises."""
        ...


class Target(Protocol):
    """One configured far side. Building it touches no network."""

    @property
    def address(self) -> str:
        """`host:port`, for people."""
        ...

    def connect(self, waiting: Callable[[], None]) -> Connection:
        """Open a connection; `waiting` is called several times a second and may raise to give up.

        Raises TargetUnavailable (away: try again soon) or TargetRefused (a person must act).
        """
        ...


class Foreseen(NamedTuple):
    """Something that will go wrong one day, unless a person acts."""

    subject: str
    text: str
    """A sentence that begins with the subject."""
    step: int
    """Rises as it becomes more urgent: then it is logged again."""


@runtime_checkable
class Tended(Protocol):
    """What a target also has that is connected with files which are renewed on disk, or end.

    All of it is asked for many times a second, connected or not.
    """

    def stale(self) -> bool:
        """Return whether to leave in order and connect anew, or to connect before it is time."""
        ...

    def foreseen(self) -> list[Foreseen]:
        """Return what a person must know in time."""
        ...

    @property
    def certificate_expires_ms(self) -> int | None:
        """When our own certificate ends, ms since the epoch."""
        ...


class Wording(Protocol):
    """A payload profile: records in, messages out. Pure."""

    def parcels(self, records: Sequence[Record | GapRecord], manner: Manner) -> Iterable[Parcel]:
        """Return the records, which are in the queue's order, as parcels in the same order."""
        ...

    def message(self, parcel: Parcel, number: int) -> Message:
        """Return message `number` (from 0) of a parcel.

        Raises ValueError, TypeError or OverflowError when it cannot be worded: set it aside.
        """
        ...

    def index(self, parcel: Parcel, number: int) -> int:
        """Return what tells the message apart from others of the parcel, below 0 for a gap.

        Of a message that carries one sample it is the plan column, as in the sample's identity.
        """
        ...
