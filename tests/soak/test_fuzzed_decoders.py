"""Goal: no bytes of a device crash a decoder, fill the memory, or become what nobody asked for.

Method: fuzz_decoders.py under atheris for ten minutes a protocol, which looks for bytes that reach
new code; what hypothesis draws in tests/unit/collectors does not know the code. atheris is not in
the lock files, since it is large and of use here only: pip install atheris. A finding is left in
the folder that the failure names. Seen to bite: an OPC UA array of 822 million elements in eleven
bytes, which filled the memory within seconds.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.fuzz_decoders import TARGETS

HOUSE = Path(__file__).resolve().parents[2]
SECONDS = 600

pytestmark = [pytest.mark.process, pytest.mark.timeout(SECONDS * 2)]


@pytest.mark.parametrize("target", TARGETS)
def test_a_fuzzed_decoder_refuses_or_gives_what_was_asked_for(target: str, tmp_path: Path) -> None:
    limits = [f"-max_total_time={SECONDS}", "-max_len=512", "-rss_limit_mb=1024"]
    line = [sys.executable, "-m", "tests.soak.fuzz_decoders", target, str(tmp_path)]
    fuzzed = subprocess.run(
        [*line, *limits, f"-artifact_prefix={tmp_path}/found-"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert fuzzed.returncode == 0, f"{tmp_path}: {fuzzed.stderr[-4000:]}"
    print(target, fuzzed.stderr.strip().rpartition("\n")[2])  # noqa: T201 - minutes are long
