"""One producer of a Kafka topic: what is in flight, what was answered, why it ended."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Reported

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from uplink.contract import Answer, Message, TargetRefused, Verdict
from uplink.settings import TargetSettings
from uplink.targets.kafka_config import PLAINTEXT, kafka_config
from uplink.targets.kafka_reasons import (
    CONSEQUENCES,
    TELLING,
    Local,
    blamed,
    explained,
    refused_message,
)

WAIT_FIRST_S, WAIT_MOST_S = 0.25, 2.0
"""Of one look at the cluster while connecting; longer each time, for lines with a long way."""
DOWN_S = 5.0
"""With no broker reachable and an answer awaited, until the target is said to be away."""
DIAGNOSIS_S = 2.0
GOODBYE_S = 1.0
LAST_REPORTS_S = 1.0
"""Of a producer that has ended."""
WAITING_SLICE_S = 0.1
IN_FLIGHT_BYTES_MAX = 16 * 1024**2
ENVELOPE_BYTES = 128
"""More than what Kafka writes around one message and around a batch (69 + 61 bytes at most)."""
HEADER_BYTES = 10
"""Lengths of a header's name and value, as varints."""
USUAL_PATH_BYTES = 512
USUAL_CONTENT_TYPE_BYTES = len("content-type") + 64 + HEADER_BYTES
TOPICS_MAX = 100_000
"""Paths remembered; then the memory starts over."""
EVENT_ATTRIBUTES = frozenset(
    {"specversion", "type", "source", "subject", "id", "time", "dataschema"}
)
"""CloudEvents 1.0.2, "Context Attributes"; datacontenttype is the content type."""
OF_SEVERAL_TAGS = frozenset({"asset", "batch"})
"""Profiles whose paths are no tag's: no level of them is left out of a key."""
LISTED_MAX = 8
"""Partitions named in one sentence."""

Headers = list[tuple[str, str | bytes | None]]


class KafkaConnection:
    """One producer. Every method may be called by one thread only."""

    def __init__(self, settings: TargetSettings, edge: str, told: dict[str, Any]) -> None:
        """`told` is what librdkafka is told. Raises TargetRefused when it cannot use it."""
        self._settings = settings
        self._config = kafka_config(settings)
        self._edge = edge
        self._pending: dict[int, tuple[float, int]] = {}
        """Ticket → (published at, bytes), the oldest first."""
        self._pending_bytes = 0
        self._ticket = 0
        self._answers: list[Answer] = []
        self._failed: dict[int, KafkaError] = {}
        """Ticket → why, of what librdkafka gave up."""
        self._fatal: KafkaError | None = None
        self._cause: KafkaError | None = None
        """The last that a broker's connection failed of."""
        self._down_at_s: float | None = None
        """Since when no broker can be reached; None while one may be."""
        self._doom: TargetUnavailable | None = None
        self._notes: list[str] = [] if self._config.security == "tls" else [PLAINTEXT]
        self._told: dict[str, tuple[bytes, Headers, int]] = {}
        """Path → key, headers of our own and the bytes of both."""
        try:
            self._producer: Producer | None = Producer({**told, "error_cb": self._on_error})
        except KafkaException as error:
            raise TargetRefused(
                f"librdkafka cannot use the settings of target {settings.name}: "
                f"{error.args[0].str()}; run: python -m uplink --check"
            ) from error

    @property
    def room(self) -> int:
        """How many more messages may be published before answers must come."""
        if self._doom is not None or self._failed or self._pending_bytes > IN_FLIGHT_BYTES_MAX:
            return 0
        return max(0, self._config.in_flight_max - len(self._pending))

    @property
    def notes(self) -> tuple[str, ...]:
        """What this cluster, or the way to it, lacks."""
        return tuple(self._notes)

    @property
    def payload_bytes_max(self) -> int:
        """What a payload may have with a path of usual length."""
        return max(1, self._config.message_bytes_max - ENVELOPE_BYTES - USUAL_PATH_BYTES)

    def wait_for_topic(self, waiting: Callable[[], None]) -> None:
        """Wait until a broker tells of the topic, which is never created by us.

        Raises TargetUnavailable or TargetRefused.
        """
        config = self._config
        until_s = monotonic_s() + config.connect_timeout_s
        wait_s = WAIT_FIRST_S
        while True:
            waiting()
            cluster = self._look(wait_s)
            if cluster is not None:
                break
            self._poll(0)
            # Nobody could be reached: every broker was tried at least once.
            if self._down_at_s is not None and self._cause is not None:
                raise explained(self._cause, self._settings)
            if monotonic_s() > until_s:
                if self._cause is not None:
                    raise explained(self._cause, self._settings)
                raise TargetUnavailable(
                    f"{config.place} did not answer within {config.connect_timeout_s:g} s; check "
                    "the network and the firewalls on the way"
                )
            wait_s = min(2 * wait_s, WAIT_MOST_S)
        self._down_at_s = self._cause = None
        topic = cluster.topics.get(config.topic)
        if topic is None:
            raise TargetRefused(
                f"{config.place}: there is no topic {config.topic}, or we may not see it: create "
                "it (it is never created by us), or grant Describe and Write"
            )
        if topic.error is not None:
            raise explained(topic.error, self._settings)
        if any(len(each.replicas) == 1 for each in topic.partitions.values()):
            self._notes.append(
                f"topic {config.topic} is kept by one broker alone: what it took is lost with it"
            )

    def _look(self, wait_s: float) -> Any:
        """Return what a broker tells of the cluster; None when none did within `wait_s`."""
        if self._producer is None:
            return None
        try:
            # Of every topic: asking for one that is not there would have it created.
            return self._producer.list_topics(timeout=wait_s)
        except KafkaException:
            return None

    def rejection(self, message: Message) -> str | None:
        """Return why the topic would never take the message."""
        try:
            size = self._size(message)
        except UnicodeEncodeError:
            return "path or headers are not UTF-8"
        if size > self._config.message_bytes_max:
            return (
                f"message too large: {size} bytes with key and headers, message_bytes_max is "
                f"{self._config.message_bytes_max}"
            )
        return None

    def _size(self, message: Message) -> int:
        own_bytes = self._own(message.topic)[2]
        said = sum(
            len(name.encode()) + len(value.encode()) + HEADER_BYTES + len("ce_")
            for name, value in message.headers
        )
        return len(message.payload) + own_bytes + said + ENVELOPE_BYTES

    def _own(self, path: str) -> tuple[bytes, Headers, int]:
        """Return key and headers of a path, made once instead of once per message."""
        own = self._told.get(path)
        if own is not None:
            return own
        config = self._config
        whole = config.key == "tag" or config.payload in OF_SEVERAL_TAGS
        whole = whole or path.startswith(f"{self._edge}/")
        key = (path if whole else path.rpartition("/")[0] or path).encode()
        headers: Headers = [("gateway", self._settings.gateway)]
        if not whole:
            headers.append(("path", path.encode()))
        size = len(key) + sum(len(name) + len(text or "") + HEADER_BYTES for name, text in headers)
        if len(self._told) >= TOPICS_MAX:
            self._told.clear()
        self._told[path] = own = (key, headers, size + USUAL_CONTENT_TYPE_BYTES)
        return own

    def publish(self, message: Message) -> int:
        """Give one message to librdkafka, which batches and sends it."""
        self._ticket = ticket = self._ticket + 1
        key, own, size = self._own(message.topic)
        size += len(message.payload)
        self._pending[ticket] = (monotonic_s(), size)
        self._pending_bytes += size
        headers = own + headers_of(message)
        try:
            if self._producer is not None:
                self._producer.produce(
                    self._config.topic,
                    message.payload,
                    key,
                    on_delivery=partial(self._on_report, ticket),
                    headers=headers,
                )
        except KafkaException as error:
            self._gave_up(ticket, error.args[0])
        except BufferError as error:
            self._doom = TargetUnavailable(f"librdkafka's queue is full ({error})")
        return ticket

    def exchange(self, wait_s: float) -> list[Answer]:
        """Wait for delivery reports. Raises TargetUnavailable when something was given up.

        Answers that came with the loss are returned first; the next call raises.
        """
        if self._doom is None:
            alone = len(self._pending) == 1
            self._poll(wait_s)
            self._doom = self._reason_to_end(alone=alone)
        answers, self._answers = self._answers, []
        if self._doom is not None and not answers:
            raise self._doom
        return answers

    def close(self) -> None:
        """Send what was published, within GOODBYE_S; then forget the rest."""
        if self._doom is None and self._producer is not None:
            try:
                self._producer.flush(GOODBYE_S)
            except KafkaException:
                self._fatal = None  # What has no answer is published again; nobody asks any more.
        self.drop()

    def drop(self) -> None:
        """End the producer and all it holds. Its threads end with it."""
        if self._producer is None:
            return
        self._producer.purge()
        with suppress(KafkaException):  # That it has ended is known.
            self._producer.poll(0)  # Without it, what hangs on each report is never freed.
        self._producer = None

    def _poll(self, wait_s: float) -> None:
        if self._producer is None:
            return
        try:
            self._producer.poll(wait_s)
        except KafkaException as error:  # How a fatal error is told; its reason may come behind it.
            self._fatal = error.args[0]
            self._hear_out(self._producer)

    def _hear_out(self, producer: Producer) -> None:
        """Wait within LAST_REPORTS_S for what becomes of everything that was in flight."""
        until_s = monotonic_s() + LAST_REPORTS_S
        while len(self._failed) < len(self._pending) and monotonic_s() < until_s:
            try:
                producer.poll(WAITING_SLICE_S)
            except KafkaException as error:
                self._fatal = error.args[0]

    def _on_report(self, ticket: int, error: KafkaError | None, _message: Reported) -> None:
        if error is not None:
            self._gave_up(ticket, error)
            return
        found = self._pending.pop(ticket, None)
        if found is not None:
            self._pending_bytes -= found[1]
            self._down_at_s = self._cause = None
            self._answers.append(Answer(ticket, Verdict.TAKEN, ""))

    def _gave_up(self, ticket: int, error: KafkaError) -> None:
        self._failed[ticket] = error

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == Local.ALL_BROKERS_DOWN:
            self._down_at_s = self._down_at_s or monotonic_s()
        elif self._cause is None or self._cause.code() not in TELLING or error.code() in TELLING:
            self._cause = error

    def _reason_to_end(self, *, alone: bool) -> TargetUnavailable | None:
        """Return why the producer must be given up, None while it serves.

        `alone`: at most one message was in flight, so that the broker's complaint is about it.
        """
        if self._failed or self._fatal is not None:
            ticket, error = self._first_failure()
            if error is not None and blamed(error) and alone and ticket:
                self._pending.pop(ticket, None)
                self._answers.append(Answer(ticket, Verdict.NEVER, refused_message(error)))
                return TargetUnavailable("the producer ended with a message that was refused")
            if error is not None:
                return explained(error, self._settings)
        return self._overdue()

    def _first_failure(self) -> tuple[int, KafkaError | None]:
        """Return the oldest failure that is no mere consequence of another one."""
        for ticket, error in sorted(self._failed.items()):
            if error.code() not in CONSEQUENCES:
                return ticket, error
        return 0, self._fatal or next(iter(self._failed.values()), None)

    def _overdue(self) -> TargetUnavailable | None:
        """Return why the cluster is too silent, None while it is not."""
        if not self._pending:
            return None
        now_s, config = monotonic_s(), self._config
        oldest_at_s, _ = next(iter(self._pending.values()))
        overdue = now_s > oldest_at_s + config.delivery_timeout_s
        down_at_s = self._down_at_s
        if down_at_s is not None and (overdue or now_s > max(down_at_s, oldest_at_s) + DOWN_S):
            if self._cause is not None:
                return explained(self._cause, self._settings)
            return TargetUnavailable(f"{config.place}: no broker can be reached")
        if not overdue:
            return None
        return TargetUnavailable(
            f"{config.place} did not acknowledge within {config.delivery_timeout_s:g} s; "
            f"{self._diagnosis()}"
        )

    def _diagnosis(self) -> str:
        """Return what a broker says of the partitions now, for a person."""
        cluster = self._look(DIAGNOSIS_S)
        if cluster is None:
            return "and no broker answers: check the network"
        topic = cluster.topics.get(self._config.topic)
        if topic is None or topic.error is not None:
            return f"topic {self._config.topic} is not there any more"
        partitions = topic.partitions.values()
        headless = [each.id for each in partitions if each.leader < 0]
        if headless:
            return f"partitions {_listed(headless)} have no leader: a broker is missing"
        thin = [each.id for each in partitions if len(each.isrs) < len(each.replicas)]
        if thin:
            return (
                f"partitions {_listed(thin)} lack replicas in sync, perhaps fewer than "
                "min.insync.replicas: a broker is missing or behind"
            )
        return "the brokers are there: look into their logs"


def headers_of(message: Message) -> Headers:
    """Return what a message says beside its payload, as Kafka's headers.

    The attributes of a CloudEvent get the prefix of its Kafka binding (1.0.2, 3.2.3.1); what else
    is said keeps its name.
    """
    headers: Headers = []
    if message.content_type:
        headers.append(("content-type", message.content_type))
    event = any(name == "specversion" for name, _ in message.headers)
    for name, value in message.headers:
        prefix = "ce_" if event and name in EVENT_ATTRIBUTES else ""
        headers.append((prefix + name, value.encode()))
    return headers


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:LISTED_MAX]))
    return shown if len(numbers) <= LISTED_MAX else f"{shown} and {len(numbers) - LISTED_MAX} more"
