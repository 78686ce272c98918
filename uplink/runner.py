"""The life of one uplink: wait for the queue, connect, drain, wait out absences, leave in order.

Invariant: the cursor covers a record only after the far side has taken, or this uplink has durably
set aside, every message of it and of all before it. Killed at any instruction, the process starts
again at the cursor: what was taken since is published again, with the same identity.
"""

import time
from collections.abc import Callable

from common.clock import monotonic_s, now_ns
from common.errors import TargetUnavailable
from common.log import get_log
from common.process import Stopping, StopRequested
from uplink.contract import (
    Answer,
    Connection,
    MessageBlamed,
    Parcel,
    Target,
    TargetRefused,
    Verdict,
    Wording,
)
from uplink.drain import Drain, Item
from uplink.intake import Intake
from uplink.letters import Letters
from uplink.patience import Patience
from uplink.report import Report
from uplink.retrying import Retrying
from uplink.settings import IN_FLIGHT_MAX
from uplink.speaking import Speaker
from uplink.surroundings import Surroundings
from uplink.tending import Tending

TURN_MAX = 2 * IN_FLIGHT_MAX
"""Messages looked at before the network is served again."""
IN_FLIGHT_BYTES_MAX = 16 * 1024**2
"""Of payload in flight; one message more may exceed it. All of it may be refused."""
QUEUE_POLL_S = 0.01
"""Between looks at a queue that was drained: the largest part of the live latency."""
ANSWER_WAIT_S = 0.1
PAUSE_WAIT_S = 0.05
PERSIST_INTERVAL_S = 0.1
"""Between durable moves of the cursor; also the most that is published again after a kill."""
REST_SLICE_S = 0.1
STABLE_S = 60.0
"""A connection that lasted so long ends the patience with refusals."""
LEAVE_S = 2.0
"""For the answers to what is in flight when told to stop; all of leaving stays below 5 s."""
GOODBYE_S = 1.0

log = get_log(__name__)


class Uplink:
    """One target's drain; owns the cursor and the connection."""

    def __init__(
        self,
        *,
        target: Target,
        wording: Wording,
        surroundings: Surroundings,
        stopping: Stopping,
        report: Report,
    ) -> None:
        self._target = target
        self._wording = wording
        self._cursor = cursor = surroundings.cursor
        self._stopping = stopping
        self._report = report
        self._drain: Drain[Parcel] = Drain(cursor.position)
        self._persist_at_s = 0.0
        self._told_away = ""
        self._intake = Intake(surroundings.reader, cursor, self._drain, wording)
        self._letters = Letters(cursor, wording, report)
        self._speaker = Speaker(surroundings, report, self._letters)
        self._retrying = Retrying(cursor, report)
        self._patience = Patience()
        self._tending = Tending(target, report)
        report.acked_sequence = cursor.position

    def run(self) -> None:
        """Drain until told to stop. An absent far side is not an error here."""
        try:
            while not self._stopping.requested:
                self._serve_once()
        except StopRequested:
            pass
        finally:
            self._persist(at_once=True)
            self._retrying.disconnected()

    def _serve_once(self) -> None:
        """Connect, serve until told to stop or until the connection ends, then rest."""
        connected_at_s = None
        try:
            connection = self._target.connect(self._waiting)
            connected_at_s = monotonic_s()
            try:
                self._welcome(connection)
                while not (self._stopping.requested or self._tending.renewed()):
                    self._turn(connection)
                self._leave(connection)
            finally:
                connection.close()
        except TargetUnavailable as error:
            if connected_at_s is not None and monotonic_s() - connected_at_s > STABLE_S:
                self._patience.welcomed()
            self._take_back(str(error) if isinstance(error, MessageBlamed) else "")
            self._persist(at_once=True)
            self._rest(error)

    def _turn(self, connection: Connection) -> None:
        wait_s = self._fill(connection)
        self._apply(connection.exchange(wait_s))
        self._persist()
        self._letters.look_when_due()
        self._show_state(connection)
        self._speak(connection)
        if not self._drain.one_at_a_time:
            self._retrying.retry(connection)
        self._report.in_flight = len(self._drain.in_flight)
        self._report.write_when_due()

    def _fill(self, connection: Connection) -> float:
        """Publish what the window takes; return how long the exchange may wait."""
        now_s = monotonic_s()
        for _ in range(TURN_MAX):
            if self._must_wait() or not connection.room:
                return ANSWER_WAIT_S
            item = self._drain.next(now_s)
            if item is not None:
                self._publish(connection, item)
            elif not self._drain.hungry:
                return PAUSE_WAIT_S
            elif self._claim_used_up():
                return ANSWER_WAIT_S
            elif not self._intake.more():
                return QUEUE_POLL_S
        return 0.0

    def _must_wait(self) -> bool:
        """Return whether an answer, or room for dead letters, must come before the next message."""
        drain, letters = self._drain, self._letters
        if letters.congested and not drain.in_flight:
            self._persist(at_once=True)  # Everything before them is settled: the cursor may pass.
        if letters.full or drain.in_flight_bytes > IN_FLIGHT_BYTES_MAX:
            return True
        ours = self._speaker.speaking or self._retrying.retrying
        alone = drain.one_at_a_time and (drain.in_flight or ours)
        return bool(alone or (letters.congested and drain.in_flight))

    def _claim_used_up(self) -> bool:
        """Return whether an answer must come before more is read, however the cursor is moved.

        Then something is in flight: were everything that was read settled, the cursor would stand
        at the end of it and the claim be whole again.
        """
        if self._intake.must_wait:
            self._persist(at_once=True)
        return self._intake.must_wait

    def _publish(self, connection: Connection, item: Item[Parcel]) -> None:
        try:
            message = self._wording.message(item.record, item.number)
        except (ValueError, TypeError, OverflowError) as error:
            self._set_aside(item, f"cannot be worded: {error}")
            return
        item.topic, item.payload = message.topic, message.payload
        rejection = connection.rejection(message)
        if rejection is not None:
            self._set_aside(item, rejection)
            return
        if message.retain and self._drain.superseded(item):
            message = message._replace(retain=False)
        self._drain.published(item, connection.publish(message))
        self._report.published += 1

    def _apply(self, answers: list[Answer]) -> None:
        if not answers:
            return
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
            aside = self._drain.answered(ticket, verdict, reason, now_s)
            if aside is not None:
                self._letters.add(aside, reason)
        if self._report.acked > acked:
            self._report.last_ack_at_ns = now_ns()
            self._patience.served()

    def _take_back(self, blamed: str) -> None:
        """Account for what was in flight when the connection ended.

        Named as a culprit is only what was in flight alone: with our own status beside it, the
        status comes first on the next connection, and alone.
        """
        drained = bool(self._drain.in_flight)
        spoke, retried = self._speaker.speaking, self._retrying.retrying
        self._speaker.disconnected(blamed, alone=not (drained or retried))
        self._retrying.disconnected(blamed=blamed, others=drained or spoke)
        if culprit := self._drain.disconnected(blamed=blamed, others=spoke or retried):
            self._letters.add(culprit, blamed)

    def _set_aside(self, item: Item[Parcel], reason: str) -> None:
        self._drain.set_aside(item, reason)
        self._letters.add(item, reason)

    def _persist(self, *, at_once: bool = False) -> None:
        """Make the position and what was set aside durable, at most every PERSIST_INTERVAL_S."""
        now_s = monotonic_s()
        if not at_once and now_s < self._persist_at_s:
            return
        if self._drain.position <= self._cursor.position:
            return
        self._letters.store(self._drain)
        self._persist_at_s = monotonic_s() + PERSIST_INTERVAL_S

    def _welcome(self, connection: Connection) -> None:
        report = self._report
        if self._told_away:
            log.info("broker is back", target=report.target, address=self._target.address)
        else:
            log.info("connected", target=report.target, address=self._target.address)
        self._told_away = ""
        for note in connection.notes:
            log.warning("broker is limited", target=report.target, note=note)
        report.process_state, report.state, report.error = "running", "online", None
        report.notes = connection.notes
        self._letters.look()
        self._speaker.connected()
        self._speak(connection)
        report.write()

    def _show_state(self, connection: Connection) -> None:
        """While connected: refused when the store of refused messages is full, else online."""
        report, full = self._report, self._letters.full
        report.notes = connection.notes
        if full != (report.state == "refused"):
            report.state = "refused" if full else "online"
            report.error = self._letters.complaint() if full else None

    def _speak(self, connection: Connection) -> None:
        """Let the gateway speak of itself when it has something to say."""
        if self._drain.one_at_a_time and self._drain.in_flight:
            return  # A suspect is in flight: nothing of ours may share the blame.
        suspicious = self._drain.one_at_a_time
        self._speaker.speak(connection, self._drain.position, suspicious=suspicious)

    def _leave(self, connection: Connection) -> None:
        """Wait a little for the answers in flight, then say that we go, unless we come back."""
        if not self._stopping.requested:
            self._change_over(connection)
            return
        self._report.process_state = "stopping"
        self._report.write()
        drain, retrying = self._drain, self._retrying
        self._exchange_until(
            connection, lambda: not (drain.in_flight or retrying.retrying), LEAVE_S
        )
        self._speaker.say_goodbye(connection)
        self._exchange_until(connection, lambda: not self._speaker.speaking, GOODBYE_S)

    def _change_over(self, connection: Connection) -> None:
        """Make room for a connection with the files that were renewed; nobody need notice."""
        log.info("files were renewed: connecting again", target=self._report.target)

        def quiet() -> bool:
            return not (self._drain.in_flight or self._speaker.speaking)

        self._exchange_until(connection, quiet, LEAVE_S)
        self._take_back("")

    def _exchange_until(
        self, connection: Connection, done: Callable[[], bool], most_s: float
    ) -> None:
        until_s = monotonic_s() + most_s
        while not done() and monotonic_s() < until_s:
            self._apply(connection.exchange(ANSWER_WAIT_S))

    def _waiting(self) -> None:
        """Called while a connection is being opened."""
        if self._stopping.requested:
            raise StopRequested
        self._report.write_when_due()

    def _rest(self, error: TargetUnavailable) -> None:
        """Tell the edge, then wait before the next try."""
        refused = isinstance(error, TargetRefused)
        delay_s = self._patience.delay_s(error)
        report = self._report
        report.process_state, report.state = "waiting", "refused" if refused else "away"
        report.error, report.in_flight = str(error), 0
        report.write()
        if str(error) != self._told_away:
            self._told_away = str(error)
            log.warning(
                "broker is away",
                target=report.target,
                state=report.state,
                error=error,
                next_try_s=round(delay_s, 1),
            )
        until_s = monotonic_s() + delay_s
        while monotonic_s() < until_s and not self._stopping.requested:
            if self._tending.renewed():
                break
            time.sleep(min(REST_SLICE_S, delay_s))
            report.write_when_due()
