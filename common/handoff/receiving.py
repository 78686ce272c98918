"""The normalizer's side of the handoff as a state machine: no socket, no clock.

Heard frames go in, what they bring comes out, and answers collect in `replies`. Whatever a peer
sends, this side stays within its limits: 64 names, one complaint for each of their hellos, and
plans only where they were asked for.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from common.handoff.wire import (
    ANSWER,
    COLLECTORS_MAX,
    COUNTS,
    HELLO,
    HELLO_VERSION,
    SCAN,
    VERSION,
    Answer,
    Frames,
    Hello,
)
from common.log import get_log
from common.outbox import GROUPS_MAX, GroupCount
from common.records import Plan, Position, decode_plan, fingerprint_of

EPOCHS_ENDED_MAX = 16
PLANS_ABSENT_MAX = 1_024
PLANS_KNOWN_MAX = 65_536
PLANS_WAITING_BYTES_MAX = 32 * 1024 * 1024
"""Plans that arrived and that no committed scan has needed yet."""

_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NAME_TAKEN = (
    "another process has taken this collector's name and begun a newer stream: stop one of the "
    "two, then restart the other"
)
_counts_decoder = msgspec.msgpack.Decoder(tuple[GroupCount, ...])

log = get_log(__name__)


class Delivery(NamedTuple):
    """One scan as it arrived, new and in order; ours from the commit on."""

    collector: str
    epoch: int
    sequence: int
    scan_count: int
    sample_count: int
    plan: bytes
    payload: bytes


class Counts(NamedTuple):
    """What a collector has read in all, told when everything that it still had has arrived.

    A group whose counts are above those of its last scan has lost the difference.
    """

    collector: str
    epoch: int
    groups: tuple[GroupCount, ...]


class _Peer:
    """What the normalizer knows of one collector's stream."""

    def __init__(self, name: str, position: Position, *, lasting: bool) -> None:
        self.name = name
        self.epoch = position.epoch
        self.committed = self.received = position.sequence
        self.lasting = lasting
        """True once a scan of it was taken: its place is never given to another."""
        self.greeted = False
        self.run = self.greeting = self.asked = 0
        self.complained = False
        """True after G, W or F, until the expected scan or a hello: one complaint per loss."""
        self.held = False
        """It was told that the queue is full."""
        self.wanted = b""
        self.plans_absent: set[bytes] = set()
        """Plans that this run of the collector has not: scans come without, and become gaps."""
        self.counted = self.told = 0
        self.ended: deque[int] = deque(maxlen=EPOCHS_ENDED_MAX)
        """Earlier epochs. Nothing of them is taken any more, or it could be taken twice."""

    def state(self) -> bytes:
        """Return the body of an answer."""
        answer = Answer(
            self.run, self.greeting, self.asked, self.committed, self.received, self.told
        )
        return ANSWER.pack(*answer)

    def greet(self, hello: Hello) -> None:
        """Take a hello; another epoch ends the one before it."""
        if hello.epoch != self.epoch:
            self.ended.append(self.epoch)
            self.epoch = hello.epoch
            self.committed = self.received = hello.oldest - 1
        if hello.run != self.run:
            self.run = hello.run
            self.plans_absent.clear()
            self.counted = self.told = 0
        self.greeting, self.asked = hello.greeting, hello.sent
        self.greeted = True
        self.complained = False


class Receiving:
    """Every collector's stream, up to what is committed and what has arrived."""

    def __init__(self, *, committed: Mapping[str, Position], plans: Iterable[bytes]) -> None:
        self._closed = False
        self._peers = {
            name.encode(): _Peer(name, position, lasting=True)
            for name, position in committed.items()
        }
        self._plans = set(plans)
        self._refused: dict[bytes, None] = {}
        self.replies: list[Frames] = []
        """What to send, the addressee's name first. Sent or not, to be emptied by the caller."""
        self.arrived_plans: dict[bytes, Plan] = {}
        """Plans to commit together with the scans that need them."""
        self._plan_bytes: dict[bytes, int] = {}
        self._plans_used: set[bytes] = set()
        self.repeats = 0
        """Scans that had been received before, dropped here."""

    @property
    def closed(self) -> bool:
        """True while scans are not taken: greetings are answered with `F`."""
        return self._closed

    @closed.setter
    def closed(self, closed: bool) -> None:
        if self._closed and not closed:
            for name, peer in self._peers.items():
                if peer.held:
                    peer.held = peer.complained = False
                    self.replies.append((name, b"G"))
        self._closed = closed

    def hear(self, frames: list[bytes]) -> Delivery | Counts | None:
        """Take one message, the sender's name first; return what it brings that is new."""
        match frames:
            case [name, b"S", header, payload] if len(header) == SCAN.size:
                return self._on_scan(name, header, payload)
            case [name, b"C", header, encoded] if len(header) == COUNTS.size:
                return self._on_counts(name, header, encoded)
            case [name, b"P", fingerprint, encoded]:
                self._on_plan(name, fingerprint, encoded)
            case [name, b"H", body, *_] if _NAME.fullmatch(name):
                self._on_hello(name, body)
            case [name, b"H", *_]:
                # ZeroMQ gives a connection a name like this when another takes over its own.
                self.replies.append((name, b"R", _NAME_TAKEN.encode()))
        return None

    def acknowledge(self) -> None:
        """Take everything heard so far as committed, and say so."""
        for name, peer in self._peers.items():
            if peer.committed != peer.received or peer.told != peer.counted:
                peer.committed = peer.received
                peer.told = peer.counted
                self.replies.append((name, b"A", peer.state()))
        for fingerprint in self._plans_used:
            self._forget_arrived(fingerprint)
        self._plans_used.clear()

    def _on_hello(self, name: bytes, body: bytes) -> None:
        version = HELLO_VERSION.unpack_from(body)[0] if len(body) >= HELLO_VERSION.size else 0
        if version != VERSION or len(body) != HELLO.size:
            if name in self._peers:
                self._peers[name].greeted = False
            text = f"collector speaks version {version}, normalizer {VERSION}: update both"
            return self._refuse(name, text)
        hello = Hello(*HELLO.unpack(body))
        if hello.oldest == 0:
            return None  # Sequences begin at 1; whoever this is, it is none of ours.
        peer = self._peers.get(name) or self._newcomer(name, hello)
        if peer is None:
            return self._refuse(name, f"there are {COLLECTORS_MAX} collectors already")
        if hello.epoch in peer.ended:
            return self._refuse(name, _NAME_TAKEN)
        self._refused.pop(name, None)
        peer.greet(hello)
        self._say(name, peer, b"F" if self._closed else b"H")
        return None

    def _newcomer(self, name: bytes, hello: Hello) -> _Peer | None:
        if len(self._peers) >= COLLECTORS_MAX:
            unused = (key for key, peer in self._peers.items() if not peer.lasting)
            evicted = next(unused, None)
            if evicted is None:
                return None
            del self._peers[evicted]
        peer = _Peer(name.decode(), Position(hello.epoch, hello.oldest - 1), lasting=False)
        self._peers[name] = peer
        return peer

    def _refuse(self, name: bytes, reason: str) -> None:
        if name not in self._refused:
            log.error("collector refused", collector=name.decode(), reason=reason)
            while len(self._refused) >= COLLECTORS_MAX:
                del self._refused[next(iter(self._refused))]
            self._refused[name] = None
        self.replies.append((name, b"R", reason.encode()))

    def _say(self, name: bytes, peer: _Peer, kind: bytes) -> None:
        peer.held = kind == b"F"
        self.replies.append((name, kind, peer.state()))

    def _on_scan(self, name: bytes, header: bytes, payload: bytes) -> Delivery | None:
        epoch, sequence, oldest, scan_count, sample_count, plan = SCAN.unpack(header)
        peer = self._peers.get(name)
        if peer is None:
            return None  # It will greet when it hears nothing.
        welcome = peer.greeted and epoch == peer.epoch
        if welcome and sequence <= peer.received:
            self.repeats += 1
            return None
        expected = welcome and sequence == max(peer.received + 1, oldest)
        known = plan in self._plans or plan in peer.plans_absent
        if not expected or not known or self._closed:
            self._complain(name, peer, b"" if not expected or known else plan)
            return None
        peer.received = sequence
        peer.complained = False
        peer.lasting = True
        if plan in self.arrived_plans:
            self._plans_used.add(plan)
        return Delivery(peer.name, epoch, sequence, scan_count, sample_count, plan, payload)

    def _complain(self, name: bytes, peer: _Peer, wanted: bytes) -> None:
        if peer.complained:
            return
        peer.complained = True
        if self._closed and peer.greeted:
            self._say(name, peer, b"F")
        elif wanted:
            peer.wanted = wanted
            self.replies.append((name, b"W", wanted))
        else:
            self.replies.append((name, b"G"))

    def _on_counts(self, name: bytes, header: bytes, encoded: bytes) -> Counts | None:
        epoch, sequence, oldest, number = COUNTS.unpack(header)
        peer = self._peers.get(name)
        if peer is None or self._closed or not peer.greeted or epoch != peer.epoch:
            return None
        if number == peer.told or max(peer.received, oldest - 1) != sequence:
            return None  # Some of its scans are missing; it will tell again.
        try:
            groups = _counts_decoder.decode(encoded)
        except msgspec.DecodeError:
            return None
        if len(groups) > GROUPS_MAX:
            return None
        peer.counted = number
        return Counts(peer.name, epoch, groups)

    def _on_plan(self, name: bytes, fingerprint: bytes, encoded: bytes) -> None:
        peer = self._peers.get(name)
        if peer is None or not fingerprint or fingerprint != peer.wanted:
            return
        peer.wanted = b""
        plan = self._plan_or_none(fingerprint, encoded)
        if plan is None:
            if not peer.plans_absent:
                log.error("collector has lost a plan; its scans become gaps", collector=peer.name)
            if len(peer.plans_absent) >= PLANS_ABSENT_MAX:
                peer.plans_absent.clear()
            peer.plans_absent.add(fingerprint)
            return
        waiting_bytes = sum(self._plan_bytes.values())
        if self._plan_bytes and waiting_bytes + len(encoded) > PLANS_WAITING_BYTES_MAX:
            for unused in self._plan_bytes.keys() - self._plans_used:
                self._forget_arrived(unused)
                self._plans.discard(unused)  # To be asked for again when a scan needs it.
        if len(self._plans) >= PLANS_KNOWN_MAX:
            self._plans = set(self.arrived_plans)
        self._plans.add(fingerprint)
        self.arrived_plans[fingerprint] = plan
        self._plan_bytes[fingerprint] = len(encoded)

    def _forget_arrived(self, fingerprint: bytes) -> None:
        self.arrived_plans.pop(fingerprint, None)
        self._plan_bytes.pop(fingerprint, None)

    @staticmethod
    def _plan_or_none(fingerprint: bytes, encoded: bytes) -> Plan | None:
        if fingerprint != fingerprint_of(encoded):
            return None
        try:
            plan = decode_plan(encoded)
        except msgspec.DecodeError:
            return None
        return None if "/" in plan.device + plan.group else plan
