"""Goal: in whatever order things happen, no rule is broken and nothing is confirmed too early.

Method: a state machine of data, history, new plans, rebirths, nonsense, acknowledgements, refusals
and reconnects drives the session over a wire that keeps what is written to it; the host's model of
the other tests judges each message as it is written. Queue, cursor and wording are the real ones.
What it does not show: anything of MQTT, for which the other tests have real brokers.

Seen to bite: a seq skipped by a DBIRTH; births left out behind a new plan; a barrier that confirms
what was published after it.
"""

import random
import tempfile
from collections import deque
from pathlib import Path
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sparkplug_rig import REBIRTH, Heard, Model, tahu
from uplink_rig import EDGE, GATEWAY, ROOT

from common.clock import now_ns
from common.queue import Bounds, Cursor, QueueReader, QueueWriter
from common.records import Column, Gap, GapRecord, Plan, Quality, Record, ValueType
from uplink.contract import Answer, Manner, Message, Verdict
from uplink.newest import Newest
from uplink.payloads.sparkplug import build_wording
from uplink.settings import PayloadConfig
from uplink.sparkplug.config import SparkplugConfig
from uplink.sparkplug.current import Current
from uplink.sparkplug.numbers import BirthDeath
from uplink.surroundings import Identity
from uplink.targets.mqtt_connection import MqttConnection, Received
from uplink.targets.sparkplug_connection import SparkplugConnection

IDENTITY = Identity(GATEWAY, 1, ROOT, EDGE)
CONFIG = SparkplugConfig(rebirth_interval_s=0.0, barrier_messages=4)
NCMD = f"spBv1.0/Acme:SiteA/NCMD/{GATEWAY}"


class Wire:
    """What a session uses of an MqttConnection."""

    notes = ()
    payload_bytes_max = 100_000

    def __init__(self, model: Model) -> None:
        self.model = model
        self.room = 10
        self.said = 0
        """Messages of data."""
        self.unanswered: deque[tuple[int, int]] = deque()
        """(packet id, data said before it) of what went at QoS 1."""
        self.answers: list[Answer] = []
        self.incoming: list[Received] = []
        self._next = 0

    def rejection(self, _message: Message) -> None:
        return None

    def say(self, message: Message) -> None:
        self.said += message.topic.split("/")[2] in ("NDATA", "DDATA")
        self._hear(message, 0)

    def publish(self, message: Message) -> int:
        self._next = self._next % 5 + 1  # Packet ids come again.
        self.unanswered.append((self._next, self.said))
        self.room = 5 - len(self.unanswered)
        self._hear(message, 1)
        return self._next

    def _hear(self, message: Message, qos: int) -> None:
        levels = message.topic.split("/")
        if levels[0] == "spBv1.0":
            payload = tahu.Payload.FromString(message.payload)
            self.model.hear(Heard(levels[2], "".join(levels[4:]), payload, qos, message.retain))

    def answer(self, verdict: Verdict) -> int:
        """Answer the oldest; return how much data it speaks for."""
        packet_id, said = self.unanswered.popleft()
        self.answers.append(Answer(packet_id, verdict, ""))
        self.room = 5 - len(self.unanswered)
        return said

    def exchange(self, _wait_s: float) -> list[Answer]:
        found, self.answers = self.answers, []
        return found

    def received(self) -> list[Received]:
        found, self.incoming = self.incoming, []
        return found

    def close(self, *, with_will: bool = False) -> None:
        assert with_will


def plan_of(number: int) -> Plan:
    """Return a plan of chance: some share an asset, some a group that a reload has changed."""
    chance = random.Random(number)
    asset = f"Asset{number % 3}"
    columns = tuple(
        Column(f"T{i}", f"{ROOT}/{asset}/T{i}", "DB1", "X", chance.choice(list(ValueType)))
        for i in range(chance.randint(1, 5))
    )
    return Plan("s7", f"d{number % 3}", f"g{number % 4}", asset, 250, columns)


VALUES: dict[ValueType, Any] = {
    ValueType.BOOL: True,
    ValueType.INT64: -5,
    ValueType.UINT64: 2**64 - 1,
    ValueType.FLOAT64: 0.25,
    ValueType.STRING: "text",
    ValueType.BYTES: b"\xff",
}


class Session(RuleBasedStateMachine):
    """One gateway and one host, over many connections."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        queue = Path(self.folder.name) / "queue"
        QueueWriter.create(queue, Bounds(capacity_bytes=2**24)).close()
        self.reader = QueueReader.open(queue)
        self.cursor = Cursor.open(queue, "uns", epoch=self.reader.epoch)
        self.wording = build_wording(PayloadConfig(sparkplug=CONFIG), IDENTITY)
        self.numbers = BirthDeath(self.cursor)
        self.current = Current(self.reader, Newest(), self.cursor)
        self.sequence = 0
        self.connects = 0
        self.connect()

    def connect(self) -> None:
        self.model = Model()
        self.wire = Wire(self.model)
        inner = cast("MqttConnection", self.wire)
        self.numbers.next()
        self.session = SparkplugConnection(
            inner, self.wording.book, self.numbers, self.current, CONFIG
        )
        self.session.begin(None, f"{EDGE}/status")
        self.sent: list[int] = []
        self.confirmed: list[int] = []
        self.connects += 1

    @rule(number=st.integers(0, 11), historical=st.booleans(), lost=st.booleans())
    def data(self, number: int, historical: bool, lost: bool) -> None:  # noqa: FBT001 - hypothesis
        plan = plan_of(number)
        self.sequence += 1
        values = [None if lost else VALUES[column.value_type] for column in plan.columns]
        codes = [Quality.BAD_NO_COMMUNICATION] * len(values) if lost else None
        record = Record(self.sequence, plan, now_ns(), values, None, codes)
        self.publish(record, historical=historical)

    @rule()
    def gap(self) -> None:
        self.sequence += 1
        gap = Gap("d1", "g1", "queue-full", now_ns(), now_ns(), 1, 1)
        self.publish(GapRecord(self.sequence, gap), historical=False)

    def publish(self, record: Record | GapRecord, *, historical: bool) -> None:
        manner = Manner(historical, retained=False, payload_bytes_max=100_000)
        for parcel in self.wording.parcels([record], manner):
            for number in range(parcel.messages):
                message = self.wording.message(parcel, number)
                assert self.session.rejection(message) is None
                self.sent.append(self.session.publish(message))

    @rule()
    def status(self) -> None:
        if self.session.room:
            self.session.publish(Message(f"{EDGE}/status", b"{}", retain=True))

    @rule(verdict=st.sampled_from([Verdict.TAKEN, Verdict.TAKEN, Verdict.LATER]))
    def answer(self, verdict: Verdict) -> None:
        if self.wire.unanswered:
            said = self.wire.answer(verdict)
            self.exchange(0.0)
            if verdict is Verdict.TAKEN:
                assert len(self.confirmed) == said, "all before it, and nothing behind"

    @rule()
    def wait(self) -> None:
        self.exchange(0.1)

    @rule(name=st.sampled_from([REBIRTH, "Node Control/Reboot"]))
    def command(self, name: str) -> None:
        asked = tahu.Payload()
        asked.metrics.add(name=name, boolean_value=True)
        self.wire.incoming.append(Received(NCMD, asked.SerializeToString(), retained=False))
        births = len(self.model.bd_seqs)
        self.exchange(0.0)
        assert len(self.model.bd_seqs) == births + (name == REBIRTH)

    @rule(leave=st.booleans())
    def reconnect(self, leave: bool) -> None:  # noqa: FBT001 - hypothesis
        if leave:
            self.session.close()
            assert self.model.deaths == [self.model.bd_seqs[-1]]
        self.connect()

    def exchange(self, wait_s: float) -> None:
        for answer in self.session.exchange(wait_s):
            assert answer.verdict is Verdict.TAKEN or answer.ticket not in self.sent
            if answer.ticket in self.sent:
                self.confirmed.append(answer.ticket)

    @invariant()
    def nothing_is_confirmed_out_of_turn(self) -> None:
        assert self.confirmed == self.sent[: len(self.confirmed)]

    @invariant()
    def every_birth_has_the_number_of_its_connect(self) -> None:
        assert set(self.model.bd_seqs) == {(self.connects - 1) % 256}

    def teardown(self) -> None:
        for _ in range(20):
            self.session.exchange(0.1)
            while self.wire.unanswered:
                self.wire.answer(Verdict.TAKEN)
        self.cursor.close()
        self.reader.close()
        self.folder.cleanup()


Session.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSession = Session.TestCase
