"""The collector's side of the handoff."""

import asyncio
from collections.abc import Iterable

import zmq

from common.clock import monotonic_s
from common.handoff.wire import (
    ACK,
    HELLO,
    IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_SCANS_MAX,
    MESSAGE_BYTES_MAX,
    SCAN,
    VERSION,
)
from common.log import get_log
from common.outbox import Outbox
from common.records import Plan, Scan, encode_scan

TICK_S = 0.1
PROBE_AFTER_S = 0.3
"""Silence after which a collector with unacknowledged scans asks how far the normalizer is."""

log = get_log(__name__)


class HandoffSender:
    """The collector's side: takes scans at any moment, sends them when it can."""

    def __init__(
        self, *, address: str, collector: str, outbox: Outbox, plans: Iterable[Plan]
    ) -> None:
        self._address = address
        self._collector = collector
        self._outbox = outbox
        self._sent = outbox.oldest - 1
        self._sent_bytes: dict[int, int] = {}
        self._in_flight_bytes = 0
        self._session = 0
        self._refused = False
        self._heard_at_s = self._asked_at_s = -1e9
        self._asked_sent = 0
        self._socket: zmq.Socket[bytes] | None = None
        for plan in plans:
            outbox.remember(plan)

    @property
    def reachable(self) -> bool:
        """True while the normalizer answered within the last seconds."""
        return monotonic_s() - self._heard_at_s < 10 * PROBE_AFTER_S

    def put(self, scan: Scan, plan: Plan) -> None:
        """Take responsibility for a scan. Never blocks; a full outbox drops its oldest, counted."""
        self._outbox.put(plan, encode_scan(scan), len(scan.values))
        self._pump()

    async def run(self) -> None:
        """Send, listen and ask until cancelled. What is unacknowledged stays in the outbox."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, self._collector.encode())
        socket.setsockopt(zmq.IMMEDIATE, 1)  # Nothing is buffered for a normalizer that is away.
        socket.setsockopt(zmq.LINGER, 0)  # The outbox keeps what matters.
        socket.setsockopt(zmq.SNDHWM, 2 * IN_FLIGHT_SCANS_MAX)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        socket.connect(self._address)
        self._socket = socket
        loop = asyncio.get_running_loop()
        descriptor = int(socket.getsockopt(zmq.FD))
        loop.add_reader(descriptor, self._pump)
        try:
            while True:
                self._ask_if_silent()
                self._pump()
                await asyncio.sleep(TICK_S)
        finally:
            loop.remove_reader(descriptor)
            self._socket = None
            socket.close()

    async def drain(self, timeout_s: float) -> None:
        """Return when everything is acknowledged or the time is over; needs `run` running."""
        deadline_s = monotonic_s() + timeout_s
        while self._outbox.depth and monotonic_s() < deadline_s:
            if self._refused:
                return
            await asyncio.sleep(TICK_S / 10)

    def _ask_if_silent(self) -> None:
        now_s = monotonic_s()
        greeted = self._session != 0
        urgent = (self._outbox.depth or not greeted) and not self._refused
        patience_s = PROBE_AFTER_S if urgent else 10 * PROBE_AFTER_S
        if now_s - max(self._heard_at_s, self._asked_at_s) >= patience_s:
            self._greet()

    def _greet(self) -> None:
        hello = HELLO.pack(VERSION, self._outbox.epoch, self._outbox.oldest, self._sent)
        if self._try_send(b"H", hello):
            self._asked_at_s = monotonic_s()
            self._asked_sent = self._sent

    def _pump(self) -> None:
        """Listen and send in turn until neither gets further.

        The socket's descriptor is edge-triggered, and a send may swallow its edge: so the last
        thing done is always to listen once more and hear nothing.
        """
        while self._listen() or self._send_waiting():
            pass

    def _send_waiting(self) -> bool:
        """Send until the window is full, the normalizer is away, or nothing waits."""
        if self._session == 0 or self._refused:
            return False  # First the greeting, so that both know they speak the same version.
        before = self._sent
        self._sent = max(self._sent, self._outbox.oldest - 1)
        while (
            len(self._sent_bytes) < IN_FLIGHT_SCANS_MAX
            and self._in_flight_bytes < IN_FLIGHT_BYTES_MAX
            and (entry := self._outbox.entry(self._sent + 1))
        ):
            header = SCAN.pack(
                self._outbox.epoch, entry.sequence, self._outbox.oldest, *entry[1:3], entry.plan
            )
            if not self._try_send(b"S", header, self._outbox.payload(entry)):
                break
            self._sent = entry.sequence
            self._sent_bytes[entry.sequence] = entry.length
            self._in_flight_bytes += entry.length
        return self._sent > before

    def _try_send(self, *frames: bytes) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _listen(self) -> bool:
        heard = False
        while self._socket is not None:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._hear(frames)
            heard = True
        return heard

    def _hear(self, frames: list[bytes]) -> None:
        self._heard_at_s = monotonic_s()
        match frames:
            case [b"A" | b"H" | b"B" as kind, body] if len(body) == ACK.size:
                self._on_progress(kind, *ACK.unpack(body))
            case [b"W", fingerprint]:
                self._on_wanted(fingerprint)
            case [b"G"]:
                self._greet()
            case [b"R", reason]:
                if not self._refused:
                    log.error("normalizer refuses us", reason=reason.decode(errors="replace"))
                self._refused = True

    def _on_progress(
        self, kind: bytes, session: int, epoch: int, committed: int, received: int
    ) -> None:
        if self._refused:
            log.info("normalizer accepts us again")
        self._refused = False
        known = epoch == self._outbox.epoch
        if known:
            self._outbox.acknowledge(committed)
        received = received if known else self._outbox.oldest - 1
        lost = kind == b"H" and received < self._asked_sent
        if session != self._session or kind == b"B" or lost:
            self._session = session
            self._sent = max(received, self._outbox.oldest - 1)
        self._free_window(committed)

    def _free_window(self, committed: int) -> None:
        """Forget what is committed, will be sent again, or was dropped while it was under way."""
        done = max(committed, self._outbox.oldest - 1)
        for sequence in [s for s in self._sent_bytes if s <= done or s > self._sent]:
            self._in_flight_bytes -= self._sent_bytes.pop(sequence)

    def _on_wanted(self, fingerprint: bytes) -> None:
        encoded = self._outbox.plans.get(fingerprint)
        if encoded is None:
            # Its file is gone; the normalizer will book what it cannot read as a gap.
            encoded = b""
        self._try_send(b"P", fingerprint, encoded)
