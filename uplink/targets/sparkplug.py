"""A broker as Sparkplug B sees it: one session of an edge node on one MQTT connection.

    CONNECT, will NDEATH(bdSeq)  →  SUBSCRIBE NCMD, STATE  →  primary host online?  →  NBIRTH(seq 0)
    →  DBIRTH of every device  →  DDATA, NDATA … with a barrier at QoS 1 now and then
    →  NDEATH, DISCONNECT

The session is the connection's business: a connection that is given out was born. Data is at QoS 0
and answered by the barrier behind it (uplink/sparkplug/barrier.py); what no barrier has answered
when the connection is lost is published again on the next one, worded anew with its numbers.
"""

from collections import deque
from collections.abc import Callable

from common.clock import monotonic_s, now_ns
from common.errors import TargetUnavailable
from common.log import get_log
from uplink.contract import Answer, Message, TargetRefused, Verdict
from uplink.payloads.sparkplug import SparkplugWording
from uplink.report import Report
from uplink.settings import IN_FLIGHT_MAX, TargetSettings
from uplink.sparkplug.barrier import Barrier
from uplink.sparkplug.births import (
    Current,
    death_metrics,
    device_metrics,
    lost_plans,
    node_metrics,
)
from uplink.sparkplug.book import Book
from uplink.sparkplug.config import SparkplugConfig
from uplink.sparkplug.host import PrimaryHost
from uplink.sparkplug.numbers import BirthDeath, Sequence
from uplink.sparkplug.wire import WireFault, commands_in, payload
from uplink.surroundings import Surroundings
from uplink.targets.mqtt import MqttTarget
from uplink.targets.mqtt_connection import MqttConnection

HOLD_SLICE_S = 0.1
REDEATH_S = 5.0
"""A device is not declared dead so soon after its birth, so that history of it may follow."""
ENVELOPE_BYTES = 16
"""Publication time and seq."""
_NS_PER_MS = 1_000_000

log = get_log(__name__)


def build_target(settings: TargetSettings, surroundings: Surroundings) -> "SparkplugTarget":
    """Return the far side of one [targets.NAME] with payload = "sparkplug"."""
    return SparkplugTarget(settings, surroundings)


class SparkplugTarget:
    """One edge node at one broker."""

    def __init__(self, settings: TargetSettings, surroundings: Surroundings) -> None:
        wording = surroundings.wording
        if not isinstance(wording, SparkplugWording):
            raise TypeError(f"target {settings.name} is not worded as Sparkplug")
        self._config = settings.config.sparkplug
        self._book = wording.book
        self._status_topic = f"{surroundings.identity.edge}/status"
        self._report = surroundings.report
        self._current = Current(surroundings.reader, surroundings.newest)
        self._numbers = BirthDeath(surroundings.cursor)
        host = self._config.primary_host
        self._host = PrimaryHost(host) if host else None
        names = self._book.names
        self._mqtt = MqttTarget(settings, self._last_words, names.subscriptions)

    @property
    def address(self) -> str:
        """`host:port`."""
        return self._mqtt.address

    def connect(self, waiting: Callable[[], None]) -> "SparkplugConnection":
        """Open a connection, wait for the primary host, and be born.

        Raises TargetUnavailable or TargetRefused.
        """
        if self._host:
            self._host.forget()
        inner = self._mqtt.connect(waiting)
        leave: Callable[[], None] = inner.close
        born = False
        try:
            self._await_host(inner, waiting)
            connection = SparkplugConnection(
                inner, self._book, self._numbers, self._current, self._config
            )
            leave = connection.close
            connection.begin(self._host, self._status_topic, self._report)
            born = True
        finally:
            if not born:
                leave()
        return connection

    def _await_host(self, inner: MqttConnection, waiting: Callable[[], None]) -> None:
        host, told = self._host, ""
        while host is not None:
            for topic, content, _ in inner.received():
                hear_state(self._book, host, topic, content)
            if host.online:
                return
            if host.complaint != told:
                told = host.complaint
                log.warning("primary host is away", address=self.address, reason=told)
            if self._report is not None:
                self._report.error = f"connected to {self.address}; {told}"
            waiting()
            inner.exchange(HOLD_SLICE_S)

    def _last_words(self) -> Message:
        at_ms = now_ns() // _NS_PER_MS
        return death_of(self._book, self._numbers.next(), at_ms)


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
        self._report: Report | None = None
        self._status_topic = ""
        self._devices: dict[str, str] = {}
        """Topic of its data → device."""
        self._born_at_s: dict[str, float] = {}
        """Of every device that is alive."""
        self._rebirth_asked = False
        self._rebirth_at_s = 0.0
        self._over = False
        self.commands_refused = 0
        """NCMDs, or metrics in them, that asked for anything but a rebirth."""

    def begin(self, host: PrimaryHost | None, status_topic: str, report: Report | None) -> None:
        """Register a new session and publish its births. Raises TargetRefused."""
        self._host, self._status_topic, self._report = host, status_topic, report
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
        """What this broker cannot do."""
        return self._inner.notes

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
            self._data(message)
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
        now_s = monotonic_s()
        if wait_s > 0:
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
        at_ms = now_ns() // _NS_PER_MS
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
        content = payload(metrics, at_ms=now_ns() // _NS_PER_MS, seq=seq)
        self._inner.say(Message(topic, content, retain=False, content_type=""))

    def _bear(self) -> None:
        """Publish NBIRTH and the DBIRTH of every device. Raises TargetRefused when one cannot be.

        Each is whole: a birth that is too large for the broker cannot be divided.
        """
        names = self._book.names
        topic = names.topic("NBIRTH")
        at_ms = now_ns() // _NS_PER_MS
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
        metrics = device_metrics(told, self._current, now_ns() // _NS_PER_MS)
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
            if command.name == "Node Control/Rebirth" and command.true:
                self._rebirth_asked = True
            else:
                refused += 1
        if refused and not self.commands_refused:
            log.warning("NCMD refused: this gateway only reads", names=[c.name for c in commands])
        self.commands_refused += refused
        if refused and self._report is not None:
            said = f"{self.commands_refused} commands refused: this gateway only reads"
            self._report.notes = (*self._inner.notes, said)


def death_of(book: Book, bd_seq: int, at_ms: int) -> Message:
    """Return the NDEATH of one CONNECT."""
    content = payload(death_metrics(bd_seq, at_ms), at_ms=at_ms, seq=None)
    return Message(book.names.topic("NDEATH"), content, retain=False, content_type="")


def hear_state(book: Book, host: PrimaryHost, topic: str, content: bytes) -> None:
    """Let a STATE be heard; the topic of older hosts carries words instead of JSON."""
    if book.names.is_state(topic):
        host.hear(content, as_text=topic.startswith("STATE/"))
