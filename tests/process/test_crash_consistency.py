"""Goal: whatever a power cut leaves, everything acknowledged is found, and nothing is invented.

Method: strace writes down what a real normalizer does, from its very first start on, through
commits, merging, trimming, dropping and a second start (power_cuts.py). A model of the disk
(crash_states.py) says which states a cut at each instant may leave: any part of what was not
synced, torn at sectors, and any of the names. Each is opened as the normalizer opens it, and judged
by what had been acknowledged by then (reopened.py).

What it cannot show: disks that lie about a flush, or tear a sector; what a file system itself does
wrong. tests/soak has ten thousand states and more.

Seen to bite: the two controls below. A service that acknowledges before it commits. Without the
sync of the data directory's own parent, in creation.py, every acknowledged scan is gone with the
directory in some of the states; that is how its absence was found.
"""

import random
from pathlib import Path

import pytest

from tests.process.crash_states import drawn_cuts, systematic_cuts
from tests.process.power_cuts import (
    Reopening,
    Work,
    busy,
    fast_folder,
    interrupted,
    moments,
    overfull,
    record,
)

SEED = 20261124
SYSTEMATIC_PROMISES = 6
"""Until so many scans were acknowledged, every cut is tried in every systematic way."""

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("strace")]


@pytest.mark.timeout(240)
async def test_no_power_cut_from_the_first_start_on_loses_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    choose = random.Random(SEED)
    with fast_folder(tmp_path) as folder:
        recording = await record(folder, busy(3, 150, SEED, killed_after=1))
        with Reopening(recording) as reopening:
            for moment in moments(recording):
                if moment.promised < SYSTEMATIC_PROMISES:
                    reopening.reopen(moment, systematic_cuts(moment.disk))
                elif moment.number % 6 == 0:
                    reopening.reopen(moment, drawn_cuts(moment.disk, choose, 1))

    assert moment.promised == recording.scans, "every acknowledgement is in the log"
    assert moment.delivered > 0, "and so is what the target took"
    assert reopening.first_complaints == []
    assert reopening.good > 300


@pytest.mark.timeout(240)
async def test_no_power_cut_loses_or_invents_anything_while_a_full_queue_drops_its_oldest(
    tmp_path: Path,
) -> None:
    choose = random.Random(SEED)
    small = {"TAILRACE_TEST_CAPACITY": str(200_000)}
    with fast_folder(tmp_path) as folder:
        recording = await record(folder, overfull(150, SEED), noise_bytes=1_000, altered=small)
        with Reopening(recording) as reopening:
            for moment in moments(recording):
                if moment.promised > recording.scans // 2 and moment.number % 2:
                    reopening.reopen(moment, drawn_cuts(moment.disk, choose, 1))

    assert moment.promised == recording.scans, "every acknowledgement is in the log"
    assert reopening.first_complaints == []
    assert reopening.good > 50


@pytest.mark.timeout(240)
async def test_no_power_cut_after_a_sync_that_failed_loses_what_was_acknowledged(
    tmp_path: Path,
) -> None:
    """What a failed sync was about is there or not, for ever, and the next process goes on."""
    choose = random.Random(SEED)
    with fast_folder(tmp_path) as folder:
        recording = await record(folder, interrupted(4), inject="fdatasync:error=EIO:when=14")
        with Reopening(recording) as reopening:
            for moment in moments(recording):
                if moment.disk.abandoned:
                    reopening.reopen(moment, drawn_cuts(moment.disk, choose, 4))

    assert moment.promised == recording.scans, "every acknowledgement is in the log"
    assert reopening.first_complaints == []
    assert reopening.good > 50


@pytest.mark.timeout(240)
@pytest.mark.parametrize("option", ["sync", "metasync"])
async def test_a_queue_that_does_not_sync_is_found_out(tmp_path: Path, option: str) -> None:
    """The control: the same process, the same judge, LMDB opened with sync=False."""
    choose = random.Random(SEED)
    careless = {"TAILRACE_TEST_LMDB": f'{{"{option}": false}}'}
    with fast_folder(tmp_path) as folder:
        recording = await record(folder, fed(40), altered=careless)
        with Reopening(recording) as reopening:
            for moment in moments(recording):
                if moment.promised:
                    reopening.reopen(moment, drawn_cuts(moment.disk, choose, 1))

    assert moment.promised == recording.scans, "it acknowledged everything all the same"
    assert reopening.bad > 20, "and much of it is not there"
    assert reopening.bad > 0.2 * (reopening.good + reopening.bad)


def fed(commits: int) -> Work:
    async def work(_: object, feeder: object) -> list[tuple[float, int]]:
        await feeder.feed_commits(commits, random.Random(SEED))
        return []

    return work
