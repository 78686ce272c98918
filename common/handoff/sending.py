"""The collector's side of the handoff as a state machine: no socket, no clock.

Seconds and heard frames go in; `speak` hands out what is due. Everything else of this side's
state is the outbox, so a process may end between any two calls.
"""

from collections import deque
from collections.abc import Callable

import msgspec

from common.handoff.wire import (
    ANSWER,
    COUNTS,
    HELLO,
    IN_FLIGHT_BYTES_MAX,
    IN_FLIGHT_SCANS_MAX,
    SCAN,
    VERSION,
    Answer,
    Frames,
    Hello,
)
from common.log import get_log
from common.outbox import Outbox

PROBE_AFTER_S = 0.3
"""Silence after which a collector with unacknowledged scans asks how far the normalizer is."""
HELD_S = 1.0
"""The same while the queue is full; the normalizer says by itself when it has room."""
IDLE_S = 3.0
"""The same when there is nothing to ask, or the answer was a refusal."""
COUNTS_EVERY_S = 60.0
"""A group that goes on losing scans, and has none that arrive, is one gap in this time."""
NOTHING = -1
"""`dropped_scans` as told: nothing was told yet, and something has to be."""

log = get_log(__name__)

Send = Callable[[Frames], bool]
"""Takes one message, or returns False: nobody is there, or no more fits now."""


class Sending:
    """What a collector has to say, and how far the normalizer is.

    A scan that was sent counts as under way until it is committed, or until a hello's answer
    proves that everything before that hello has arrived or is lost. So no more than a window is
    ever under way, whatever the outbox drops meanwhile.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        run: int,
        scans_max: int = IN_FLIGHT_SCANS_MAX,
        bytes_max: int = IN_FLIGHT_BYTES_MAX,
    ) -> None:
        """Begin; `run` names this process and no other."""
        self._outbox = outbox
        self._scans_max, self._bytes_max = scans_max, bytes_max
        self._now_s = 0.0
        self._heard_at_s = self._asked_at_s = -1e9
        self.refused = ""
        """Why the normalizer takes nothing from us; empty while it does."""
        self.held = False
        """The normalizer's queue is full, and its policy is to stop reading."""
        self._under_way: deque[tuple[int, int]] = deque()
        """Sequence and bytes of each scan sent and not known to have arrived for good."""
        self._sent = self._under_way_bytes = self._greeting = 0
        self._begin(run)

    def _begin(self, run: int) -> None:
        self._run = run
        self._welcome = False
        """True once a hello of this run was answered: both speak the same version."""
        self._greeting = 0
        self._greet_due = True
        self._wanted = b""
        self._told = NOTHING if self._outbox.recovered else 0
        self._telling: int | None = None
        """`dropped_scans` as they were when counts went out that are not confirmed yet."""
        self._counts_number = self._counts_greeting = 0
        self._counts_at_s = -1e9
        self._begin_after(0)

    def silence_s(self, now_s: float) -> float:
        """Return the seconds since the normalizer last said anything."""
        return now_s - self._heard_at_s

    def tick(self, now_s: float) -> None:
        """Notice silence, which is answered by a hello. No timer ever sends a scan again."""
        self._now_s = now_s
        if self.refused:
            patience_s = IDLE_S
        elif self.held:
            patience_s = HELD_S
        else:
            urgent = self._outbox.depth or not self._welcome
            patience_s = PROBE_AFTER_S if urgent else IDLE_S
        if now_s - max(self._heard_at_s, self._asked_at_s) >= patience_s:
            self._greet_due = True

    def hear(self, frames: list[bytes], now_s: float) -> None:
        """Take one message of the normalizer. What it asks for is due at once."""
        self._now_s = self._heard_at_s = now_s
        match frames:
            case [b"A" | b"H" | b"F" as kind, body] if len(body) == ANSWER.size:
                self._on_answer(kind, Answer(*ANSWER.unpack(body)))
            case [b"W", fingerprint]:
                self._wanted = fingerprint
                self._greet_due = True
            case [b"G"]:
                self._greet_due = True
            case [b"R", reason]:
                if not self.refused:
                    log.error("normalizer refuses us", reason=reason.decode(errors="replace"))
                self.refused = reason.decode(errors="replace") or "no reason given"

    def speak(self, send: Send) -> bool:
        """Say what is due until it is said or `send` takes no more; return whether any was."""
        said = False
        if self._wanted:
            # Empty where its file is gone: the normalizer books what it cannot read as a gap.
            encoded = self._outbox.plans.get(self._wanted, b"")
            if not send((b"P", self._wanted, encoded)):
                return said
            self._wanted = b""
            said = True
        if self._greet_due:
            if not self._greet(send):
                return said
            said = True
        if not self._welcome or self.refused or self.held:
            return said
        return self._send_scans(send) or self._tell_counts(send) or said

    def _greet(self, send: Send) -> bool:
        outbox, greeting = self._outbox, self._greeting + 1
        hello = Hello(VERSION, outbox.epoch, outbox.oldest, self._sent, self._run, greeting)
        if not send((b"H", HELLO.pack(*hello))):
            return False
        self._greeting = greeting
        self._greet_due = False
        self._asked_at_s = self._now_s
        return True

    def _send_scans(self, send: Send) -> bool:
        outbox = self._outbox
        before = self._sent
        while (
            len(self._under_way) < self._scans_max
            and self._under_way_bytes < self._bytes_max
            and (entry := outbox.entry(max(self._sent + 1, outbox.oldest)))
        ):
            header = SCAN.pack(outbox.epoch, entry.sequence, outbox.oldest, *entry[1:3], entry.plan)
            if not send((b"S", header, outbox.payload(entry))):
                break
            self._sent = entry.sequence
            self._under_way.append((entry.sequence, entry.length))
            self._under_way_bytes += entry.length
        return self._sent > before

    def _tell_counts(self, send: Send) -> bool:
        """Tell what was read of every group, where no later scan may tell it."""
        outbox = self._outbox
        if (
            outbox.dropped_scans == self._told
            or self._telling is not None
            or self._now_s < self._counts_at_s
            or max(self._sent, outbox.oldest - 1) != outbox.sequence
        ):
            return False
        number = self._counts_number + 1
        header = COUNTS.pack(outbox.epoch, outbox.sequence, outbox.oldest, number)
        if not send((b"C", header, msgspec.msgpack.encode(outbox.counts()))):
            return False
        self._counts_number = number
        self._counts_greeting = self._greeting
        self._telling = outbox.dropped_scans
        return True

    def _on_answer(self, kind: bytes, answer: Answer) -> None:
        if answer.run != self._run:
            return  # Meant for the process before this one.
        if self.refused:
            log.info("normalizer accepts us again")
            self.refused = ""
        if answer.received > self._outbox.sequence:
            log.error("the outbox is an old copy: the normalizer has more; it begins a new epoch")
            self._outbox.begin_anew()
            self._begin(self._run + 1)
            return
        self._outbox.acknowledge(answer.committed)
        self._forget_under_way(answer.committed)
        if self._telling is not None:
            self._on_told(answer, self._telling)
        if kind == b"H":
            self._on_welcome(answer)
        elif kind == b"F":
            self.held = True

    def _on_told(self, answer: Answer, telling: int) -> None:
        if answer.told == self._counts_number:
            self._told = telling
            self._telling = None
            self._counts_at_s = self._now_s + COUNTS_EVERY_S
        elif answer.greeting > self._counts_greeting:
            self._telling = None  # They came too early, or nowhere: tell them again.

    def _on_welcome(self, answer: Answer) -> None:
        self.held = False
        lost = answer.received < answer.asked and answer.greeting >= self._proves_from
        if not self._welcome or (lost and answer.asked >= self._outbox.oldest):
            self._welcome = True
            self._begin_after(answer.received)
        elif lost:
            # Dropped here as well, so not to be repeated; what was sent since may have arrived.
            self._forget_under_way(answer.asked)

    def _forget_under_way(self, up_to: int) -> None:
        while self._under_way and self._under_way[0][0] <= up_to:
            self._under_way_bytes -= self._under_way.popleft()[1]

    def _begin_after(self, sequence: int) -> None:
        """Send from what follows `sequence`, for the first time or again."""
        self._sent = sequence
        self._under_way.clear()
        self._under_way_bytes = 0
        # Answers to earlier hellos speak of scans that are already being sent again.
        self._proves_from = self._greeting + 1
