"""The collector's side of the handoff: its socket and its clock."""

import asyncio
import secrets
from collections.abc import Iterable

import zmq

from common.clock import monotonic_s
from common.handoff.sending import IDLE_S, Sending
from common.handoff.wire import ANSWER_BYTES_MAX, IN_FLIGHT_SCANS_MAX, Frames
from common.outbox import Outbox
from common.records import Plan, Scan, encode_scan

TICK_S = 0.1
SILENCE_MAX_S = 10.0
"""Then connect anew: a name taken over by another connection leaves this one open and unheard."""


class HandoffSender:
    """The collector's side: takes scans at any moment, sends them when it can."""

    def __init__(
        self,
        *,
        address: str,
        collector: str,
        outbox: Outbox,
        plans: Iterable[Plan],
        silence_max_s: float = SILENCE_MAX_S,
    ) -> None:
        self._silence_max_s = silence_max_s
        self._address = address
        self._collector = collector
        self._outbox = outbox
        self._stream = Sending(outbox, run=secrets.randbits(62) + 1)
        self._socket: zmq.Socket[bytes] | None = None
        for plan in plans:
            outbox.remember(plan)

    @property
    def reachable(self) -> bool:
        """True while the normalizer answered within the last seconds."""
        return self._stream.silence_s(monotonic_s()) < IDLE_S

    @property
    def held(self) -> bool:
        """True while the normalizer takes no scans, because the queue is full."""
        return self._stream.held

    @property
    def trouble(self) -> str | None:
        """Why scans stay in the outbox, in a sentence; None while they need not."""
        if self._stream.refused:
            return f"the normalizer refuses this collector: {self._stream.refused}"
        if self.held:
            return "queue full: not reading on; scans stay in the outbox, then the oldest go"
        if self._outbox.depth and not self.reachable:
            return "the normalizer does not answer"
        return None

    def put(self, scan: Scan, plan: Plan) -> None:
        """Take responsibility for a scan. Never blocks; a full outbox drops its oldest, counted."""
        self._outbox.put(plan, encode_scan(scan), len(scan.values))
        self._pump()

    async def run(self) -> None:
        """Send, listen and ask until cancelled. What is unacknowledged stays in the outbox."""
        while True:
            await self._keep_connection()

    async def _keep_connection(self) -> None:
        """Use one connection until nobody has answered over it for too long."""
        socket = self._socket = self._connect()
        since_s = monotonic_s()
        loop = asyncio.get_running_loop()
        descriptor = int(socket.getsockopt(zmq.FD))
        loop.add_reader(descriptor, self._pump)
        try:
            now_s = since_s
            while min(now_s - since_s, self._stream.silence_s(now_s)) < self._silence_max_s:
                self._stream.tick(now_s)
                self._pump()
                await asyncio.sleep(TICK_S)
                now_s = monotonic_s()
        finally:
            loop.remove_reader(descriptor)
            self._socket = None
            socket.close()

    def _connect(self) -> "zmq.Socket[bytes]":
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.IDENTITY, self._collector.encode())
        socket.setsockopt(zmq.IMMEDIATE, 1)  # Nothing is buffered for a normalizer that is away.
        socket.setsockopt(zmq.LINGER, 0)  # The outbox keeps what matters.
        socket.setsockopt(zmq.SNDHWM, 2 * IN_FLIGHT_SCANS_MAX)
        socket.setsockopt(zmq.MAXMSGSIZE, ANSWER_BYTES_MAX)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        socket.connect(self._address)
        return socket

    async def drain(self, timeout_s: float) -> None:
        """Return when everything is acknowledged or the time is over; needs `run` running."""
        deadline_s = monotonic_s() + timeout_s
        while self._outbox.depth and monotonic_s() < deadline_s:
            if self._stream.refused or self._stream.held:
                return
            await asyncio.sleep(TICK_S / 10)

    def _pump(self) -> None:
        """Listen and speak in turn until neither gets further.

        The socket's descriptor is edge-triggered, and a send may swallow its edge: so the last
        thing done is always to listen once more and hear nothing.
        """
        while self._listen() or self._stream.speak(self._send):
            pass

    def _send(self, frames: Frames) -> bool:
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
            self._stream.hear(frames, monotonic_s())
            heard = True
        return heard
