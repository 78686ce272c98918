"""LMDB as the queue uses it: its options, its errors, its keys."""

import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from common.errors import BlockDamaged, QueueUnusable

FORMAT = 1
READERS_MAX = 126
DATABASES = ("blocks", "plans", "sources", "groups", "meta")

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
    except BlockDamaged as error:
        raise QueueUnusable(
            f"{doing} {path}: {error}; move the directory aside and keep it, a fresh one is begun"
        ) from error
    except lmdb.Error as error:
        raise QueueUnusable(f"{doing} {path}: {error}") from error
    except OSError as error:
        raise QueueUnusable(f"{doing} {path}: {error.strerror}") from error


def open_environment(
    path: Path, databases: Sequence[str], **options: Any
) -> tuple[Any, dict[str, Any]]:
    """Open an LMDB environment with its databases, in LMDB's own durable mode."""
    environment = lmdb.open(
        str(path), max_dbs=8, max_readers=READERS_MAX, mode=0o700, readahead=False, **options
    )
    create = not options.get("readonly", False)
    return environment, {
        name: environment.open_db(name.encode(), create=create) for name in databases
    }


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
