"""`tailrace set-aside`: the messages that a far side will never take, and why.

They stand beside the target's cursor, which is never created or moved from here. LMDB lets this
process read, and for a moment write, while the uplink runs; an uplink that waits for room goes on
by itself, and one that runs publishes again what is marked here. The queue itself may be away, or
unreadable.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from common.clock import now_ns
from common.errors import QueueUnusable, TailraceError
from common.queue import Cursor, DeadLetter
from common.queue.deadletters import Wanted
from console.globs import topic_filter
from console.tables import count, span, table

TEXT_MAX = 200
"""Characters of a payload that are shown."""


class NoSuchTarget(TailraceError):
    """No uplink of that name has ever drained this queue; the text names those that have."""


class Choice(NamedTuple):
    """Which letters are meant; what is None leaves all."""

    topic: str | None = None
    """A glob, or a word that it contains."""
    reason: str | None = None
    """The same of the reason."""
    first: int | None = None
    """Sequence."""
    last: int | None = None

    def wants(self, letter: DeadLetter) -> bool:
        """Return whether a letter is meant."""
        return (
            (self.first is None or letter.sequence >= self.first)
            and (self.last is None or letter.sequence <= self.last)
            and (self.topic is None or topic_filter(self.topic)(letter.topic))
            and (self.reason is None or topic_filter(self.reason)(letter.reason))
        )


ALL = Choice()


class Letter(msgspec.Struct, kw_only=True):
    """One message, as `--json` prints it."""

    target: str
    sequence: int
    index: int
    topic: str
    reason: str
    set_aside_ms: int
    tries: int
    """How often it was published again in vain."""
    payload: str


class TargetLetters(msgspec.Struct, kw_only=True):
    """What one target's far side refused."""

    target: str
    count: int
    waiting: int
    """How many of all its letters are marked to be published again, chosen or not."""
    reasons: dict[str, int]
    """Reason → how many messages, the most frequent first."""
    newest: list[Letter]
    """The newest first, `limit` at most."""


class Changed(msgspec.Struct, kw_only=True):
    """What was done with one target's letters."""

    target: str
    count: int
    """Dropped, or newly marked to be published again."""
    waiting: int
    """Marked by now."""
    left: int
    """In the store by now."""


def letters(
    queue_dir: Path, target: str | None, *, limit: int, choice: Choice = ALL
) -> list[TargetLetters]:
    """Return what was set aside, target by target. Raises NoSuchTarget, QueueUnusable."""
    return [_letters_of(queue_dir, name, limit, choice) for name in _targets(queue_dir, target)]


def drop(queue_dir: Path, target: str, choice: Choice = ALL) -> Changed:
    """Forget what was set aside for a target, as far as it is meant.

    Raises NoSuchTarget, QueueUnusable.
    """
    (name,) = _targets(queue_dir, target)
    with _opened(queue_dir, name) as cursor:
        return _changed(name, cursor, cursor.letters.drop(_wanted(choice)))


def retry(queue_dir: Path, target: str | None, choice: Choice = ALL) -> list[Changed]:
    """Mark what was set aside, as far as it is meant, to be published again by the uplink.

    Raises NoSuchTarget, QueueUnusable.
    """
    found = []
    for name in _targets(queue_dir, target):
        with _opened(queue_dir, name) as cursor:
            found.append(_changed(name, cursor, cursor.letters.mark(_wanted(choice))))
    return found


def reasons(queue_dir: Path, target: str) -> dict[str, int]:
    """Return how many letters of a target have each reason; empty where that cannot be read."""
    try:
        with _opened(queue_dir, target) as cursor:
            return dict(cursor.letters.reasons().most_common())
    except QueueUnusable:
        return {}


def _wanted(choice: Choice) -> Wanted | None:
    return None if choice == ALL else choice.wants


def _changed(target: str, cursor: Cursor, number: int) -> Changed:
    waiting, left = cursor.letters.marked_count, cursor.set_aside_count
    return Changed(target=target, count=number, waiting=waiting, left=left)


@contextmanager
def _opened(queue_dir: Path, target: str) -> Iterator[Cursor]:
    cursor = Cursor.open_existing(queue_dir, target)
    try:
        yield cursor
    finally:
        cursor.close()


def _targets(queue_dir: Path, target: str | None) -> list[str]:
    found = sorted(path.parent.name for path in (queue_dir / "cursors").glob("*/data.mdb"))
    if target is None or target in found:
        return found if target is None else [target]
    known = f"known here: {', '.join(found)}" if found else "nothing was drained from it yet"
    raise NoSuchTarget(f"no target {target!r} on {queue_dir}; {known}")


def _letters_of(queue_dir: Path, target: str, limit: int, choice: Choice) -> TargetLetters:
    with _opened(queue_dir, target) as cursor:
        found = [each for each in cursor.set_aside() if choice.wants(each)]
        waiting = cursor.letters.marked_count
    counted = Counter(letter.reason for letter in found)
    found.sort(key=lambda letter: letter.at_ns, reverse=True)
    return TargetLetters(
        target=target,
        count=len(found),
        waiting=waiting,
        reasons=dict(counted.most_common()),
        newest=[_shown(target, letter) for letter in found[:limit]],
    )


def _shown(target: str, letter: DeadLetter) -> Letter:
    return Letter(
        target=target,
        sequence=letter.sequence,
        index=letter.index,
        topic=letter.topic,
        reason=letter.reason,
        set_aside_ms=letter.at_ns // 1_000_000,
        tries=letter.tries,
        payload=letter.payload.decode(errors="replace"),
    )


def letters_text(found: list[TargetLetters]) -> list[str]:
    """Return the lines for people: reasons by count, then the newest messages."""
    lines: list[str] = []
    for each in found:
        lines += ["", *_target_text(each)] if lines else _target_text(each)
    return lines or ["Nothing was drained yet, so nothing is set aside."]


def _target_text(each: TargetLetters) -> list[str]:
    if not each.count:
        return [f"{each.target}: nothing is set aside"]
    many = "message is" if each.count == 1 else "messages are"
    reasons = [(count(number), reason) for reason, number in each.reasons.items()]
    at_ms = now_ns() // 1_000_000
    newest = [
        (span(max(0.0, (at_ms - letter.set_aside_ms) / 1_000)), letter.topic, letter.reason)
        for letter in each.newest
    ]
    payloads = [_short(letter.payload) for letter in each.newest]
    again = f"; {count(each.waiting)} wait to be published again" if each.waiting else ""
    return [
        f"{each.target}: {count(each.count)} {many} set aside{again}",
        *table(("MESSAGES", "REASON"), reasons, [None] * len(reasons)),
        "",
        *table(("AGO", "TOPIC", "REASON"), newest, payloads),
    ]


def retry_text(found: list[Changed]) -> list[str]:
    """Return the lines for people: what is going to be published again."""
    return [
        f"{each.target}: {count(each.count)} more to be published again, "
        f"{count(each.waiting)} of {count(each.left)} wait for the uplink"
        for each in found
    ]


def _short(payload: str) -> str:
    text = payload if payload.isprintable() else ascii(payload)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
