"""Dead letters: messages that a far side refused, each until a person has decided about it.

In the environment of a target's cursor
    set_aside   epoch, sequence u64 · index u32, big-endian → DeadLetter; kept over epochs
    retry       the same key → when a person asked for it, ns u64 big-endian

Who writes
    The uplink sets aside (`Cursor.advance`) and settles what it has published again. A person, by
    the console, drops letters and marks them to be published again, beside a running uplink: LMDB
    lets one at a time write. A letter is gone once the far side took it, or a person dropped it;
    one that a person drops while it is on its way is not put back.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from common.clock import now_ns
from common.queue.environment import KEY, explained

STEP_LETTERS = 1_000
"""Changed in one transaction: LMDB copies each page that it touches, and a large change may find
no room for the copies."""

LETTER_KEY = struct.Struct(">QQI")


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """A message that the far side will never take, kept with its reason."""

    sequence: int
    index: int
    topic: str
    payload: bytes
    reason: str
    at_ns: int
    tries: int = 0
    """How often it was published again in vain because a person asked for it."""


class _Reason(msgspec.Struct, frozen=True, array_like=True):
    """Of a letter what is needed to count; the payload is not copied."""

    sequence: int
    index: int
    topic: str
    payload: msgspec.Raw
    reason: str


class Marked(NamedTuple):
    """A letter that is to be published again."""

    key: bytes
    letter: DeadLetter


Wanted = Callable[[DeadLetter], bool]

_decode = msgspec.msgpack.Decoder(DeadLetter).decode
_decode_reason = msgspec.msgpack.Decoder(_Reason).decode


def letter_key(epoch: int, letter: DeadLetter) -> bytes:
    """Return the key of a letter; an index below 0 is that of a gap."""
    return LETTER_KEY.pack(epoch, letter.sequence, letter.index & 0xFFFFFFFF)


class DeadLetters:
    """What one target's far side refused."""

    def __init__(self, environment: Any, databases: dict[str, Any], path: Path) -> None:
        self._environment = environment
        self._letters = databases["set_aside"]
        self._marks = databases["retry"]
        self._path = path

    @property
    def marked_count(self) -> int:
        """How many letters wait to be published again."""
        with self._environment.begin(db=self._marks) as transaction:
            return int(transaction.stat(self._marks)["entries"])

    def reasons(self) -> Counter[str]:
        """Return how many letters have each reason."""
        with self._environment.begin(db=self._letters) as transaction:
            values = transaction.cursor().iternext(keys=False, values=True)
            return Counter(_decode_reason(value).reason for value in values)

    def drop(self, wanted: Wanted | None = None) -> int:
        """Forget the letters that are wanted, all without a choice; return how many those were."""
        with explained("cannot empty the store of refused messages", self._path):
            return sum(self._drop(keys) for keys in self._steps(wanted))

    def mark(self, wanted: Wanted | None = None) -> int:
        """Ask the uplink to publish letters again; return how many were not asked for already."""
        at = KEY.pack(now_ns())
        with explained("cannot mark what is to be published again", self._path):
            return sum(self._mark(keys, at) for keys in self._steps(wanted))

    def marked(self, most: int, payload_bytes: int) -> list[Marked]:
        """Return the first letters that are to be published again, oldest sequence first.

        One at least, if there is any; the last may exceed `payload_bytes`.
        """
        found: list[Marked] = []
        with self._environment.begin() as transaction:
            keys = transaction.cursor(self._marks).iternext(keys=True, values=False)
            for key in islice(keys, most):
                # Whoever drops a letter drops its mark with it.
                found.append(Marked(key, _decode(transaction.get(key, db=self._letters))))
                payload_bytes -= len(found[-1].letter.payload)
                if payload_bytes <= 0:
                    break
        return found

    def settle(self, outcomes: Mapping[bytes, str]) -> None:
        """Account for letters that were published again, durably.

        Key → why it was not taken, empty if it was. Those are gone; the others stand with the new
        reason and one try more.
        """
        at_ns = now_ns()
        with (
            explained("cannot settle what was published again", self._path),
            self._environment.begin(write=True) as transaction,
        ):
            for key, reason in outcomes.items():
                transaction.delete(key, db=self._marks)
                value = transaction.pop(key, db=self._letters)
                if value is None or not reason:
                    continue
                letter = _decode(value)
                again = msgspec.structs.replace(
                    letter, reason=reason, at_ns=at_ns, tries=letter.tries + 1
                )
                packed = msgspec.msgpack.encode(again)
                transaction.put(key, packed, db=self._letters)

    def _steps(self, wanted: Wanted | None) -> Iterator[list[bytes]]:
        """Yield the keys of the letters that are wanted, STEP_LETTERS at a time."""
        after = b""
        while True:
            keys: list[bytes] = []
            with self._environment.begin(db=self._letters) as transaction:
                cursor = transaction.cursor()
                more = cursor.set_range(after + b"\0")
                while more and len(keys) < STEP_LETTERS:
                    after = cursor.key()
                    if wanted is None or wanted(_decode(cursor.value())):
                        keys.append(after)
                    more = cursor.next()
            if keys:
                yield keys
            if not more:
                return

    def _drop(self, keys: list[bytes]) -> int:
        with self._environment.begin(write=True) as transaction:
            for key in keys:
                transaction.delete(key, db=self._marks)
            return sum(transaction.delete(key, db=self._letters) for key in keys)

    def _mark(self, keys: list[bytes], at: bytes) -> int:
        """Mark those that are still there: the uplink may just have delivered one."""
        with self._environment.begin(write=True) as transaction:
            there = [key for key in keys if transaction.get(key, db=self._letters) is not None]
            return sum(transaction.put(key, at, db=self._marks, overwrite=False) for key in there)
