"""What a power cut may leave of files that a process was writing to: a model of the disk.

    disk = Disk(data_dir)
    for _, change in changes(log_file, below=data_dir):
        disk.begin(change)
        …cut here: every state in systematic_cuts(disk), or drawn_cuts(disk, random, 10)…
        disk.end(change)

What the model takes for granted, and nothing more
    A file's bytes are on the disk once fsync or fdatasync of the file has returned, or the write
    itself if the descriptor was opened with O_DSYNC. Of the writes since then any part may be
    there, in any order, torn at sectors of 512 bytes (a sector is old or new, never a mixture).
    A file that had grown may have its new size and zeros instead of what was written.

    What a sync that failed was about may be there or not, for ever: the system takes it for written
    and no later sync will write it, only who writes it anew.

    A name (created, renamed, removed) is on the disk once fsync of its folder has returned. Of the
    changes of one folder since then the first few may be there, and each folder on its own. Syncing
    a file does not make its name durable, though some file systems do so.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tests.process.syscall_log import (
    Change,
    Made,
    Promised,
    Removed,
    Renamed,
    Resized,
    Synced,
    SyncFailed,
    Wrote,
)

SECTOR_BYTES = 512
PAGE_BYTES = 4_096
NAME_CUTS_MAX = 64
"""Combinations of names that are tried at one cut, at most; more only with many folders at once."""


@dataclass(eq=False)
class Node:
    """One file or folder, whatever it is called at the moment."""

    number: int
    folder: bool
    durable: bytearray = field(default_factory=bytearray, repr=False)
    names: dict[str, "Node"] = field(default_factory=dict)
    """A folder's entries on the disk."""


@dataclass(frozen=True)
class Piece:
    """A part of an unsynced write that reaches the disk whole or not at all."""

    node: Node
    offset: int
    data: bytes = field(repr=False)
    size: int | None = None
    """Set for a change of the file's size, which has no data."""


@dataclass(frozen=True)
class NameChange:
    """One unsynced change of a folder: `node` is None for a removal."""

    folder: Node
    name: str
    node: Node | None
    moved_from: tuple[Node, str] | None = None


@dataclass(frozen=True)
class Cut:
    """One state of the disk after a power cut."""

    what: str
    files: dict[str, tuple[int, bytes]] = field(repr=False)
    """Path below the root → (number of the file, content)."""
    folders: list[str] = field(repr=False)


class Disk:
    """Everything below one folder, which is there and empty, and durable itself."""

    def __init__(self, root: Path) -> None:
        self._root_path = PurePosixPath(root)
        self._count = itertools.count(1)
        self.root = Node(0, folder=True)
        self._now: dict[Node, dict[str, Node]] = {self.root: {}}
        """Every folder's entries as processes see them."""
        self.writes: list[Piece] = []
        """Not synced; a whole write each."""
        self.abandoned: dict[tuple[Node, int], Piece] = {}
        """By their place: sectors that a sync has failed to write."""
        self.renames: list[NameChange] = []
        """Not synced."""
        self.promised = 0
        self.numbers: dict[str, int] = {}
        """Of every file, by the name it was made under; of the first where there were several."""

    def begin(self, change: Change) -> None:
        """Let one thing be under way: any part of it may be on the disk."""
        match change:
            case Wrote(path, offset, data):
                self.writes.append(Piece(self._node(path), offset, data))
            case Resized(path, size):
                self.writes.append(Piece(self._node(path), 0, b"", size))
            case Made(path, is_folder):
                self._make(path, folder=is_folder)
            case Renamed(path, to):
                self._rename(path, to)
            case Removed(path):
                folder, name = self._place(path)
                del self._now[folder][name]
                self.renames.append(NameChange(folder, name, None))
            case Promised(committed):
                self.promised = max(self.promised, committed)

    def end(self, change: Change) -> None:
        """Let it have returned: what it makes durable is on the disk."""
        match change:
            case Synced(path):
                self._sync(self._node(path))
            case SyncFailed(path):
                self._abandon(self._node(path))
            case Wrote(durable=True):
                self._reach_the_disk(self.writes.pop())

    @staticmethod
    def settles(change: Change) -> bool:
        """Return whether a change makes something durable: then its end is a moment of its own."""
        return isinstance(change, Synced) or (isinstance(change, Wrote) and change.durable)

    def _sync(self, node: Node) -> None:
        if node.folder:
            for change in [each for each in self.renames if each.folder is node]:
                _change(change)
                self.renames.remove(change)
            return
        for write in [each for each in self.writes if each.node is node]:
            self._reach_the_disk(write)
        self.writes = [each for each in self.writes if each.node is not node]

    def _reach_the_disk(self, write: Piece) -> None:
        _write(write.node.durable, write)
        for sector in _torn(write, SECTOR_BYTES):
            self.abandoned.pop((write.node, sector.offset // SECTOR_BYTES), None)

    def _abandon(self, node: Node) -> None:
        for write in [each for each in self.writes if each.node is node]:
            for sector in _torn(write, SECTOR_BYTES):
                self.abandoned[node, sector.offset // SECTOR_BYTES] = sector
        self.writes = [each for each in self.writes if each.node is not node]

    def _make(self, path: str, *, folder: bool) -> None:
        parent, name = self._place(path)
        if name in self._now[parent]:
            return
        node = Node(next(self._count), folder)
        self.numbers.setdefault(name, node.number)
        if folder:
            self._now[node] = {}
        self._now[parent][name] = node
        self.renames.append(NameChange(parent, name, node))

    def _rename(self, path: str, to: str) -> None:
        source, old = self._place(path)
        target, new = self._place(to)
        node = self._now[source].pop(old)
        self._now[target][new] = node
        self.renames.append(NameChange(target, new, node, moved_from=(source, old)))

    def _node(self, path: str) -> Node:
        found = self.root
        for part in PurePosixPath(path).relative_to(self._root_path).parts:
            found = self._now[found][part]
        return found

    def _place(self, path: str) -> tuple[Node, str]:
        at = PurePosixPath(path)
        return self._node(str(at.parent)), at.name

    def cut(self, what: str, pieces: Sequence[Piece], changes: Sequence[NameChange]) -> Cut:
        """Return what is there when only these of the unsynced changes reached the disk."""
        contents: dict[Node, bytearray] = {}
        for piece in pieces:
            if piece.node not in contents:
                contents[piece.node] = bytearray(piece.node.durable)
            _write(contents[piece.node], piece)
        names: dict[Node, dict[str, Node]] = {}
        for change in changes:
            _change(change, names)
        files: dict[str, tuple[int, bytes]] = {}
        folders: list[str] = []
        waiting = [("", self.root)]
        while waiting:
            at, folder = waiting.pop()
            for name, node in names.get(folder, folder.names).items():
                path = f"{at}{name}"
                if node.folder:
                    folders.append(path)
                    waiting.append((f"{path}/", node))
                else:
                    files[path] = (node.number, bytes(contents.get(node, node.durable)))
        return Cut(what, files, folders)

    def name_cuts(self) -> list[tuple[NameChange, ...]]:
        """Return what may have reached the disk of the names: of each folder the first few."""
        by_folder: dict[Node, list[NameChange]] = {}
        for change in self.renames:
            by_folder.setdefault(change.folder, []).append(change)
        prefixes = [
            [tuple(changes[:count]) for count in range(len(changes) + 1)]
            for changes in by_folder.values()
        ]
        combined = itertools.islice(itertools.product(*prefixes), NAME_CUTS_MAX)
        return [tuple(itertools.chain.from_iterable(each)) for each in combined]

    def pieces(self, piece_bytes: int) -> list[Piece]:
        """Return the unsynced writes, torn at multiples of `piece_bytes`."""
        written = [piece for write in self.writes for piece in _torn(write, piece_bytes)]
        return [*self.abandoned.values(), *written]


def systematic_cuts(disk: Disk, piece_bytes: int = PAGE_BYTES) -> Iterator[Cut]:
    """Yield nothing, every call up to each one, all but one piece, one alone: with no name and all.

    And every combination of names with all of the data and with none of it.
    """
    pieces = disk.pieces(piece_bytes)
    name_cuts = disk.name_cuts()
    for number, names in enumerate(name_cuts):
        told = f"names {number + 1} of {len(name_cuts)}"
        yield disk.cut(f"nothing, {told}", [], names)
        yield disk.cut(f"all, {told}", pieces, names)
    for names in dict.fromkeys([name_cuts[0], name_cuts[-1]]):
        for calls in range(1, len(disk.writes)):
            written = [p for write in disk.writes[:calls] for p in _torn(write, piece_bytes)]
            yield disk.cut(f"the first {calls} writes", written, names)
        for i in range(len(pieces)):
            yield disk.cut(f"all but piece {i}", pieces[:i] + pieces[i + 1 :], names)
            yield disk.cut(f"only piece {i}", pieces[i : i + 1], names)
        if pieces:
            yield disk.cut("the first half", pieces[: len(pieces) // 2], names)
            yield disk.cut("the sizes alone", _sizes(disk.writes), names)


def drawn_cuts(disk: Disk, choose: random.Random, count: int) -> Iterator[Cut]:
    """Yield states with a random part of the sectors or pages, and of the names."""
    name_cuts = disk.name_cuts()
    for number in range(count):
        piece_bytes = choose.choice([SECTOR_BYTES, PAGE_BYTES])
        share = choose.random()
        pieces = [each for each in disk.pieces(piece_bytes) if choose.random() < share]
        if choose.random() < 0.25:
            pieces = _sizes(disk.writes) + pieces
        what = f"drawn {number}: {len(pieces)} pieces of {piece_bytes}"
        yield disk.cut(what, pieces, choose.choice(name_cuts))


def _sizes(writes: Sequence[Piece]) -> list[Piece]:
    """Return the writes without their data: the files grew, and zeros stand there."""
    return [
        Piece(each.node, each.offset + len(each.data), b"") if each.size is None else each
        for each in writes
    ]


def _torn(write: Piece, piece_bytes: int) -> Iterator[Piece]:
    if write.size is not None:
        yield write
        return
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min(end, (start // piece_bytes + 1) * piece_bytes)
        data = write.data[start - write.offset : stop - write.offset]
        yield Piece(write.node, start, data)
        start = stop


def _write(content: bytearray, piece: Piece) -> None:
    end = piece.offset + len(piece.data) if piece.size is None else piece.size
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if piece.size is not None:
        del content[piece.size :]
    elif piece.data:
        content[piece.offset : end] = piece.data


def _change(change: NameChange, names: dict[Node, dict[str, Node]] | None = None) -> None:
    """Change names on the disk, or in a copy of what is there."""

    def of(folder: Node) -> dict[str, Node]:
        return folder.names if names is None else names.setdefault(folder, dict(folder.names))

    if change.moved_from is not None:
        source, old = change.moved_from
        of(source).pop(old, None)
    if change.node is None:
        of(change.folder).pop(change.name, None)
    else:
        of(change.folder)[change.name] = change.node
