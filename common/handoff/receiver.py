"""The normalizer's side of the handoff."""

import secrets
from collections.abc import Iterable
from typing import NamedTuple, Self

import msgspec
import zmq

from common.clock import monotonic_s
from common.handoff.wire import ACK, COLLECTORS_MAX, HELLO, MESSAGE_BYTES_MAX, SCAN, VERSION
from common.log import get_log
from common.records import Plan, Position, decode_plan, fingerprint_of

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


class _Peer:
    """What the normalizer knows of one collector's stream."""

    def __init__(self, committed: Position) -> None:
        self.epoch = committed.epoch
        self.committed = committed.sequence
        self.received = committed.sequence
        self.greeted = False
        self.stalled = False
        """True after B or W, until the expected scan arrives: one complaint per loss."""
        self.answer = False


class HandoffReceiver:
    """The normalizer's side. `receive`, commit, `acknowledge`: in that order, by one thread."""

    def __init__(
        self, *, address: str, committed: dict[str, Position], plans: Iterable[bytes]
    ) -> None:
        self._address = address
        self._session = secrets.randbits(63) | 1
        self._peers = {name: _Peer(position) for name, position in committed.items()}
        self._plans = set(plans)
        self._refused: set[str] = set()
        self.arrived_plans: dict[bytes, Plan] = {}
        """Plans that arrived since the last `acknowledge`; commit them with the scans."""
        self.repeats = 0
        """Scans that had been committed before, dropped here."""
        self._socket: zmq.Socket[bytes] | None = None

    def __enter__(self) -> Self:
        """Listen. The caller holds the normalizer's role: a second bind takes the path over."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        socket.bind(self._address)
        self._socket = socket
        return self

    def __exit__(self, *_: object) -> None:
        """Close without waiting: what is unacknowledged stays with the collectors."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def receive(self, *, wait_s: float, gather_s: float, bytes_max: int) -> list[Delivery]:
        """Return new scans in order, as they came within `gather_s` of the first one.

        Waits at most `wait_s` for the first. Stops early once `bytes_max` have arrived.
        Everything received before must have been committed and acknowledged.
        """
        socket = self._opened()
        deliveries: list[Delivery] = []
        received_bytes = 0
        if not socket.poll(int(wait_s * 1_000)):
            return deliveries
        until_s = monotonic_s() + gather_s
        while received_bytes < bytes_max:
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                left_s = until_s - monotonic_s()
                if left_s <= 0 or not socket.poll(max(1, int(left_s * 1_000))):
                    break
                continue
            delivery = self._hear(frames)
            if delivery is not None:
                deliveries.append(delivery)
                received_bytes += len(delivery.payload)
        if not deliveries:
            self._answer()
        return deliveries

    def acknowledge(self) -> None:
        """Tell every collector how far its scans are committed: everything received so far is."""
        self.arrived_plans = {}
        self._answer()

    def _answer(self) -> None:
        for name, peer in self._peers.items():
            if peer.answer or peer.committed != peer.received:
                peer.committed = peer.received
                peer.answer = False
                self._send(name, b"A", self._state(peer))

    def _opened(self) -> "zmq.Socket[bytes]":
        if self._socket is None:
            raise RuntimeError("a receiver is used inside its with block")
        return self._socket

    def _state(self, peer: _Peer) -> bytes:
        return ACK.pack(self._session, peer.epoch, peer.committed, peer.received)

    def _send(self, name: str, *frames: bytes) -> None:
        try:
            self._opened().send_multipart((name.encode(), *frames), zmq.NOBLOCK)
        except zmq.Again:
            return  # It will ask again.

    def _hear(self, frames: list[bytes]) -> Delivery | None:
        match frames:
            case [name, b"S", header, payload] if len(header) == SCAN.size:
                return self._on_scan(name.decode(errors="replace"), header, payload)
            case [name, b"H", body] if len(body) == HELLO.size:
                self._on_hello(name.decode(errors="replace"), *HELLO.unpack(body))
            case [name, b"P", fingerprint, encoded]:
                self._on_plan(name.decode(errors="replace"), fingerprint, encoded)
            case [name, b"H", *_]:
                self._send(name.decode(errors="replace"), b"R", b"hello of another version")
        return None

    def _on_hello(self, name: str, version: int, epoch: int, oldest: int, sent: int) -> None:
        if version != VERSION:
            reason = f"collector speaks version {version}, normalizer {VERSION}: update both"
            if name not in self._refused:
                log.error("collector refused", collector=name, reason=reason)
            self._refused.add(name)
            self._send(name, b"R", reason.encode())
            return
        self._refused.discard(name)
        if name not in self._peers and len(self._peers) >= COLLECTORS_MAX:
            self._send(name, b"R", f"more than {COLLECTORS_MAX} collectors".encode())
            return
        peer = self._peers.setdefault(name, _Peer(Position(epoch, oldest - 1)))
        peer.greeted = True
        if peer.epoch != epoch or sent > peer.received:
            peer.stalled = False  # It will begin again; a fresh complaint is due if that fails.
        if peer.epoch == epoch:
            self._send(name, b"H", self._state(peer))
        else:
            answer = ACK.pack(self._session, epoch, oldest - 1, oldest - 1)
            self._send(name, b"H", answer)

    def _on_plan(self, name: str, fingerprint: bytes, encoded: bytes) -> None:
        peer = self._peers.get(name)
        if peer is None:
            return
        if fingerprint == fingerprint_of(encoded):
            try:
                self.arrived_plans[fingerprint] = decode_plan(encoded)
            except msgspec.DecodeError:
                log.error("collector sent a plan of another version", collector=name)
        self._plans.add(fingerprint)  # Asked once; a scan without its plan is booked as a gap.
        peer.stalled = False
        self._send(name, b"B", self._state(peer))

    def _on_scan(self, name: str, header: bytes, payload: bytes) -> Delivery | None:
        epoch, sequence, oldest, scan_count, sample_count, plan = SCAN.unpack(header)
        peer = self._peers.get(name)
        if peer is None or not peer.greeted:
            self._send(name, b"G")
            return None
        same = epoch == peer.epoch
        if same and sequence <= peer.received:
            self.repeats += 1
            peer.answer = True
            return None
        expected = max(peer.received + 1, oldest) if same else oldest
        if sequence != expected or plan not in self._plans:
            if not peer.stalled:
                peer.stalled = True
                if sequence != expected:
                    self._send(name, b"B", self._state(peer))
                else:
                    self._send(name, b"W", plan)
            return None
        if not same:
            peer.epoch, peer.committed = epoch, sequence - 1
        peer.received = sequence
        peer.stalled = False
        return Delivery(name, epoch, sequence, scan_count, sample_count, plan, payload)
