"""Goal: looking at what was refused, or forgetting it, costs the target nothing.

Method: a cursor as an uplink left it, and no queue beside it; the verbs against a running uplink
are in tests/uplink/test_uplink_set_aside.py.
"""

from pathlib import Path

import pytest

from common.queue import Cursor, DeadLetter
from console.set_aside import NoSuchTarget, drop, letters

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
    dropped = drop(queue_dir, "uns")

    assert (found.target, found.count, found.newest[0].index) == ("uns", 1, -1)
    assert dropped == 1
    assert letters(queue_dir, "uns", limit=10)[0].count == 0
    assert position(queue_dir) == POSITION


def test_a_target_without_a_cursor_is_none_and_gets_none(queue_dir: Path) -> None:
    for ask in (lambda: letters(queue_dir, "lake", limit=10), lambda: drop(queue_dir, "lake")):
        with pytest.raises(NoSuchTarget, match="known here: uns"):
            ask()

    assert [path.name for path in (queue_dir / "cursors").iterdir()] == ["uns"]
