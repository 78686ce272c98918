"""Goal and method: those of tests/process/test_crash_consistency.py, for ten thousand states.

Each seed is a recording of its own: with a kill in between, with a queue that is full and drops,
with syncs that fail. A part of the moments is cut in every systematic way, torn at sectors; of the
others some cuts are drawn.

    python -m pytest tests/soak/test_power_cuts_for_long.py -s
    TAILRACE_SOAK_STATES=1000  for fewer (or more) states
"""

import itertools
import os
import random
from pathlib import Path

import pytest

from tests.process.crash_states import PAGE_BYTES, SECTOR_BYTES, drawn_cuts, systematic_cuts
from tests.process.power_cuts import (
    Recording,
    Reopening,
    busy,
    fast_folder,
    interrupted,
    moments,
    overfull,
    record,
)

STATES = int(os.environ.get("TAILRACE_SOAK_STATES", "10000"))
FIRST_SEED = 20261124
SYSTEMATIC_SHARE = 0.04
DRAWN = 3

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("strace"), pytest.mark.timeout(4 * 3600)]


async def test_ten_thousand_power_cuts_lose_nothing_and_invent_nothing(tmp_path: Path) -> None:
    states = 0
    for seed in itertools.count(FIRST_SEED):
        choose = random.Random(seed)
        with fast_folder(tmp_path) as folder:
            recording = await recording_of(folder, seed, choose)
            with Reopening(recording) as reopening:
                for moment in moments(recording):
                    if choose.random() < SYSTEMATIC_SHARE:
                        piece_bytes = choose.choice([SECTOR_BYTES, PAGE_BYTES])
                        reopening.reopen(moment, systematic_cuts(moment.disk, piece_bytes))
                    else:
                        reopening.reopen(moment, drawn_cuts(moment.disk, choose, DRAWN))
        states += reopening.good + reopening.bad
        print(  # noqa: T201 - hours are long
            f"seed {seed}: {recording.scans} scans, {moment.number} moments, {reopening.good} "
            f"states good, {reopening.bad} bad, {reopening.states_per_s:.0f}/s; {states} in all",
            flush=True,
        )

        assert reopening.first_complaints == []
        assert moment.promised == recording.scans, "every acknowledgement is in the log"
        if states >= STATES:
            return


async def recording_of(folder: Path, seed: int, choose: random.Random) -> Recording:
    match seed % 3:
        case 0:
            when = choose.randint(12, 40)
            return await record(
                folder, interrupted(choose.randint(2, 6)), inject=f"fdatasync:error=EIO:when={when}"
            )
        case 1:
            capacity = {"TAILRACE_TEST_CAPACITY": str(choose.randint(150_000, 400_000))}
            return await record(folder, overfull(250, seed), noise_bytes=1_000, altered=capacity)
        case _:
            return await record(folder, busy(4, 160, seed, killed_after=choose.randint(0, 2)))
