"""What is in flight of one target: the live lane first, then as much of the backlog as may be.

Nothing here waits: it publishes into the window of an open connection, and accounts for answers.
"""

from collections.abc import Callable, Sequence

from common.clock import monotonic_s, now_ns
from uplink.contract import Answer, Connection, Parcel, Verdict, Wording
from uplink.drain import Drain, Item
from uplink.lanes import Lanes, Lull
from uplink.letters import Letters
from uplink.report import Report
from uplink.retrying import Retrying
from uplink.settings import IN_FLIGHT_MAX
from uplink.share import BackfillShare
from uplink.speaking import Speaker

TURN_MAX = 2 * IN_FLIGHT_MAX
"""Messages looked at before the network is served again."""
BACKFILL_TURN_MAX = 32
"""Messages of the backlog between two looks for live ones: a millisecond or two."""
IN_FLIGHT_BYTES_MAX = 16 * 1024**2
"""Of payload in flight; one message more may exceed it. All of it may be refused."""
QUEUE_POLL_S = 0.01
"""Between looks at a queue that was drained: the largest part of the live latency."""
ANSWER_WAIT_S = 0.1
PAUSE_WAIT_S = 0.05
PERSIST_INTERVAL_S = 0.1
"""Between durable moves of the cursor; also the most that is published again after a kill."""


class Window:
    """Fills the window of one target's connections, and makes durable what was settled."""

    def __init__(
        self,
        lanes: Lanes,
        share: BackfillShare,
        wording: Wording,
        letters: Letters,
        speaker: Speaker,
        retrying: Retrying,
        report: Report,
    ) -> None:
        self._lanes = lanes
        self._share = share
        self._wording = wording
        self._letters = letters
        self._speaker = speaker
        self._retrying = retrying
        self._report = report
        self._persist_at_s = 0.0

    def connected(self, connection: Connection) -> None:
        """Begin on a new connection: the live lane may jump to the end of the queue."""
        self._share.begin()
        forgotten = self._lanes.connected(connection.payload_bytes_max, monotonic_s())
        self._letters.forget(forgotten)
        self.persist(at_once=True)

    def look(self) -> None:
        """Let the live lane jump when it is late."""
        before = self._lanes.live.drain.read_after
        self._letters.forget(self._lanes.jump_when_late(monotonic_s()))
        if self._lanes.live.drain.read_after != before:
            self.persist(at_once=True)

    def fill(self, connection: Connection) -> float:
        """Publish what the window takes; return how long the exchange may wait."""
        backlog = self._lanes.backlog
        if backlog is not None and backlog.drain.one_at_a_time:
            # Who is suspected goes first: until it is cleared, everything waits for everything.
            if not self._must_wait():
                self._fill_backlog(connection)
            return self._fill_live(connection)
        wait_s = self._fill_live(connection)
        return wait_s if backlog is None else min(wait_s, self._fill_backlog(connection))

    def apply(self, answers: Sequence[Answer]) -> bool:
        """Account for answers; return whether the far side has taken something."""
        if not answers:
            return False
        now_s = monotonic_s()
        acked = self._report.acked
        for ticket, verdict, reason in answers:
            if self._speaker.answered(ticket, verdict, reason):
                continue
            if self._retrying.answered(ticket, verdict, reason):
                continue
            if verdict is Verdict.TAKEN:
                self._report.acked += 1
            else:
                self._report.refused += 1
            self._share.answered(ticket, now_s)
            drain = self._lanes.drain_of(ticket)
            aside = drain and drain.answered(ticket, verdict, reason, now_s)
            if aside:
                self._letters.add(aside, reason)
        if self._report.acked == acked:
            return False
        self._report.last_ack_at_ns = now_ns()
        return True

    def take_back(self, blamed: str) -> None:
        """Account for what was in flight when the connection ended.

        Named as a culprit is only what was in flight alone: with our own status beside it, the
        status comes first on the next connection, and alone.
        """
        flying = self._lanes.in_flight
        spoke, retried = self._speaker.speaking, self._retrying.retrying
        self._speaker.disconnected(blamed, alone=not (flying or retried))
        self._retrying.disconnected(blamed=blamed, others=bool(flying) or spoke)
        for drain in self._lanes.drains:
            others = spoke or retried or len(drain.in_flight) < flying
            if culprit := drain.disconnected(blamed=blamed, others=others):
                self._letters.add(culprit, blamed)

    def persist(self, *, at_once: bool = False) -> None:
        """Make what is settled durable, at most every PERSIST_INTERVAL_S."""
        now_s = monotonic_s()
        if not at_once and now_s < self._persist_at_s:
            return
        if self._lanes.durable and not self._letters.congested:
            return
        settled = self._lanes.settled()
        self._letters.store(settled, self._lanes.islands)
        self._persist_at_s = monotonic_s() + PERSIST_INTERVAL_S

    def _fill_live(self, connection: Connection) -> float:
        now_s = monotonic_s()
        for _ in range(TURN_MAX):
            if self._must_wait() or not connection.room:
                return ANSWER_WAIT_S
            item = self._pull(self._lanes.pull_live, now_s)
            if isinstance(item, Lull):
                return _WAITS_S[item]
            self._publish(connection, self._lanes.live.drain, item)
        return 0.0

    def _fill_backlog(self, connection: Connection) -> float:
        """Publish a little of the backlog; return 0 when there may be more at once."""
        lanes, now_s = self._lanes, monotonic_s()
        for _ in range(BACKFILL_TURN_MAX):
            if lanes.backlog is None:
                return QUEUE_POLL_S
            drain = lanes.backlog.drain
            window = connection.room + lanes.in_flight
            if self._must_wait() or not connection.room:
                return ANSWER_WAIT_S
            if not self._share.open(drain, window, now_s):
                return QUEUE_POLL_S
            item = self._pull(lanes.pull_backfill, now_s)
            if isinstance(item, Lull):
                return _WAITS_S[item]
            ticket = self._publish(connection, drain, item)
            if ticket is not None:
                self._share.published(ticket, len(item.payload), now_s)
        return 0.0

    def _pull(
        self, pull: Callable[[float], Item[Parcel] | Lull], now_s: float
    ) -> Item[Parcel] | Lull:
        """Return a lane's next message; where its claim is used up, move the cursor for it.

        If that is of no use, something is in flight, and an answer must come: were everything that
        was read settled, the cursor would stand at the end of it and the claim be whole again.
        """
        found = pull(now_s)
        while found is Lull.CLAIMED and not self._lanes.durable:
            self.persist(at_once=True)
            found = pull(now_s)
        return found

    def _must_wait(self) -> bool:
        """Return whether an answer, or room for dead letters, must come before the next message."""
        lanes, letters = self._lanes, self._letters
        if letters.congested and not lanes.in_flight:
            self.persist(at_once=True)  # Everything before them is settled: the cursor may pass.
        if letters.full or lanes.in_flight_bytes > IN_FLIGHT_BYTES_MAX:
            return True
        ours = self._speaker.speaking or self._retrying.retrying
        alone = lanes.one_at_a_time and (lanes.in_flight or ours)
        return bool(alone or (letters.congested and lanes.in_flight))

    def _publish(
        self, connection: Connection, drain: Drain[Parcel], item: Item[Parcel]
    ) -> int | None:
        """Publish a message, or set it aside; return its ticket."""
        try:
            message = self._wording.message(item.record, item.number)
        except (ValueError, TypeError, OverflowError) as error:
            self._set_aside(drain, item, f"cannot be worded: {error}")
            return None
        item.topic, item.payload = message.topic, message.payload
        rejection = connection.rejection(message)
        if rejection is not None:
            self._set_aside(drain, item, rejection)
            return None
        if message.retain and drain.superseded(item):
            message = message._replace(retain=False)
        ticket = connection.publish(message)
        drain.published(item, ticket)
        self._report.published += 1
        return ticket

    def _set_aside(self, drain: Drain[Parcel], item: Item[Parcel], reason: str) -> None:
        drain.set_aside(item, reason)
        self._letters.add(item, reason)


_WAITS_S = {Lull.DRY: QUEUE_POLL_S, Lull.PAUSED: PAUSE_WAIT_S, Lull.CLAIMED: ANSWER_WAIT_S}
