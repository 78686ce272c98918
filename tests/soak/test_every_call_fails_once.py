"""Goal and method: those of test_disk_errors.py and test_first_start_killed.py, for every call.

The n-th call of each kind fails, or ends the process, for n = 1 until there is no such call within
the first start and its first commits.
"""

import itertools
from pathlib import Path

import pytest

from tests.process.normalizer_rig import NormalizerRig
from tests.process.queue_judge import complaints_of
from tests.process.test_disk_errors import CALLS as WRITING
from tests.process.test_disk_errors import costs_one_start
from tests.process.test_first_start_killed import CALLS, starts_after_a_kill

FAILING_MOST = 60

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("strace"), pytest.mark.timeout(3600)]


@pytest.mark.parametrize("call", [*CALLS, "close", "lseek"])
async def test_the_next_start_works_at_whatever_call_the_first_one_was_killed(
    tmp_path: Path, call: str
) -> None:
    for number in itertools.count(1):
        rig = NormalizerRig(tmp_path / str(number))
        killed = await starts_after_a_kill(rig, call, number)

        assert "moved aside" not in rig.log()
        assert complaints_of(rig) == []
        if not killed:
            break
    print(f"{call}: killed at each of {number - 1}")  # noqa: T201 - hours are long
    assert number > 1


@pytest.mark.parametrize("call", WRITING)
async def test_whatever_call_fails_costs_one_start_and_no_scan(tmp_path: Path, call: str) -> None:
    for number in range(1, FAILING_MOST + 1):
        await costs_one_start(NormalizerRig(tmp_path / str(number)), call, number)
