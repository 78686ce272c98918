"""The life of one uplink: wait for the queue, connect, drain, wait out absences, leave in order.

Invariant: the cursor covers a record only after the far side has taken, or this uplink has durably
set aside, every message of it and of all before it. Killed at any instruction, the process starts
again at the cursor: what was taken since is published again, with the same identity.
"""

import time
from collections.abc import Callable

from common.clock import monotonic_s
from common.errors import TargetUnavailable
from common.log import get_log
from common.process import Stopping, StopRequested
from uplink.contract import Connection, MessageBlamed, Target, TargetRefused, Wording
from uplink.following import Following
from uplink.lanes import Lanes
from uplink.letters import Letters
from uplink.patience import Patience
from uplink.report import Report
from uplink.retrying import Retrying
from uplink.settings import TargetConfig
from uplink.share import BackfillShare
from uplink.slicing import SlicingReader
from uplink.speaking import Speaker
from uplink.surroundings import Surroundings
from uplink.tending import Tending
from uplink.window import ANSWER_WAIT_S, Window

FOLLOW_SLICE_S = 0.002
"""Of a turn, for following the queue while connected; one block at least."""
FOLLOW_AWAY_S = 0.1
"""The same, while there is nothing else to do."""
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
        config: TargetConfig,
        target: Target,
        wording: Wording,
        surroundings: Surroundings,
        stopping: Stopping,
        report: Report,
    ) -> None:
        reader, cursor = surroundings.reader, surroundings.cursor
        self._target = target
        self._stopping = stopping
        self._report = report
        self._told_away = ""
        following = None
        if config.live_first:
            following = Following(reader, surroundings.newest, after=cursor.position)
        self._lanes = Lanes(SlicingReader(reader), cursor, wording, following)
        self._letters = Letters(cursor, wording, report)
        self._speaker = Speaker(surroundings, report, self._letters)
        self._retrying = Retrying(cursor, report)
        self._patience = Patience()
        self._tending = Tending(target, report)
        self._window = Window(
            self._lanes,
            BackfillShare(config.backfill_share, config.backfill_rate_max_per_s),
            wording,
            self._letters,
            self._speaker,
            self._retrying,
            report,
        )
        report.acked_sequence = cursor.position

    def run(self) -> None:
        """Drain until told to stop. An absent far side is not an error here."""
        try:
            while not self._stopping.requested:
                self._serve_once()
        except StopRequested:
            pass
        finally:
            self._window.persist(at_once=True)
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
            self._window.take_back(str(error) if isinstance(error, MessageBlamed) else "")
            self._window.persist(at_once=True)
            self._rest(error)

    def _turn(self, connection: Connection) -> None:
        self._window.look()
        wait_s = self._window.fill(connection)
        if self._lanes.follow(monotonic_s(), FOLLOW_SLICE_S):
            wait_s = 0.0
        self._exchange(connection, wait_s)
        self._window.persist()
        self._letters.look_when_due()
        self._show_state(connection)
        self._speak(connection)
        if not self._lanes.one_at_a_time:
            self._retrying.retry(connection)
        self._account()

    def _welcome(self, connection: Connection) -> None:
        report = self._report
        if self._told_away:
            log.info("broker is back", target=report.target, address=self._target.address)
        else:
            log.info("connected", target=report.target, address=self._target.address)
        self._told_away = ""
        for note in connection.notes:
            log.warning("to be known of this connection", target=report.target, note=note)
        report.process_state, report.state, report.error = "running", "online", None
        report.notes = connection.notes
        self._letters.look()
        self._window.connected(connection)
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

    def _account(self) -> None:
        """Write the health file when it is time."""
        report, lanes = self._report, self._lanes
        report.in_flight = lanes.in_flight
        if report.due:
            report.waiting, report.backlog = lanes.waiting, lanes.backlog_waiting
            report.write()

    def _speak(self, connection: Connection) -> None:
        """Let the gateway speak of itself when it has something to say."""
        if self._lanes.one_at_a_time and self._lanes.in_flight:
            return  # A suspect is in flight: nothing of ours may share the blame.
        lanes = self._lanes
        self._speaker.speak(
            connection, lanes.position, lambda: lanes.waiting, suspicious=lanes.one_at_a_time
        )

    def _leave(self, connection: Connection) -> None:
        """Wait a little for the answers in flight, then say that we go, unless we come back."""
        if not self._stopping.requested:
            self._change_over(connection)
            return
        self._report.process_state = "stopping"
        self._report.write()
        lanes, retrying = self._lanes, self._retrying
        self._exchange_until(
            connection, lambda: not (lanes.in_flight or retrying.retrying), LEAVE_S
        )
        self._speaker.say_goodbye(connection)
        self._exchange_until(connection, lambda: not self._speaker.speaking, GOODBYE_S)

    def _change_over(self, connection: Connection) -> None:
        """Make room for a connection with the files that were renewed; nobody need notice."""
        log.info("files were renewed: connecting again", target=self._report.target)

        def quiet() -> bool:
            ours = self._speaker.speaking or self._retrying.retrying
            return not (self._lanes.in_flight or ours)

        self._exchange_until(connection, quiet, LEAVE_S)
        self._window.take_back("")

    def _exchange(self, connection: Connection, wait_s: float) -> None:
        if self._window.apply(connection.exchange(wait_s)):
            self._patience.served()

    def _exchange_until(
        self, connection: Connection, done: Callable[[], bool], most_s: float
    ) -> None:
        until_s = monotonic_s() + most_s
        while not done() and monotonic_s() < until_s:
            self._exchange(connection, ANSWER_WAIT_S)

    def _waiting(self) -> None:
        """Called while a connection is being opened."""
        if self._stopping.requested:
            raise StopRequested
        self._follow_away()

    def _follow_away(self) -> bool:
        """Follow the queue and give an account while there is nobody to tell anything to."""
        more = self._lanes.follow(monotonic_s(), FOLLOW_AWAY_S)
        self._account()
        return more

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
            if not self._follow_away():
                time.sleep(min(REST_SLICE_S, delay_s))
