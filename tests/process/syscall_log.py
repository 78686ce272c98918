"""What a process did to its files, and what it promised meanwhile, read from a log of strace.

    recording = [*STRACE, "-o", log_file, python, "-m", "normalizer", …]
    for at_s, change in changes(log_file, below=data_dir): …

A change is told when its call has returned, a promise when its call begins: whatever was promised
before a sync had returned was promised too early.

Promises are read from the handoff's own answers: `committed` of every A, H and F (common/handoff)
that is written to a Unix socket, as ZeroMQ frames it (ZMTP 3.1, rfc.zeromq.org/spec/37).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common.handoff.wire import ANSWER, Answer

STRING_BYTES_MAX = 16 * 1024**2
"""Longer than any single write of the queue: a cut string would be a file that is cut short."""
TRACED = (
    *("openat", "creat", "close", "lseek", "write", "writev", "pwrite64", "pwritev", "pwritev2"),
    *("fsync", "fdatasync", "sync_file_range", "ftruncate", "truncate", "fallocate"),
    *("mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"),
    *("link", "linkat", "sendto", "sendmsg"),
)
STRACE = (
    "strace",
    "-D",  # The process stays our child and strace its own: signals and exit codes are its own.
    "-f",
    "-yy",
    "-xx",
    "-ttt",
    "--seccomp-bpf",
    f"--string-limit={STRING_BYTES_MAX}",
    "-e",
    "trace=" + ",".join(TRACED),
)
SENDING = ("sendto", "sendmsg", "write", "writev")

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (?:<\.\.\. \w+ resumed>|(\w+)\()(.*)", re.DOTALL)
_RESULT = re.compile(r"\)\s+= (-?\d+|\?)")
_UNFINISHED = " <unfinished ...>"
_QUOTED = re.compile(r'"([\\x0-9a-f]*)"(\.\.\.)?')
_DESCRIPTOR = re.compile(r"(?:AT_FDCWD|(\d+))<([^>]*)>")
_BEFORE_DATA = 32_768
"""Descriptors stand before the data, which may be megabytes; a path has 4,096 bytes at most."""
_NUMBER = re.compile(r"-?\d+")

_GREETING_BYTES = 64
_MORE, _LONG, _COMMAND = 1, 2, 4


@dataclass(frozen=True)
class Wrote:
    """Bytes went into a file, and perhaps no further than the system's cache."""

    path: str
    offset: int
    data: bytes = field(repr=False)
    durable: bool
    """Written through an O_DSYNC descriptor: on the disk when the call returned."""


@dataclass(frozen=True)
class Resized:
    """A file was cut or extended."""

    path: str
    size: int


@dataclass(frozen=True)
class Synced:
    """Everything of a file, or every name of a folder, was made durable."""

    path: str


@dataclass(frozen=True)
class SyncFailed:
    """A sync returned an error: nothing tells what reached the disk, and nobody tries again."""

    path: str


@dataclass(frozen=True)
class Made:
    """A name appeared: of a folder, or of a file that was opened with O_CREAT."""

    path: str
    folder: bool


@dataclass(frozen=True)
class Renamed:
    """A name became another one, replacing what stood there."""

    path: str
    to: str


@dataclass(frozen=True)
class Removed:
    """A name disappeared."""

    path: str


@dataclass(frozen=True)
class Promised:
    """The collector was told that its scans up to here are committed."""

    committed: int


Change = Wrote | Resized | Synced | SyncFailed | Made | Renamed | Removed | Promised


def changes(log_file: Path, below: Path) -> Iterator[tuple[float, Change]]:
    """Yield (system clock, what was done to files below a folder or promised), in order."""
    with log_file.open(encoding="ascii", newline="\n") as lines:
        yield from _Reader(str(below)).read(lines)


@dataclass
class _Call:
    """One system call; `arguments` is the text between its parentheses, and its result."""

    name: str
    at_s: float
    arguments: str
    result: int = -1

    def strings(self) -> list[bytes]:
        """Return every quoted string, decoded."""
        found = []
        for text, cut in _QUOTED.findall(self.arguments):
            if cut:
                raise ValueError(f"{self.name}: strace cut a string: raise STRING_BYTES_MAX")
            found.append(_bytes(text))
        return found

    def descriptors(self) -> list[tuple[int, str]]:
        """Return (number, path) of every file descriptor; -1 for the working directory."""
        return [
            (int(number or -1), _bytes("".join(re.findall(r"\\x..", path))).decode())
            for number, path in _DESCRIPTOR.findall(self.arguments[:_BEFORE_DATA])
        ]

    def numbers(self) -> list[int]:
        """Return the numbers that stand behind the last string or descriptor."""
        tail = re.split(r'["\]>]', self.arguments.rpartition(" = ")[0] or self.arguments)[-1]
        return [int(each) for each in _NUMBER.findall(tail)]


class _Reader:
    """Makes events of lines."""

    def __init__(self, below: str) -> None:
        self._below = below
        self._marks = tuple(
            "".join(f"\\x{byte:02x}" for byte in text.encode()) for text in (below, "handoff.sock")
        )
        self._unfinished: dict[str, _Call] = {}
        self._synchronous: set[int] = set()
        """Descriptors that were opened with O_DSYNC."""
        self._at: dict[int, int] = {}
        """Where write() stands in each descriptor."""
        self._streams: dict[str, _Zmtp] = {}

    def read(self, lines: Iterable[str]) -> Iterator[tuple[float, Change]]:
        for line in lines:
            found = _LINE.match(line)
            if found is None:
                continue
            process, at_s, name, rest = found.groups()
            call = self._unfinished.pop(process, None) if name is None else None
            if name is not None and any(mark in rest for mark in self._marks):
                call = _Call(name, float(at_s), rest.removesuffix("\n"))
                for promise in self._said(call):
                    yield call.at_s, promise
            elif call is not None:
                call.arguments += rest
            if call is None:
                continue
            if call.arguments.endswith(_UNFINISHED):
                call.arguments = call.arguments.removesuffix(_UNFINISHED)
                self._unfinished[process] = call
                continue
            for change in self._finished(call):
                yield call.at_s, change

    def _said(self, call: _Call) -> Iterator[Change]:
        if "UNIX-STREAM" not in call.arguments or call.name not in SENDING:
            return
        socket = call.arguments.partition("<")[2].partition(">,")[0]
        stream = self._streams.setdefault(socket, _Zmtp())
        for message in stream.feed(b"".join(call.strings()[1:])):
            match message:
                case [b"A" | b"H" | b"F", body] if len(body) == ANSWER.size:
                    yield Promised(Answer(*ANSWER.unpack(body)).committed)

    def _finished(self, call: _Call) -> Iterator[Change]:
        result = _RESULT.search(call.arguments)
        if result is None or result[1] == "?" or "UNIX-STREAM" in call.arguments:
            return  # The process ended in it, or it is not about files.
        call.result = int(result[1])
        if call.result < 0 and call.name not in ("fsync", "fdatasync"):
            return
        make = getattr(self, f"_on_{call.name}", None)
        if make is None:
            raise ValueError(f"a call that nobody understands: {call.name}")
        yield from (each for each in make(call) if each.path.startswith(self._below))

    def _on_openat(self, call: _Call) -> Iterator[Change]:
        path = _below(call.descriptors()[0][1], call.strings()[0])
        self._at[call.result] = 0
        self._synchronous.discard(call.result)
        if "O_DSYNC" in call.arguments or "O_SYNC" in call.arguments:
            self._synchronous.add(call.result)
        if "O_CREAT" in call.arguments:
            yield Made(path, folder=False)
        if "O_TRUNC" in call.arguments:
            yield Resized(path, 0)

    def _on_close(self, _: _Call) -> Iterator[Change]:
        return iter(())

    def _on_lseek(self, call: _Call) -> Iterator[Change]:
        self._at[call.descriptors()[0][0]] = call.result
        return iter(())

    def _on_write(self, call: _Call) -> Iterator[Change]:
        number, path = call.descriptors()[0]
        if number not in self._at:
            return  # Words about our files, on standard output.
        data = b"".join(call.strings())[: call.result]
        yield Wrote(path, self._at[number], data, number in self._synchronous)
        self._at[number] += call.result

    _on_writev = _on_write

    def _on_pwrite64(self, call: _Call) -> Iterator[Change]:
        number, path = call.descriptors()[0]
        data = b"".join(call.strings())[: call.result]
        yield Wrote(path, call.numbers()[-1], data, number in self._synchronous)

    _on_pwritev = _on_pwritev2 = _on_pwrite64

    def _on_fsync(self, call: _Call) -> Iterator[Change]:
        path = call.descriptors()[0][1]
        yield Synced(path) if call.result == 0 else SyncFailed(path)

    _on_fdatasync = _on_fsync

    def _on_ftruncate(self, call: _Call) -> Iterator[Change]:
        yield Resized(call.descriptors()[0][1], call.numbers()[-1])

    def _on_fallocate(self, call: _Call) -> Iterator[Change]:
        offset, length = call.numbers()[-2:]
        yield Resized(call.descriptors()[0][1], offset + length)

    def _on_mkdir(self, call: _Call) -> Iterator[Change]:
        yield Made(call.strings()[0].decode(), folder=True)

    def _on_rename(self, call: _Call) -> Iterator[Change]:
        yield Renamed(*(path.decode() for path in call.strings()))

    def _on_unlink(self, call: _Call) -> Iterator[Change]:
        yield Removed(call.strings()[0].decode())

    _on_rmdir = _on_unlink

    def _on_unlinkat(self, call: _Call) -> Iterator[Change]:
        yield Removed(_below(call.descriptors()[0][1], call.strings()[0]))


class _Zmtp:
    """One direction of a ZeroMQ connection: bytes in, messages out."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._greeted = False
        self._frames: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        self._bytes += data
        if not self._greeted:
            if len(self._bytes) < _GREETING_BYTES:
                return
            del self._bytes[:_GREETING_BYTES]
            self._greeted = True
        while (frame := self._frame()) is not None:
            flags, body = frame
            if flags & _COMMAND:
                continue
            self._frames.append(body)
            if not flags & _MORE:
                yield self._frames
                self._frames = []

    def _frame(self) -> tuple[int, bytes] | None:
        if len(self._bytes) < 2:
            return None
        flags = self._bytes[0]
        head = 9 if flags & _LONG else 2
        size = int.from_bytes(self._bytes[1:head], "big")
        if len(self._bytes) < head + size:
            return None
        body = bytes(self._bytes[head : head + size])
        del self._bytes[: head + size]
        return flags, body


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _below(folder: str, name: bytes) -> str:
    """Return an absolute path, whether `name` is one or stands in `folder`."""
    return str(Path(folder) / name.decode())
