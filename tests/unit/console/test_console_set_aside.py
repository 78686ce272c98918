"""Goal: looking at what was refused, or forgetting it, costs the target nothing.

Method: a cursor as an uplink left it, and no queue beside it; the verbs against a running uplink
are in tests/uplink/test_uplink_set_aside.py.
"""

from pathlib import Path

import pytest

from common.queue import Cursor, DeadLetter
from console.set_aside import Choice, NoSuchTarget, drop, letters, reasons, retry

EPOCH, POSITION = 5, 17


@pytest.fixture
def queue_dir(tmp_path: Path) -> Path:
    cursor = Cursor.open(tmp_path, "uns", epoch=EPOCH)
    cursor.advance(POSITION, [DeadLetter(3, -1, "Acme/gap", b"{}", "not authorized", 1)])
    cursor.close()
    return tmp_path


def position(queue_dir: Path) -> int:
    cursor = Cursor.open(queue_dir, "uns", epoch=EPOCH)
    cursor.close()
    return cursor.position


def test_the_verbs_need_no_queue_and_leave_the_cursor_where_it_is(queue_dir: Path) -> None:
    """Seen to bite: they opened the cursor in the epoch of the queue that they found."""
    (found,) = letters(queue_dir, None, limit=10)
    dropped = drop(queue_dir, "uns").count

    assert (found.target, found.count, found.newest[0].index) == ("uns", 1, -1)
    assert dropped == 1
    assert letters(queue_dir, "uns", limit=10)[0].count == 0
    assert position(queue_dir) == POSITION


def test_a_target_without_a_cursor_is_none_and_gets_none(queue_dir: Path) -> None:
    for ask in (lambda: letters(queue_dir, "lake", limit=10), lambda: drop(queue_dir, "lake")):
        with pytest.raises(NoSuchTarget, match="known here: uns"):
            ask()

    assert [path.name for path in (queue_dir / "cursors").iterdir()] == ["uns"]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Sequences 1 to 2,500, of two machines and two reasons, in more than one step."""
    cursor = Cursor.open(tmp_path, "uns", epoch=EPOCH)
    found = [
        DeadLetter(
            sequence,
            0,
            f"Acme/{'Press' if sequence % 2 else 'Oven'}/T",
            b"{}",
            "not authorized (0x87)" if sequence % 5 else "packet too large: 9 bytes",
            sequence,
        )
        for sequence in range(1, 2_501)
    ]
    cursor.advance(POSITION, found)
    cursor.close()
    return tmp_path


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        (Choice(), 2_500),
        (Choice(topic="*/press/*"), 1_250),
        (Choice(topic="oven", reason="0x87"), 1_000),
        (Choice(reason="*too large*", first=2_001), 100),
        (Choice(first=10, last=10), 1),
        (Choice(topic="*/robot/*"), 0),
    ],
)
def test_every_verb_means_the_letters_that_are_chosen(
    many: Path, choice: Choice, meant: int
) -> None:
    """Seen to bite: ending after the first step, when there are more letters."""
    (shown,) = letters(many, "uns", limit=3, choice=choice)
    (asked,) = retry(many, None, choice)
    (twice,) = retry(many, "uns", choice)
    dropped = drop(many, "uns", choice)
    told = reasons(many, "uns")

    assert (shown.count, len(shown.newest)) == (meant, min(meant, 3))
    assert (asked.count, asked.waiting, asked.left) == (meant, meant, 2_500)
    assert (twice.count, twice.waiting) == (0, meant), "asked for once is asked for"
    assert (dropped.count, dropped.waiting, dropped.left) == (meant, 0, 2_500 - meant)
    assert sum(told.values()) == 2_500 - meant, "status counts what is left, by reason"
