"""LMDB as the queue uses it: its options, its errors, its keys."""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from common.errors import BlockDamaged, DiskFull, FormatUnknown, QueueUnusable

FORMAT = 2
"""1 was never released."""
READERS_MAX = 126
DATABASES = ("blocks", "plans", "sources", "groups", "ledger", "ages", "meta")
DATA_FILE = "data.mdb"
COMMIT_BYTES = 1024 * 1024
"""With less than this free, a failed commit is a full disk: LMDB itself says EIO or nothing."""

KEY = struct.Struct(">Q")
PLAN_KEY = struct.Struct(">I")
_CRC = struct.Struct("<I")


def sealed(value: bytes) -> bytes:
    """Return a small value with its checksum in front; LMDB has none of its own."""
    return _CRC.pack(zlib.crc32(value)) + value


def unsealed(stored: bytes | None) -> bytes:
    """Return a sealed value. Raises BlockDamaged when it is missing or not what was written."""
    if stored is None or len(stored) < _CRC.size:
        raise BlockDamaged("a value is missing or cut short")
    if _CRC.unpack_from(stored)[0] != zlib.crc32(stored[_CRC.size :]):
        raise BlockDamaged("a value fails its checksum")
    return stored[_CRC.size :]


@contextmanager
def explained(doing: str, path: Path) -> Iterator[None]:
    """Turn LMDB's errors into the house's. A failed commit must never be followed by another."""
    try:
        yield
    except lmdb.MapFullError:
        raise  # The writer makes room and tries again.
    except (BlockDamaged, lmdb.CorruptedError, lmdb.InvalidError) as error:
        raise QueueUnusable(
            f"{doing} {path}: {error}; restart the normalizer: it keeps what is unreadable "
            "aside and begins a fresh queue"
        ) from error
    except FormatUnknown as error:
        raise QueueUnusable(
            f"{doing} {path}: {error}; its data is untouched: use the version of Tailrace that "
            "wrote it"
        ) from error
    except lmdb.Error as error:
        raise _unusable(f"{doing} {path}: {error}", path) from error
    except OSError as error:
        raise _unusable(f"{doing} {path}: {error.strerror}", path) from error


def _unusable(text: str, path: Path) -> QueueUnusable:
    free = free_bytes(path)
    if free < COMMIT_BYTES:
        return DiskFull(f"{text}; the file system has {free} bytes left: make room on it")
    return QueueUnusable(text)


def free_bytes(path: Path) -> int:
    """Return what the file system of a path, or of its nearest existing parent, has to give."""
    while not path.exists() and path != path.parent:
        path = path.parent
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def open_environment(
    path: Path, databases: Sequence[str], **options: Any
) -> tuple[Any, dict[str, Any]]:
    """Open an LMDB environment with its databases, in LMDB's own durable mode."""
    if options.get("readonly"):
        # The size that the writer gave it; py-lmdb's own default is 10 MiB, and a reader that maps
        # less than the file has grown to must end (MDB_MAP_RESIZED).
        options.setdefault("map_size", 0)
    environment = lmdb.open(
        str(path), max_dbs=8, max_readers=READERS_MAX, mode=0o700, readahead=False, **options
    )
    create = not options.get("readonly", False)
    return environment, {
        name: environment.open_db(name.encode(), create=create) for name in databases
    }


def check_format(path: Path) -> None:
    """Raise FormatUnknown when a queue is of another version; changes nothing in it."""
    environment = lmdb.open(str(path), max_dbs=8, readonly=True)
    try:
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(db=meta) as transaction:
            found = transaction.get(b"format")
    finally:
        environment.close()
    if found is not None and found != str(FORMAT).encode():
        raise FormatUnknown(f"it has format {found.decode(errors='replace')}, this is {FORMAT}")


def file_id(path: Path) -> tuple[int, int] | None:
    """Return device and inode of a queue's file; None when there is none."""
    try:
        status = (path / DATA_FILE).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def sync_folder(path: Path) -> None:
    """Make names in a folder durable; LMDB does not (measured with strace)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def bytes_of(stat: Mapping[str, int]) -> int:
    """Bytes of the pages that a database occupies; O(1)."""
    pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return pages * stat["psize"]
