"""Cursors: how far each target has acknowledged, each in a small environment of its own.

In <queue>/cursors/<target>/data.mdb
    position    epoch, sequence → u64 big-endian, with a checksum: LMDB has none of its own
                islands → [[first, last], …], what is settled beyond `sequence`; in order, apart
    notes       name → bytes, with a checksum: small things that a target keeps for itself
    set_aside, retry   what was refused, and what of it is to be published again (deadletters.py)

A cursor that cannot be read is begun anew: its target then gets again what the queue still holds,
with the same identities. The alternative would be a target that gets nothing until somebody comes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import msgspec

from common.clock import now_ns
from common.errors import BlockDamaged, QueueUnusable
from common.log import get_log
from common.queue.deadletters import DeadLetter, DeadLetters, letter_key
from common.queue.environment import (
    DATA_FILE,
    KEY,
    bytes_of,
    explained,
    open_environment,
    sealed,
    sync_folder,
    unsealed,
)

CLAIM_RECORDS = 8_192
"""Sequences after its durable position that a target may be delivering. An uplink reads no further;
the writer drops or thins nothing there while there is anything else. So no gap names a sample that
arrives after all. Far more than is ever in flight, and a small part of any queue that is full."""
CURSOR_MAP_BYTES = 256 * 1024**2
SET_ASIDE_MAX = 100_000
SET_ASIDE_BYTES_MAX = 128 * 1024**2
"""Half of the map; the rest is for the copies that LMDB makes while it writes."""

ISLANDS_MAX = 64
"""Spans settled beyond the position that a cursor remembers."""

_DATABASES = ("position", "set_aside", "notes", "retry")

log = get_log(__name__)


class Island(NamedTuple):
    """Sequences settled beyond the position, both ends included; last is first - 1 of an empty one.

    An empty one marks where a target goes on beyond what it has left for later.
    """

    first: int
    last: int


class Settled(NamedTuple):
    """How far a target has come."""

    position: int = 0
    """Everything up to it is settled."""
    islands: tuple[Island, ...] = ()
    """What is settled beyond, ascending, never touching each other."""


class _Stored(NamedTuple):
    """What an environment says."""

    epoch: int
    sequence: int
    islands: tuple[Island, ...]

    @property
    def settled(self) -> Settled:
        return Settled(self.sequence, self.islands)


def _stored_in(transaction: Any) -> _Stored | None:
    """Return the position, None when there is none yet. Raises BlockDamaged."""
    values = [transaction.get(key) for key in (b"epoch", b"sequence")]
    if values == [None, None]:
        return None
    epoch, sequence = (KEY.unpack(unsealed(value))[0] for value in values)
    islands = transaction.get(b"islands")
    return _Stored(epoch, sequence, () if islands is None else _islands_of(islands))


def _islands_of(stored: bytes) -> tuple[Island, ...]:
    try:
        found = msgspec.msgpack.decode(unsealed(stored), type=list[tuple[int, int]])
    except msgspec.DecodeError as error:
        raise BlockDamaged(f"the islands of a cursor: {error}") from error
    return tuple(Island(*each) for each in found)


class Cursor:
    """How far one target has acknowledged, and what it refused; written by its uplink alone."""

    def __init__(self, environment: Any, databases: dict[str, Any], path: Path) -> None:
        self._environment = environment
        self._databases = databases
        self._path = path
        self._epoch = 0
        self.letters = DeadLetters(environment, databases, path)
        self.position = 0
        """The last sequence acknowledged, with all before it; durable."""
        self.islands: tuple[Island, ...] = ()
        """What is settled beyond it; durable."""

    @classmethod
    def open(cls, queue_path: Path, target: str, *, epoch: int) -> "Cursor":
        """Open the target's cursor for its uplink, creating it where there is none.

        It starts over when the queue was begun anew, and when what it holds cannot be read.
        """
        path = queue_path / "cursors" / target
        with explained("cannot open the cursor", path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                cursor = cls._opened(path, epoch)
            except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError) as error:
                kept_as = path / f"aside-{now_ns()}.mdb"
                (path / DATA_FILE).rename(kept_as)
                log.error(
                    "the cursor could not be read; its target gets again what the queue holds",
                    target=target,
                    error=error,
                    kept_as=kept_as,
                )
                cursor = cls._opened(path, epoch)
        sync_folder(path)
        sync_folder(path.parent)
        return cursor

    @classmethod
    def _opened(cls, path: Path, epoch: int) -> "Cursor":
        environment, databases = open_environment(path, _DATABASES, map_size=CURSOR_MAP_BYTES)
        cursor = cls(environment, databases, path)
        cursor._epoch = epoch
        with environment.begin(db=databases["position"]) as transaction:
            try:
                stored = _stored_in(transaction)
            except BlockDamaged as error:
                log.error("position lost: all is delivered again", cursor=path, error=error)
                stored = None
        if stored is not None and stored.epoch == epoch:
            cursor.position, cursor.islands = stored.settled
        else:
            with environment.begin(write=True, db=databases["position"]) as transaction:
                transaction.put(b"epoch", sealed(KEY.pack(epoch)))
                transaction.put(b"sequence", sealed(KEY.pack(0)))
                transaction.delete(b"islands")
        return cursor

    @classmethod
    def open_existing(cls, queue_path: Path, target: str) -> "Cursor":
        """Open a cursor beside its uplink, for its dead letters; nothing is created or reset.

        Raises QueueUnusable when there is none. `advance` is for the uplink alone.
        """
        path = queue_path / "cursors" / target
        with explained("cannot open the cursor", path):
            if not (path / DATA_FILE).exists():
                raise QueueUnusable(f"no cursor at {path}: its uplink creates it")
            environment, databases = open_environment(
                path, _DATABASES, create=False, map_size=CURSOR_MAP_BYTES
            )
            with environment.begin(db=databases["position"]) as transaction:
                stored = _stored_in(transaction)
        cursor = cls(environment, databases, path)
        if stored is not None:
            cursor._epoch, cursor.position, cursor.islands = stored
        return cursor

    def advance(
        self,
        sequence: int,
        set_aside: Sequence[DeadLetter] = (),
        *,
        islands: Sequence[Island] = (),
    ) -> None:
        """Move to a sequence and keep what was refused on the way, in one durable commit.

        `islands` replaces what was settled beyond: ISLANDS_MAX at most, ascending, apart, all
        behind `sequence`.
        """
        islands = tuple(islands)
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
                key = letter_key(self._epoch, letter)
                packed = msgspec.msgpack.encode(letter)
                transaction.put(key, packed, db=self._databases["set_aside"])
            stored = sealed(KEY.pack(max(sequence, self.position)))
            transaction.put(b"sequence", stored, db=self._databases["position"])
            if islands != self.islands:
                told = sealed(msgspec.msgpack.encode(islands))
                transaction.put(b"islands", told, db=self._databases["position"])
        self.islands = islands
        self.position = max(sequence, self.position)

    def note(self, name: str) -> bytes | None:
        """Return what was kept under a name, None when there is nothing, or it is damaged."""
        with self._environment.begin(db=self._databases["notes"]) as transaction:
            stored = transaction.get(name.encode())
        try:
            return None if stored is None else unsealed(stored)
        except BlockDamaged as error:
            log.error("note damaged", cursor=self._path, name=name, error=error)
            return None

    def keep_note(self, name: str, value: bytes) -> None:
        """Keep a small thing under a name, durably; it survives epochs."""
        with (
            explained("cannot keep a note beside the cursor", self._path),
            self._environment.begin(write=True, db=self._databases["notes"]) as transaction,
        ):
            transaction.put(name.encode(), sealed(value))

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


class _Watched(NamedTuple):
    """One cursor that the normalizer has open."""

    environment: Any
    databases: dict[str, Any]
    file: tuple[int, int]
    """Device and inode: what is open may be a ghost, when the cursor was begun anew."""


class CursorWatch:
    """What the normalizer knows of the targets' cursors, read from the side."""

    def __init__(self, queue_path: Path, targets: Sequence[str]) -> None:
        self._path = queue_path
        self._targets = list(targets)
        self._open: dict[str, _Watched] = {}

    def close(self) -> None:
        """Release every environment that is open."""
        for target in list(self._open):
            self._release(target)

    def positions(self, epoch: int) -> dict[str, int]:
        """Return every target's position; 0 for a target that has not begun in this epoch."""
        return {target: settled.position for target, settled in self.settled(epoch).items()}

    def settled(self, epoch: int) -> dict[str, Settled]:
        """Return how far every target has come; not at all where it has not begun in this epoch."""
        return {target: self._settled(target, epoch) for target in self._targets}

    def _settled(self, target: str, epoch: int) -> Settled:
        try:
            watched = self._watched(target)
            with watched.environment.begin(db=watched.databases["position"]) as transaction:
                stored = _stored_in(transaction)
        except (OSError, lmdb.Error, BlockDamaged):
            # Not there yet, being created just now, or unreadable, which its uplink will find:
            # until it speaks, nothing is trimmed.
            self._release(target)
            return Settled()
        return stored.settled if stored is not None and stored.epoch == epoch else Settled()

    def _watched(self, target: str) -> _Watched:
        path = self._path / "cursors" / target
        status = (path / DATA_FILE).stat()
        file = status.st_dev, status.st_ino
        if target in self._open and self._open[target].file != file:
            self._release(target)
        if target not in self._open:
            opened = open_environment(path, ("position",), readonly=True, create=False)
            self._open[target] = _Watched(*opened, file)
        return self._open[target]

    def _release(self, target: str) -> None:
        watched = self._open.pop(target, None)
        if watched is not None:
            watched.environment.close()
