"""Goal: a cursor says what its target has had, whatever happens to the file and whoever looks.

Method: real environments in one process. What this cannot show: power loss.
"""

import shutil
from pathlib import Path

import lmdb
import pytest

from common.errors import QueueUnusable
from common.queue import Cursor, CursorWatch, DeadLetter, Island, Settled
from common.queue.environment import DATA_FILE

EPOCH, OTHER_EPOCH = 5, 6


def letter(sequence: int, index: int, reason: str = "not authorized (0x87)") -> DeadLetter:
    return DeadLetter(sequence, index, "Acme/SiteA/t", b"{}", reason, 1)


def advance(queue: Path, sequence: int, *letters: DeadLetter, epoch: int = EPOCH) -> None:
    """Do what an uplink does in its life."""
    cursor = Cursor.open(queue, "uns", epoch=epoch)
    cursor.advance(sequence, letters)
    cursor.close()


def position(queue: Path, epoch: int = EPOCH) -> int:
    """Return where the next uplink begins."""
    cursor = Cursor.open(queue, "uns", epoch=epoch)
    cursor.close()
    return cursor.position


def data_file(queue: Path) -> Path:
    return queue / "cursors" / "uns" / DATA_FILE


def test_whoever_only_looks_neither_moves_nor_resets_a_cursor(tmp_path: Path) -> None:
    """Seen to bite: opened as the uplink opens it, with the epoch of a queue begun anew."""
    advance(tmp_path, 17, letter(3, 0))

    looking = Cursor.open_existing(tmp_path, "uns")
    seen = (looking.position, looking.set_aside_count, looking.letters.drop())
    looking.close()

    assert seen == (17, 1, 1)
    assert position(tmp_path) == 17


def test_whoever_only_looks_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "cursors" / "uns").mkdir(parents=True)

    for target in ("uns", "lake"):
        with pytest.raises(QueueUnusable, match="no cursor at"):
            Cursor.open_existing(tmp_path, target)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not (tmp_path / "cursors" / "lake").exists()


def test_what_was_refused_in_another_epoch_is_kept_under_the_same_sequence(tmp_path: Path) -> None:
    """Seen to bite: keyed by sequence and index alone, the second letter replaced the first."""
    advance(tmp_path, 3, letter(3, 0, "first"))
    advance(tmp_path, 3, letter(3, 0, "second"), epoch=OTHER_EPOCH)

    cursor = Cursor.open_existing(tmp_path, "uns")
    reasons = [each.reason for each in cursor.set_aside()]
    cursor.close()

    assert reasons == ["first", "second"]


def test_letters_of_gaps_and_samples_of_one_sequence_stand_side_by_side(tmp_path: Path) -> None:
    advance(tmp_path, 3, *(letter(3, index) for index in (0, 65_535, -1, -2)))

    cursor = Cursor.open_existing(tmp_path, "uns")
    indexes = {each.index for each in cursor.set_aside()}
    cursor.close()

    assert indexes == {0, 65_535, -1, -2}


def test_a_position_that_fails_its_checksum_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong number that is too large would be samples that nobody gets."""
    advance(tmp_path, 17, letter(3, 0))
    environment = lmdb.open(str(data_file(tmp_path).parent), max_dbs=2)
    with environment.begin(write=True, db=environment.open_db(b"position")) as transaction:
        stored = bytearray(transaction.get(b"sequence"))
        stored[-1] ^= 0x40
        transaction.put(b"sequence", bytes(stored))
    environment.close()
    watch = CursorWatch(tmp_path, ["uns"])
    assert watch.positions(EPOCH) == {"uns": 0}, "the normalizer trims nothing"
    watch.close()

    assert position(tmp_path) == 0, "all is delivered again"
    assert "position lost" in caplog.text
    cursor = Cursor.open_existing(tmp_path, "uns")
    assert cursor.set_aside_count == 1, "what was refused is kept"
    cursor.close()


def test_a_cursor_that_cannot_be_read_is_kept_aside_and_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    advance(tmp_path, 17)
    damaged = b"\xff" * data_file(tmp_path).stat().st_size
    data_file(tmp_path).write_bytes(damaged)

    assert position(tmp_path) == 0

    assert "could not be read" in caplog.text
    (kept,) = data_file(tmp_path).parent.glob("aside-*")
    assert kept.read_bytes() == damaged
    advance(tmp_path, 4)
    assert position(tmp_path) == 4, "and it works"


def test_the_normalizer_sees_a_cursor_that_was_begun_anew(tmp_path: Path) -> None:
    """Seen to bite: with the old file still open it went by 17 for ever, and trimmed by it."""
    advance(tmp_path, 17)
    watch = CursorWatch(tmp_path, ["uns", "lake"])
    assert watch.positions(EPOCH) == {"uns": 17, "lake": 0}

    shutil.rmtree(tmp_path / "cursors" / "uns")
    advance(tmp_path, 3)

    assert watch.positions(EPOCH) == {"uns": 3, "lake": 0}
    assert watch.positions(OTHER_EPOCH) == {"uns": 0, "lake": 0}
    watch.close()


def test_what_is_settled_beyond_the_position_survives_and_is_seen_by_the_watch(
    tmp_path: Path,
) -> None:
    cursor = Cursor.open(tmp_path, "uns", epoch=7)
    cursor.advance(10, islands=[Island(21, 30), Island(41, 40)])
    cursor.close()

    again = Cursor.open(tmp_path, "uns", epoch=7)
    assert (again.position, again.islands) == (10, (Island(21, 30), Island(41, 40)))
    again.close()
    watch = CursorWatch(tmp_path, ["uns"])
    assert watch.settled(7) == {"uns": Settled(10, (Island(21, 30), Island(41, 40)))}
    assert watch.settled(8) == {"uns": Settled()}, "another queue"
    watch.close()

    again = Cursor.open(tmp_path, "uns", epoch=7)
    again.advance(30, islands=[])
    again.close()
    anew = Cursor.open(tmp_path, "uns", epoch=7)
    assert (anew.position, anew.islands) == (30, ())
    anew.advance(30, islands=[Island(41, 50)])
    anew.close()
    other = Cursor.open(tmp_path, "uns", epoch=8)
    assert (other.position, other.islands) == (0, ()), "begun anew with its queue"
    other.close()


def test_a_note_is_kept_over_epochs(tmp_path: Path) -> None:
    cursor = Cursor.open(tmp_path, "uns", epoch=7)
    assert cursor.note("bdSeq") is None
    cursor.keep_note("bdSeq", b"5")
    cursor.close()

    again = Cursor.open(tmp_path, "uns", epoch=8)

    assert again.note("bdSeq") == b"5"
    again.close()
