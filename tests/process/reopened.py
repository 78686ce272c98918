"""The judge of one state that a power cut may leave: python -m tests.process.reopened.

A process of its own, because a queue that is damaged enough ends the process that opens it. One
request a line on standard input (`Request`), one list of complaints a line on standard output.
"""

import gc
import subprocess
import sys
from pathlib import Path
from typing import Self

import msgspec

from common.errors import TailraceError
from common.queue import QueueWriter
from common.queue.creation import IN_USE_FILE
from common.queue.environment import DATA_FILE
from common.queue.inspection import unreadable
from common.queue.verifying import verify
from common.records import Plan, Record
from normalizer.columns import GroupNormalizer
from tests.process.normalizer_rig import COLLECTOR, plan_with, scan_of
from tests.process.queue_judge import complaints_of_books, complaints_of_records

HOUSE = Path(__file__).resolve().parents[2]


class Request(msgspec.Struct):
    """One state, and what the world had been told when the power was cut."""

    queue_dir: str
    noise_bytes: int
    promised: int
    """Scans that were acknowledged to the collector."""
    delivered: int
    """The furthest any target's cursor had come."""
    epoch: int
    """Of the queue that was recorded."""
    verified: bool
    """Have the queue verify itself too."""


def judge(request: Request) -> list[str]:
    """Open the state as the normalizer does, and return what is wrong with it."""
    queue_dir = Path(request.queue_dir)
    # What the normalizer has another process do, without the time that takes to start.
    reason = unreadable(queue_dir) if (queue_dir / DATA_FILE).exists() else ""
    if reason and request.promised:
        return [f"unreadable: {reason}"]
    if not reason:
        (queue_dir / IN_USE_FILE).unlink(missing_ok=True)
    try:
        queue = QueueWriter.create(queue_dir)
    except TailraceError as error:
        return [f"does not open: {error}"]
    try:
        return [
            # Before anything was promised a queue may be begun anew, in words (queue-new).
            *([] if reason else _complaints(queue, request)),
            *_complaints_when_written(queue, plan_with(request.noise_bytes)),
        ]
    except TailraceError as error:
        return [f"does not work: {error}"]
    finally:
        queue.close()


def _complaints(queue: QueueWriter, request: Request) -> list[str]:
    wrong = []
    if request.promised and queue.epoch != request.epoch:
        wrong.append(f"another epoch: {queue.epoch}, not {request.epoch}")
    records = queue.read(after=0, records_max=10**9)
    last = queue.last_sequence()
    first = queue.summary().first_sequence or last + 1
    position = queue.positions.get(COLLECTOR)
    committed = position.sequence if position else 0
    if committed < request.promised:
        wrong.append(f"{request.promised} scans were acknowledged, {committed} are committed")
    if last != committed:
        wrong.append(f"{committed} scans are committed and {last} sequences given")
    if first > request.delivered + 1:
        wrong.append(f"the first is {first}, and only {request.delivered} were delivered")
    plan = plan_with(request.noise_bytes)
    wrong += complaints_of_records(records, first, last, plan)
    wrong += complaints_of_books(queue, records, committed, plan)
    if request.verified and not (verified := verify(queue)).sound:
        wrong.append(f"verify finds {verified.damaged} {verified.differences}")
    return wrong


def _complaints_when_written(queue: QueueWriter, plan: Plan) -> list[str]:
    """Commit one more scan and read it back; let the queue look after itself for a while."""
    before = queue.last_sequence()
    part = GroupNormalizer(plan).normalise(scan_of(plan, before))
    assert part is not None, "everything in a first scan is news"
    queue.append([part], plans=[plan])
    found = queue.read(after=before)
    if len(found) != 1 or not isinstance(found[0], Record) or found[0].values[0] != before:
        return [f"a scan that was committed reads as {found}"]
    queue.maintain()
    return []


class Judge:
    """The process above, for as many requests as are wanted; a new one for each that it costs."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: Request) -> list[str]:
        """Return what is wrong with a state."""
        if self._process is None:
            command = [sys.executable, "-m", "tests.process.reopened"]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=HOUSE,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(request) + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer:
            return msgspec.json.decode(answer, type=list[str])
        code = self._process.wait()
        self.close()
        return [f"opening it ended the process with {code}"]

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


if __name__ == "__main__":
    for line in sys.stdin.buffer:
        complaints = judge(msgspec.json.decode(line, type=Request))
        gc.collect()  # An environment that failed to open must not stay open.
        sys.stdout.buffer.write(msgspec.json.encode(complaints) + b"\n")
        sys.stdout.buffer.flush()
