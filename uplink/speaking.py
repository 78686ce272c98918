"""What an uplink says of its gateway, beside the data: status, what tags are, and a goodbye.

These messages are nobody's records: nothing waits for them, and one that is refused is not tried
again for a while, so that it never stands in the data's way.
"""

from collections.abc import Callable, Sequence

import msgspec

from common.clock import monotonic_s
from uplink.contract import Connection, Message, Verdict
from uplink.intake import RECORDS_MAX
from uplink.letters import Letters
from uplink.meta import MetaTelling
from uplink.report import Report
from uplink.status import (
    STATUS_INTERVAL_S,
    gateway_facts,
    offline_message,
    online_messages,
    online_status,
)
from uplink.surroundings import Surroundings

STATUS_HOLD_S = 600.0


class Speaker:
    """One uplink's own messages, across connections."""

    def __init__(self, surroundings: Surroundings, report: Report, letters: Letters) -> None:
        self._reader = surroundings.reader
        self._edge = surroundings.identity.edge
        self._report = report
        self._letters = letters
        self._own: set[int] = set()
        """Tickets of our own messages, which no record stands behind."""
        self._status_at_s = 0.0
        self._status_held_until_s = 0.0
        self._status_refused = False
        self._meta = MetaTelling(surroundings) if surroundings.tells_meta else None

    @property
    def speaking(self) -> bool:
        """True while a message of ours is in flight."""
        return bool(self._own) or (self._meta is not None and self._meta.speaking)

    def connected(self) -> None:
        """Begin with the status, unless it was refused lately."""
        self._status_at_s = self._status_held_until_s
        if self._meta is not None:
            self._meta.connected(monotonic_s())

    def disconnected(self, blamed: str, *, alone: bool) -> None:
        """Forget what was in flight.

        `blamed` is why the far side cut us off because of a message; `alone` is true when no
        record was in flight, so that it was one of ours.
        """
        if blamed and alone and self._own:
            self._hold_status(blamed)
        self._own.clear()
        if self._meta is not None:
            self._meta.disconnected(blamed, monotonic_s())

    def speak(
        self,
        connection: Connection,
        position: int,
        waiting: Callable[[], int],
        *,
        suspicious: bool,
    ) -> None:
        """Publish what is due and the window has room for.

        `position` is up to where everything is settled, `waiting` says how many sequences are not.
        Only the status while `suspicious`: then messages are tried one at a time.
        """
        now_s = monotonic_s()
        if now_s >= self._status_at_s and not self._own and connection.room:
            self._say_status(connection, position, waiting(), now_s)
        meta = self._meta
        if meta is not None and not suspicious and meta.wants_to_speak(now_s):
            meta.speak(connection, now_s, caught_up=not waiting())

    def _say_status(
        self, connection: Connection, position: int, waiting: int, now_s: float
    ) -> None:
        self._status_at_s = now_s + STATUS_INTERVAL_S
        rejection: str | None = ""
        for message in self._status_forms(position, waiting):
            rejection = connection.rejection(message)
            if rejection is None:
                self._own.add(connection.publish(message))
                return
        self._hold_status(rejection or "")

    def say_goodbye(self, connection: Connection) -> None:
        """Publish that we go, unless the status was refused lately."""
        if connection.room and monotonic_s() >= self._status_held_until_s:
            self._own = {connection.publish(offline_message(self._edge))}

    def answered(self, ticket: int, verdict: Verdict, reason: str) -> bool:
        """Account for an answer; return False when it is for a message of the drain."""
        if ticket not in self._own:
            meta = self._meta
            return meta is not None and meta.answered(ticket, verdict, reason, monotonic_s())
        self._own.discard(ticket)
        if verdict is not Verdict.TAKEN:
            self._hold_status(reason)
        return True

    def _status_forms(self, position: int, waiting: int) -> Sequence[Message]:
        """Return the status to send; if it is too large, the next one; the last has no more to go.

        After a refusal only the last: a limit that was not announced may have been the reason.
        """
        report = self._report
        said = online_status(
            report.target,
            "backfill" if waiting > RECORDS_MAX else "live",
            queue_depth=waiting,
            acked_sequence=position,
            set_aside=report.set_aside,
        )
        said = msgspec.structs.replace(
            said,
            warnings=report.warnings,
            certificate_expires_ms=report.certificate_expires_ms,
        )
        ledger = self._reader.ledger(delivered=position)
        forms = list(online_messages(self._edge, said, ledger, gateway_facts(report.run_dir)))
        return forms[-1:] if self._status_refused else forms

    def _hold_status(self, reason: str) -> None:
        """Be silent for a while: a status that is refused must not stand in the data's way."""
        self._status_refused = True
        self._status_held_until_s = self._status_at_s = monotonic_s() + STATUS_HOLD_S
        self._letters.tell_once(f"{self._edge}/status", reason)
