"""The normalizer's side of the handoff: its socket."""

from collections.abc import Iterable, Mapping
from typing import Self

import zmq

from common.clock import monotonic_s
from common.handoff.receiving import Counts, Delivery, Receiving
from common.handoff.wire import MESSAGE_BYTES_MAX
from common.records import Plan, Position

MESSAGE_COST_BYTES = 256
"""What each message counts beside its content, so that a flood of small ones ends a gathering."""
RECEIVE_MESSAGES_MAX = 64
"""Of each peer, within ZeroMQ, until we read them."""


class HandoffReceiver:
    """The normalizer's side. `receive`, commit, `acknowledge`: in that order, by one thread."""

    def __init__(
        self, *, address: str, committed: Mapping[str, Position], plans: Iterable[bytes]
    ) -> None:
        self._address = address
        self._streams = Receiving(committed=committed, plans=plans)
        self._socket: zmq.Socket[bytes] | None = None

    @property
    def arrived_plans(self) -> dict[bytes, Plan]:
        """Plans that arrived and are not committed yet; commit them with the scans."""
        return self._streams.arrived_plans

    @property
    def repeats(self) -> int:
        """How many scans came again that had come before; they are dropped here."""
        return self._streams.repeats

    def __enter__(self) -> Self:
        """Listen. The caller holds the normalizer's role: a second bind takes the path over."""
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        socket = context.socket(zmq.ROUTER)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        socket.setsockopt(zmq.RCVHWM, RECEIVE_MESSAGES_MAX)
        socket.bind(self._address)
        self._socket = socket
        return self

    def __exit__(self, *_: object) -> None:
        """Close without waiting: what is unacknowledged stays with the collectors."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def receive(
        self, *, wait_s: float, gather_s: float, bytes_max: int, closed: bool = False
    ) -> list[Delivery | Counts]:
        """Return what is new, in order, as it came within `gather_s` of the first message.

        Waits at most `wait_s` for the first. Stops early once about `bytes_max` have arrived.
        Everything returned before must have been committed and acknowledged. While `closed`
        nothing is taken: collectors are told that the queue is full, and wait with their scans.
        """
        if self._socket is None:
            raise RuntimeError("a receiver is used inside its with block")
        self._streams.closed = closed
        self._send_replies(self._socket)
        arrived: list[Delivery | Counts] = []
        if not self._socket.poll(int(wait_s * 1_000)):
            return arrived
        left_bytes = bytes_max
        until_s = monotonic_s() + gather_s
        while left_bytes > 0:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                left_s = until_s - monotonic_s()
                if left_s <= 0 or not self._socket.poll(max(1, int(left_s * 1_000))):
                    break
                continue
            new = self._streams.hear(frames)
            if new is not None:
                arrived.append(new)
            left_bytes -= MESSAGE_COST_BYTES + len(frames[-1])
            self._send_replies(self._socket)
        return arrived

    def acknowledge(self) -> None:
        """Tell every collector how far its scans are committed: everything received so far is."""
        self._streams.acknowledge()
        if self._socket is not None:
            self._send_replies(self._socket)

    def _send_replies(self, socket: "zmq.Socket[bytes]") -> None:
        for reply in self._streams.replies:
            try:
                socket.send_multipart(reply, zmq.NOBLOCK)
            except zmq.Again:
                continue  # It will ask again.
        self._streams.replies.clear()
