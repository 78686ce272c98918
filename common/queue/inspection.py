"""Is a queue's environment readable at all: python -m common.queue.inspection PATH.

Run as a process of its own by creation.py: a damaged page may end whoever touches it. Walks every
key of every database and the small values; blocks have their own checksums and their own fate.
Exit code 0: readable, or no longer ours to judge (another version, no permission). 1: not; the
reason is on standard output.
"""

import sys
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from common.errors import BlockDamaged, FormatUnknown
from common.queue.environment import (
    DATA_FILE,
    DATABASES,
    KEY,
    check_format,
    open_environment,
    unsealed,
)
from common.queue.state import QueueState


def unreadable(path: Path) -> str:
    """Return why the environment cannot be used, empty when it can."""
    try:
        if not (path / DATA_FILE).stat().st_size:
            return "the file is empty"
        short = _cut_short(path)
        if short:
            return short
        check_format(path)
        environment, databases = open_environment(path, DATABASES, readonly=True, create=False)
        with environment.begin() as transaction:
            return _walk(transaction, databases)
    except FormatUnknown:
        return ""  # Whoever opens it says so.
    except (
        lmdb.CorruptedError,
        lmdb.InvalidError,
        lmdb.NotFoundError,
        lmdb.PageNotFoundError,
    ) as error:
        return str(error)
    except BlockDamaged as error:
        return f"what the queue knows of itself: {error}"


def _cut_short(path: Path) -> str:
    """Return whether LMDB counts on pages beyond the file's end: touching one is SIGBUS."""
    environment = lmdb.open(str(path), readonly=True, max_dbs=8)
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    environment.close()
    found = (path / DATA_FILE).stat().st_size
    return f"{found} bytes of {needed}: the file was cut short" if found < needed else ""


def _walk(transaction: Any, databases: dict[str, Any]) -> str:
    meta = databases["meta"]
    KEY.unpack(unsealed(transaction.get(b"epoch", db=meta)))
    state = msgspec.msgpack.decode(unsealed(transaction.get(b"state", db=meta)), type=QueueState)
    for name, database in databases.items():
        before = b""
        for key in transaction.cursor(database).iternext(keys=True, values=False):
            if key <= before:
                return f"the keys of {name} are not in order"
            before = key
        if name == "blocks" and before and KEY.unpack(before)[0] >= state.next_sequence:
            return "a block has a sequence that was not given yet"
    return ""


if __name__ == "__main__":
    found = unreadable(Path(sys.argv[1]))
    sys.stdout.write(found + "\n" if found else "")
    sys.exit(1 if found else 0)
