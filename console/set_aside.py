"""`tailrace set-aside`: the messages that a far side will never take, and why.

They stand beside the target's cursor, which is never created or moved from here. LMDB lets this
process read, and for a moment write, while the uplink runs; an uplink that waits for room goes on
by itself. The queue itself may be away, or unreadable.
"""

from collections import Counter
from pathlib import Path

import msgspec

from common.clock import now_ns
from common.errors import TailraceError
from common.queue import Cursor, DeadLetter
from console.tables import count, span, table

TEXT_MAX = 200
"""Characters of a payload that are shown."""


class NoSuchTarget(TailraceError):
    """No uplink of that name has ever drained this queue; the text names those that have."""


class Letter(msgspec.Struct, kw_only=True):
    """One message, as `--json` prints it."""

    target: str
    sequence: int
    index: int
    topic: str
    reason: str
    set_aside_ms: int
    payload: str


class TargetLetters(msgspec.Struct, kw_only=True):
    """What one target's far side refused."""

    target: str
    count: int
    reasons: dict[str, int]
    """Reason → how many messages, the most frequent first."""
    newest: list[Letter]
    """The newest first, `limit` at most."""


def letters(queue_dir: Path, target: str | None, *, limit: int) -> list[TargetLetters]:
    """Return what was set aside, target by target. Raises NoSuchTarget, QueueUnusable."""
    return [_letters_of(queue_dir, name, limit) for name in _targets(queue_dir, target)]


def drop(queue_dir: Path, target: str) -> int:
    """Forget everything that was set aside for a target; return how many messages it was.

    Raises NoSuchTarget, QueueUnusable.
    """
    (name,) = _targets(queue_dir, target)
    cursor = Cursor.open_existing(queue_dir, name)
    try:
        return cursor.drop_set_aside()
    finally:
        cursor.close()


def _targets(queue_dir: Path, target: str | None) -> list[str]:
    found = sorted(path.parent.name for path in (queue_dir / "cursors").glob("*/data.mdb"))
    if target is None or target in found:
        return found if target is None else [target]
    known = f"known here: {', '.join(found)}" if found else "nothing was drained from it yet"
    raise NoSuchTarget(f"no target {target!r} on {queue_dir}; {known}")


def _letters_of(queue_dir: Path, target: str, limit: int) -> TargetLetters:
    cursor = Cursor.open_existing(queue_dir, target)
    try:
        found = cursor.set_aside()
    finally:
        cursor.close()
    reasons = Counter(letter.reason for letter in found)
    found.sort(key=lambda letter: letter.at_ns, reverse=True)
    return TargetLetters(
        target=target,
        count=len(found),
        reasons=dict(reasons.most_common()),
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
    return [
        f"{each.target}: {count(each.count)} {many} set aside",
        *table(("MESSAGES", "REASON"), reasons, [None] * len(reasons)),
        "",
        *table(("AGO", "TOPIC", "REASON"), newest, payloads),
    ]


def _short(payload: str) -> str:
    text = payload if payload.isprintable() else ascii(payload)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
