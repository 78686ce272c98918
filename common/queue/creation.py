"""Opening the queue for its writer: creating it, and what to do when it cannot be opened.

Creation
    A fresh environment is made in `queue.new/`, committed, synced, and moved into place by one
    rename: a crash at any instant leaves no queue or a whole one, never half a header.

An environment that cannot be read
    LMDB trusts its pages: a damaged one may end the process by a signal. So after a process that
    did not close the queue, another process walks it first (inspection.py). What fails is moved to
    `queue.aside-<time>/`, never deleted, and a fresh queue with a new epoch is begun. The cursors
    stay: a new epoch makes them begin anew, and what targets refused is still there to be seen.

A copy
    The file's identity (inode and generation) is noted inside. When it differs, the queue was
    restored from a copy, and sequences after the copy's last may have been given before: it gets
    a new epoch, so that no consumer takes fresh data for repeats. The same when a cursor is ahead.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from common.clock import new_epoch, now_ns
from common.log import get_log
from common.queue.change import Change
from common.queue.disk import use_ballast_if_full
from common.queue.environment import (
    DATA_FILE,
    DATABASES,
    FORMAT,
    KEY,
    check_format,
    explained,
    open_environment,
    sealed,
    sync_folder,
    unsealed,
)
from common.queue.state import QueueState

IN_USE_FILE = "in-use"
"""Stands in the queue's folder while a writer has it open; left behind by one that was killed."""
MAP_NEARLY_FULL = 0.95
MAP_EXTRA_BYTES = 64 * 1024**2
INSPECTION_S = 120.0
FS_IOC_GETVERSION = 0x80087601
"""linux/fs.h; ioctl_iflags(2)."""

log = get_log(__name__)


def open_for_writing(path: Path, map_bytes: int) -> tuple[Any, dict[str, Any], bool]:
    """Return (environment, databases, begun anew over one that was unreadable)."""
    aside = False
    with explained("cannot open the queue", path):
        use_ballast_if_full(path)
        if (path / DATA_FILE).exists() and (reason := _unreadable(path)):
            kept_in = _move_aside(path)
            log.error(
                "the queue could not be read; it was moved aside and a fresh one is begun",
                reason=reason,
                kept_in=kept_in,
            )
            aside = True
        if not (path / DATA_FILE).exists():
            _create(path, map_bytes)
        check_format(path)
        file_bytes = (path / DATA_FILE).stat().st_size
        if file_bytes > MAP_NEARLY_FULL * map_bytes:
            # A map that is full to the last page refuses deletes as well; the process ended
            # because of it, and this is how it goes on: with room to delete.
            map_bytes = file_bytes + MAP_EXTRA_BYTES
        (path / IN_USE_FILE).touch(mode=0o600)
        _sync_names(path)
        environment, databases = open_environment(path, DATABASES, map_size=map_bytes)
    return environment, databases, aside


def _sync_names(path: Path) -> None:
    """Make the queue's name durable, and the data directory's, which this start may have made.

    At every start: the one that made them may have been killed before it could.
    """
    for folder in (path, path.parent, path.parent.parent):
        with contextlib.suppress(PermissionError):  # Then what is in it was not made by us.
            sync_folder(folder)


def closed(path: Path) -> None:
    """Note that the writer left in order."""
    (path / IN_USE_FILE).unlink(missing_ok=True)


def _create(path: Path, map_bytes: int) -> None:
    fresh = path.with_name(path.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment, databases = open_environment(fresh, DATABASES, map_size=map_bytes)
    with environment.begin(write=True) as transaction:
        meta = databases["meta"]
        transaction.put(b"format", str(FORMAT).encode(), db=meta)
        transaction.put(b"epoch", sealed(KEY.pack(new_epoch())), db=meta)
        transaction.put(b"file", sealed(_file_identity(fresh)), db=meta)
        Change(transaction, databases, QueueState()).write_books({})
    environment.close()
    (fresh / "cursors").mkdir(mode=0o700)
    (fresh / "lock.mdb").unlink()  # Its place is beside the file it locks, where it is made anew.
    sync_folder(fresh)
    if path.exists():  # Only the data file went missing, or was moved aside: the rest stays.
        (path / "lock.mdb").unlink(missing_ok=True)
        (fresh / DATA_FILE).rename(path / DATA_FILE)
        sync_folder(path)
        shutil.rmtree(fresh)
    else:
        fresh.rename(path)
    sync_folder(path.parent)


def _unreadable(path: Path) -> str:
    """Return why the environment cannot be used, empty when it can.

    Walked by another process when the last writer did not close it: a damaged page may end the
    process that touches it.
    """
    if not (path / IN_USE_FILE).exists():
        return ""
    command = [sys.executable, "-m", "common.queue.inspection", str(path)]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, capture_output=True, text=True, timeout=INSPECTION_S, check=False
        )
    except subprocess.TimeoutExpired:
        return ""  # Slow is not damaged.
    if done.returncode < 0:
        return f"reading it ended a process by signal {-done.returncode}"
    return done.stdout.strip() if done.returncode else ""


def _move_aside(path: Path) -> Path:
    kept_in = path.with_name(f"{path.name}.aside-{now_ns() // 1_000_000_000}")
    kept_in.mkdir(mode=0o700)
    (path / DATA_FILE).rename(kept_in / DATA_FILE)
    sync_folder(kept_in)
    sync_folder(path)
    sync_folder(path.parent)
    return kept_in


def renewed_epoch(
    environment: Any, databases: dict[str, Any], path: Path, *, cursors_ahead: bool
) -> bool:
    """Give a queue that was copied, or is older than its cursors, a new epoch."""
    with explained("cannot open the queue", path), environment.begin(write=True) as transaction:
        identity = sealed(_file_identity(path))
        same_file = transaction.get(b"file", db=databases["meta"]) == identity
        if same_file and not cursors_ahead:
            return False
        (before,) = KEY.unpack(unsealed(transaction.get(b"epoch", db=databases["meta"])))
        epoch = KEY.pack(max(new_epoch(), before + 1))
        transaction.put(b"epoch", sealed(epoch), db=databases["meta"])
        transaction.put(b"file", identity, db=databases["meta"])
    log.warning(
        "the queue was restored from a copy; what it holds is delivered again, under a new epoch",
        path=path,
    )
    return True


def _file_identity(path: Path) -> bytes:
    """Return what a copy of the file does not share with it: its inode and that one's generation.

    An inode's number is given again soon after it was freed, a generation is not.
    """
    generation = bytearray(8)
    with (path / DATA_FILE).open("rb") as file:
        number = os.fstat(file.fileno()).st_ino
        with contextlib.suppress(OSError):  # Not every file system counts generations.
            fcntl.ioctl(file, FS_IOC_GETVERSION, generation)
    return KEY.pack(number) + bytes(generation[:4])
