"""Goal: a disk that refuses a write or a sync costs a restart of the normalizer, and no scan.

Method: strace lets the n-th call on the queue's file fail with EIO, in a real normalizer that is
started again whenever it ends. LMDB would commit on after a sync that failed, as if nothing had
happened, so the process must leave at once, and its next one must find and take everything.

What it cannot show: errors of reading. The file is mapped, so a sector that cannot be read is a
SIGBUS, which nothing injects; tests/model/test_queue_opening.py has the inspection that meets it.

Seen to bite: a service that swallows the failed commit never ends, and commits on.
"""

import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common.process import EXIT_CRASHED
from tests.process.normalizer_rig import NormalizerRig
from tests.process.queue_judge import complaints_of

CALLS = ("fdatasync", "pwrite64", "writev")
"""How LMDB makes pages durable, writes one page (and the meta page), and writes neighbours."""

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("strace")]


class Failing:
    """strace in front of a start: lets calls on the queue's files fail, and writes down all."""

    def __init__(self, rig: NormalizerRig, calls: str, when: str) -> None:
        self.log_file = rig.folder / f"strace-{calls}-{when}.log"
        data_files = [rig.data_dir / name / "data.mdb" for name in ("queue", "queue.new")]
        self._options = [
            *("-f", "-yy", "-o", str(self.log_file)),
            *(part for path in data_files for part in ("-P", str(path))),
            *("-e", f"trace={','.join(CALLS)}"),
            *("-e", f"inject={calls}:error=EIO:when={when}"),
        ]
        self.command = ["strace", "-D", *self._options]

    @contextmanager
    def attached_to(self, pid: int) -> Iterator[None]:
        """Let the calls of a process that runs already fail, until the block ends."""
        command = ["strace", "-p", str(pid), *self._options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            assert "attached" in strace.stderr.readline()
            try:
                yield
            finally:
                strace.terminate()

    def lines(self) -> list[str]:
        """Return the calls on the queue's files, in order."""
        text = self.log_file.read_text() if self.log_file.exists() else ""
        return [line for line in text.splitlines() if "data.mdb" in line]

    @property
    def fired(self) -> int:
        """How many calls failed."""
        return sum("(INJECTED)" in line for line in self.lines())

    def after_the_failure(self) -> list[str]:
        """Return what the process wrote to the queue although a call had failed.

        LMDB itself puts the old meta page back when writing the new one failed: 120 bytes that
        commit nothing.
        """
        lines = self.lines()
        failed = next(i for i, line in enumerate(lines) if "(INJECTED)" in line)
        return [each for each in lines[failed + 1 :] if not re.search(r", 120, \d+\)", each)]


async def costs_one_start(rig: NormalizerRig, calls: str, when: int) -> None:
    """Let one call of the first start or its commits fail; the second must have everything."""
    failing = Failing(rig, calls, str(when))
    async with (
        rig.tended(lambda start: failing.command if start == 0 else ()) as exit_codes,
        rig.collector() as feeder,
    ):
        await feeder.feed_until(lambda: exit_codes)
        await feeder.feed_commits(3, random.Random(when))
    rig.close()

    assert failing.fired == 1
    assert failing.after_the_failure() == [], "it never goes on after a failure"
    assert exit_codes[0] == EXIT_CRASHED, "it leaves by itself, with words"
    assert "stopped by itself" in rig.log()
    assert len(exit_codes) == 1, "and the next one stays"
    assert complaints_of(rig) == []


@pytest.mark.parametrize(
    ("calls", "when"),
    [
        *(("fdatasync", n) for n in (1, 9, 11, 14)),
        *(("pwrite64", n) for n in (1, 2, 20, 25, 30)),
        *(("writev", n) for n in (1, 8, 12)),
    ],
)
async def test_one_failed_call_ends_the_process_and_nothing_is_lost(
    tmp_path: Path, calls: str, when: int
) -> None:
    """Creating the queue, the first commit, later ones: their pages, syncs and meta pages."""
    await costs_one_start(NormalizerRig(tmp_path), calls, when)


async def test_a_running_queue_meets_one_failure_after_the_other(tmp_path: Path) -> None:
    rig = NormalizerRig(tmp_path)
    failures: list[Failing] = []
    async with rig.tended() as exit_codes, rig.collector() as feeder:
        await feeder.feed_commits(20, random.Random(1))
        for calls in CALLS:
            for when in (1, 2, 5):
                failures.append(Failing(rig, calls, str(when)))
                with failures[-1].attached_to(rig.process.pid):
                    await feeder.feed_until(lambda: len(exit_codes) == len(failures))
                await feeder.feed_commits(2, random.Random(when))
    rig.close()

    assert [each.fired for each in failures] == [1] * len(failures)
    assert [each.after_the_failure() for each in failures] == [[]] * len(failures)
    assert exit_codes == [EXIT_CRASHED] * len(failures)
    assert complaints_of(rig) == []


@pytest.mark.parametrize("calls", CALLS)
async def test_a_disk_that_fails_for_a_while_is_waited_out(tmp_path: Path, calls: str) -> None:
    rig = NormalizerRig(tmp_path)
    failing = [Failing(rig, calls, f"{n}+") for n in (30, 1, 2, 5)]

    def wrapper(start: int) -> list[str]:
        return failing[start].command if start < len(failing) else []

    async with rig.tended(wrapper) as exit_codes, rig.collector() as feeder:
        await feeder.feed_until(lambda: len(exit_codes) == len(failing))
        await feeder.feed_commits(3, random.Random(1))
    rig.close()

    assert all(each.fired for each in failing)
    assert exit_codes == [EXIT_CRASHED] * len(failing)
    assert complaints_of(rig) == []
