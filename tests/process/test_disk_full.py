"""Goal: a disk that others fill completely never damages the queue, and nobody has to come for it.

Method: the data directory stands on a small ext4 file system of its own; while scans arrive, a file
of somebody else's takes all that is left, and later gives it back. Every scan must then be in the
queue, or in a gap that counts it, and nothing that was acknowledged may be missing.

Seen to bite: a service that swallows the failed commit loses what it acknowledges. With a capacity
that does not follow the disk nothing ever goes. Without the wait at start the process ends instead.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from common.process import EXIT_CRASHED
from tests.process.normalizer_rig import NormalizerRig, until
from tests.process.queue_judge import complaints_of
from tests.process.small_disk import SmallDisk

MIB = 1024**2
NOISE_BYTES = 4_000
"""A scan takes about as much on the disk."""

pytestmark = pytest.mark.process

MakeDisk = Callable[[int], SmallDisk]


def rig_on(disk: SmallDisk, folder: Path) -> NormalizerRig:
    return NormalizerRig(folder, data_dir=disk.path / "data", noise_bytes=NOISE_BYTES)


async def test_a_disk_that_others_fill_and_empty_again_costs_no_scan(
    tmp_path: Path, small_disk: MakeDisk
) -> None:
    """Full to the last byte, and with so little left that a commit fails in its middle."""
    disk = small_disk(48 * MIB)
    rig = rig_on(disk, tmp_path)
    async with rig.tended() as exit_codes, rig.collector() as feeder:
        await feeder.feed_commits(20, random.Random(1))
        for leave_bytes in (0, 8_192, 100_000):
            disk.fill(leave_bytes)
            exits = len(exit_codes)
            await feeder.feed_until(lambda: len(exit_codes) > exits)  # noqa: B023 - called here
            disk.give_back()
            await feeder.acknowledged(60)
    rig.close()

    assert set(exit_codes) == {EXIT_CRASHED}, "a commit that fails ends the process, in words"
    assert "the file system has" in rig.log()
    assert "make room on it" in rig.log()
    assert "moved aside" not in rig.log(), "nothing was damaged by it"
    assert complaints_of(rig) == []
    assert rig.gaps() == [], "what could not be committed waited with the collector"


async def test_on_a_full_disk_the_oldest_goes_and_the_newest_is_kept(
    tmp_path: Path, small_disk: MakeDisk
) -> None:
    disk = small_disk(64 * MIB)
    rig = rig_on(disk, tmp_path)
    async with rig.tended(), rig.collector() as feeder:
        await feeder.feed(6_000)
        await feeder.acknowledged()
        for _ in range(3):
            disk.fill()  # Again and again: the queue gives up its ballast, and that is taken too.
            await feeder.feed(500, pause_s=0.002)
        await until(rig.gaps, 20, "the capacity follows the disk")
        disk.give_back()
        await feeder.acknowledged(60)
        await feeder.feed(500)
        await feeder.acknowledged()
    rig.close()

    assert {gap.cause for gap in rig.gaps()} == {"queue-full"}
    assert complaints_of(rig) == [], "and each that went is counted"


async def test_a_gateway_that_is_switched_on_with_a_full_disk_waits_for_room_and_says_so(
    tmp_path: Path, small_disk: MakeDisk
) -> None:
    disk = small_disk(48 * MIB)
    rig = rig_on(disk, tmp_path)
    disk.fill()
    async with rig.tended() as exit_codes, rig.collector() as feeder:
        await feeder.feed(100)
        await until(lambda: rig.health() == "waiting", 20, "it says that it waits")
        assert exit_codes == [], "and waits within the process: nobody has to start it again"
        disk.give_back()
        await feeder.acknowledged(60)
    rig.close()

    assert "waiting for room on the disk" in rig.log()
    assert complaints_of(rig) == []
    assert rig.gaps() == []
