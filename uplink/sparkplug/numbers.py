"""The two numbers by which a host checks that it has missed nothing: bdSeq and seq."""

from common.queue import Cursor

NOTE = "sparkplug-bdseq"
MODULUS = 256
"""Both are at most 255 (Sparkplug 3.0, 5.4 and 6.4.5)."""


class BirthDeath:
    """bdSeq: 0 at first, one more with every CONNECT, also over restarts and kills."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self.current = 0
        """Of the last CONNECT."""

    def next(self) -> int:
        """Return the number for a CONNECT; kept durably before that is sent."""
        kept = self._cursor.note(NOTE)
        self.current = (kept[0] + 1) % MODULUS if kept else 0
        self._cursor.keep_note(NOTE, bytes((self.current,)))
        return self.current


class Sequence:
    """seq: 0 in an NBIRTH, one more with every message after it; given when it is published."""

    def __init__(self) -> None:
        self._next = 0

    def begin(self) -> int:
        """Return the number of an NBIRTH."""
        self._next = 1
        return 0

    def next(self) -> int:
        """Return the number of any other message."""
        given = self._next
        self._next = (given + 1) % MODULUS
        return given
