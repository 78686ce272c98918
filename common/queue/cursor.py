"""Cursors: how far each target has acknowledged, each in a small environment of its own."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from common.errors import QueueUnusable
from common.queue.environment import KEY, bytes_of, explained, open_environment, sync_folder

CURSOR_MAP_BYTES = 256 * 1024**2
SET_ASIDE_MAX = 100_000
SET_ASIDE_BYTES_MAX = 128 * 1024**2
"""Half of the map; the rest is for the copies that LMDB makes while it writes."""


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """A message that the far side will never take, kept with its reason."""

    sequence: int
    index: int
    topic: str
    payload: bytes
    reason: str
    at_ns: int


class Cursor:
    """How far one target has acknowledged, and what it refused; written by its uplink alone."""

    def __init__(self, environment: Any, databases: dict[str, Any], path: Path) -> None:
        self._environment = environment
        self._databases = databases
        self._path = path
        self.position = 0
        """The last sequence acknowledged, with all before it."""

    @classmethod
    def open(cls, queue_path: Path, target: str, *, epoch: int) -> "Cursor":
        """Open the target's cursor; it starts over when the queue was begun anew."""
        path = queue_path / "cursors" / target
        with explained("cannot open the cursor", path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            environment, databases = open_environment(
                path, ("position", "set_aside"), map_size=CURSOR_MAP_BYTES
            )
            cursor = cls(environment, databases, path)
            with environment.begin(write=True, db=databases["position"]) as transaction:
                stored = transaction.get(b"epoch")
                if stored == KEY.pack(epoch):
                    (cursor.position,) = KEY.unpack(transaction.get(b"sequence"))
                else:
                    transaction.put(b"epoch", KEY.pack(epoch))
                    transaction.put(b"sequence", KEY.pack(0))
        sync_folder(path)
        return cursor

    def advance(self, sequence: int, set_aside: Sequence[DeadLetter] = ()) -> None:
        """Move to a sequence and keep what was refused on the way, in one durable commit."""
        with (
            explained("cannot move the cursor", self._path),
            self._environment.begin(write=True) as transaction,
        ):
            if self.set_aside_count + len(set_aside) > SET_ASIDE_MAX:
                raise QueueUnusable(
                    f"{SET_ASIDE_MAX} messages set aside in {self._path}: the far side refuses "
                    "nearly everything; correct its permissions before more is set aside"
                )
            for letter in set_aside:
                key = struct.pack(">QI", letter.sequence, letter.index & 0xFFFFFFFF)
                packed = msgspec.msgpack.encode(letter)
                transaction.put(key, packed, db=self._databases["set_aside"])
            packed_sequence = KEY.pack(max(sequence, self.position))
            transaction.put(b"sequence", packed_sequence, db=self._databases["position"])
        self.position = max(sequence, self.position)

    @property
    def set_aside_count(self) -> int:
        """How many messages the far side will never take."""
        with self._environment.begin() as transaction:
            return int(transaction.stat(self._databases["set_aside"])["entries"])

    @property
    def room_for_letters(self) -> bool:
        """False when the store of refused messages is nearly full, in number or in bytes."""
        with self._environment.begin() as transaction:
            used_bytes = bytes_of(transaction.stat(self._databases["set_aside"]))
        return used_bytes < SET_ASIDE_BYTES_MAX and self.set_aside_count < SET_ASIDE_MAX - 1_000

    def drop_set_aside(self) -> int:
        """Forget every refused message; return how many there were. For a person who said so."""
        with (
            explained("cannot empty the store of refused messages", self._path),
            self._environment.begin(write=True) as transaction,
        ):
            count = int(transaction.stat(self._databases["set_aside"])["entries"])
            transaction.drop(self._databases["set_aside"], delete=False)
        return count

    def set_aside(self) -> list[DeadLetter]:
        """Return what was refused, oldest first."""
        with self._environment.begin() as transaction:
            values = transaction.cursor(self._databases["set_aside"]).iternext(
                keys=False, values=True
            )
            return [msgspec.msgpack.decode(value, type=DeadLetter) for value in values]

    def close(self) -> None:
        """Release the environment."""
        self._environment.close()


class CursorWatch:
    """What the normalizer knows of the targets' cursors, read from the side."""

    def __init__(self, queue_path: Path, targets: Sequence[str]) -> None:
        self._path = queue_path
        self._targets = list(targets)
        self._open: dict[str, tuple[Any, dict[str, Any]]] = {}

    def close(self) -> None:
        """Release every environment that is open."""
        for environment, _ in self._open.values():
            environment.close()
        self._open.clear()

    def positions(self, epoch: int) -> dict[str, int]:
        """Return every target's position; 0 for a target that has not begun in this epoch."""
        return {target: self._position(target, epoch) for target in self._targets}

    def _position(self, target: str, epoch: int) -> int:
        path = self._path / "cursors" / target
        try:
            if target not in self._open:
                if not (path / "data.mdb").exists():
                    return 0
                self._open[target] = open_environment(
                    path, ("position",), readonly=True, create=False
                )
            environment, databases = self._open[target]
            with environment.begin(db=databases["position"]) as transaction:
                if transaction.get(b"epoch") != KEY.pack(epoch):
                    return 0
                return int(KEY.unpack(transaction.get(b"sequence"))[0])
        except lmdb.Error:
            return 0  # Being created just now; nothing is trimmed until it speaks.
