"""Both ends of the handoff with wires that a test can cut, and plain lists of what is true.

The ends are the product's own state machines and the product's own outbox, on a ring in memory.
The wires are first in, first out in each direction, as ZeroMQ's are. The normalizer is a list:
committing puts deliveries, positions, plans and tallies into what survives its crash, all at once.

Truth is kept apart: what was put, in order, and what was read of each group, lost or not.
"""

import shutil
import tempfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from common.handoff.receiving import EPOCHS_ENDED_MAX, Counts, Delivery, Receiving
from common.handoff.sending import Sending
from common.handoff.wire import HELLO, SCAN
from common.outbox import Outbox, group_key_hash
from common.records import Column, Plan, Position, ValueType

NAME = "collector-model"
RING_AT = 36_864
RING_BYTES = 2_048
OVERSIZED_BYTES = 600
SCANS_MAX = 4
BYTES_MAX = 600
WIRE_MESSAGES_MAX = 40
GROUPS = ("a", "b", "c")
STATES_AT, STATES_END = 64, 256


def plan_of(group: str, version: int) -> Plan:
    column = Column("t", f"Acme/{group}", f"a{version}", "T", ValueType.INT64)
    return Plan("simulated", "press", group, "Press", 100, (column,))


PLANS = {
    plan.fingerprint: plan for plan in (plan_of(group, v) for group in GROUPS for v in range(2))
}


class Killed(Exception):
    """SIGKILL arrived."""


class Ring(bytearray):
    """A ring whose process can be killed before its n-th write."""

    writes_left = 10**9

    def __setitem__(self, place: Any, value: Any) -> None:
        self.writes_left -= 1
        if self.writes_left < 0:
            raise Killed
        super().__setitem__(place, value)


@dataclass(frozen=True)
class Put:
    """A scan that the collector took responsibility for."""

    epoch: int
    number: int
    group: str
    samples: int


@dataclass
class Totals:
    """Scans and samples of one group in one epoch."""

    scans: int = 0
    samples: int = 0

    def add(self, scans: int, samples: int) -> None:
        self.scans += scans
        self.samples += samples


@dataclass
class Durable:
    """What survives the normalizer."""

    committed: list[Put] = field(default_factory=list)
    positions: dict[str, Position] = field(default_factory=dict)
    plans: set[bytes] = field(default_factory=set)
    tallies: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Group → epoch, scans, samples, as far as they were told."""
    missing: dict[tuple[int, str], Totals] = field(default_factory=dict)
    """Booked as lost, by epoch and group."""
    nameless: dict[tuple[int, bytes], tuple[int, int]] = field(default_factory=dict)
    """Counts of groups whose names nobody knows any more."""


class Message(NamedTuple):
    """What is on the wire to the far side."""

    connection: int
    """Counts connections, and with them the runs of the collector."""
    plans: dict[bytes, bytes]
    """What that run could say about plans."""
    frames: list[bytes]


class World:
    """The collector (near), the normalizer (far), and what lies between."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tailrace-model-"))
        self.now_s = 0.0
        self.puts: list[Put] = []
        self.read: dict[tuple[int, str], Totals] = {}
        self.died_in_hand: dict[int, int] = {}
        """Scans that were counted and not stored, because the process was killed; by epoch."""
        self.unreadable: dict[int, int] = {}
        """Scans that arrived and whose plan nobody has any more; by epoch."""
        self.to_far: deque[Message] = deque()
        self.to_near: deque[list[bytes]] = deque()
        self.connection = 0
        self.frames_lost = False
        self.replies_fit = True
        self.mismatch = False
        """The two sides are of different versions: every hello reaches the far side as another."""
        self.closed = False
        self.earlier: list[tuple[int, list[bytes]]] = []
        """Messages of earlier epochs, each with its epoch: a second collector may send them."""
        self.durable = Durable()
        self.ring = Ring(RING_AT + RING_BYTES)
        self.configured = dict.fromkeys(GROUPS, 0)
        self.runs = 0
        self.near_starts()
        self.far_starts()
        self.epoch = self.outbox.epoch

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    # The collector

    def near_starts(self) -> None:
        self.runs += 1
        self.connection += 1
        self.ring.writes_left = 10**9
        self.outbox = Outbox(self.ring, self.folder, RING_BYTES)
        self.outbox.take_over()
        for group, version in self.configured.items():
            self.outbox.remember(plan_of(group, version))
        self.sending = Sending(self.outbox, run=self.runs, scans_max=SCANS_MAX, bytes_max=BYTES_MAX)

    def near_crashes(self, arrive: int = 0) -> None:
        """Lose the process, and what is under way but its first `arrive` messages."""
        self.frames_lost = True
        self.to_near.clear()
        while len(self.to_far) > arrive:
            self.to_far.pop()
        self.near_starts()

    def put(self, group: str, samples: int, size: int, killed_after: int = 10**9) -> None:
        """Read a scan; the process may be killed before the n-th write to its ring."""
        plan = plan_of(group, self.configured[group])
        payload = f"{len(self.puts)} {samples} {group} ".encode().ljust(size, b".")
        epoch, before, dropped = self.outbox.epoch, self.outbox.sequence, self.outbox.dropped_scans
        self.ring.writes_left = killed_after
        try:
            self.outbox.put(plan, payload, samples)
            killed = False
        except Killed:
            killed = True
            self.near_crashes()
            assert self.outbox.epoch == epoch, "no kill damages a ring"
        self.ring.writes_left = 10**9
        truth = self.read.setdefault((epoch, group), Totals())
        counted = self.outbox.counts_of("press", group) or (0, 0)
        assert counted in (
            (truth.scans, truth.samples),
            (truth.scans + 1, truth.samples + samples),
        ), "counted whole or not at all"
        stored = self.outbox.sequence > before
        told = stored or (size == OVERSIZED_BYTES and self.outbox.dropped_scans > dropped)
        assert killed or told, "what was put is there, or counted as dropped"
        if counted[0] > truth.scans and not told:
            self.died_in_hand[epoch] = self.died_in_hand.get(epoch, 0) + 1
        truth.scans, truth.samples = counted
        if stored:
            self.puts.append(Put(epoch, len(self.puts), group, samples))
        self.near_speaks()

    def near_speaks(self) -> None:
        """Do what the sender's pump does: listen (elsewhere) and speak until neither goes on."""
        while self.sending.speak(self._carry):
            pass

    def near_hears(self, most: int = 10**9) -> None:
        for _ in range(min(most, len(self.to_near))):
            self.sending.hear(self.to_near.popleft(), self.now_s)
        self.near_speaks()

    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.sending.tick(self.now_s)
        self.near_speaks()

    def _carry(self, frames: tuple[bytes, ...]) -> bool:
        if len(self.to_far) >= WIRE_MESSAGES_MAX:
            return False
        self.to_far.append(Message(self.connection, self.outbox.plans, list(frames)))
        return True

    def plans_are_lost(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()

    def begin_new_epoch(self, spoil: Callable[[Ring], None], arrive: int = 0) -> None:
        """Crash the collector, and spoil its ring: by a reboot, or by damage."""
        epoch = self.outbox.epoch
        self.earlier += [(epoch, message.frames) for message in self.to_far][:4]
        spoil(self.ring)
        self.near_crashes(arrive)
        assert self.outbox.epoch != epoch
        self.epoch = self.outbox.epoch

    # The normalizer

    def far_starts(self) -> None:
        self.pending: list[Delivery | Counts] = []
        self.unacknowledged = False
        self.earlier = []  # No message outlives the socket that it was on its way to.
        self.greeted = [position.epoch for position in self.durable.positions.values()]
        self.receiving = Receiving(committed=self.durable.positions, plans=self.durable.plans)

    @property
    def far_is_free(self) -> bool:
        """True when what was received is committed and acknowledged: it may receive again."""
        return not self.pending and not self.unacknowledged

    def far_crashes(self, arrive: int = 0) -> None:
        """Lose the process, and what is under way but its first `arrive` answers."""
        self.frames_lost = True
        self.to_far.clear()
        while len(self.to_near) > arrive:
            self.to_near.pop()
        self.connection += 1
        self.far_starts()

    def connection_breaks(self, to_far: int, to_near: int) -> None:
        self.frames_lost = True
        while len(self.to_far) > to_far:
            self.to_far.pop()
        while len(self.to_near) > to_near:
            self.to_near.pop()
        self.connection += 1

    def far_hears(self, most: int = 10**9) -> None:
        """Receive as the shell does; what comes is committed and acknowledged separately."""
        assert self.far_is_free
        self.receiving.closed = self.closed
        self._reply()
        for _ in range(min(most, len(self.to_far))):
            message = self.to_far.popleft()
            self.hear_one(message.frames)
            new = self.pending[-1] if self.pending else None
            if message.frames[0] == b"S" and isinstance(new, Delivery):
                known = self.durable.plans | self.receiving.arrived_plans.keys()
                assert new.plan in known or new.plan not in message.plans, "asked for its plan"

    def hear_one(self, frames: list[bytes]) -> None:
        if self.mismatch and frames[0] == b"H":
            frames = [b"H", b"\x63\0" + frames[1][2:]]
        elif frames[0] == b"H" and (epoch := HELLO.unpack(frames[1])[1]) not in self.greeted:
            self.greeted.append(epoch)
        new = self.receiving.hear([NAME.encode(), *frames])
        self._reply()
        if new is not None:
            assert not self.closed, "nothing is taken while the queue is full"
            self.pending.append(new)

    def ended(self) -> list[list[bytes]]:
        """Return messages of epochs that the far side has seen the end of."""
        return [f for epoch, f in self.earlier if epoch in self.greeted[-EPOCHS_ENDED_MAX - 1 : -1]]

    def commit(self) -> None:
        """Put everything that came into what survives, in one transaction."""
        for each in self.pending:
            if isinstance(each, Counts):
                self._book_counts(each)
            else:
                self._take(each)
        if any(isinstance(each, Delivery) for each in self.pending):
            self.durable.plans |= self.receiving.arrived_plans.keys()
        self.pending = []
        self.unacknowledged = True

    def acknowledge(self) -> None:
        self.receiving.acknowledge()
        self.unacknowledged = False
        self._reply()

    def _reply(self) -> None:
        for name, *frames in self.receiving.replies:
            assert name == NAME.encode()
            if self.replies_fit and len(self.to_near) < WIRE_MESSAGES_MAX:
                self.to_near.append(frames)
            else:
                self.frames_lost = True
        self.receiving.replies.clear()

    def _take(self, delivery: Delivery) -> None:
        self.durable.positions[delivery.collector] = Position(delivery.epoch, delivery.sequence)
        if delivery.plan not in self.durable.plans | self.receiving.arrived_plans.keys():
            # Nobody can read it; what follows of its group shows it as missing.
            self.unreadable[delivery.epoch] = self.unreadable.get(delivery.epoch, 0) + 1
            return
        number, samples, group, _ = delivery.payload.decode().split(" ")
        assert PLANS[delivery.plan].group == group
        put = self.puts[int(number)]
        assert put == Put(delivery.epoch, int(number), group, int(samples))
        self.durable.committed.append(put)
        self._book(delivery.epoch, group, delivery.scan_count, delivery.sample_count, int(samples))

    def _book_counts(self, counts: Counts) -> None:
        names = {group_key_hash("press", group): group for group in self.durable.tallies}
        names |= {each.key: each.group for each in counts.groups if each.device}
        for each in counts.groups:
            if each.key in names:
                self._book(counts.epoch, names[each.key], each.scans, each.samples, None)
            else:
                self.durable.nameless[counts.epoch, each.key] = (each.scans, each.samples)

    def _book(self, epoch: int, group: str, scans: int, samples: int, arrived: int | None) -> None:
        before = self.durable.tallies.get(group, (epoch, 0, 0))
        if before[0] != epoch:
            before = (epoch, 0, 0)  # A loss of unknown size, told by the change of the epoch.
        scans_missing = scans - before[1] - (arrived is not None)
        samples_missing = samples - before[2] - (arrived or 0)
        assert scans_missing >= 0
        assert samples_missing >= 0
        booked = self.durable.missing.setdefault((epoch, group), Totals())
        booked.add(scans_missing, samples_missing)
        self.durable.tallies[group] = (epoch, scans, samples)

    # What has to be true

    def check(self) -> None:
        """Assert what holds at every instant."""
        assert self.outbox.epoch == self.epoch, "no epoch begins without need"
        committed = self.durable.committed
        numbers = [put.number for put in committed]
        assert numbers == sorted(set(numbers)), "a subsequence of what was put, each once, in order"
        for key, truth in self.read.items():
            arrived = self.arrived(key)
            assert arrived.scans <= truth.scans, "never more than there was"
            assert arrived.samples <= truth.samples, "never more than there was"
        by_connection: dict[int, int] = {}
        for connection, _, frames in self.to_far:
            if frames[0] == b"S":
                by_connection[connection] = by_connection.get(connection, 0) + 1
        assert max(by_connection.values(), default=0) <= 2 * SCANS_MAX, "the window is kept"
        assert len(self.receiving.arrived_plans) <= len(PLANS)
        if not self.frames_lost:
            assert self.receiving.repeats == 0, "nothing is sent twice without a loss"

    def arrived(self, key: tuple[int, str]) -> Totals:
        """Return what was committed or booked as missing of one group in one epoch."""
        booked = self.durable.missing.get(key, Totals())
        found = Totals(booked.scans, booked.samples)
        for put in self.durable.committed:
            if (put.epoch, put.group) == key:
                found.add(1, put.samples)
        return found

    def one_round(self, seconds: float) -> None:
        """Let time pass, and everybody do their work once."""
        self.time_passes(seconds)
        self.far_hears()
        self.commit()
        self.acknowledge()
        self.near_hears()

    def heal(self) -> None:
        """Let everything work for a bounded time; then all is accounted for."""
        if self.pending:
            self.commit()
        if self.unacknowledged:
            self.acknowledge()
        if self.mismatch:
            self.mismatch = False
            self.near_crashes()  # An upgrade is a restart.
        self.closed = False
        self.replies_fit = True
        for _ in range(120 + self.outbox.depth):
            self.one_round(1.0)
            self.check()

        assert self.outbox.depth == 0, "everything was taken, in a bounded number of steps"
        assert not self.sending.held
        assert not self.sending.refused
        for (epoch, group), truth in self.read.items():
            if epoch != self.outbox.epoch:
                continue  # Of an epoch that ended, what its ring still held is lost uncounted.
            key = group_key_hash("press", group)
            found = self.durable.nameless.get((epoch, key))
            if found is None or group in self.durable.tallies:
                arrived = self.arrived((epoch, group))
                found = (arrived.scans, arrived.samples)
            assert found == (truth.scans, truth.samples), f"{group}: accounted for to the sample"
        epoch = self.outbox.epoch
        committed = [put for put in self.durable.committed if put.epoch == epoch]
        read = sum(truth.scans for (of, _), truth in self.read.items() if of == epoch)
        explained = self.died_in_hand.get(epoch, 0) + self.unreadable.get(epoch, 0)
        # Not equal: what the ring dropped may have arrived, and only its acknowledgement not.
        assert read - len(committed) <= self.outbox.dropped_scans + explained, "no loss but these"


def scans_under_way(world: World) -> list[int]:
    """Return the sequences of the scans on the wire."""
    frames = [message.frames for message in world.to_far]
    return [SCAN.unpack(header)[1] for kind, header, *_ in frames if kind == b"S"]
