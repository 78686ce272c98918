"""Goal: a normalizer that is killed at any call of its very first start leaves nothing in the way.

Method: strace kills a real process as it enters the n-th call of a kind on anything in its data
directory, which did not exist before. The next start is left alone: it must come up, and take and
keep scans. tests/soak has every call; power cuts are in test_crash_consistency.py.

Seen to bite: a queue that is created in its place instead of beside it never opens again after
some of these kills.
"""

import random
import signal
from pathlib import Path

import pytest

from tests.process.normalizer_rig import NormalizerRig
from tests.process.queue_judge import complaints_of

NAMES = ("", "queue", "queue.new")
FILES = ("", "data.mdb", "lock.mdb", "cursors", "in-use", "ballast")
CALLS = {
    "mkdir": (1, 2, 3),
    "openat": (1, 4, 9),
    "ftruncate": (1, 2),
    "pwrite64": (1, 2, 9, 15),
    "writev": (1, 4),
    "fdatasync": (1, 8),
    "fsync": (1, 2, 4),
    "unlink": (1,),
    "rename": (1,),
    "fallocate": (1,),
}
"""Kind of call → which of them; a process of today makes about sixty of them all in all."""

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("strace")]


def killing(rig: NormalizerRig, call: str, number: int) -> list[str]:
    """Return the strace that ends the process as it enters a call on its data."""
    paths = [rig.data_dir / name / file for name in NAMES for file in FILES]
    return [
        *("strace", "-D", "-f", "-o", str(rig.folder / f"strace-{call}-{number}.log")),
        *(part for path in paths for part in ("-P", str(path))),
        *("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"),
    ]


async def starts_after_a_kill(rig: NormalizerRig, call: str, number: int) -> bool:
    """Kill the first start, have the second take scans; return False if there was no such call."""
    async with (
        rig.tended(lambda start: killing(rig, call, number) if start == 0 else ()) as exit_codes,
        rig.collector() as feeder,
    ):
        await feeder.feed_commits(3, random.Random(number))
        killed = exit_codes == [-signal.SIGKILL]
        assert killed or exit_codes == [], rig.log()
    rig.close()
    return killed


@pytest.mark.parametrize("call", CALLS)
async def test_the_next_start_works_wherever_the_first_one_was_killed(
    tmp_path: Path, call: str
) -> None:
    for number in CALLS[call]:
        rig = NormalizerRig(tmp_path / str(number))

        assert await starts_after_a_kill(rig, call, number), "there was such a call"
        assert "moved aside" not in rig.log(), "nothing of the first start is taken for damage"
        assert complaints_of(rig) == []
