"""Messages that were set aside, published again because a person asked for it.

Promise
    A letter leaves the store only after the far side took it, or a person dropped it. One that is
    refused again stands there with the new reason and one try more. Killed in between, the uplink
    publishes it again: at least once, with the same identity.
    The data goes first: a letter never waits in its way. At most a quarter of the window at that
    moment is used, then four times as long as that took nothing, so that even a window of one is
    the data's for four fifths of the time; and nothing while a suspect is on its way alone.

A letter is published as it was worded then, never retained: newer values of its topic were told.
"""

from common.backoff import jittered_delays_s
from common.clock import monotonic_s
from common.log import get_log
from common.queue import Cursor, DeadLetter
from uplink.contract import JSON, Connection, Message, Verdict
from uplink.drain import PAUSE_FIRST_S, PAUSE_MOST_S
from uplink.report import Report

RETRIED = (("retried", "1"),)
"""Said beside the payload, where the far side has a place for that."""
LOOK_INTERVAL_S = 1.0
"""Between looks for letters that a person has marked."""
WINDOW_SHARE = 4
REST_SHARE = 4
REST_LEAST_S = 0.1
BATCH_BYTES_MAX = 16 * 1024
"""Of payload; one message more may exceed it. On a line of 64 kbit/s some two seconds."""
SESSION_BOUND = "spBv1.0/"
"""Topics whose payloads count within one session of their own, and mean something else in another:
what Sparkplug's seq promises would be broken."""

log = get_log(__name__)


class Retrying:
    """One target's letters on their way out once more, across connections."""

    def __init__(self, cursor: Cursor, report: Report) -> None:
        self._letters = cursor.letters
        self._report = report
        self._flying: dict[int, bytes] = {}
        """Ticket → key of the letter."""
        self._outcomes: dict[bytes, str] = {}
        """Key → why it was not taken, empty when it was; not yet in the store."""
        self._alone = 0
        """How many letters more go one at a time: one of them may end connections."""
        self._begun_at_s = self._due_at_s = 0.0
        self._put_off = False
        self._pauses_s = jittered_delays_s(PAUSE_FIRST_S, PAUSE_MOST_S)

    @property
    def retrying(self) -> bool:
        """True while a letter is in flight."""
        return bool(self._flying)

    def retry(self, connection: Connection) -> None:
        """Publish some letters when it is time and the window has room."""
        now_s = monotonic_s()
        if self._flying or now_s < self._due_at_s or not connection.room:
            return
        self._report.retry_waiting = self._letters.marked_count
        if not self._report.retry_waiting:
            self._due_at_s = now_s + LOOK_INTERVAL_S
            return
        self._begun_at_s = now_s
        most = 1 if self._alone else max(1, connection.room // WINDOW_SHARE)
        for key, letter in self._letters.marked(most, BATCH_BYTES_MAX):
            message = _message(letter)
            rejection = _hopeless(letter) or connection.rejection(message)
            if rejection is None:
                self._flying[connection.publish(message)] = key
            else:
                self._outcomes[key] = rejection
        self._rest_when_done()

    def answered(self, ticket: int, verdict: Verdict, reason: str) -> bool:
        """Account for an answer; return False when it is for a message of somebody else."""
        key = self._flying.pop(ticket, None)
        if key is None:
            return False
        if verdict is Verdict.LATER:
            self._put_off = True
        else:
            self._outcomes[key] = "" if verdict is Verdict.TAKEN else reason
        self._rest_when_done()
        return True

    def disconnected(self, *, blamed: str = "", others: bool = False) -> None:
        """Keep for the next connection what was in flight.

        `blamed` is the far side's reason when it cut the connection because of a message, `others`
        is true when messages of somebody else were in flight. A letter that was alone with the
        blame is put back; of several, each is tried alone.
        """
        if blamed and self._flying:
            if len(self._flying) == 1 and (self._alone or not others):
                self._outcomes[next(iter(self._flying.values()))] = blamed
            else:
                self._alone = max(self._alone, len(self._flying))
        self._flying.clear()
        self._rest_when_done()

    def _rest_when_done(self) -> None:
        """Store the outcomes once nothing is in flight, and leave the line to the data."""
        if self._flying:
            return
        if self._outcomes:
            self._letters.settle(self._outcomes)
            taken = sum(not reason for reason in self._outcomes.values())
            self._alone = max(0, self._alone - len(self._outcomes))
            self._report.retried += taken
            self._report.retry_waiting = self._letters.marked_count
            if not self._report.retry_waiting:
                log.info(
                    "what was to be published again is settled",
                    target=self._report.target,
                    delivered=self._report.retried,
                )
        now_s = monotonic_s()
        if self._put_off:
            self._due_at_s = now_s + next(self._pauses_s)
        else:
            self._due_at_s = now_s + max(REST_LEAST_S, REST_SHARE * (now_s - self._begun_at_s))
            if self._outcomes:
                self._pauses_s = jittered_delays_s(PAUSE_FIRST_S, PAUSE_MOST_S)
        self._put_off = False
        self._outcomes.clear()


def _message(letter: DeadLetter) -> Message:
    content_type = JSON if letter.payload[:1] in (b"{", b"[") else ""
    return Message(
        letter.topic, letter.payload, retain=False, headers=RETRIED, content_type=content_type
    )


def _hopeless(letter: DeadLetter) -> str | None:
    """Return why a letter cannot be published as it is, None when it can."""
    if not letter.topic:
        return letter.reason  # It could not even be worded.
    if letter.topic.startswith(SESSION_BOUND):
        return "a Sparkplug message counts in the session it was made for; only drop it"
    return None
