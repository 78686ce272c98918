"""One session of an edge node: births first, data with its numbers, deaths, and what a host asks.

Data is at QoS 0 and answered by the barrier behind it (uplink/sparkplug/barrier.py); what no
barrier has answered when the connection is lost is published again on the next one, worded anew
with that session's numbers.
"""

from collections import deque
from contextlib import suppress

from common.clock import monotonic_s, now_ns
from common.errors import QueueUnusable, TargetUnavailable
from common.log import get_log
from uplink.contract import Answer, Message, TargetRefused, Verdict
from uplink.payloads.uns import NS_PER_MS
from uplink.settings import IN_FLIGHT_MAX
from uplink.sparkplug.barrier import Barrier
from uplink.sparkplug.births import (
    REBIRTH,
    death_metrics,
    device_metrics,
    lost_plans,
    node_metrics,
)
from uplink.sparkplug.book import Book
from uplink.sparkplug.config import SparkplugConfig
from uplink.sparkplug.current import Current
from uplink.sparkplug.host import PrimaryHost
from uplink.sparkplug.numbers import BirthDeath, Sequence
from uplink.sparkplug.wire import WireFault, commands_in, payload
from uplink.targets.mqtt_connection import MqttConnection

REDEATH_S = 5.0
"""A device is not declared dead so soon after its birth, so that history of it may follow."""
ENVELOPE_BYTES = 16
"""Publication time and seq."""

log = get_log(__name__)


class SparkplugConnection:
    """One session. Every method may be called by one thread only."""

    def __init__(
        self,
        inner: MqttConnection,
        book: Book,
        numbers: BirthDeath,
        current: Current,
        config: SparkplugConfig,
    ) -> None:
        self._inner = inner
        self._book = book
        self._numbers = numbers
        self._current = current
        self._config = config
        self._barrier = Barrier(config.barrier_messages)
        self._seq = Sequence()
        self._ticket = 0
        self._passed: dict[int, int] = {}
        """Ticket of what went at QoS 1 for others → the ticket that they know."""
        self._taken: deque[Answer] = deque()
        """Answers that are known without asking."""
        self._host: PrimaryHost | None = None
        self._status_topic = ""
        self._devices: dict[str, str] = {}
        """Topic of its data → device."""
        self._born_at_s: dict[str, float] = {}
        """Of every device that is alive."""
        self._rebirth_asked = False
        self._rebirth_at_s = 0.0
        self._over = False
        self._doom: TargetUnavailable | None = None
        """Why the session must end; found while publishing, raised by the next exchange."""
        self.commands_refused = 0
        """NCMDs, or metrics in them, that asked for anything but a rebirth."""

    def begin(self, host: PrimaryHost | None, status_topic: str) -> None:
        """Register a new session and publish its births. Raises TargetRefused."""
        self._host, self._status_topic = host, status_topic
        self._current.look()
        self._book.begin(self._current.plans)
        self._bear()

    @property
    def room(self) -> int:
        """How many more messages may be published before a barrier must be answered."""
        if self._inner.room < 1:
            return 0
        return max(0, IN_FLIGHT_MAX - self._barrier.unconfirmed)

    @property
    def notes(self) -> tuple[str, ...]:
        """What this broker cannot do, and what it wanted of us and did not get."""
        if not self.commands_refused:
            return self._inner.notes
        said = f"{self.commands_refused} commands refused: this gateway only reads"
        return (*self._inner.notes, said)

    @property
    def payload_bytes_max(self) -> int:
        """What a payload may have."""
        return self._inner.payload_bytes_max - ENVELOPE_BYTES

    def rejection(self, message: Message) -> str | None:
        """Return why the broker would never take it, None when it may."""
        if self._book.names.is_own(message.topic):
            if message.headers != self._book.mark:
                return "worded for a Sparkplug session that is over: its numbers mean nothing now"
            if len(message.payload) > self.payload_bytes_max:
                message = message._replace(payload=message.payload + bytes(ENVELOPE_BYTES))
        return self._inner.rejection(message)

    def publish(self, message: Message) -> int:
        """Hand over one message and return its ticket: data at QoS 0, anything else at QoS 1."""
        self._ticket += 1
        if message.headers == self._book.mark:
            try:
                self._data(message)
            except TargetUnavailable as error:  # Raised here, it would leave the message to nobody.
                self._doom = self._doom or error
        elif message.topic != self._status_topic:
            self._pass_on(message)
        elif self._config.edge_status:
            # A will is given once for a connection, and it is NDEATH: a status that is kept would
            # say that we are online when we are dead.
            self._pass_on(message._replace(retain=False))
        else:
            self._taken.append(Answer(self._ticket, Verdict.TAKEN, ""))
        return self._ticket

    def exchange(self, wait_s: float) -> list[Answer]:
        """Send, wait, obey the host, and return what barriers have answered."""
        if self._doom is not None:
            raise self._doom
        now_s = monotonic_s()
        if wait_s > 0:
            self._current.keep_when_due()
            self._declare_deaths(now_s)
            if self._barrier.due(now_s, idle=True):
                self._raise_barrier(now_s)
        answers = [*self._taken]
        self._taken.clear()
        for answer in self._inner.exchange(0.0 if answers else wait_s):
            answers += self._answered(answer)
        for topic, content, retained in self._inner.received():
            self._hear(topic, content, retained=retained)
        if self._rebirth_asked and monotonic_s() >= self._rebirth_at_s:
            log.info("born again: a host asked for it")
            self._current.look()
            self._bear()
        return answers

    def close(self) -> None:
        """Publish NDEATH, then say goodbye; the will follows, as MQTT 5 allows. Never raises.

        A host that gets the death twice knows it by its bdSeq (Sparkplug 3.0, 6.4.25).
        """
        if self._over:
            return
        self._over = True
        with suppress(QueueUnusable):  # Whoever moves the cursor next will meet it, and say so.
            self._current.keep()
        at_ms = now_ns() // NS_PER_MS
        self._inner.publish(death_of(self._book, self._numbers.current, at_ms))
        self._inner.close(with_will=True)

    def _data(self, message: Message) -> None:
        if self._book.unborn:
            self._current.look()
            self._bear()
        device = self._devices.get(message.topic)
        if device is not None and device not in self._born_at_s:
            self._bear_device(device)
        self._say(message.topic, message.payload, self._seq.next())
        self._barrier.sent(self._ticket, len(message.payload))
        now_s = monotonic_s()
        if self._barrier.due(now_s, idle=False):
            self._raise_barrier(now_s)

    def _say(self, topic: str, metrics: bytes, seq: int) -> None:
        content = payload(metrics, at_ms=now_ns() // NS_PER_MS, seq=seq)
        self._inner.say(Message(topic, content, retain=False, content_type=""))

    def _bear(self) -> None:
        """Publish NBIRTH and the DBIRTH of every device. Raises TargetRefused when one cannot be.

        Each is whole: a birth that is too large for the broker cannot be divided.
        """
        names = self._book.names
        topic = names.topic("NBIRTH")
        at_ms = now_ns() // NS_PER_MS
        metrics = node_metrics(self._numbers.current, at_ms, aliases=self._book.tells_aliases)
        self._require(topic, metrics)
        self._say(topic, metrics, self._seq.begin())
        self._born_at_s.clear()
        self._devices = {names.topic("DDATA", each): each for each in self._book.devices}
        for device in self._book.devices:
            self._bear_device(device)
        for plan in lost_plans(self._book, self._current):
            self._book.note_lost(plan)
        self._book.unborn = False
        self._rebirth_asked = False
        self._rebirth_at_s = monotonic_s() + self._config.rebirth_interval_s

    def _bear_device(self, device: str) -> None:
        topic = self._book.names.topic("DBIRTH", device)
        told = self._book.devices[device].values()
        metrics = device_metrics(told, self._current, now_ns() // NS_PER_MS)
        self._require(topic, metrics)
        self._say(topic, metrics, self._seq.next())
        self._born_at_s[device] = monotonic_s()

    def _require(self, topic: str, metrics: bytes) -> None:
        sized = Message(topic, metrics + bytes(ENVELOPE_BYTES), retain=False)
        rejection = self._inner.rejection(sized)
        if rejection is not None:
            raise TargetRefused(
                f"the birth certificate on {topic} cannot be published: {rejection}; allow larger "
                "packets at the broker, or give the asset fewer tags"
            )

    def _declare_deaths(self, now_s: float) -> None:
        """Publish DDEATH of devices that nobody can reach; births are made anew by their data."""
        for device in self._book.lost_devices():
            born_at_s = self._born_at_s.get(device)
            if born_at_s is not None and now_s - born_at_s >= REDEATH_S:
                self._say(self._book.names.topic("DDEATH", device), b"", self._seq.next())
                del self._born_at_s[device]

    def _raise_barrier(self, now_s: float) -> None:
        if self._inner.room < 1:
            return  # Another one is on its way; this one follows.
        barrier = Message(self._book.names.barrier, b"{}", retain=False)
        rejection = self._inner.rejection(barrier)
        if rejection is not None:
            raise TargetRefused(f"barrier_topic {barrier.topic} cannot be used: {rejection}")
        self._barrier.raised(self._inner.publish(barrier), now_s)

    def _pass_on(self, message: Message) -> None:
        own = self._inner.publish(message)
        self._passed[own] = self._ticket
        self._barrier.raised(own, monotonic_s())

    def _answered(self, answer: Answer) -> list[Answer]:
        """Return what an acknowledgement says of whom. Raises TargetRefused."""
        found = []
        passed = self._passed.pop(answer.ticket, None)
        if passed is not None:
            found.append(answer._replace(ticket=passed))
        if answer.verdict is Verdict.TAKEN:
            taken = self._barrier.taken(answer.ticket)
            return found + [Answer(ticket, Verdict.TAKEN, "") for ticket in taken]
        self._barrier.refused(answer.ticket, monotonic_s())
        if passed is None and answer.verdict is Verdict.NEVER:
            raise TargetRefused(
                f"the broker refuses {self._book.names.barrier}: {answer.reason}; allow this "
                "client to publish there: without its acknowledgement no data counts as delivered"
            )
        return found

    def _hear(self, topic: str, content: bytes, *, retained: bool) -> None:
        host = self._host
        if host is not None and self._book.names.is_state(topic):
            hear_state(self._book, host, topic, content)
            if not host.online:
                self.close()
                raise TargetUnavailable(f"left the broker: {host.complaint}")
        elif topic == self._book.names.topic("NCMD") and not retained:
            self._obey(content)

    def _obey(self, content: bytes) -> None:
        """Judge an NCMD: a rebirth is granted, anything else is refused and counted."""
        refused = 0
        try:
            commands = commands_in(content)
        except WireFault as fault:
            log.warning("NCMD cannot be read", error=fault)
            refused, commands = 1, []
        for command in commands:
            if command.name == REBIRTH and command.true:
                self._rebirth_asked = True
            else:
                refused += 1
        if refused and not self.commands_refused:
            log.warning("NCMD refused: this gateway only reads", names=[c.name for c in commands])
        self.commands_refused += refused


def death_of(book: Book, bd_seq: int, at_ms: int) -> Message:
    """Return the NDEATH of one CONNECT."""
    content = payload(death_metrics(bd_seq, at_ms), at_ms=at_ms, seq=None)
    return Message(book.names.topic("NDEATH"), content, retain=False, content_type="")


def hear_state(book: Book, host: PrimaryHost, topic: str, content: bytes) -> None:
    """Let a STATE be heard; the topic of older hosts carries words instead of JSON."""
    if book.names.is_state(topic):
        host.hear(content, as_text=topic.startswith("STATE/"))
